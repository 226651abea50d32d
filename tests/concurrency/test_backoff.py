"""How long to wait before dialling again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.concurrency.backoff import Backoff


class Luck(Random):
    """Gives the same fraction of every range."""

    def __init__(self, fraction: float) -> None:
        super().__init__(0)
        self._fraction = fraction

    def random(self) -> float:
        return self._fraction


def test_delays_triple_with_the_worst_luck_up_to_the_cap() -> None:
    backoff = Backoff(Luck(1.0))
    delays = [backoff.next_delay(0.0) for _ in range(9)]
    assert delays == pytest.approx([0.01, 0.03, 0.09, 0.27, 0.81, 2.43, 7.29, 15.0, 15.0])


def test_the_next_delay_lies_between_the_first_and_three_times_the_previous() -> None:
    backoff = Backoff(Luck(0.5))
    # 10 ms + half of (3 x previous - 10 ms)
    assert [backoff.next_delay(0.0) for _ in range(4)] == pytest.approx([0.01, 0.02, 0.035, 0.0575])


def test_only_a_long_life_earns_the_shortest_delay_again() -> None:
    backoff = Backoff(Luck(1.0))
    for _ in range(20):
        backoff.next_delay(0.0)
    assert backoff.next_delay(14.9) == 15.0
    assert backoff.next_delay(15.0) == 0.01
    assert backoff.next_delay(0.0) == pytest.approx(0.03)


def test_connections_that_die_young_are_not_redialled_in_a_hot_loop() -> None:
    backoff = Backoff(Random(1))
    dials, elapsed = 0, 0.0
    while elapsed < 3600.0:
        elapsed += backoff.next_delay(uptime=0.5) + 0.5
        dials += 1
    assert dials < 600


def test_first_cap_and_settling_can_be_set() -> None:
    backoff = Backoff(Luck(1.0), first=1.0, cap=4.0, settled_after=60.0)
    assert [backoff.next_delay(59.0) for _ in range(3)] == [1.0, 3.0, 4.0]
    assert backoff.next_delay(60.0) == 1.0
    assert backoff.longest == 4.0


@given(seed=st.integers(0, 2**32), uptimes=st.lists(st.floats(0.0, 30.0), max_size=30))
def test_every_delay_keeps_the_rule_whatever_happens(seed: int, uptimes: list[float]) -> None:
    backoff = Backoff(Random(seed))
    previous = None
    for uptime in uptimes:
        delay = backoff.next_delay(uptime)
        if previous is None or uptime >= 15.0:
            assert delay == 0.01
        else:
            assert 0.01 <= delay <= min(15.0, 3 * previous + 1e-9)
        previous = delay


def test_clients_with_different_luck_spread_out() -> None:
    third_delays = set()
    for seed in range(50):
        backoff = Backoff(Random(seed))
        backoff.next_delay(0.0)
        backoff.next_delay(0.0)
        third_delays.add(backoff.next_delay(0.0))
    assert len(third_delays) == 50


@pytest.mark.reliability(line=14)
def test_a_thousand_who_are_told_goodbye_at_once_do_not_come_back_in_one_second() -> None:
    delays = sorted(Backoff(Random(seed), goodbye_spread=15.0).next_delay(3600.0, goodbye=True) for seed in range(1000))
    assert max(sum(begin <= delay < begin + 1 for delay in delays) for begin in delays) <= 200
    assert delays[0] >= 0.01
    assert delays[-1] <= 15.0


def test_a_goodbye_makes_no_difference_to_those_who_are_few() -> None:
    assert Backoff(Luck(1.0)).next_delay(3600.0, goodbye=True) == 0.01


def test_after_a_goodbye_delays_grow_from_the_one_that_luck_gave() -> None:
    backoff = Backoff(Luck(0.5), goodbye_spread=4.01)
    assert backoff.next_delay(3600.0, goodbye=True) == pytest.approx(2.01)
    assert backoff.next_delay(0.0) == pytest.approx(0.01 + 0.5 * (6.03 - 0.01))
    assert backoff.next_delay(0.0, goodbye=True) == pytest.approx(2.01)
    assert backoff.next_delay(3600.0) == 0.01
