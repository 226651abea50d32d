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
from connet_trio.quic.congestion import CongestionControl
from connet_trio.quic.datagram_sizing import MtuAwareRecovery
from connet_trio.quic.engine_controllers import Cubic, engine_name
from connet_trio.quic.fast.recovery import FastRecovery
from connet_trio.quic.fast.sent_log import SentLog, SentRun

PAYLOAD, PACKET = 1000, 1040
PACKET_LIMIT = 1452


@attrs.define
class Side:
    """Loss recovery with one stream that sends."""

    recovery: Any
    space: QuicPacketSpace
    sender: QuicStreamSender
    told: list[object] = attrs.field(factory=list)
    """Of packets that stock code sends: what became of each."""


def make_side(*, fast: bool, control: CongestionControl = CongestionControl.CUBIC) -> Side:
    made = QuicPacketRecovery(
        congestion_control_algorithm=engine_name(control),
        initial_rtt=0.1,
        max_datagram_size=PACKET,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
    )
    recovery = (FastRecovery if fast else MtuAwareRecovery).adopt(
        made, control=control, datagram_bytes=PACKET, luck=float
    )
    recovery.handshake_confirmed, recovery.path_mtu = True, PathMtu()
    space = QuicPacketSpace(is_application_data=True)
    recovery.spaces = [space]
    if fast:
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
        "congestion": congestion(recovery._cc),
        "round trip": (recovery._rtt_latest, recovery._rtt_min, recovery._rtt_smoothed, recovery._rtt_variance),
        "probes": (recovery._pto_count, recovery._time_of_last_sent_ack_eliciting_packet),
        "losses": (recovery.lost_packets, recovery.spurious_losses, vars(recovery._tolerance)),
        "timer": recovery.get_loss_detection_time(amplification_limited=False),
        "sender": (sender._buffer_start, list(sender._acked), list(sender._pending), sender.buffer_is_empty),
        "told": side.told,
    }


def congestion(control: Any) -> dict[str, object]:
    """All that cubic knows; of BBR what has been counted, since what it samples is sampled run by run."""
    if isinstance(control, Cubic):
        return {name: value for name, value in vars(control).items() if name != "_rtt_monitor"}
    sampler = control.controller._sampler
    return {name: getattr(sampler, name) for name in ("in_flight", "delivered", "lost", "_delivered_at")}


SEND = st.tuples(st.just("send"), st.integers(1, 40))
SINGLE = st.tuples(st.just("single"), st.booleans())
ACKNOWLEDGE = st.tuples(st.just("acknowledge"), st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=5))
WAIT = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.04, 0.3, 3.0]))
STEPS = st.lists(st.one_of(SEND, SEND, SINGLE, ACKNOWLEDGE, ACKNOWLEDGE, WAIT), max_size=40)


@pytest.mark.parametrize("control", [CongestionControl.CUBIC, CongestionControl.BBR])
@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_runs_are_acknowledged_and_lost_as_their_packets_would_be(control: CongestionControl, steps: list[Any]) -> None:
    fast, stock = make_side(fast=True, control=control), make_side(fast=False, control=control)
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


@pytest.mark.parametrize("seed", range(4))
def test_a_window_that_has_shrunk_grows_again_as_with_single_packets(seed: int) -> None:
    """Minutes of congestion avoidance, with losses: the slow, the steep and the friendly part of cubic's curve."""
    luck = Random(seed)
    sides = fast, stock = make_side(fast=True), make_side(fast=False)
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
        windows.add(fast.recovery._cc.congestion_window)
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


def test_packets_of_a_burst_share_what_the_controller_has_hung_on_it() -> None:
    side = make_side(fast=True, control=CongestionControl.BBR)
    run = run_of(side, 9, 10, 1.0)
    side.recovery.on_run_sent(run, side.space)
    assert run.snapshot.in_flight == 10 * PACKET
    side.recovery.on_ack_received(ack_rangeset=RangeSet([range(10, 12)]), ack_delay=0.0, now=1.1, space=side.space)
    left = list(side.space.sent_packets.values())
    assert [packet.packet_number for packet in left] == [9, *range(12, 19)]
    assert all(packet.snapshot is run.snapshot for packet in left)  # type: ignore[attr-defined]
    assert side.recovery.trace().bandwidth == pytest.approx(2 * PACKET / 0.1)


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


def test_full_packets_that_arrive_before_a_small_one_show_that_the_path_carries_them() -> None:
    side = make_side(fast=True)
    mtu = side.recovery.path_mtu = PathMtu(limit=PACKET_LIMIT)
    assert mtu.take_probe(0.0, 0) is not None
    mtu.handle_probe_acked(0)
    log: Any = side.space.sent_packets
    for burst in range(10):
        first, now = 1 + 20 * burst, 1.0 + burst
        run = run_of(side, first, 19, now)
        run.packet_bytes = mtu.size
        side.recovery.on_run_sent(run, side.space)
        small = single(side, run_of(side, first + 19, 1, now), eliciting=True)
        small.sent_bytes = 100
        side.recovery.on_packet_sent(packet=small, space=side.space)
        arrived = RangeSet([range(first, first + 3), range(first + 4, first + 20)])
        side.recovery.on_ack_received(ack_rangeset=arrived, ack_delay=0.0, now=now + 0.1, space=side.space)
        assert not len(log)
    assert side.recovery.lost_packets == 10
    assert mtu.size == PACKET_LIMIT
