"""Packets with little in them are those that stock code would make, byte for byte, and are noted as it notes them."""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
from aioquic.quic.events import PingAcknowledged, StreamDataReceived
from aioquic.quic.rangeset import RangeSet

from connet_trio.quic.datagram_run import datagrams_of
from connet_trio.quic.fast import FastCore
from connet_trio.quic.fast.service_queue import has_work
from connet_trio.quic.network_path import Datagram
from tests.quic.fast.conftest import FAR, NEAR, copy_of, handshake, picture

NOW = 10.0
DUE = 0.006
"""Seconds after which whatever acknowledgement there may be is due."""


class StockPackets(FastCore):
    """A fast engine whose small packets are made by stock code.

    But an acknowledgement that is not due does not leave because the window is too full for what it would go with.
    """

    def _small_packet(self, now: float) -> list[Datagram]:
        loss, due_at = self._loss, self._space.ack_at
        full = loss.bytes_in_flight + self._max_datagram_size > loss.congestion_window
        if full and (due_at is None or due_at > now):
            self._pacing_at = None
            return []
        return list(datagrams_of(self._one_stock_packet(now)))


def engines() -> tuple[FastCore, FastCore]:
    """A dialer and a listener that have nothing left to say and much credit, in window and pacer too."""
    dialer, listener = handshake(FastCore, NOW - 2)
    assert isinstance(dialer, FastCore)
    for core in (dialer, listener):
        core._loss._cc.congestion_window = 1_000_000
    return dialer, listener


def to_listener(datagrams: Iterable[Datagram]) -> list[Datagram]:
    return [(data, NEAR) for data, _ in datagrams]


def to_dialer(datagrams: Iterable[Datagram]) -> list[Datagram]:
    return [(data, FAR) for data, _ in datagrams]


def events_of(core: FastCore) -> list[Any]:
    return list(iter(core.next_event, None))


def frames_of(core: FastCore) -> list[list[str]]:
    """Of the packets that are under way, who is told of their frames."""
    return [
        [handler.__name__.removeprefix("_on_").removesuffix("_delivery") for handler, _ in packet.delivery_handlers]
        for packet in core._space.sent_packets.values()
    ]


def sent_picture(core: FastCore) -> list[object]:
    """Of the packets that are under way, all that is noted."""
    return [
        (
            packet.packet_number,
            packet.epoch,
            packet.packet_type,
            packet.sent_time,
            packet.sent_bytes,
            (packet.in_flight, packet.is_ack_eliciting, packet.is_crypto_packet),
            [
                (handler.__name__, [plain(part) for part in arguments])
                for handler, arguments in packet.delivery_handlers
            ],
        )
        for packet in core._space.sent_packets.values()
    ]


def plain(thing: object) -> object:
    """What can be compared between two engines."""
    return thing if isinstance(thing, int | tuple) else type(thing)


def whole_picture(core: FastCore) -> dict[str, object]:
    pacer, space = core._loss._pacer, core._space
    return {
        **picture(core),
        "sent": sent_picture(core),
        "numbers sent": (core._packet_number, core._network_paths[0].bytes_sent),
        "pacer": {name: value for name, value in vars(pacer).items() if name != "_rates"},
        "pacing": core._pacing_at,
        "loss": (space.ack_eliciting_in_flight, core._loss._time_of_last_sent_ack_eliciting_packet),
        "ends": {stream_id: stream.sender._pending_eof for stream_id, stream in core._streams.items()},
        "credited": list(core._stream_table.credited),
        "pings": core._ping_pending,
        "served next": [stream.stream_id for stream in core._service if has_work(stream)],
    }


# --- the same as stock code's


