"""Virtual time: an hour passes in milliseconds, and the same seed runs the same tasks in the same order."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

import trio
from trio.testing import MockClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Trio keeps both private, for hypothesis; tests/testing/test_clock.py fails when they move.
_scheduler: Any = trio._core._run


def run_simulated(async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, seed: int | str) -> T:
    """Run `async_fn(*args)` to its end in virtual time, which jumps whenever every task waits.

    The clock starts at 0. Worker threads do not count as waiting: what needs one must be replaced.
    """
    with _deterministic_scheduling(seed):
        return trio.run(async_fn, *args, clock=MockClock(autojump_threshold=0))


@contextmanager
def _deterministic_scheduling(seed: int | str) -> Iterator[None]:
    """Make trio's shuffle of runnable tasks a function of `seed`; afterwards it is as it was."""
    allowed, state = _scheduler._ALLOW_DETERMINISTIC_SCHEDULING, _scheduler._r.getstate()
    _scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    _scheduler._r.seed(seed)
    try:
        yield
    finally:
        _scheduler._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        _scheduler._r.setstate(state)
