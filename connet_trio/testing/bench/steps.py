"""What is measured at an entrance, one step after the other."""

from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from connet_trio.testing.bench.entrances import Entrance
from connet_trio.testing.bench.figures import Metric, percentile
from connet_trio.testing.bench.load import (
    Transfer,
    abandon,
    at_once,
    count_requests,
    download,
    echo_payload,
    open_bulk,
    request,
    upload,
)
from connet_trio.testing.bench.plan import MIB, Plan
from connet_trio.testing.bench.process_figures import cpu_seconds

TRANSFER_GRACE_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 1_000_000
"""A transfer that is slower than this, and takes longer than the grace too, has failed."""

REQUESTS_GRACE_SECONDS = 60.0
"""For what small requests take beyond what the plan says, on a tunnel far away too."""

ABANDONED = 20
"""Half-read downloads before a series is taken again."""
ABANDONED_BYTES = 8 * MIB
"""Of each, at most: were its unread half to stay charged to the connection, that would have none left after them."""


@attrs.frozen(kw_only=True)
class Measured:
    """What one step says of one entrance."""

    values: tuple[tuple[Metric, float], ...] = ()
    cpu: dict[str, float] = attrs.field(factory=dict)
    carried_bytes: int = 0

    def __str__(self) -> str:
        if len(self.values) > 2:
            speeds = [value for _, value in self.values]
            return f"{speeds[0]:.4g}, then at least {min(speeds[1:]):.4g}"
        return " / ".join(f"{value:.4g}" for _, value in self.values)


@attrs.frozen(kw_only=True)
class Step:
    """One thing that is measured at every entrance in turn."""

    name: str
    measure: Callable[[Entrance], Awaitable[Measured]]
    seconds: float
    """In which it is done, or has failed."""
    entrances: frozenset[str] | None = None
    """At which it is done; None for all of them."""

    def at(self, *entrances: str) -> "Step":
        """The same at these alone."""
        return attrs.evolve(self, entrances=frozenset(entrances))


def plan_steps(plan: Plan) -> list[Step]:
    """What a round of the plan consists of."""
    return [
        transfer_step(Metric.DOWNLOAD, plan),
        transfer_step(Metric.UPLOAD, plan),
        transfer_step(Metric.DOWNLOAD_STREAMS, plan),
        transfer_step(Metric.UPLOAD_STREAMS, plan),
        requests_step(plan),
        requests_beside_step(plan),
        connections_step(plan),
        *([series_step(plan)] if plan.transfers else []),
    ]


def first_step() -> Step:
    """A look at whether bytes come back as they were."""
    return Step(name="first megabyte", measure=_check, seconds=TRANSFER_GRACE_SECONDS)


def transfer_step(metric: Metric, plan: Plan) -> Step:
    """One of the transfers, over one stream or over several."""
    transfer = download if metric in (Metric.DOWNLOAD, Metric.DOWNLOAD_STREAMS) else upload
    streams = 1 if metric in (Metric.DOWNLOAD, Metric.UPLOAD) else plan.parallel
    return Step(
        name=metric.value,
        measure=partial(_transfer, metric, transfer, plan.transfer_bytes, streams),
        seconds=_transfer_seconds(plan.transfer_bytes),
    )


def fill_step(count: int) -> Step:
    """A download of `count` bytes before memory is looked at."""
    return Step(
        name="download before the look at memory",
        measure=partial(_transfer, Metric.DOWNLOAD, download, count, 1),
        seconds=_transfer_seconds(count),
    )


def requests_step(plan: Plan) -> Step:
    """Small requests with nothing beside them."""
    return Step(
        name="request on a new connection, p50 / p99 in ms",
        measure=partial(_requests, plan.requests),
        seconds=REQUESTS_GRACE_SECONDS + plan.requests,
    )


def requests_beside_step(plan: Plan) -> Step:
    """Small requests beside a bulk download through the same entrance."""
    return Step(
        name="request beside a bulk download, p50 / p99 in ms",
        measure=partial(_requests_beside, plan.requests),
        seconds=REQUESTS_GRACE_SECONDS + plan.requests,
    )


def connections_step(plan: Plan) -> Step:
    """Small requests, many at once."""
    return Step(
        name=Metric.CONNECTIONS.value,
        measure=partial(_connections, plan.window_seconds),
        seconds=REQUESTS_GRACE_SECONDS + plan.window_seconds,
    )


def series_step(plan: Plan) -> Step:
    """Downloads one after the other, then again after half-read ones; MB/s of each."""
    return Step(
        name=f"{plan.transfers} downloads in a row, then {ABANDONED} half-read ones, then as many again, MB/s",
        measure=partial(_series, plan.transfers, plan.transfer_bytes),
        seconds=2 * plan.transfers * _transfer_seconds(plan.transfer_bytes),
    )


def used_cpu(entrance: Entrance) -> dict[str, float]:
    """CPU seconds so far of each known process."""
    return {process: cpu_seconds(pid) for process, pid in entrance.pids.items()}


async def _check(entrance: Entrance) -> Measured:
    await echo_payload(entrance.place)
    return Measured()


async def _transfer(metric: Metric, transfer: Transfer, count: int, streams: int, entrance: Entrance) -> Measured:
    cpu = used_cpu(entrance)
    speed = await _timed(at_once(transfer, entrance.place, count, streams), count)
    used = {process: (after - cpu[process]) / count * 1e9 for process, after in used_cpu(entrance).items()}
    return Measured(values=((metric, speed),), cpu=used, carried_bytes=count)


async def _requests(count: int, entrance: Entrance) -> Measured:
    milliseconds = [await request(entrance.place) * 1000 for _ in range(count)]
    return Measured(values=((Metric.P50, percentile(milliseconds, 50)), (Metric.P99, percentile(milliseconds, 99))))


async def _requests_beside(count: int, entrance: Entrance) -> Measured:
    async with open_bulk(entrance.place):
        milliseconds = [await request(entrance.place) * 1000 for _ in range(count)]
    p50, p99 = percentile(milliseconds, 50), percentile(milliseconds, 99)
    return Measured(values=((Metric.BESIDE_P50, p50), (Metric.BESIDE_P99, p99)))


async def _connections(window_seconds: float, entrance: Entrance) -> Measured:
    answered = await count_requests(entrance.place, window_seconds)
    return Measured(values=((Metric.CONNECTIONS, answered / window_seconds),))


async def _series(transfers: int, count: int, entrance: Entrance) -> Measured:
    values = []
    for metric in (Metric.SERIES, Metric.SERIES_AFTER_ABANDONED):
        values += [(metric, await _timed(download(entrance.place, count), count)) for _ in range(transfers)]
        if metric is Metric.SERIES:
            for _ in range(ABANDONED):
                await abandon(entrance.place, min(count, ABANDONED_BYTES))
    return Measured(values=tuple(values), carried_bytes=2 * transfers * count)


async def _timed(transfer: Awaitable[None], count: int) -> float:
    """MB/s of what carries `count` bytes."""
    begin = trio.current_time()
    await transfer
    return count / (trio.current_time() - begin) / 1e6


def _transfer_seconds(count: int) -> float:
    return TRANSFER_GRACE_SECONDS + count / SLOWEST_BYTES_PER_SECOND