class Twins:
    """A dialer, and a copy of it that lets stock code make its packets; both talk to one listener."""

    def __init__(self, seed: int) -> None:
        self.luck = Random(seed)
        dialer, self.listener = engines()
        self.fast, self.stock = copy_of(dialer), copy_of(dialer)
        self.stock.__class__ = StockPackets
        self.now = NOW

    def both(self, call: str, *arguments: Any) -> Any:
        result, other = (getattr(core, call)(*arguments) for core in (self.fast, self.stock))
        assert result == other, call
        return result

    def assert_alike(self) -> None:
        for core in (self.fast, self.stock):
            core._limits_are_due()  # raises what is to be told, which either may have done for a packet that is full
        # stock code does not count the packets of a burst that the window or the datagram have cut short
        self.stock._loss._bucket._left = self.fast._loss._bucket._left
        expected, found = whole_picture(self.stock), whole_picture(self.fast)
        for name, value in expected.items():
            assert found[name] == value, name

    def run(self, steps: int) -> None:
        for step in range(steps):
            if step % 10 == 0:  # or after a few losses nothing would be sent for long
                for core in (self.fast, self.stock, self.listener):
                    core._loss._cc.congestion_window = max(core._loss._cc.congestion_window, 30_000)
            self.now += self.luck.choice([0.0002, 0.001, 0.002, DUE, 0.05])
            self.both("fire_timers", self.now)
            self.act()
            self.assert_alike()
            departed = self.both("collect", self.now)
            self.assert_alike()
            arrived = [datagram for datagram in departed if self.luck.random() > 0.05]
            self.listener.receive_batch(to_listener(arrived), self.now)
            self.listen()
            answers = [data for data in self.listener.collect(self.now) if self.luck.random() > 0.05]
            self.both("receive_batch", to_dialer(answers), self.now)
            for event, other in zip(events_of(self.fast), events_of(self.stock), strict=True):
                assert event == other
                if isinstance(event, StreamDataReceived) and self.luck.random() < 0.9:
                    self.both("consume", event.stream_id, len(event.data))
            self.assert_alike()

    def act(self) -> None:
        """What the dialer's application does."""
        luck, fast = self.luck, self.fast
        if luck.random() < 0.4 and len(fast._streams) < 9 and fast._local_next_stream_id_bidi < 350:
            self.both("open_stream_id")
        for stream_id, stream in list(fast._streams.items()):
            sender = stream.sender
            if luck.random() < 0.3 and sender._buffer_fin is None and sender._reset_error_code is None:
                data = luck.randbytes(luck.choice([0, 1, 40, 300, 1100, 1500]))
                self.both("send_stream_data", stream_id, data, luck.random() < 0.3)
            if luck.random() < 0.01:
                self.both(luck.choice(["reset", "stop"]), stream_id, 7)
        if luck.random() < 0.1:
            self.both("ping")
        if luck.random() < 0.02:
            self.both("request_key_update")

    def listen(self) -> None:
        """What the listener's does."""
        for event in events_of(self.listener):
            if isinstance(event, StreamDataReceived):
                self.listener.consume(event.stream_id, len(event.data))
                stream = self.listener._streams.get(event.stream_id)
                if stream is not None and stream.sender._buffer_fin is None and not stream.sender._reset_error_code:
                    size = self.luck.choice([0, 10, 3000, 20_000])
                    self.listener.send_stream_data(event.stream_id, bytes(size), event.end_stream)


@pytest.mark.parametrize("seed", range(6))
def test_small_packets_are_those_of_stock_code_byte_for_byte(seed: int) -> None:
    twins = Twins(seed)
    twins.run(250)
    small, rare = twins.fast.fast_packets.sent, twins.fast.stock_packets.sent
    assert small > 60
    assert small > rare
    assert twins.fast._close_event is None


# --- one by one


def opened(streams: int = 1) -> tuple[FastCore, FastCore]:
    """Both know so many streams of the dialer's, and have nothing to acknowledge."""
    dialer, listener = engines()
    for _ in range(streams):
        stream_id = dialer.open_stream_id()
        assert stream_id is not None
        dialer.send_stream_data(stream_id, b"!")
    listener.receive_batch(to_listener(dialer.collect(NOW)), NOW)
    dialer.receive_batch(to_dialer(listener.collect(NOW + DUE)), NOW + DUE)
    assert len(events_of(listener)) == streams
    assert frames_of(dialer) == []
    return dialer, listener


def say_end(dialer: Any) -> None:
    dialer.send_stream_data(0, b"", end_stream=True)


def allow_stream_more(dialer: Any) -> None:
    dialer._streams[0].max_stream_data_local += 5
    dialer._stream_table.credited[0] = dialer._streams[0]


def allow_more_streams(dialer: Any) -> None:
    dialer._local_max_streams_bidi.value += 200


SAYINGS = [
    (lambda dialer: dialer.send_stream_data(0, b"data"), ["data"], lambda it: it._streams[0].receiver.highest_offset),
    (
        lambda dialer: dialer.send_stream_data(0, b"last", True),
        ["data"],
        lambda it: it._streams[0].receiver.highest_offset,
    ),
    (say_end, ["data"], lambda it: it._streams[0].receiver.is_finished),
    (lambda dialer: dialer.ping(), ["ping"], lambda it: it._space.largest_received_packet),
    (
        lambda dialer: dialer.consume(400, dialer.windows.stream),
        ["connection_limit"],
        lambda it: it._remote_max_data,
    ),
    (allow_stream_more, ["max_stream_data"], lambda it: it._streams[0].max_stream_data_remote),
    (allow_more_streams, ["connection_limit"], lambda it: it._remote_max_streams_bidi),
]
SAYING_NAMES = ["bytes", "bytes and end", "end", "ping", "credit", "credit of a stream", "streams"]


