"""A measurement of entrances from its first process to its last."""

import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.testing.bench.entrances import find_foreign, open_entrances, open_target
from connet_trio.testing.bench.figures import Results
from connet_trio.testing.bench.listening import LOOPBACK
from connet_trio.testing.bench.plan import BenchFailed, Foreign
from connet_trio.testing.bench.process_figures import check_system
from connet_trio.testing.bench.rounds import Report, Rounds, run_rounds
from connet_trio.testing.bench.setups import Own


@attrs.frozen(kw_only=True)
class Job:
    """Where to measure, and what."""

    own: tuple[Own, ...]
    foreign: tuple[Foreign, ...] = ()
    target_port: int = 0
    """0: any."""
    rounds: Rounds

    @property
    def references(self) -> tuple[str, ...]:
        """Entrances with which ours are compared."""
        return (*(own.name for own in self.own if own.kind == "plain"), *(other.name for other in self.foreign))


def run_job(job: Job, report: Report) -> Results:
    """Start everything, measure, and end everything.

    Args:
      report: told in a line whenever something is known.

    Raises:
      BenchFailed, ProcessEnded, OSError, trio.TooSlowError: something is off, or a signal came.
    """
    check_system()
    with tempfile.TemporaryDirectory(prefix="connet-trio-bench-") as directory:
        return trio.run(_run_until_signal, job, Path(directory), report)


async def _run_until_signal(job: Job, directory: Path, report: Report) -> Results:
    interrupts = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    with trio.open_signal_receiver(*interrupts) as signals, single_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail_on_signal, signals)
            results = await _run(job, directory, report)
            nursery.cancel_scope.cancel()
    return results


async def _fail_on_signal(signals: AsyncIterator[int]) -> None:
    raise BenchFailed(f"stopped by {signal.Signals(await anext(signals)).name}")


async def _run(job: Job, directory: Path, report: Report) -> Results:
    async with open_target(job.target_port, directory) as target:
        report(f"The target service is at {LOOPBACK}:{target}.")
        foreign = [await find_foreign(entrance, target) for entrance in job.foreign]
        async with open_entrances(job.own, target, directory) as ours:
            return await run_rounds([*ours, *foreign], attrs.evolve(job.rounds, references=job.references), report)
