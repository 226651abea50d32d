"""Whether the wall clock has jumped."""

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from connet_trio.concurrency import ClockWatch, watch_wall_clock

BOOT, TODAY = 12.0, 1_800_000_000.0


def moved(*ticks: tuple[float, float]) -> list[float | None]:
    """What a watch says to each tick after the first; a tick is what wall clock and monotonic clock say."""
    first, *others = ticks
    watch = ClockWatch(*first)
    return [watch.handle_tick(*tick) for tick in others]


@pytest.mark.parametrize(
    ("wall", "seconds"), [(TODAY, TODAY - BOOT - 2.0), (TODAY - 3600.0, TODAY - 3600.0 - BOOT - 2.0), (15.5, None)]
)
def test_a_clock_that_was_set_has_jumped_by_the_difference(wall: float, seconds: float | None) -> None:
    assert moved((BOOT, 100.0), (wall, 102.0)) == [pytest.approx(seconds) if seconds is not None else None]


def test_a_clock_that_was_set_back_has_jumped_by_less_than_nothing() -> None:
    assert moved((TODAY, 100.0), (TODAY - 58.0, 102.0)) == [pytest.approx(-60.0)]


def test_a_sleep_is_a_jump_as_the_monotonic_clock_stands_still_in_it() -> None:
    assert moved((TODAY, 100.0), (TODAY + 600.0, 101.0)) == [pytest.approx(599.0)]


def test_a_jump_is_said_once() -> None:
    assert moved((0.0, 0.0), (1002.0, 2.0), (1004.0, 4.0), (1006.0, 6.0)) == [pytest.approx(1000.0), None, None]


@pytest.mark.parametrize(("seconds", "is_jump"), [(3.0, False), (-3.0, False), (3.01, True), (-3.01, True)])
def test_what_is_within_the_tolerance_is_no_jump(seconds: float, is_jump: bool) -> None:
    watch = ClockWatch(0.0, 0.0, tolerance=3.0)
    assert (watch.handle_tick(2.0 + seconds, 2.0) is not None) is is_jump


def test_a_late_tick_is_no_jump_as_both_clocks_went_on() -> None:
    assert moved((TODAY, 100.0), (TODAY + 7200.0, 7300.0)) == [None]


@pytest.mark.parametrize("rate", [500e-6, -500e-6, 0.1])
def test_a_drift_never_adds_up_to_a_jump(rate: float) -> None:
    watch = ClockWatch(TODAY, 0.0)
    assert {watch.handle_tick(TODAY + now * (1 + rate), float(now)) for now in range(2, 200_000, 2)} == {None}


@given(steps=st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(-1e9, 1e9)), max_size=20))
def test_the_jumps_of_both_ways_add_up_to_how_far_the_clock_was_moved(steps: list[tuple[float, float]]) -> None:
    wall = now = 0.0
    watch = ClockWatch(wall, now, tolerance=0.0)
    said = []
    for seconds, jump in steps:
        now, wall = now + seconds, wall + seconds + jump
        said.append(watch.handle_tick(wall, now) or 0.0)
    assert math.isclose(sum(said), sum(jump for _, jump in steps), abs_tol=1e-3)


async def test_each_jump_of_the_clock_is_handed_over_within_the_interval(autojump_clock: MockClock) -> None:
    offset = 0.0
    jumps: list[tuple[float, float]] = []

    def handle_jump(seconds: float) -> None:
        jumps.append((trio.current_time(), seconds))

    with trio.move_on_after(60.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_wall_clock, lambda: offset + trio.current_time(), handle_jump)
            await trio.sleep(11.0)
            offset = TODAY
            await trio.sleep(30.0)
            offset = TODAY - 100.0
    assert [moment for moment, _ in jumps] == pytest.approx([12.0, 42.0])
    assert [seconds for _, seconds in jumps] == pytest.approx([TODAY, -100.0])


async def test_how_often_and_how_closely_can_be_set(autojump_clock: MockClock) -> None:
    offset = 0.0
    jumps: list[float] = []
    with trio.move_on_after(25.0):
        async with trio.open_nursery() as nursery:
            clock = lambda: offset + trio.current_time()  # noqa: E731
            nursery.start_soon(lambda: watch_wall_clock(clock, jumps.append, every=10.0, tolerance=0.5))
            await trio.sleep(1.0)
            offset = 1.0
            await trio.sleep(8.5)
            assert jumps == []
            await trio.sleep(1.0)
            assert jumps == pytest.approx([1.0])