@pytest.mark.parametrize(("say", "frames", "heard"), SAYINGS, ids=SAYING_NAMES)
def test_each_kind_of_frame_arrives_and_is_said_again_when_it_is_lost(
    say: Callable[[Any], object], frames: list[str], heard: Callable[[Any], object]
) -> None:
    dialer, listener = opened()
    before, stock = heard(listener), dialer.stock_packets.sent
    say(dialer)
    assert len(dialer.collect(NOW + 1)) == 1  # and is lost
    assert [[name.removeprefix("on_") for name in names] for names in frames_of(dialer)] == [frames]
    assert dialer.stock_packets.sent == stock
    assert dialer._loss.bytes_in_flight > 0
    assert dialer.collect(NOW + 1.1) == []
    at = dialer.next_deadline()
    assert at is not None
    dialer.fire_timers(at)
    listener.receive_batch(to_listener(dialer.collect(at)), at)
    assert heard(listener) != before
    dialer.receive_batch(to_dialer(listener.collect(at + DUE)), at + DUE)
    assert dialer._loss.bytes_in_flight == 0
    assert dialer.collect(at + DUE) == []


def test_bytes_of_several_streams_their_ends_and_what_else_is_owed_leave_in_one_packet() -> None:
    dialer, listener = opened(3)
    listener.send_stream_data(8, b"question")
    dialer.receive_batch(to_dialer(listener.collect(NOW + 1)), NOW + 1)
    events_of(dialer)
    dialer.send_stream_data(0, b"zero")
    dialer.send_stream_data(4, b"four", end_stream=True)
    dialer.send_stream_data(8, b"", end_stream=True)
    dialer.ping()
    allow_stream_more(dialer)
    dialer.consume(0, dialer.windows.stream)
    sent = dialer.collect(NOW + 1.001)
    assert len(sent) == 1
    assert frames_of(dialer) == [["ack", "connection_limit", "max_stream_data", "ping", *["on_data"] * 3]]
    listener.receive_batch(to_listener(sent), NOW + 1.001)
    found = [event for event in events_of(listener) if isinstance(event, StreamDataReceived)]
    assert [(event.stream_id, event.data, event.end_stream) for event in found] == [
        (0, b"zero", False),
        (4, b"four", True),
        (8, b"", True),
    ]
    assert listener._loss.bytes_in_flight == 0


def test_an_acknowledgement_alone_is_not_in_flight_and_costs_no_window_and_no_pacing() -> None:
    dialer, listener = opened()
    dialer.send_stream_data(0, b"?")
    listener.receive_batch(to_listener(dialer.collect(NOW + 1)), NOW + 1)
    eliciting, flying = listener._space.ack_eliciting_in_flight, listener._loss.bytes_in_flight
    credit = listener._loss._pacer._credit
    listener._loss._cc.congestion_window = 0  # nor does it need any
    (answer,) = listener.collect(NOW + 1 + DUE)
    assert frames_of(listener)[-1] == ["ack"]
    assert (listener._space.ack_eliciting_in_flight, listener._loss.bytes_in_flight) == (eliciting, flying)
    assert listener._loss._pacer._credit == credit
    dialer.receive_batch(to_dialer([answer]), NOW + 1 + DUE)
    assert dialer._space.ack_at is None
    assert dialer._loss.bytes_in_flight == 0


def test_nothing_but_an_acknowledgement_that_is_due_leaves_while_the_window_is_full() -> None:
    dialer, listener = opened()
    listener.send_stream_data(0, b"?")
    dialer.receive_batch(to_dialer(listener.collect(NOW + 1)), NOW + 1)
    dialer._loss._cc.congestion_window = 0
    dialer._loss._cc.bytes_in_flight += 1
    dialer.send_stream_data(0, b"!")
    assert dialer.collect(NOW + 1.001) == []
    assert dialer._pacing_at is None, "no timer makes room"
    assert len(dialer.collect(NOW + 1 + DUE)) == 1
    assert frames_of(dialer)[-1] == ["ack"]
    dialer._loss._cc.congestion_window = 20_000
    assert len(dialer.collect(NOW + 1.1)) == 1
    assert frames_of(dialer)[-1] == ["on_data"]


