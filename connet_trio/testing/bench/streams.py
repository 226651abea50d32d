"""Bulk over the Stream API in several setups, interleaved, and what is made of it."""

import enum
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
from attrs.validators import ge, gt

from connet_trio.testing.bench.figures import slowest_share
from connet_trio.testing.bench.setups import Setup
from connet_trio.testing.bench.stream_transfers import Task, Transfer, run_transfers
from connet_trio.testing.bench.tables import format_table, number

ABANDONED_BYTES = 8_000_000
"""Of each half-read stream, at most: were its unread half to stay charged to the connection, it would soon stop."""


class Kind(enum.Enum):
    """Which of the transfers on a connection."""

    ONE = "one stream"
    PARALLEL = "streams at once"
    AFTER_ABANDONED = "after half-read streams"


@attrs.frozen(kw_only=True)
class StreamPlan:
    """The amounts of one run."""

    transfer_bytes: int = attrs.field(default=100_000_000, validator=gt(0))
    transfers: int = attrs.field(default=5, validator=gt(0))
    """One after the other on one connection, of each kind."""
    parallel: int = attrs.field(default=1, validator=gt(0))
    """Streams at once in transfers of their own; 1: none."""
    abandoned: int = attrs.field(default=20, validator=ge(0))
    """Half-read streams, after which everything is taken again; 0: none."""
    rounds: int = attrs.field(default=3, validator=gt(0))
    """Times all of it is done in every setup, each time with new processes."""

    @property
    def kinds(self) -> list[Kind]:
        """What is measured, in this order."""
        asked = {Kind.ONE: True, Kind.PARALLEL: self.parallel > 1, Kind.AFTER_ABANDONED: self.abandoned > 0}
        return [kind for kind, wanted in asked.items() if wanted]

    def tasks(self, kind: Kind) -> list[Task]:
        """What is measured as this kind."""
        streams = self.parallel if kind is Kind.PARALLEL else 1
        return [Task(size=self.transfer_bytes, streams=streams)] * self.transfers

    @property
    def preparation(self) -> list[Task]:
        """What comes before `Kind.AFTER_ABANDONED`."""
        return [Task(size=min(self.transfer_bytes, ABANDONED_BYTES), abandoned=True)] * self.abandoned


@attrs.frozen(kw_only=True)
class StreamRun:
    """The transfers of one kind in one round."""

    label: str
    """Of the setup."""
    round: int
    kind: Kind
    transfers: tuple[Transfer, ...]


@attrs.frozen(kw_only=True)
class StreamResults:
    """All of it."""

    plan: StreamPlan
    labels: tuple[str, ...]
    runs: tuple[StreamRun, ...]

    def of(self, label: str, kind: Kind) -> list[StreamRun]:
        """One for each round."""
        return [run for run in self.runs if (run.label, run.kind) == (label, kind)]

    def median(self, label: str, kind: Kind, figure: Callable[[Transfer], float]) -> float:
        """Over all transfers of all rounds."""
        return statistics.median(figure(transfer) for run in self.of(label, kind) for transfer in run.transfers)

    def slowest_share(self, label: str, kind: Kind) -> float:
        """The slowest transfer, as a share of the first on its connection; NaN where there is no other."""
        firsts = [run.transfers[0].megabytes_per_second for run in self.of(label, Kind.ONE)]
        later = [
            [transfer.megabytes_per_second for transfer in run.transfers[kind is Kind.ONE :]]
            for run in self.of(label, kind)
        ]
        return slowest_share(firsts, later)

    def to_json(self) -> dict[str, Any]:
        """All transfers, fit for `json.dumps`."""
        return {"runs": [{**attrs.asdict(run), "kind": run.kind.value} for run in self.runs]}


def measure_streams(setups: Mapping[str, Setup], plan: StreamPlan, report: Callable[[str], None]) -> StreamResults:
    """Measure in every setup, round after round.

    Raises:
      BenchFailed: a process ended.
    """
    runs: list[StreamRun] = []
    for round_number in range(1, plan.rounds + 1):
        for label, setup in setups.items():
            found = _measure(label, round_number, setup, plan)
            runs += found
            speeds = ", ".join(f"{run.kind.value} {_median_speed(run):.1f} MB/s" for run in found)
            report(f"round {round_number} of {plan.rounds}, streams{label and ' '}{label}: {speeds}")
    return StreamResults(plan=plan, labels=tuple(setups), runs=tuple(runs))


def _measure(label: str, round_number: int, setup: Setup, plan: StreamPlan) -> list[StreamRun]:
    tasks: list[Task] = []
    places: dict[Kind, slice] = {}
    for kind in plan.kinds:
        if kind is Kind.AFTER_ABANDONED:
            tasks += plan.preparation
        begin = len(tasks)
        tasks += plan.tasks(kind)
        places[kind] = slice(begin, len(tasks))
    transfers = run_transfers(tasks, setup)
    return [
        StreamRun(label=label, round=round_number, kind=kind, transfers=tuple(transfers[place]))
        for kind, place in places.items()
    ]


def _median_speed(run: StreamRun) -> float:
    return statistics.median(transfer.megabytes_per_second for transfer in run.transfers)


def format_streams(results: StreamResults) -> str:
    """Medians, and whether a connection tires."""
    plan = results.plan
    rows = [["", "", "MB/s", "sender CPU s/GB", "receiver CPU s/GB", "slowest/first"]]
    for label in results.labels:
        for kind in plan.kinds:
            median = partial(results.median, label, kind)
            rows.append(
                [
                    label,
                    f"{plan.parallel} {kind.value}" if kind is Kind.PARALLEL else kind.value,
                    number(median(lambda transfer: transfer.megabytes_per_second), 1),
                    number(median(lambda transfer: transfer.sender_cpu), 2),
                    number(median(lambda transfer: transfer.receiver_cpu), 2),
                    "" if kind is Kind.PARALLEL else number(results.slowest_share(label, kind), 3),
                ]
            )
    size = f"{plan.transfer_bytes / 1e6:g} MB"
    return format_table(f"Stream API, {plan.transfers} transfers of {size} on one connection, medians", rows)
