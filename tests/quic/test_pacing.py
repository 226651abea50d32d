"""When the next packet may leave: time is a number."""

import attrs
import pytest

from connet_trio.quic.pacing import (
    BURST_BYTES,
    BURST_PACKETS,
    IDLE_BURST_PACKETS,
    JUMBO_BURST_PACKETS,
    LATEST_SECONDS,
    NEAR_BYTES,
    BurstPacer,
)

PACKET = 1200
BURST = BURST_BYTES // PACKET


@attrs.define
class Rates:
    pacing_rate: float
    send_quantum: int = 2 * PACKET


def send(pacer: BurstPacer, now: float, most: int = 10_000) -> int:
    """Send while the pacer lets us; how many packets left."""
    for count in range(most):
        if pacer.next_send_time(now) is not None:
            return count
        pacer.update_after_send(now)
        pacer.charge(PACKET)
    return most


def send_all_bursts(pacer: BurstPacer, now: float) -> int:
    """As `send`, going on when a burst is spent."""
    total = 0
    while True:
        total += send(pacer, now)
        at = pacer.next_send_time(now)
        if at is not None and at > now:
            return total


def test_a_burst_is_two_system_calls_and_more_may_follow_at_once() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    assert BURST == 108
    for _ in range(3):
        assert send(pacer, 7.0) == BURST
    for _ in range(BURST):
        pacer.update_after_send(7.0)
    assert pacer.next_send_time(7.0) == 7.0
    assert pacer.next_send_time(7.0) is None


def test_small_packets_are_bounded_by_number() -> None:
    assert send(BurstPacer(max_datagram_size=100), 0.0) == BURST_PACKETS


def test_larger_datagrams_make_shorter_bursts() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    pacer.set_datagram_bytes(1452)
    assert send(pacer, 0.0) == BURST_BYTES // 1452
    pacer.set_datagram_bytes(16_384)
    assert send(pacer, 0.0) == JUMBO_BURST_PACKETS


def test_without_a_sample_of_the_round_trip_nothing_is_held_back() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    assert sum(send(pacer, 0.0) for _ in range(100)) == 100 * BURST
    assert pacer.rate is None


def test_the_rate_follows_window_and_round_trip() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    pacer.update_rate(congestion_window=100 * PACKET, smoothed_rtt=0.1)
    assert pacer.rate == pytest.approx(1250 * PACKET)
    send_all_bursts(pacer, 1.0)
    assert sum(send_all_bursts(pacer, 1 + 0.005 * turn) for turn in range(1, 201)) == pytest.approx(1250, abs=3)


def test_the_slowest_rate_is_a_packet_a_second() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    pacer.update_rate(congestion_window=2 * PACKET, smoothed_rtt=60.0)
    assert pacer.rate == PACKET


def test_the_rate_of_a_controller_goes_before_that_of_the_window() -> None:
    rates = Rates(0.0)
    pacer = BurstPacer(max_datagram_size=PACKET, rates=rates)
    pacer.update_rate(congestion_window=100 * PACKET, smoothed_rtt=0.1)
    assert pacer.rate is None
    rates.pacing_rate = 500.0 * PACKET
    assert pacer.rate == 500 * PACKET
    send_all_bursts(pacer, 1.0)
    assert sum(send_all_bursts(pacer, 1 + 0.01 * turn) for turn in range(1, 101)) == pytest.approx(500, abs=3)


def test_a_spent_bucket_is_asked_again_when_a_whole_quantum_is_due() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(1_000_000.0, 10 * PACKET))
    send_all_bursts(pacer, 5.0)
    at = pacer.next_send_time(5.0)
    assert at is not None
    assert 0.010 < at - 5.0 <= 0.0133  # 10 packets of 1.2 ms each, and the debt of a packet
    assert send_all_bursts(pacer, at) == 10


def test_packets_weigh_what_they_weigh_and_bare_acknowledgements_nothing() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(1_000_000.0))
    send_all_bursts(pacer, 1.0)
    full = pacer.next_send_time(1.0)
    pacer.update_after_send(1.0)
    while_building = pacer.next_send_time(1.0)
    assert full is not None
    assert while_building is not None
    assert while_building > full
    pacer.charge(0)
    assert pacer.next_send_time(1.0) == full
    pacer.update_after_send(1.0)
    pacer.charge(100)
    assert pacer.next_send_time(1.0) == pytest.approx(full + 100 / 1_000_000)