def test_what_the_pacer_holds_back_leaves_when_it_says_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dialer, listener = opened()
    monkeypatch.setattr(dialer._loss._pacer, "next_send_time", lambda now: None if now >= NOW + 2 else NOW + 2)
    dialer.send_stream_data(0, b"held", end_stream=True)
    dialer.ping()
    assert dialer.collect(NOW + 1) == []
    assert dialer.next_deadline() == NOW + 2
    listener.receive_batch(to_listener(dialer.collect(NOW + 2)), NOW + 2)
    assert events_of(listener) == [StreamDataReceived(data=b"held", end_stream=True, stream_id=0)]


def test_what_finds_no_room_in_a_packet_leaves_in_the_next() -> None:
    dialer, listener = opened(80)
    for stream_id, stream in dialer._streams.items():
        stream.max_stream_data_local += 1 << 30
        dialer._stream_table.credited[stream_id] = stream
    dialer.send_stream_data(0, bytes(1100), end_stream=True)
    dialer.ping()
    sent = dialer.collect(NOW + 1)
    assert len(sent) == 2
    assert all(len(data) <= 1200 for data, _ in sent)
    assert not dialer._stream_table.credited
    listener.receive_batch(to_listener(sent), NOW + 1)
    assert all(stream.max_stream_data_remote > 1 << 30 for _, stream in listener._streams.items())
    dialer.receive_batch(to_dialer(listener.collect(NOW + 1 + DUE)), NOW + 1 + DUE)
    assert PingAcknowledged(uid=0) in events_of(dialer)


def test_an_acknowledgement_with_more_ranges_than_fit_names_the_newest() -> None:
    dialer, listener = opened()
    dialer._space.ack_queue = RangeSet([range(4 * at, 4 * at + 2) for at in range(1 << 14, (1 << 14) + 600)])
    dialer._space.largest_received_packet = 4 * ((1 << 14) + 599) + 1
    dialer._space.ack_at = NOW
    (sent,) = dialer.collect(NOW + 1)
    assert 250 < len(sent[0]) <= 1200
    listener.receive_batch(to_listener([sent]), NOW + 1)
    assert listener._space.largest_acked_packet == dialer._space.largest_received_packet


def test_small_packets_go_on_over_a_change_of_keys_whose_first_packet_is_stock_codes() -> None:
    dialer, listener = opened()
    for turn in range(1, 5):
        if turn % 2 == 0:
            dialer.request_key_update()
        stock = dialer.stock_packets.sent
        dialer.send_stream_data(0, b"!")
        listener.receive_batch(to_listener(dialer.collect(NOW + turn)), NOW + turn)
        assert dialer.stock_packets.sent - stock == (turn % 2 == 0)
        assert len(events_of(listener)) == 1
        dialer.receive_batch(to_dialer(listener.collect(NOW + turn + DUE)), NOW + turn + DUE)
    assert dialer._keys.key_phase == listener._keys.key_phase == 0
    assert dialer._loss.bytes_in_flight == 0


def test_a_stream_that_is_over_makes_no_packet_and_its_successor_is_told_of_with_the_next() -> None:
    dialer, listener = opened()
    for core, other, path in ((dialer, listener, NEAR), (listener, dialer, FAR)):
        core.send_stream_data(0, b"", end_stream=True)
        other.receive_batch([(data, path) for data, _ in core.collect(NOW + 1)], NOW + 1)
        core.receive_batch(
            [(data, FAR if path is NEAR else NEAR) for data, _ in other.collect(NOW + 1 + DUE)], NOW + 1 + DUE
        )
    listener._local_max_streams_bidi.used = listener._local_max_streams_bidi.sent  # so that one more is worth telling
    assert len(listener.collect(NOW + 2)) == 1, "one packet, with word of the stream that may be opened"
    assert frames_of(listener)[-1] == ["connection_limit"]
    assert listener.take_discarded() == [0]


def test_what_stock_code_must_say_takes_what_is_small_along() -> None:
    dialer, listener = opened(2)
    dialer.send_stream_data(0, b"small")
    dialer.stop(4, 9)
    (sent,) = dialer.collect(NOW + 1)
    assert frames_of(dialer) == [["on_stop_sending", "on_data"]]
    listener.receive_batch(to_listener([sent]), NOW + 1)
    assert StreamDataReceived(data=b"small", end_stream=False, stream_id=0) in events_of(listener)
