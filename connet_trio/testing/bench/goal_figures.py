"""What `scripts/bench goals` measures besides tunnels, and what each figure has to reach."""

from collections.abc import Sequence

import attrs

from connet_trio.quic import CongestionControl
from connet_trio.testing.bench.failover import Failover
from connet_trio.testing.bench.goal_tunnels import SMALL
from connet_trio.testing.bench.goals import Goal
from connet_trio.testing.bench.scale import ScaleFigures
from connet_trio.testing.bench.streams import Kind, StreamPlan, StreamResults
from connet_trio.testing.bench.wan import LAG_SECONDS, WanResults
from connet_trio.testing.bench.wan_runs import Run, Wan

CUBIC, BBR, TOLERANT = CongestionControl.CUBIC, CongestionControl.BBR, CongestionControl.BBR_TOLERANT
WAN_BOUNDS = (
    (BBR, Wan(), 90.0),
    (BBR, Wan(loss=0.005), 75.0),
    (BBR, Wan(loss=0.02), 36.0),
    (TOLERANT, Wan(), 90.0),
    (TOLERANT, Wan(loss=0.005), 85.0),
    (TOLERANT, Wan(loss=0.02), 80.0),
    (CUBIC, Wan(), 85.0),
    (CUBIC, Wan(reordering=0.01), 85.0),
)
"""Mbit/s of stream data that each is to carry; the link carries 100, there and back in 40 ms."""
ALONE_SECONDS, BESIDE_SECONDS = 15.0, 60.0

STREAMS = StreamPlan(rounds=5)
STREAMS_QUICK = StreamPlan(rounds=1, transfer_bytes=16_000_000, transfers=3, abandoned=3)


def stream_goals(results: StreamResults) -> list[Goal]:
    """The Stream API with packets of 1200 bytes."""
    (label,) = results.labels
    speed = results.median(label, Kind.ONE, lambda transfer: transfer.megabytes_per_second)
    cpu = results.median(label, Kind.ONE, lambda transfer: transfer.cpu)
    last = results.plan.transfers
    return [
        Goal(figure=f"Stream API, {SMALL}-byte packets", value=speed, bound=250, unit="MB/s", digits=0),
        Goal(figure="the same, CPU of sender + receiver", value=cpu, bound=7, most=True, unit="s/GB"),
        Goal(
            figure=f"the same, slowest of transfers 2 to {last} / first",
            value=results.slowest_share(label, Kind.ONE),
            bound=0.9,
        ),
        Goal(
            figure=f"the same, slowest after {results.plan.abandoned} half-read streams / first",
            value=results.slowest_share(label, Kind.AFTER_ABANDONED),
            bound=0.9,
        ),
    ]


def scale_goals(figures: ScaleFigures) -> list[Goal]:
    """What many of them cost."""
    streams, connections, handshakes = figures.idle_streams, figures.idle_connections, figures.handshakes
    many = f"{connections.connections} idle connections, keepalive 10 s"
    return [
        Goal(
            figure=f"cost per packet beside {streams.streams} idle streams / beside none",
            value=streams.beside.times(streams.alone),
            bound=2,
            most=True,
        ),
        Goal(
            figure=f"{many}, memory of each",
            value=connections.bytes_each / 1024,
            bound=100,
            most=True,
            unit="KiB",
            digits=0,
        ),
        Goal(
            figure=f"{many}, CPU", value=100 * connections.core_share, bound=6, most=True, unit="% of a core", digits=1
        ),
        Goal(
            figure="server handshakes with client certificates",
            value=handshakes.per_core,
            bound=400,
            unit="a second per core",
            digits=0,
        ),
    ]


def failover_goals(failover: Failover) -> list[Goal]:
    """What a dial does when the best path has just died."""
    return [
        Goal(
            figure="dial while the best path has just died (simulated), the stream answers on the next",
            value=failover.median,
            bound=5.5,
            most=True,
            unit="s",
        )
    ]


def wan_runs(seeds: Sequence[int]) -> list[Run]:
    """One flow on a link under each trouble, and two on one bottleneck."""
    alone = [Run(wan=wan, flows=(control,), seconds=ALONE_SECONDS) for control, wan, _ in WAN_BOUNDS]
    beside = [
        Run(wan=Wan(), flows=(control, CUBIC), seconds=BESIDE_SECONDS, lag=LAG_SECONDS) for control in (BBR, TOLERANT)
    ]
    return [attrs.evolve(run, seed=seed) for run in (*alone, *beside) for seed in seeds]


def wan_goals(results: WanResults) -> list[Goal]:
    """What came out of `wan_runs`."""
    figures = {(figure.flows, figure.wan): figure for figure in results.figures}
    alone = [
        Goal(
            figure=f"WAN, {control.value}, loss {wan.loss:.1%}, reordering {wan.reordering:.0%}",
            value=figures[(control,), wan].megabits[0],
            bound=megabits,
            unit="Mbit/s",
            digits=1,
        )
        for control, wan, megabits in WAN_BOUNDS
    ]
    beside = [
        Goal(
            figure=f"WAN, {control.value} beside cubic, share of the link that the lesser gets",
            value=100 * figures[(control, CUBIC), Wan()].least_link_share,
            bound=25,
            unit="%",
            digits=0,
        )
        for control in (BBR, TOLERANT)
    ]
    return alone + beside
