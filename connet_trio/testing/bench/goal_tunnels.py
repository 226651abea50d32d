"""What `scripts/bench goals` measures of tunnels, and what each figure has to reach."""

import math
import statistics
from collections.abc import Sequence

from connet_trio.testing.bench.figures import Metric, Results, median_ratio
from connet_trio.testing.bench.goals import Goal
from connet_trio.testing.bench.plan import MIB, Plan
from connet_trio.testing.bench.setups import DISCOVERED, Own, Setup
from connet_trio.testing.bench.steps import Step, requests_beside_step, requests_step, series_step, transfer_step

ORIGINAL, ORIGINAL_RELAYED = "original", "original-relayed"
"""The names by which the Go original's entrances are known."""
SMALL, ETHERNET = "1200", "1452"
"""Bytes of UDP payload: what every path carries, and what the original sends at most."""
BOTH_WAYS = Metric.DOWNLOAD, Metric.UPLOAD

TUNNELS = Plan(rounds=5, transfers=20, rss_bytes=0)
TUNNELS_QUICK = Plan(transfer_bytes=16 * MIB, rounds=1, requests=50, transfers=3, rss_bytes=0)


def own_tunnels() -> tuple[Own, ...]:
    """Our entrances."""
    sizes = {"direct": (SMALL, ETHERNET, DISCOVERED), "relayed": (SMALL, DISCOVERED)}
    return tuple(
        Own(name=f"{kind}-{size}", kind=kind, setup=Setup(packet_size=size))
        for kind, each in sizes.items()
        for size in each
    )


def goal_steps(plan: Plan) -> list[Step]:
    """Of a round, at our entrances and at those of the original."""
    small, usual = f"direct-{SMALL}", f"direct-{DISCOVERED}"
    return [
        *(transfer_step(metric, plan) for metric in BOTH_WAYS),
        *(transfer_step(metric, plan).at(small) for metric in (Metric.DOWNLOAD_STREAMS, Metric.UPLOAD_STREAMS)),
        requests_step(plan).at(usual, ORIGINAL),
        requests_beside_step(plan).at(usual, ORIGINAL),
        series_step(plan).at(small),
    ]


def tunnel_goals(results: Results, plan: Plan) -> list[Goal]:
    """The whole product, TCP to TCP."""
    small, usual = f"direct-{SMALL}", f"direct-{DISCOVERED}"
    return [
        *_direct_goals(results),
        *_series_goals(results, small, plan),
        *_relayed_goals(results),
        Goal(figure=f"{plan.parallel} streams at once / one", value=_parallel(results, small), bound=1.0),
        *_latency_goals(results, usual),
    ]


def _direct_goals(results: Results) -> list[Goal]:
    beside = [
        Goal(
            figure=f"direct / original, {_packets(size)}",
            value=_beside(results, f"direct-{size}", ORIGINAL),
            bound=bound,
        )
        for size, bound in ((SMALL, 1.0), (ETHERNET, 1.15), (DISCOVERED, 2.0))
    ]
    cpu = [
        Goal(
            figure=f"direct, CPU of source + destination, {_packets(size)}",
            value=_cpu(results, f"direct-{size}", ("source", "destination")),
            bound=bound,
            most=True,
            unit="s/GB",
        )
        for size, bound in ((SMALL, 5.5), (ETHERNET, 4.8))
    ]
    return beside + cpu


def _series_goals(results: Results, entrance: str, plan: Plan) -> list[Goal]:
    words = {
        Metric.SERIES: f"slowest of downloads 2 to {plan.transfers} / first",
        Metric.SERIES_AFTER_ABANDONED: f"slowest of {plan.transfers} after half-read ones / first",
    }
    return [
        Goal(figure=figure, value=results.slowest_share(entrance, metric), bound=0.9)
        for metric, figure in words.items()
    ]


def _relayed_goals(results: Results) -> list[Goal]:
    beside = [
        Goal(
            figure=f"relayed / original, {_packets(size)}",
            value=_beside(results, f"relayed-{size}", ORIGINAL_RELAYED),
            bound=0.75,
        )
        for size in (SMALL, DISCOVERED)
    ]
    cpu = _cpu(results, f"relayed-{SMALL}", ("server",))
    figure = f"relay process, CPU, {_packets(SMALL)}"
    return [*beside, Goal(figure=figure, value=cpu, bound=5.3, most=True, unit="s/GB")]


def _latency_goals(results: Results, entrance: str) -> list[Goal]:
    bounds = {Metric.P50: 1.5, Metric.P99: 4.0, Metric.BESIDE_P50: 3.5, Metric.BESIDE_P99: 10.0}
    return [
        Goal(
            figure=f"1 KiB {metric.value.removesuffix(', ms')}",
            value=statistics.median(results.values(entrance, metric)),
            bound=bound,
            most=True,
            unit="ms",
        )
        for metric, bound in bounds.items()
    ]


def _packets(size: str) -> str:
    return "MTU discovered" if size == DISCOVERED else f"{size} bytes"


def _beside(results: Results, entrance: str, reference: str) -> float:
    """The lesser of the ratios both ways; NaN without the other."""
    if reference not in results.entrances:
        return math.nan
    return min(results.ratio(entrance, reference, metric) for metric in BOTH_WAYS)


def _cpu(results: Results, entrance: str, processes: Sequence[str]) -> float:
    """The greater of what both ways cost these processes together."""
    return max(
        statistics.median(sum(sample.cpu[process] for process in processes) for sample in results.of(entrance, metric))
        for metric in BOTH_WAYS
    )


def _parallel(results: Results, entrance: str) -> float:
    """The lesser of the ratios both ways."""
    pairs = (Metric.DOWNLOAD_STREAMS, Metric.DOWNLOAD), (Metric.UPLOAD_STREAMS, Metric.UPLOAD)
    return min(median_ratio(results.values(entrance, many), results.values(entrance, one)) for many, one in pairs)
