"""The heap of deadlines: time is a number."""

import random

import attrs
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.quic.timers import FAR_SECONDS, TimerHeap

NEVER = float("inf")


@attrs.define(eq=False)
class Clockwork:
    """Wants to be woken at `deadline`."""

    deadline: float

    def next_deadline(self) -> float:
        return self.deadline


def test_an_empty_heap_waits_for_ever() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    assert heap.next_deadline() == NEVER
    assert list(heap.due(1e9)) == []


def test_what_is_due_comes_earliest_first_and_once() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    late, early, later = Clockwork(2.0), Clockwork(1.0), Clockwork(3.0)
    for timed in (late, early, later):
        heap.arm(timed)
    assert heap.next_deadline() == 1.0
    assert list(heap.due(0.9)) == []
    assert list(heap.due(2.0)) == [early, late]
    assert list(heap.due(2.0)) == []
    assert heap.next_deadline() == 3.0


def test_a_deadline_that_moved_later_fires_only_then() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    timed = Clockwork(1.0)
    heap.arm(timed)
    timed.deadline = 5.0
    assert list(heap.due(1.0)) == []
    assert heap.next_deadline() == 5.0
    assert list(heap.due(5.0)) == [timed]


def test_a_deadline_that_moved_far_wakes_nobody_before() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    near, far = Clockwork(1.0), Clockwork(1.0)
    for timed in (near, far):
        heap.arm(timed)
    far.deadline = 1.0 + 2 * FAR_SECONDS
    heap.arm(far)
    assert list(heap.due(1.0)) == [near]
    assert heap.next_deadline() == far.deadline
    far.deadline += FAR_SECONDS / 2
    heap.arm(far)
    assert heap.next_deadline() == far.deadline - FAR_SECONDS / 2  # not worth an entry
    assert list(heap.due(far.deadline)) == [far]


def test_a_deadline_that_moved_earlier_fires_then_if_armed_again() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    timed = Clockwork(5.0)
    heap.arm(timed)
    timed.deadline = 1.0
    heap.arm(timed)
    assert heap.next_deadline() == 1.0
    assert list(heap.due(1.0)) == [timed]
    assert list(heap.due(5.0)) == []


def test_a_deadline_in_the_past_fires_at_once() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    timed = Clockwork(1.0)
    heap.arm(timed)
    assert list(heap.due(9.0)) == [timed]


def test_what_never_wants_to_be_woken_is_not() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    timed = Clockwork(NEVER)
    heap.arm(timed)
    assert heap.next_deadline() == NEVER
    timed.deadline = 1.0
    heap.arm(timed)
    timed.deadline = NEVER
    assert list(heap.due(2.0)) == []
    assert heap.next_deadline() == NEVER


def test_a_disarmed_one_is_forgotten() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    timed, other = Clockwork(1.0), Clockwork(2.0)
    heap.arm(timed)
    heap.arm(other)
    heap.disarm(timed)
    heap.disarm(timed)
    assert heap.next_deadline() == 2.0
    assert list(heap.due(2.0)) == [other]


def test_equal_deadlines_fire_in_the_order_they_were_armed() -> None:
    heap: TimerHeap[Clockwork] = TimerHeap()
    several = [Clockwork(1.0) for _ in range(10)]
    for timed in several:
        heap.arm(timed)
    assert list(heap.due(1.0)) == several


def test_the_heap_holds_about_as_much_as_is_armed() -> None:
    """A receiver's acknowledgement is due each millisecond, and its keepalive 10 seconds later, each time anew."""
    heap: TimerHeap[Clockwork] = TimerHeap()
    busy = [Clockwork(NEVER) for _ in range(10)]
    for millisecond in range(5000):
        now = millisecond / 1000
        assert set(heap.due(now)) <= set(busy)
        for timed in busy:
            timed.deadline = now + 10
            heap.arm(timed)
            timed.deadline = now + 0.001
            heap.arm(timed)
    assert len(heap) <= 100
    for timed in busy:
        heap.disarm(timed)
    assert list(heap.due(1e9)) == []


@given(seed=st.integers(0, 1000))
def test_nothing_fires_early_and_nothing_that_is_armed_is_missed(seed: int) -> None:
    luck = random.Random(seed)
    heap: TimerHeap[Clockwork] = TimerHeap()
    several = [Clockwork(NEVER) for _ in range(20)]
    now = 0.0
    for _ in range(100):
        for timed in luck.sample(several, 5):
            timed.deadline = luck.choice([now + luck.uniform(0, 3), NEVER])
            heap.arm(timed)
        next_deadline = min(timed.deadline for timed in several)
        assert heap.next_deadline() <= next_deadline
        now += luck.uniform(0, 2)
        fired = list(heap.due(now))
        assert {id(timed) for timed in fired} == {id(timed) for timed in several if timed.deadline <= now}
        for timed in fired:
            timed.deadline = NEVER
