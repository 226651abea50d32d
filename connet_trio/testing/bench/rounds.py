"""The measurement: every figure at every entrance in turn, round after round."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs
import trio

from connet_trio.concurrency import first_error
from connet_trio.testing.bench.entrances import Entrance
from connet_trio.testing.bench.figures import Memory, Results, Sample
from connet_trio.testing.bench.load import REQUEST_SECONDS, WrongAnswer
from connet_trio.testing.bench.plan import BenchFailed
from connet_trio.testing.bench.process_figures import resident_bytes
from connet_trio.testing.bench.steps import Measured, Step, fill_step, first_step

Report = Callable[[str], None]


@attrs.frozen(kw_only=True)
class Rounds:
    """What is measured, and how often."""

    steps: Sequence[Step]
    count: int
    rss_bytes: int = 0
    """What an entrance has carried, at least, when the memory of its processes is looked at again."""
    references: tuple[str, ...] = ()
    """The entrances that the others are to be compared with."""


async def run_rounds(entrances: Sequence[Entrance], rounds: Rounds, report: Report) -> Results:
    """Measure everything.

    Args:
      report: told in a line whenever something is known.

    Raises:
      BenchFailed: an entrance does not do what it should.
    """
    idle = {entrance.name: _memory(entrance) for entrance in entrances}
    carried = dict.fromkeys(idle, 0)
    samples: list[Sample] = []
    for entrance in entrances:
        await _take(entrance, first_step())
    for number in range(1, rounds.count + 1):
        for step in rounds.steps:
            shown = []
            for entrance in entrances:
                if step.entrances is not None and entrance.name not in step.entrances:
                    continue
                measured = await _take(entrance, step)
                samples += _samples(number, entrance, measured)
                carried[entrance.name] += measured.carried_bytes
                shown.append(f"{entrance.name} {measured}")
            report(f"round {number} of {rounds.count}, {step.name}: {', '.join(shown)}")
    for entrance in entrances:
        carried[entrance.name] += await _fill_up(entrance, rounds.rss_bytes - carried[entrance.name])
    memories = [
        memory
        for entrance in entrances
        for memory in _memories(entrance, idle[entrance.name], _memory(entrance), carried[entrance.name])
    ]
    return Results(
        entrances=tuple(idle), references=rounds.references, samples=tuple(samples), memories=tuple(memories)
    )


async def _take(entrance: Entrance, step: Step) -> Measured:
    """One step at one entrance, after a look at the path that it will take."""
    with _blamed_on(entrance, step):
        await entrance.confirm_path()
        with trio.fail_after(step.seconds):
            return await step.measure(entrance)


@contextmanager
def _blamed_on(entrance: Entrance, step: Step) -> Iterator[None]:
    """Raise BenchFailed for what goes wrong in a step, with the name of the entrance."""
    failure: Exception | None = None
    try:
        yield
    except* (OSError, WrongAnswer, BenchFailed, trio.BrokenResourceError, trio.TooSlowError) as failures:
        failure = first_error(failures)
    if failure is not None:
        reason = str(failure)
        if isinstance(failure, trio.TooSlowError):
            reason = f"not done in {step.seconds:.0f} s, or a small request not in {REQUEST_SECONDS:.0f} s"
        raise BenchFailed(f"{entrance.name}, {step.name}: {reason or 'it broke'}{entrance.last_words}") from failure


async def _fill_up(entrance: Entrance, missing: int) -> int:
    """Download what an entrance has not carried yet; returns how much that took."""
    if missing <= 0:
        return 0
    await _take(entrance, fill_step(missing))
    return missing


def _samples(number: int, entrance: Entrance, measured: Measured) -> list[Sample]:
    return [
        Sample(round=number, entrance=entrance.name, metric=metric, value=value, cpu=measured.cpu)
        for metric, value in measured.values
    ]


def _memory(entrance: Entrance) -> dict[str, int]:
    return {process: resident_bytes(pid) for process, pid in entrance.pids.items()}


def _memories(entrance: Entrance, idle: dict[str, int], final: dict[str, int], carried: int) -> list[Memory]:
    return [
        Memory(
            entrance=entrance.name,
            process=process,
            idle_bytes=idle[process],
            final_bytes=final[process],
            carried_bytes=carried,
        )
        for process in idle
    ]
