"""The same packets into stock code and into the fast engine: the same events, the same state after each batch.

A dialer and a listener exchange data over a link that loses, repeats and reorders. The listener is stock; beside it a
copy of it, turned into a fast one, is given the same datagrams and the same calls at the same times. What the copy has
to send is made by stock code and dropped, so that both number their packets alike and what the dialer acknowledges
fits both. Some datagrams are altered on the way. Now and then the dialer's keys seal something a dialer would not say.
"""

import copy
from collections import Counter
from collections.abc import Iterable
from functools import partial
from random import Random
from typing import Any

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.quic import connection as connection_module
from aioquic.quic import events
from aioquic.quic.recovery import MAX_ACK_RANGES
from aioquic.tls import Epoch

from connet_trio.quic.core import Core
from connet_trio.quic.datagram_run import Batch
from connet_trio.quic.datagram_sizing import MtuAwareRecovery
from connet_trio.quic.fast import FastCore
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.quic.stream_table import StreamTable
from tests.quic.fast.conftest import FAR, NEAR, WINDOWS, handshake

TICK_SECONDS = 0.004
TICKS = 150
HEADER_BYTES = 11
"""First byte, connection ID, packet number: alterations there are `test_sealing_and_opening`'s."""


class Shadow(FastCore):
    """Receives as the fast engine does, and sends as stock code does."""

    def datagrams_to_send(self, now: float) -> Batch:  # type: ignore[override]
        return self._stock_datagrams(now)


class Twins:
    """A stock listener and its fast copy."""

    def __init__(self, fast: FastCore) -> None:
        self.stock, self.fast = as_stock(copy_of(fast)), copy_of(fast)
        self.fast.__class__ = Shadow

    @property
    def both(self) -> tuple[Core, Core]:
        return self.stock, self.fast


def copy_of(core: FastCore) -> FastCore:
    """With the same keys, which are not copied: they have no state."""
    keys = [pair for pair in core._cryptos.values() if pair.send.is_valid()]
    shared: list[object] = [core.tls, core._dialing, core._listening, core._answer, *core._crypto_buffers.values()]
    shared += [part for pair in keys for context in (pair.send, pair.recv) for part in (context.aead, context.hp)]
    return copy.deepcopy(core, {id(thing): thing for thing in shared})


def as_stock(core: FastCore) -> Core:
    """The same connection, driven by stock code; it must not have streams yet."""
    assert not core._streams
    state = vars(core)
    core.__class__ = Core  # type: ignore[assignment]
    state["_streams"] = state["_stream_table"] = StreamTable()
    state["_streams_queue"] = []
    handlers = state["_QuicConnection__frame_handlers"]
    handlers.update({kind: (getattr(core, handler.__name__), *rest) for kind, (handler, *rest) in handlers.items()})
    core._loss.__class__ = MtuAwareRecovery  # type: ignore[assignment]
    space = core._spaces[Epoch.ONE_RTT]
    space.sent_packets = dict(space.sent_packets.items())
    return core


# --- what must be the same


def merged(found: Iterable[events.QuicEvent]) -> list[object]:
    """Events, where rows of bytes of one stream count as one."""
    result: list[object] = []
    for event in found:
        if not isinstance(event, events.StreamDataReceived):
            result.append(event)
            continue
        last = result[-1] if result else None
        if isinstance(last, tuple) and last[0] == event.stream_id and not last[2]:
            result[-1] = (event.stream_id, last[1] + event.data, event.end_stream)
        else:
            result.append((event.stream_id, event.data, event.end_stream))
    return result


def stream_picture(stream: Any) -> dict[str, object]:
    receiver, sender = stream.receiver, stream.sender
    return {
        "received": (receiver.highest_offset, receiver._buffer_start, bytes(receiver._buffer), list(receiver._ranges)),
        "receiving": (receiver._final_size, receiver.is_finished, receiver.stop_pending),
        "credit": (stream.max_stream_data_local, stream.max_stream_data_local_sent, stream.max_stream_data_remote),
        "sent": (sender._buffer_start, sender._buffer_stop, sender.highest_offset, sender._buffer[:]),
        "under way": (list(sender._pending), list(sender._acked)),
        "sending": (sender.is_finished, sender.reset_pending, sender._reset_error_code),
    }


