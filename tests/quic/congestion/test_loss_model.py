"""What BBR makes of loss."""

import pytest

from connet_trio.quic.congestion.constants import NO_BOUND, TOLERANT, State
from connet_trio.quic.congestion.loss_model import LossFloor, LossRound, LossRounds, ShortTerm
from tests.quic.congestion.test_estimates import sample


def test_startup_ends_after_a_round_of_recovery_with_six_gaps_and_over_two_percent() -> None:
    enough = LossRound(lost=21, delivered=979, ranges=6, recovery_rounds=1)
    assert enough.ends_startup(0.02)
    for lost, ranges, rounds in ((20, 6, 1), (21, 5, 1), (21, 6, 0)):
        assert not LossRound(lost=lost, delivered=1000 - lost, ranges=ranges, recovery_rounds=rounds).ends_startup(0.02)


def test_losses_are_counted_by_round_and_neighbours_are_one_gap() -> None:
    rounds = LossRounds()
    assert rounds.handle_lost(7, delivered=0)
    for number in (8, 9, 20):
        assert not rounds.handle_lost(number, delivered=0)
    ended = rounds.update(sample(1.0), delivered=10_000, lost=4000)
    assert ended == LossRound(lost=4000, delivered=10_000, ranges=2, recovery_rounds=0)
    again = sample(1.0)
    assert rounds.update(again, delivered=11_000, lost=4000) is None
    again.prior_delivered = 10_000
    clean = rounds.update(again, delivered=20_000, lost=4000)
    assert clean == LossRound(lost=0, delivered=10_000, ranges=0, recovery_rounds=1)


def test_the_first_loss_of_a_round_makes_it_last_a_round_trip_from_there() -> None:
    rounds, acknowledged = LossRounds(), sample(1.0)
    rounds.handle_lost(1, delivered=5000)
    acknowledged.prior_delivered = 4999
    assert rounds.update(acknowledged, delivered=6000, lost=1000) is None
    acknowledged.prior_delivered = 5000
    assert rounds.update(acknowledged, delivered=7000, lost=1000) is not None


def test_loss_that_is_taken_back_does_not_count() -> None:
    rounds = LossRounds()
    rounds.handle_lost(1, delivered=0)
    rounds.forget()
    ended = rounds.update(sample(1.0), delivered=10_000, lost=1200)
    assert ended is not None
    assert ended.lost == 0


def test_short_term_bounds_follow_what_got_through_but_not_faster_than_cubic() -> None:
    bounds = ShortTerm()
    got_through = sample(90.0)
    got_through.delivered = 9000
    bounds.note(got_through)
    bounds.shrink(100.0, 10_000)
    assert (bounds.bandwidth, bounds.in_flight) == (90, 9000)
    bounds.begin_round(sample(10.0))
    bounds.shrink(100.0, 10_000)
    assert bounds.bandwidth == pytest.approx(63)
    assert bounds.in_flight == 6300
    bounds.raise_to(80.0, 5000)
    assert (bounds.bandwidth, bounds.in_flight) == (80, 6300)
    bounds.reset()
    assert bounds.in_flight == NO_BOUND


def cruise(floor: LossFloor, counts: list[int], lost: int, delivered: int) -> float:
    floor.handle_state(State.CRUISE, lost=counts[0], delivered=counts[1])
    counts[0] += lost
    counts[1] += delivered
    floor.handle_state(State.REFILL, lost=counts[0], delivered=counts[1])
    return floor.value


def test_the_floor_is_the_smaller_loss_of_two_cruises() -> None:
    floor, counts = LossFloor(TOLERANT), [0, 0]
    assert cruise(floor, counts, 20_000, 980_000) == pytest.approx(0.02)
    assert cruise(floor, counts, 10_000, 990_000) == pytest.approx(0.01)
    assert cruise(floor, counts, 500_000, 500_000) == pytest.approx(0.01)
    assert cruise(floor, counts, 500_000, 500_000) == pytest.approx(0.03), "no cap"
    assert cruise(floor, counts, 0, 1_000_000) == 0


def test_a_short_cruise_says_nothing() -> None:
    floor, counts = LossFloor(TOLERANT), [0, 0]
    assert cruise(floor, counts, 50_000, 500_000) == 0
