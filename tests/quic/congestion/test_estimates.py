"""The estimators of BBR, one by one."""

from random import Random

import pytest

from connet_trio.quic.congestion.estimates import AckAggregation, FullPipe, MaxBandwidth, MinRtt, WindowedMax
from connet_trio.quic.congestion.sampling import RateSample


def sample(rate: float, *, app_limited: bool = False) -> RateSample:
    return RateSample(
        newly_acked=1200,
        delivered=1200,
        prior_delivered=0,
        rate=rate,
        rtt=0.1,
        lost=0,
        in_flight=1200,
        is_app_limited=app_limited,
    )


def test_a_windowed_maximum_is_that_of_the_last_values() -> None:
    luck, largest, values = Random(1), WindowedMax(), []
    for time in range(500):
        values.append(luck.random())
        assert largest.update(values[-1], time, 10) == max(values[-10:])


def test_a_window_may_shrink() -> None:
    largest = WindowedMax()
    for time, value in enumerate((5.0, 3.0, 1.0)):
        largest.update(value, time, 10)
    assert largest.update(0.5, 3, 2) == 1.0


def test_the_bandwidth_is_the_largest_of_two_cycles() -> None:
    bandwidth = MaxBandwidth()
    bandwidth.update(sample(300.0))
    bandwidth.advance()
    bandwidth.update(sample(100.0))
    assert bandwidth.value == 300
    bandwidth.advance()
    bandwidth.update(sample(90.0))
    assert bandwidth.value == 100


def test_what_the_application_held_back_counts_only_if_it_is_more() -> None:
    bandwidth = MaxBandwidth()
    bandwidth.update(sample(100.0))
    bandwidth.advance()
    bandwidth.advance()
    bandwidth.update(sample(50.0, app_limited=True))
    assert bandwidth.value == 100
    bandwidth.update(sample(150.0, app_limited=True))
    assert bandwidth.value == 150


def test_the_smallest_round_trip_holds_for_ten_seconds_and_is_due_after_five() -> None:
    smallest = MinRtt()
    smallest.update(0.1, 1.0)
    due = []
    for tenth in range(1, 111):
        smallest.update(0.2, 1.0 + tenth / 10)
        if smallest.is_due:
            due.append(1.0 + tenth / 10)
            smallest.postpone(1.0 + tenth / 10)
        if tenth < 100:
            assert smallest.value == 0.1
    assert due == [pytest.approx(6.1), pytest.approx(11.2)]
    assert smallest.value == 0.2
    smallest.update(0.05, 12.2)
    assert smallest.value == 0.05


def test_aggregation_is_what_arrives_beyond_the_rate() -> None:
    aggregation = AckAggregation()

    def update(size: int, now: float, round_count: int) -> float:
        aggregation.update(size, now, bandwidth=1000.0, window=5000, round_count=round_count, full=True)
        return aggregation.value

    assert update(1000, 1.0, 1) == 1000  # the first clump
    assert update(500, 1.1, 1) == 1400
    assert update(100, 3.0, 2) == 1400  # an episode is over, and remembered
    assert update(100, 20.0, 12) == 100
    assert update(90_000, 20.0, 12) == 5000


def test_three_rounds_without_growth_fill_the_pipe() -> None:
    pipe = FullPipe()
    for rate, began in ((100, True), (150, True), (180, True), (180, False), (170, True), (187, True)):
        assert not pipe.now
        pipe.update(sample(float(rate)), round_began=began)
    assert pipe.now
    assert pipe.reached


def test_growth_within_a_round_counts_though_the_round_began_with_less() -> None:
    pipe = FullPipe()
    pipe.update(sample(100.0), round_began=True)
    for _ in range(2):
        pipe.update(sample(90.0), round_began=True)
    pipe.update(sample(130.0), round_began=False)
    pipe.update(sample(90.0), round_began=True)
    assert not pipe.now


def test_what_the_application_held_back_says_nothing_about_the_pipe() -> None:
    pipe = FullPipe()
    for _ in range(20):
        pipe.update(sample(100.0, app_limited=True), round_began=True)
    assert not pipe.reached
