"""The measurement: every figure at every entrance in turn, round after round."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import attrs
import trio

from connet_trio.concurrency import first_error
from connet_trio.testing.bench.entrances import Entrance
from connet_trio.testing.bench.figures import Memory, Metric, Results, Sample, percentile
from connet_trio.testing.bench.load import (
    REQUEST_SECONDS,
    Transfer,
    WrongAnswer,
    at_once,
    count_requests,
    download,
    echo_payload,
    request,
    upload,
)
from connet_trio.testing.bench.plan import STREAMS, BenchFailed, Plan
from connet_trio.testing.bench.process_figures import cpu_seconds, resident_bytes

TRANSFER_GRACE_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 1_000_000
"""A transfer that is slower than this, and takes longer than the grace too, has failed."""

REQUESTS_GRACE_SECONDS = 60.0
"""For what small requests take beyond what the plan says, on a tunnel far away too."""

Report = Callable[[str], None]


@attrs.frozen(kw_only=True)
class Measured:
    """What one step says of one entrance."""

    values: dict[Metric, float]
    cpu: dict[str, float] = attrs.field(factory=dict)
    carried_bytes: int = 0


@attrs.frozen(kw_only=True)
class Step:
    """One thing that is measured at every entrance in turn."""

    name: str
    measure: Callable[[Entrance], Awaitable[Measured]]
    seconds: float
    """In which it is done, or has failed."""


async def run_rounds(entrances: Sequence[Entrance], plan: Plan, references: tuple[str, ...], report: Report) -> Results:
    """Measure everything.

    Args:
      references: the entrances that the others are to be compared with.
      report: told in a line whenever something is known.

    Raises:
      BenchFailed: an entrance does not do what it should.
    """
    idle = {entrance.name: _memory(entrance) for entrance in entrances}
    carried = dict.fromkeys(idle, 0)
    samples: list[Sample] = []
    for entrance in entrances:
        await _take(entrance, Step(name="first megabyte", measure=_check, seconds=TRANSFER_GRACE_SECONDS))
    for number in range(1, plan.rounds + 1):
        for step in steps(plan):
            shown = []
            for entrance in entrances:
                measured = await _take(entrance, step)
                samples += _samples(number, entrance, measured)
                carried[entrance.name] += measured.carried_bytes
                shown.append(f"{entrance.name} {' / '.join(f'{value:.4g}' for value in measured.values.values())}")
            report(f"round {number} of {plan.rounds}, {step.name}: {', '.join(shown)}")
    for entrance in entrances:
        carried[entrance.name] += await _fill_up(entrance, plan, carried[entrance.name])
    memories = [
        memory
        for entrance in entrances
        for memory in _memories(entrance, idle[entrance.name], _memory(entrance), carried[entrance.name])
    ]
    return Results(entrances=tuple(idle), references=references, samples=tuple(samples), memories=tuple(memories))


def steps(plan: Plan) -> list[Step]:
    """What a round consists of."""
    transfers: list[tuple[Metric, Transfer, int]] = [
        (Metric.DOWNLOAD, download, 1),
        (Metric.UPLOAD, upload, 1),
        (Metric.DOWNLOAD_STREAMS, download, STREAMS),
        (Metric.UPLOAD_STREAMS, upload, STREAMS),
    ]
    return [
        *(
            Step(
                name=metric.value,
                measure=partial(_transfer, metric, transfer, plan.transfer_bytes, streams),
                seconds=_transfer_seconds(plan.transfer_bytes),
            )
            for metric, transfer, streams in transfers
        ),
        Step(
            name="request on a new connection, p50 / p99 in ms",
            measure=partial(_requests, plan.requests),
            seconds=REQUESTS_GRACE_SECONDS + plan.requests,
        ),
        Step(
            name=Metric.CONNECTIONS.value,
            measure=partial(_connections, plan.window_seconds),
            seconds=REQUESTS_GRACE_SECONDS + plan.window_seconds,
        ),
    ]


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


async def _check(entrance: Entrance) -> Measured:
    await echo_payload(entrance.place)
    return Measured(values={})


async def _transfer(metric: Metric, transfer: Transfer, count: int, streams: int, entrance: Entrance) -> Measured:
    cpu = _cpu(entrance)
    begin = trio.current_time()
    await at_once(transfer, entrance.place, count, streams)
    seconds = trio.current_time() - begin
    used = {process: (after - cpu[process]) / count * 1e9 for process, after in _cpu(entrance).items()}
    return Measured(values={metric: count / seconds / 1e6}, cpu=used, carried_bytes=count)


async def _requests(count: int, entrance: Entrance) -> Measured:
    milliseconds = [await request(entrance.place) * 1000 for _ in range(count)]
    return Measured(values={Metric.P50: percentile(milliseconds, 50), Metric.P99: percentile(milliseconds, 99)})


async def _connections(window_seconds: float, entrance: Entrance) -> Measured:
    answered = await count_requests(entrance.place, window_seconds)
    return Measured(values={Metric.CONNECTIONS: answered / window_seconds})


async def _fill_up(entrance: Entrance, plan: Plan, carried: int) -> int:
    """Download until an entrance has carried what the plan asks for; returns how much that took."""
    missing = max(0, plan.rss_bytes - carried)
    if missing:
        seconds = _transfer_seconds(missing)
        measure = partial(_transfer, Metric.DOWNLOAD, download, missing, 1)
        await _take(entrance, Step(name="download before the look at memory", measure=measure, seconds=seconds))
    return missing


def _samples(number: int, entrance: Entrance, measured: Measured) -> list[Sample]:
    return [
        Sample(round=number, entrance=entrance.name, metric=metric, value=value, cpu=measured.cpu)
        for metric, value in measured.values.items()
    ]


def _transfer_seconds(count: int) -> float:
    return TRANSFER_GRACE_SECONDS + count / SLOWEST_BYTES_PER_SECOND


def _cpu(entrance: Entrance) -> dict[str, float]:
    return {process: cpu_seconds(pid) for process, pid in entrance.pids.items()}


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
