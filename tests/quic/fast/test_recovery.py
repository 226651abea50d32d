"""A log with runs is acknowledged, and loses, exactly as one with the same packets one by one."""

from random import Random
from typing import Any

import attrs
import pytest
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace
from aioquic.quic.stream import QuicStreamSender
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.engine import PathMtu
from connet_trio.quic.fast.recovery import FastRecovery
from connet_trio.quic.fast.sent_log import SentLog, SentRun
from connet_trio.quic.pacing import BurstPacer

PAYLOAD, PACKET = 1000, 1040


@attrs.define
class Side:
    """Loss recovery with one stream that sends."""

    recovery: Any
    space: QuicPacketSpace
    sender: QuicStreamSender
    told: list[object] = attrs.field(factory=list)
    """Of packets that stock code sends: what became of each."""


def make_side(*, fast: bool, congestion: str = "cubic") -> Side:
    recovery = QuicPacketRecovery(
        congestion_control_algorithm=congestion,
        initial_rtt=0.1,
        max_datagram_size=PACKET,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
    )
    recovery.handshake_confirmed = True
    recovery._pacer = BurstPacer(max_datagram_size=PACKET)
    space = QuicPacketSpace(is_application_data=True)
    recovery.spaces = [space]
    if fast:
        recovery.__class__ = FastRecovery
        recovery.path_mtu = PathMtu()  # type: ignore[attr-defined]
        space.sent_packets = SentLog()  # type: ignore[assignment]
    sender = QuicStreamSender(stream_id=0, writable=True)
    sender.write(bytes(4000 * PAYLOAD))
    sender._pending = RangeSet()
    return Side(recovery, space, sender)


def run_of(side: Side, number: int, count: int, now: float) -> SentRun:
    offset, side.sender.highest_offset = side.sender.highest_offset, side.sender.highest_offset + count * PAYLOAD
    return SentRun(
        packet_number=number,
        count=count,
        sent_time=now,
        packet_bytes=PACKET,
        sender=side.sender,
        offset=offset,
        payload_bytes=PAYLOAD,
    )


def single(side: Side, template: SentRun, *, eliciting: bool) -> QuicSentPacket:
    packet = template.packet(template.packet_number)
    packet.is_ack_eliciting = packet.in_flight = eliciting
    packet.delivery_handlers = [(lambda *what: side.told.append(what), (packet.packet_number,))]
    return packet


def picture(side: Side) -> dict[str, object]:
    """All that recovery and stream know."""
    recovery, space, sender = side.recovery, side.space, side.sender
    return {
        "packets": [(number, packet.sent_time, packet.sent_bytes) for number, packet in space.sent_packets.items()],
        "space": (space.ack_eliciting_in_flight, space.largest_acked_packet, space.loss_time),
        "congestion": {name: value for name, value in vars(recovery._cc).items() if name != "_rtt_monitor"},
        "round trip": (recovery._rtt_latest, recovery._rtt_min, recovery._rtt_smoothed, recovery._rtt_variance),
        "probes": (recovery._pto_count, recovery._time_of_last_sent_ack_eliciting_packet),
        "pacer": (recovery._pacer.packet_time, recovery._pacer.bucket_max),
        "timer": recovery.get_loss_detection_time(amplification_limited=False),
        "sender": (sender._buffer_start, list(sender._acked), list(sender._pending), sender.buffer_is_empty),
        "told": side.told,
    }


SEND = st.tuples(st.just("send"), st.integers(1, 40))
SINGLE = st.tuples(st.just("single"), st.booleans())
ACKNOWLEDGE = st.tuples(st.just("acknowledge"), st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=5))
WAIT = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.04, 0.3, 3.0]))
STEPS = st.lists(st.one_of(SEND, SEND, SINGLE, ACKNOWLEDGE, ACKNOWLEDGE, WAIT), max_size=40)


@pytest.mark.parametrize("congestion", ["cubic", "reno"])
@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_runs_are_acknowledged_and_lost_as_their_packets_would_be(congestion: str, steps: list[Any]) -> None:
    fast, stock = make_side(fast=True, congestion=congestion), make_side(fast=False, congestion=congestion)
    now, number = 1.0, 0
    for action, detail in steps:
        match action:
            case "send":
                run = run_of(fast, number, detail, now)
                fast.recovery.on_run_sent(run, fast.space)
                for packet in run_of(stock, number, detail, now).packets():
                    stock.recovery.on_packet_sent(packet=packet, space=stock.space)
                number += detail
            case "single":
                for side in (fast, stock):
                    packet = single(side, run_of(side, number, 1, now), eliciting=detail)
                    side.recovery.on_packet_sent(packet=packet, space=side.space)
                number += 1
            case "acknowledge" if detail and number:
                for side in (fast, stock):
                    numbers = RangeSet()
                    for behind, length in detail:  # from the newest backwards, and beyond either end
                        numbers.add(max(number + 5 - behind - length, 0), max(number + 5 - behind, 1))
                    side.recovery.on_ack_received(ack_rangeset=numbers, ack_delay=0.001, now=now, space=side.space)
            case "wait":
                now += detail
                for side in (fast, stock):
                    at = side.recovery.get_loss_detection_time(amplification_limited=False)
                    if at is not None and at <= now:
                        side.recovery.on_loss_detection_timeout(now=now)
        assert picture(fast) == picture(stock)


