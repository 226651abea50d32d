"""Many chaos runs, one after the other or a few at once, each with a bound on the CPU time it may take."""

import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial

from connet_trio.testing.chaos.plants import planted
from connet_trio.testing.chaos.running import Outcome, Run, run_plan

LONGEST_CPU_SECONDS = 120.0
"""A run that takes more does not advance in virtual time; usual are one to three."""
RUNS_OF_A_PROCESS = 50
"""After which another one takes its place, so that what a run leaves in memory does not slow the others."""


class NoProgress(Exception):
    """A run went on and on without getting anywhere."""


def run_one(run: Run, *, plant: str | None = None, traced: bool = False) -> Outcome:
    """Run it, with a defect planted or without."""
    with planted(plant) if plant else nullcontext():
        return run_plan(run, traced=traced)


def run_many(runs: Iterable[Run], *, jobs: int = 1, plant: str | None = None) -> Iterator[Outcome]:
    """The outcome of each, in order; `jobs` processes at the same time."""
    run = partial(_run_bounded, plant=plant)
    if jobs == 1:
        yield from map(run, runs)
        return
    with ProcessPoolExecutor(jobs, max_tasks_per_child=RUNS_OF_A_PROCESS) as processes:
        yield from processes.map(run, runs)


def _run_bounded(run: Run, *, plant: str | None) -> Outcome:
    with _cpu_bound(LONGEST_CPU_SECONDS):
        return run_one(run, plant=plant)


@contextmanager
def _cpu_bound(seconds: float) -> Iterator[None]:
    def stop(signal_number: int, frame: object) -> None:
        raise NoProgress(f"more than {seconds:g} s of CPU time")

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, previous)
