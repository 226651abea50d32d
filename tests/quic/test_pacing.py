"""When the next packet may leave: time is a number."""

import pytest

from connet_trio.quic.pacing import BUCKET_PACKETS, BURST_BYTES, BURST_PACKETS, JUMBO_BURST_PACKETS, BurstPacer

PACKET = 1200
BURST = BURST_BYTES // PACKET


def send(pacer: BurstPacer, now: float, most: int = 10_000) -> int:
    """Send while the pacer lets us; how many packets left."""
    for count in range(most):
        if pacer.next_send_time(now) is not None:
            return count
        pacer.update_after_send(now)
    return most


def test_a_burst_is_one_system_call_and_more_may_follow_at_once() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    assert BURST == 54
    for _ in range(3):
        assert send(pacer, 7.0) == BURST
    for _ in range(BURST):
        pacer.update_after_send(7.0)
    assert pacer.next_send_time(7.0) == 7.0
    assert pacer.next_send_time(7.0) is None


def test_small_packets_are_bounded_by_number() -> None:
    assert send(BurstPacer(max_datagram_size=100), 0.0) == BURST_PACKETS


def test_without_a_sample_of_the_round_trip_nothing_is_held_back() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    assert sum(send(pacer, 0.0) for _ in range(100)) == 100 * BURST


def test_the_rate_follows_window_and_round_trip() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    pacer.update_rate(congestion_window=100 * PACKET, smoothed_rtt=0.1)
    assert pacer.packet_time == pytest.approx(0.001)
    assert send(pacer, 0.0) == 0
    # a quarter of a packet's time in hand lets a whole one go: aioquic rounds up at each look
    assert sum(send(pacer, 0.05 * turn) for turn in range(1, 201)) == pytest.approx(10_000, rel=0.05)


def test_a_held_back_packet_is_told_when_to_come_again() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    pacer.update_rate(congestion_window=10 * PACKET, smoothed_rtt=1.0)
    now = 5.0
    for _ in range(1000):
        at = pacer.next_send_time(now)
        if at is not None and at > now:
            break
        if at is None:
            pacer.update_after_send(now)
    assert at == pytest.approx(now + 0.1)
    assert pacer.next_send_time(now + 0.11) is None


def test_a_late_timer_is_made_up_for_up_to_the_depth_of_the_bucket() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    pacer.update_rate(congestion_window=1000 * PACKET, smoothed_rtt=0.1)  # a packet each 100 µs
    while pacer.next_send_time(0.0) in (None, 0.0):
        pacer.update_after_send(0.0)
    late = 0.01  # 100 packets' worth
    assert sum(send(pacer, late) for _ in range(10)) == pytest.approx(100, abs=2)
    very_late = 60.0
    assert sum(send(pacer, very_late) for _ in range(20)) == pytest.approx(BUCKET_PACKETS, abs=2)


def test_larger_datagrams_leave_at_the_same_rate_in_bytes_and_in_bursts_of_eight_at_least() -> None:
    pacer = BurstPacer(max_datagram_size=PACKET)
    assert send(pacer, 0.0) == BURST
    pacer.update_rate(congestion_window=100 * PACKET, smoothed_rtt=0.1)
    pacer.set_datagram_bytes(8 * PACKET)
    assert pacer.packet_time == pytest.approx(0.008)
    pacer.update_rate(congestion_window=100 * PACKET, smoothed_rtt=0.1)
    assert pacer.packet_time == pytest.approx(0.008)
    assert sum(send(pacer, 60.0) for _ in range(20)) == pytest.approx(BUCKET_PACKETS / 8, abs=2)
    pacer = BurstPacer(max_datagram_size=PACKET)
    pacer.set_datagram_bytes(16_384)
    send(pacer, 0.0)
    assert send(pacer, 0.0) == JUMBO_BURST_PACKETS == 8