@pytest.mark.parametrize("congestion", ["cubic", "reno"])
@pytest.mark.parametrize("seed", range(4))
def test_a_window_that_has_shrunk_grows_again_as_with_single_packets(congestion: str, seed: int) -> None:
    """Minutes of congestion avoidance, with losses: the slow, the steep and the friendly part of cubic's curve."""
    luck = Random(seed)
    sides = fast, stock = make_side(fast=True, congestion=congestion), make_side(fast=False, congestion=congestion)
    now, number = 1.0, 0
    windows = set()
    for _ in range(400):
        count = luck.randint(1, 60)
        now += luck.choice([0.01, 0.05, 0.5])
        missing = luck.randrange(count) if luck.random() < 0.03 else None
        for side in sides:
            side.sender.highest_offset = side.sender._buffer_start = 0
            side.sender._acked, side.sender._pending = RangeSet(), RangeSet()
            run = run_of(side, number, count, now)
            if side is fast:
                side.recovery.on_run_sent(run, side.space)
            else:
                for packet in run.packets():
                    side.recovery.on_packet_sent(packet=packet, space=side.space)
            numbers = RangeSet([range(number, number + count)])
            if missing is not None:
                numbers.subtract(number + missing, number + missing + 1)
            if len(numbers):
                side.recovery.on_ack_received(ack_rangeset=numbers, ack_delay=0.0, now=now + 0.01, space=side.space)
        number += count
        assert vars(fast.recovery._cc).keys() == vars(stock.recovery._cc).keys()
        for name, value in vars(stock.recovery._cc).items():
            assert name == "_rtt_monitor" or getattr(fast.recovery._cc, name) == value, name
        windows.add(fast.recovery.congestion_window)
    assert len(windows) > 100


def test_a_burst_is_one_entry_however_many_packets_it_has() -> None:
    side = make_side(fast=True)
    for index in range(10):
        side.recovery.on_run_sent(run_of(side, 50 * index, 50, 1.0), side.space)
    assert len(side.space.sent_packets) == 10
    assert side.space.ack_eliciting_in_flight == 500
    side.recovery.on_ack_received(ack_rangeset=RangeSet([range(450)]), ack_delay=0.0, now=1.1, space=side.space)
    assert len(side.space.sent_packets) == 1
    assert side.sender._buffer_start == 450 * PAYLOAD


def test_a_congestion_control_that_remembers_packets_is_told_of_each() -> None:
    class Remembering:
        ssthresh = None
        bytes_in_flight = 0

        def __init__(self) -> None:
            self.sent: list[QuicSentPacket] = []

        def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
            self.sent.append(packet)

    side = make_side(fast=True)
    side.recovery._cc = Remembering()
    side.recovery.on_run_sent(run_of(side, 7, 3, 1.0), side.space)
    assert [packet.packet_number for packet in side.recovery._cc.sent] == [7, 8, 9]
    assert [packet for _, packet in side.space.sent_packets.items()] == side.recovery._cc.sent


def test_a_log_finds_and_forgets_single_packets_inside_runs() -> None:
    side = make_side(fast=True)
    log: Any = side.space.sent_packets
    log.add_run(run_of(side, 10, 5, 1.0))
    del log[12]
    assert [number for number, _ in log.items()] == [10, 11, 13, 14]
    for missing in (9, 12, 15):
        with pytest.raises(KeyError):
            log.pop(missing)
    assert log.pop(10).delivery_handlers[0][1] == (0, PAYLOAD, False)
    log.clear()
    assert list(log.values()) == []


def test_a_packet_is_found_by_its_number_inside_of_a_run_too() -> None:
    side, log = make_side(fast=True), SentLog()
    log.add_run(run_of(side, 10, 5, 1.0))
    alone = run_of(side, 20, 1, 2.0).packet(20)
    log[20] = alone
    found = [log.get(number) for number in (9, 10, 14, 15, 19, 20, 21)]
    assert [packet and packet.packet_number for packet in found] == [None, 10, 14, None, None, 20, None]
    assert found[5] is alone
    assert SentLog().get(0) is None