def picture(core: Core) -> dict[str, object]:
    """Everything that a packet received can change."""
    space, loss = core._spaces[Epoch.ONE_RTT], core._loss
    window = space.received_packets
    known = {number for number in window._received if number >= window._lower}
    keys = core._cryptos[Epoch.ONE_RTT]
    return {
        "numbers": (list(space.ack_queue), space.largest_received_packet, window._lower, known),
        "acknowledgement": (space.ack_at, space.largest_received_time),
        "streams": {stream_id: stream_picture(stream) for stream_id, stream in core._streams.items()},
        "limits": [
            (limit.value, limit.sent, limit.used) for limit in (core._local_max_data, core._local_max_streams_bidi)
        ],
        "allowed": (core._remote_max_data, core._remote_max_data_used, core._remote_max_streams_bidi),
        "under way": [number for number, _ in space.sent_packets.items()],
        "congestion": (loss.congestion_window, loss.bytes_in_flight, loss._rtt_smoothed, loss._rtt_latest),
        "time": (core._close_at, core.get_timer(), core._ack_eliciting_sent_since_receipt),
        "spin": (core._spin_bit, core._spin_highest_pn),
        "keys": (keys.recv.key_phase, keys.recv.secret, keys._update_key_requested),
        "ids": (core.host_cid, core._peer_cid.cid, [entry.cid for entry in core._host_cids]),
        "paths": [(path.addr, path.is_validated, len(path.remote_challenges)) for path in core._network_paths],
        "end": (core._state, core._close_pending, core._close_event),
    }


def assert_twins(twins: Twins) -> list[object]:
    """The events since the last time, the same of both."""
    stock, fast = (list(iter(core.next_event, None)) for core in twins.both)
    assert merged(fast) == merged(stock)
    expected, found = picture(twins.stock), picture(twins.fast)
    for name, value in expected.items():
        assert found[name] == value, name
    assert (
        abs(
            twins.fast._spaces[Epoch.ONE_RTT].expected_packet_number
            - twins.stock._spaces[Epoch.ONE_RTT].expected_packet_number
        )
        <= 1
    )
    return merged(stock)


# --- the exchange


class Exchange:
    """A dialer, the listener's twins, and the link between them, in steps of `TICK_SECONDS`."""

    def __init__(self, seed: int, dialer: type[Core], monkeypatch: pytest.MonkeyPatch) -> None:
        self.luck = Random(seed)
        self.now = 10.0
        self.dialer, listener = handshake(dialer, self.now)
        self.twins = Twins(listener)
        for _ in (0, 4, 8, 12):
            self.dialer.open_stream_id()
        self.source = NEAR
        self.travelling: list[tuple[float, bytes]] = []
        self.written: Counter[int] = Counter()
        self.received: Counter[int] = Counter()
        self.owed: Counter[int] = Counter()
        self._random = Random(seed)
        monkeypatch.setattr("os.urandom", self._random.randbytes)

    def mirrored(self, call: str, *arguments: Any) -> list[Any]:
        """Do the same to both twins, with the same random numbers."""
        state, results = self._random.getstate(), []
        for core in self.twins.both:
            self._random.setstate(state)
            results.append(getattr(core, call)(*arguments))
        return results

    def run(self) -> None:
        for tick in range(TICKS):
            self.now += TICK_SECONDS
            self.act(tick)
            self.dialer.fire_timers(self.now)
            self.depart()
            self.mirrored("receive_batch", self.arrivals(), self.now)
            self.take(assert_twins(self.twins))
            self.mirrored("fire_timers", self.now)
            self.answer()
            assert_twins(self.twins)

    def act(self, tick: int) -> None:
        """What the two applications do, and what happens to the path."""
        luck = self.luck
        for stream_id in (0, 4, 8):
            stopped = self.dialer._streams[stream_id].sender._reset_error_code is not None
            if luck.random() < 0.3 and tick < TICKS - 60 and not stopped:
                data = luck.randbytes(luck.choice([50, 900, 20_000]))
                self.dialer.send_stream_data(stream_id, data)
                self.written[stream_id] += len(data)
        if luck.random() < 0.3:  # a short one, from beginning to end
            self.dialer.send_stream_data(self.dialer._local_next_stream_id_bidi, luck.randbytes(300), end_stream=True)
        if tick == TICKS // 3:
            self.dialer.send_stream_data(12, bytes(30_000))
            self.dialer.collect(self.now)
            self.dialer.reset(12, 7)
        if tick % 40 == 20:
            self.dialer.request_key_update()
        if tick % 60 == 40:
            self.dialer.change_connection_id()
        if tick == TICKS // 2:
            self.source = NetworkPath(("192.0.2.2", 5001))  # its NAT has moved it
        if luck.random() < 0.4:
            self.dialer.ping()
        if 0 in self.twins.stock._streams and luck.random() < 0.2:
            self.mirrored("send_stream_data", 0, luck.randbytes(luck.choice([30, 5000])))

    def depart(self) -> None:
        while True:
            for data, _ in self.dialer.collect(self.now):
                fate, late = self.luck.random(), self.luck.random()
                if fate > 0.02:
                    self.travelling.append((self.now + (0.012 if late < 0.06 else 0.002), data))
                if fate > 0.95:
                    self.travelling.append((self.now + 0.01, data))
            if not self.dialer.has_more:
                return

    def arrivals(self) -> list[Datagram]:
        due = [entry for entry in self.travelling if entry[0] <= self.now + TICK_SECONDS]
        self.travelling = [entry for entry in self.travelling if entry not in due]
        return [(self.altered(data), self.source) for _, data in sorted(due, key=lambda entry: entry[0])]

    def altered(self, data: bytes) -> bytes:
        """Sometimes not what was sent."""
        if self.luck.random() > 0.06 or len(data) <= HEADER_BYTES + 1:
            return data
        match self.luck.choice(["flip", "cut", "lengthen"]):
            case "flip":
                at = self.luck.randrange(HEADER_BYTES, len(data))
                return data[:at] + bytes([data[at] ^ 1 << self.luck.randrange(8)]) + data[at + 1 :]
            case "cut":
                return data[: self.luck.randrange(1, len(data))]
            case _:
                return data + self.luck.randbytes(20)

    def take(self, found: list[object]) -> None:
        """Read what has come, most of the time; a stream may be stopped."""
        for event in found:
            if isinstance(event, tuple):
                self.owed[event[0]] += len(event[1])
                self.received[event[0]] += len(event[1])
        if self.luck.random() < 0.7:
            for stream_id, count in self.owed.items():
                self.mirrored("consume", stream_id, count)
            self.owed.clear()
        if self.luck.random() < 0.01 and 8 in self.twins.stock._streams:
            self.mirrored("stop", 8, 5)

    def answer(self) -> None:
        """Let the stock twin's datagrams reach the dialer, and those of the other one nobody."""
        while True:
            # who is served first is no concern of the other side
            order = [self.twins.fast._streams[stream.stream_id or 0] for stream in self.twins.stock._streams_queue]
            waiting = list(self.twins.fast._service)
            self.twins.fast._service.prefer(stream for stream in order if stream in waiting)
            stock, fast = self.mirrored("collect", self.now)
            assert [len(data) for data, _ in fast] == [len(data) for data, _ in stock]
            self.dialer.receive_batch([(data, FAR) for data, _ in stock if self.luck.random() > 0.02], self.now)
            for event in iter(self.dialer.next_event, None):
                assert not isinstance(event, events.ConnectionTerminated), event
            if not self.twins.stock.has_more:
                return


