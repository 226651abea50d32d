"""Delivery rate samples: what was sent when, what was acknowledged when, and which rate comes of it."""

import pytest

from connet_trio.quic.congestion.controller import SendLimit
from connet_trio.quic.congestion.sampling import DeliverySampler, RoundTrips


def test_a_sample_is_what_was_delivered_since_its_newest_packet_left() -> None:
    sampler = DeliverySampler()
    snapshots = [sampler.handle_sent(1000, 0.01 * number) for number in range(3)]
    for number, snapshot in enumerate(snapshots):
        sampler.handle_acked(snapshot, 1000, 0.1 + 0.01 * number)
    sample = sampler.take_sample(0.12)
    assert sample is not None
    assert (sample.delivered, sample.newly_acked, sample.prior_delivered) == (3000, 3000, 0)
    assert sample.rtt == pytest.approx(0.1)
    assert sample.rate == pytest.approx(3000 / 0.12)
    assert sampler.take_sample(0.12) is None


def test_acknowledgements_in_a_clump_count_for_no_more_than_what_was_sent() -> None:
    sampler = DeliverySampler()
    first = sampler.handle_sent(1000, 0.0)
    sampler.handle_acked(first, 1000, 0.1)
    assert sampler.take_sample(0.1) is not None
    snapshots = [sampler.handle_sent(1000, 0.1 + 0.1 * number) for number in range(5)]
    for snapshot in snapshots:
        sampler.handle_acked(snapshot, 1000, 0.6)
    sample = sampler.take_sample(0.6)
    assert sample is not None
    assert sample.rate == pytest.approx(5000 / 0.5)


def test_a_packet_acknowledged_at_the_instant_it_left_gives_no_rate() -> None:
    sampler = DeliverySampler()
    sampler.handle_acked(sampler.handle_sent(1000, 1.0), 1000, 1.0)
    sample = sampler.take_sample(1.0)
    assert sample is not None
    assert (sample.rate, sample.rtt) == (0, 0)


def test_a_sample_is_marked_while_the_bubble_of_an_idle_application_is_in_the_pipe() -> None:
    sampler = DeliverySampler()
    before = sampler.handle_sent(1000, 0.0)
    sampler.handle_limit(SendLimit.APPLICATION)
    after = sampler.handle_sent(1000, 0.05)
    marks = []
    for snapshot, at in ((before, 0.1), (after, 0.15)):
        sampler.handle_acked(snapshot, 1000, at)
        sample = sampler.take_sample(at)
        assert sample is not None
        marks.append(sample.is_app_limited)
    assert marks == [False, True]
    assert not sampler.handle_sent(1000, 0.16).is_app_limited


def test_a_full_window_counts_for_a_round_trip() -> None:
    sampler = DeliverySampler()
    snapshot = sampler.handle_sent(1000, 0.0)
    sampler.handle_limit(SendLimit.WINDOW)
    assert sampler.is_window_limited
    sampler.handle_limit(SendLimit.PACING)
    assert sampler.is_window_limited
    sampler.handle_acked(snapshot, 1000, 0.1)
    assert not sampler.is_window_limited


def test_a_burst_is_one_snapshot_whose_packets_may_end_apart() -> None:
    sampler = DeliverySampler()
    burst = sampler.handle_sent(10_000, 0.0)
    assert burst.in_flight == 10_000
    sampler.handle_acked(burst, 7000, 0.1)
    sampler.handle_lost(2000)
    sampler.handle_expired(1000)
    assert (sampler.in_flight, sampler.delivered, sampler.lost) == (0, 7000, 2000)
    sampler.handle_late(burst, 2000, 0.2)
    sample = sampler.take_sample(0.2)
    assert sample is not None
    assert (sampler.in_flight, sample.delivered, sample.lost) == (0, 9000, 2000)


def test_a_round_trip_is_over_when_what_was_sent_after_its_begin_is_acknowledged() -> None:
    sampler, rounds, began = DeliverySampler(), RoundTrips(), []
    for turn in range(6):
        snapshots = [sampler.handle_sent(1000, float(turn)) for _ in range(2)]
        for snapshot in snapshots:
            sampler.handle_acked(snapshot, 1000, turn + 0.5)
            sample = sampler.take_sample(turn + 0.5)
            assert sample is not None
            rounds.update(sample, sampler.delivered)
            began.append(rounds.began)
    assert began == [True, False] * 6
    assert rounds.count == 6
