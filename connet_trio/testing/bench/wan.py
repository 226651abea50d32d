"""Throughput over simulated wide-area links in virtual time: which runs there are, and a table of them."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from typing import Any

import attrs
from attrs.validators import ge, gt, min_len

from connet_trio.quic import DEFAULT_QUIC_ENGINE, CongestionControl, QuicEngine
from connet_trio.testing.bench.tables import format_table, number
from connet_trio.testing.bench.wan_runs import Outcome, Run, Wan, simulate

LAG_SECONDS = 1.0
"""After which the second of two flows begins."""


@attrs.frozen(kw_only=True)
class WanPlan:
    """What is simulated: each control alone under each trouble, then each beside cubic."""

    path: Wan = Wan()
    """Without trouble."""
    controls: tuple[CongestionControl, ...] = tuple(CongestionControl)
    losses: tuple[float, ...] = (0.0, 0.005, 0.02)
    """Shares of the datagrams, each on its own."""
    reorderings: tuple[float, ...] = (0.01,)
    """Likewise."""
    seconds: float = attrs.field(default=15.0, validator=gt(0))
    """Of virtual time for each figure."""
    beside_seconds: float = attrs.field(default=60.0, validator=ge(0))
    """For two flows on one bottleneck; 0: none."""
    seeds: tuple[int, ...] = attrs.field(default=(1,), validator=min_len(1))
    """Of the network's luck."""
    engine: QuicEngine = DEFAULT_QUIC_ENGINE

    @property
    def runs(self) -> list[Run]:
        """Those of one question follow one another, with one seed after the other."""
        troubles = [attrs.evolve(self.path, loss=share) for share in self.losses]
        troubles += [attrs.evolve(self.path, reordering=share) for share in self.reorderings]
        alone = [Run(wan=wan, flows=(control,), seconds=self.seconds) for control in self.controls for wan in troubles]
        beside = [
            Run(wan=self.path, flows=(control, CongestionControl.CUBIC), seconds=self.beside_seconds, lag=LAG_SECONDS)
            for control in self.controls
            if self.beside_seconds and control is not CongestionControl.CUBIC
        ]
        return [attrs.evolve(run, seed=seed, engine=self.engine) for run in (*alone, *beside) for seed in self.seeds]


@attrs.frozen(kw_only=True)
class WanFigure:
    """What the runs of one question say, that differ by their seeds."""

    wan: Wan
    flows: tuple[CongestionControl, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def megabits(self) -> tuple[float, ...]:
        """Of each flow, the median."""
        return tuple(map(statistics.median, zip(*(outcome.megabits for outcome in self.outcomes), strict=True)))

    @property
    def least_link_share(self) -> float:
        """What the flow that gets least has of the link, the median."""
        return statistics.median(min(outcome.megabits) for outcome in self.outcomes) / self.wan.megabits

    @property
    def dropped(self) -> float:
        """The share of datagrams that found the queue full, the median."""
        return statistics.median(outcome.dropped for outcome in self.outcomes)


@attrs.frozen(kw_only=True)
class WanResults:
    """All of it."""

    runs: tuple[tuple[Run, Outcome], ...]

    @property
    def figures(self) -> list[WanFigure]:
        """In the order in which their first runs were asked for."""
        found: dict[tuple[Wan, tuple[CongestionControl, ...]], list[Outcome]] = {}
        for run, outcome in self.runs:
            found.setdefault((run.wan, run.flows), []).append(outcome)
        return [WanFigure(wan=wan, flows=flows, outcomes=tuple(each)) for (wan, flows), each in found.items()]

    def to_json(self) -> dict[str, Any]:
        """All runs, fit for `json.dumps`."""
        return {"runs": [{"run": plain(run), "outcome": plain(outcome)} for run, outcome in self.runs]}


def simulate_wan(runs: Sequence[Run], processes: int, report: Callable[[str], None]) -> WanResults:
    """Carry out every run, in so many processes side by side: no CPU is in the figures."""
    found = []
    for done, (run, outcome) in enumerate(_simulated(runs, processes), 1):
        found.append((run, outcome))
        goodput = " + ".join(f"{each:.1f}" for each in outcome.megabits)
        report(f"simulation {done} of {len(runs)}, {_words(run.flows, run.wan)}: {goodput} Mbit/s")
    return WanResults(runs=tuple(found))


def _simulated(runs: Sequence[Run], processes: int) -> Iterator[tuple[Run, Outcome]]:
    with get_context("spawn").Pool(processes) as pool:
        yield from zip(runs, pool.imap(simulate, runs), strict=True)


def format_wan(results: WanResults, plan: WanPlan) -> str:
    """A row for each question."""
    path = plan.path
    rows = [["", "loss", "reordered", "Mbit/s", "least of link", "queue drops"]]
    for figure in results.figures:
        several = len(figure.flows) > 1
        rows.append(
            [
                " + ".join(control.value for control in figure.flows),
                f"{figure.wan.loss:.1%}",
                f"{figure.wan.reordering:.1%}",
                " + ".join(number(each, 1) for each in figure.megabits),
                f"{figure.least_link_share:.0%}" if several else "",
                f"{figure.dropped:.2%}",
            ]
        )
    link = f"{path.megabits:g} Mbit/s, {path.rtt_ms:g} ms, a queue of {path.queue_kib} KiB"
    return format_table(f"Simulated: {link}; medians of seeds {', '.join(map(str, plan.seeds))}", rows, words=1)


def plain(record: Any) -> Any:
    """A record of attrs as dicts and lists, enums as their values."""
    return attrs.asdict(record, value_serializer=lambda _, __, value: getattr(value, "value", value))


def _words(flows: Sequence[CongestionControl], wan: Wan) -> str:
    return f"{' + '.join(control.value for control in flows)}, loss {wan.loss:.1%}, reordering {wan.reordering:.1%}"