@pytest.mark.parametrize("dialer", [FastCore, Core])
def test_both_engines_understand_a_disturbed_exchange_alike(
    dialer: type[Core], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = stock = 0
    for seed in range(8):
        exchange = Exchange(seed, dialer, monkeypatch)
        exchange.run()
        counted = exchange.twins.fast
        fast, stock = fast + counted.fast_packets.received, stock + counted.stock_packets.received
        assert exchange.received[0] > 0
        assert exchange.twins.stock._state is connection_module.QuicConnectionState.CONNECTED
    assert fast > (fast + stock) / 3, (fast, stock)
    assert stock > (fast + stock) / 3, (fast, stock)


# --- what a dialer that follows the rules would not say


def stream_frame(luck: Random, core: Core) -> bytes:
    """As it should be, or with a wrong offset, length, end or stream."""
    stream_id = luck.choice([0] * 20 + [4] * 10 + [1, 2, 60, 400])
    known = core._streams.get(stream_id)
    expected = 0 if known is None else known.receiver._buffer_start
    offset = luck.choice([expected] * 30 + [max(expected - 3, 0), expected + 5, expected + 70_000, 1 << 61])
    data = luck.randbytes(luck.choice([0, 1, 30, 30, 1000]))
    kind = 8 | luck.choice([0] * 20 + [1]) | luck.choice([0, 2, 2]) | (4 if offset or luck.random() < 0.5 else 0)
    frame = bytes([kind]) + encode(stream_id)
    if kind & 4:
        frame += encode(offset)
    if kind & 2:
        frame += encode(max(len(data) + luck.choice([0] * 40 + [-1, 1, 70_000]), 0))
    return frame + data


def nonsense(luck: Random, core: Core) -> bytes:
    """The payload of a packet: frames as they should be, nearly so, or not at all."""
    some = partial(luck.choice, [0, 1, 5, 70_000, 1 << 20, 1 << 61])
    others = [
        b"\x02" + b"".join(encode(luck.choice([0, 0, 1, 3, 50, 1 << 60])) for _ in range(luck.choice([4, 4, 6, 3]))),
        bytes([luck.choice([0x10, 0x12, 0x13])]) + encode(some()),
        b"\x11" + encode(luck.choice([0, 4, 1, 3, 400])) + encode(some()),
        b"\x04" + encode(luck.choice([0, 4, 1, 3])) + encode(7) + encode(some()),
        b"\x05" + encode(luck.choice([0, 4, 1, 2])) + encode(7),
        luck.choice([b"\0", b"\1", b"\x03\x05\0\0\0\0\0\0", luck.randbytes(5)]),
    ]
    frames = [stream_frame(luck, core) if luck.random() < 0.9 else luck.choice(others)]
    if luck.random() < 0.1:
        frames.append(luck.choice(others))
    return b"".join(frames)


def encode(number: int) -> bytes:
    return bytes(encode_uint_var(number))


def sealed(core: Core, payload: bytes, ahead: int = 1) -> bytes:
    """A packet that the listener takes for the dialer's next one, or for a later one."""
    number = core._spaces[Epoch.ONE_RTT].largest_received_packet + ahead
    keys = core._cryptos[Epoch.ONE_RTT].recv
    header = bytes([0x41 | keys.key_phase << 2]) + core.host_cid + (number & 0xFFFF).to_bytes(2, "big")
    return bytes(keys.encrypt_packet(header, payload.ljust(4, b"\0"), number))


def test_both_engines_understand_alike_what_a_dialer_should_not_say() -> None:
    _, listener = handshake(FastCore, 10.0)
    endings: Counter[object] = Counter()
    fast = stock = 0
    for seed in range(60):
        luck, twins = Random(seed), Twins(listener)
        now = 11.0
        for _ in range(40):
            now += 0.001
            datagram = sealed(twins.stock, nonsense(luck, twins.stock))
            for core in twins.both:
                core.receive_batch([(datagram, NEAR)], now)
            assert_twins(twins)
            if twins.stock._close_event is not None:
                endings[twins.stock._close_event.error_code] += 1
                break
        fast, stock = fast + twins.fast.fast_packets.received, stock + twins.fast.stock_packets.received
    assert len(endings) >= 5, "encodings, flow control, final sizes, states of streams, how many of them"
    assert fast > stock / 4, "most of what is wrong is for stock code"


def test_both_engines_stop_a_row_of_packets_where_the_credit_ends() -> None:
    _, listener = handshake(FastCore, 10.0)
    for size in (1000, 1024, 1100):
        twins = Twins(listener)
        rows = range(0, WINDOWS.stream + 4 * size, size)
        frames = [b"\x0e\0" + wide(at) + encode(size) + bytes(size) for at in rows]
        datagrams = [(sealed(twins.stock, frame, ahead), NEAR) for ahead, frame in enumerate(frames, 1)]
        for core in twins.both:
            core.receive_batch(datagrams, 11.0)
        delivered: Any = assert_twins(twins)[0]
        assert len(delivered[1]) == WINDOWS.stream // size * size
        assert twins.stock._close_event is not None
        assert twins.stock._close_event.reason_phrase == "Over stream data limit"
        assert twins.fast.fast_packets.received > 50


def test_both_engines_read_an_offset_that_outgrows_its_width_as_another_number() -> None:
    """A row of headers that are the last one plus a constant, on to where that is no longer a number of two bytes."""
    _, listener = handshake(FastCore, 10.0)
    twins = Twins(listener)
    frames = [
        b"\x0e\0" + (0x4000 + at).to_bytes(2, "big") + encode(1000) + bytes(1000) for at in range(0, 20_000, 1000)
    ]
    datagrams = [(sealed(twins.stock, frame, ahead), NEAR) for ahead, frame in enumerate(frames, 1)]
    for core in twins.both:
        core.receive_batch(datagrams, 11.0)
    delivered: Any = assert_twins(twins)[0]
    assert len(delivered[1]) == 17_000
    assert twins.stock._close_event is not None


def wide(number: int) -> bytes:
    return (0xC0 << 56 | number).to_bytes(8, "big")


def test_both_engines_remember_the_same_numbers_where_many_are_missing() -> None:
    _, listener = handshake(FastCore, 10.0)
    twins = Twins(listener)
    first = sealed(twins.stock, b"\x08\0!")
    late = [(sealed(twins.stock, b"\x0e\0" + wide(1) + b"\1?", ahead), NEAR) for ahead in range(3, 300, 2)]
    for batch in ([(first, NEAR)], late, [late[0]], [late[-1]], [(sealed(twins.stock, b"\1", 2), NEAR)]):
        for core in twins.both:
            core.receive_batch(batch, 11.0)
        assert_twins(twins)
    assert len(twins.fast._spaces[Epoch.ONE_RTT].ack_queue) == MAX_ACK_RANGES
    assert twins.fast.fast_packets.received == len(late)