def test_a_debt_is_paid_back() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(1_000_000.0))
    send_all_bursts(pacer, 1.0)
    for _ in range(100):
        pacer.charge(PACKET)
    at = pacer.next_send_time(1.0)
    assert at is not None
    assert at - 1.0 > 100 * PACKET / 1_000_000


def test_a_late_timer_is_made_up_for() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(10_000 * PACKET, 10 * PACKET))
    send_all_bursts(pacer, 1.0)
    assert send_all_bursts(pacer, 1.002) == pytest.approx(20, abs=1)
    assert send_all_bursts(pacer, 1.012) == pytest.approx(100, abs=1)
    very_late = 10_000 * LATEST_SECONDS + 10
    assert send_all_bursts(pacer, 60.0) == pytest.approx(very_late, abs=1)


def test_a_pause_is_not() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(20_000 * PACKET, 20 * PACKET))
    send_all_bursts(pacer, 1.0)
    at = pacer.next_send_time(1.0)
    assert at is not None
    assert pacer.next_send_time(at) is None  # and now there is nothing to send
    assert send_all_bursts(pacer, 60.0) == 20


def test_after_a_pause_an_initial_window_may_leave_at_once() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(10_000.0))
    send_all_bursts(pacer, 1.0)
    assert pacer.next_send_time(2.0) is None
    assert send_all_bursts(pacer, 60.0) == IDLE_BURST_PACKETS


def test_what_is_left_when_a_burst_is_spent_goes_with_the_next_quantum() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(20_000 * PACKET, 20 * PACKET))
    send_all_bursts(pacer, 1.0)
    assert send(pacer, 1.006) == BURST, "120 are due"
    assert pacer.next_send_time(1.006) == pytest.approx(1.0064)
    assert pacer.next_send_time(1.0063) is not None
    assert send_all_bursts(pacer, 1.0064) == 20


def test_a_pause_is_worth_more_where_the_other_side_is_near() -> None:
    quanta = []
    for min_rtt in (0.0001, 0.002, 0.005, 0.04):
        pacer = BurstPacer(max_datagram_size=PACKET, rates=Rates(20_000 * PACKET, 10 * PACKET))
        pacer.min_rtt = min_rtt
        send_all_bursts(pacer, 1.0)
        at = pacer.next_send_time(1.0)
        assert at is not None
        quanta.append(send_all_bursts(pacer, at))
    assert quanta == [BURST, 10 + 80, 10 + 40, 10]  # of 170, what is more than a burst waits for one more
    fast = BurstPacer(max_datagram_size=PACKET, rates=Rates(1e9, 20 * PACKET))
    fast.min_rtt = 0.0001
    send_all_bursts(fast, 1.0)
    due = int((NEAR_BYTES + 1e9 * LATEST_SECONDS) / PACKET)
    assert send_all_bursts(fast, 60.0) == due // BURST * BURST  # what is less than a burst waits


def test_an_engine_that_sends_runs_is_told_how_many_packets_may_leave() -> None:
    rates = Rates(0.0, 20 * PACKET)
    pacer = BurstPacer(max_datagram_size=PACKET, rates=rates)
    assert pacer.sendable_packets == BURST
    pacer.update_after_run(50, 50 * PACKET)
    assert pacer.sendable_packets == BURST - 50
    pacer.update_after_run(BURST - 50, (BURST - 50) * PACKET)
    assert pacer.next_send_time(1.0) == 1.0
    rates.pacing_rate = 20_000.0 * PACKET
    assert pacer.next_send_time(1.0) is None
    assert pacer.sendable_packets == 20
    pacer.update_after_run(20, 20 * PACKET)
    assert pacer.sendable_packets == 0
    at = pacer.next_send_time(1.0)
    assert at is not None
    assert at == pytest.approx(1.001)
    assert pacer.next_send_time(at) is None
    assert pacer.sendable_packets == 20
