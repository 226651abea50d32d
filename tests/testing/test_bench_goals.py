"""Figures beside what they have to reach."""

import math
from pathlib import Path

import pytest

from connet_trio.quic import CongestionControl
from connet_trio.testing.bench.failover import Failover
from connet_trio.testing.bench.figures import LATENCIES, Metric, Results, Sample
from connet_trio.testing.bench.goal_figures import failover_goals, scale_goals, stream_goals, wan_goals, wan_runs
from connet_trio.testing.bench.goal_tunnels import TUNNELS, goal_steps, own_tunnels, tunnel_goals
from connet_trio.testing.bench.goals import Goal, Verdict, format_goals
from connet_trio.testing.bench.machine import Machine, cpu_model, this_machine
from connet_trio.testing.bench.scale import BulkCost, Handshakes, IdleConnections, IdleStreams, ScaleFigures
from connet_trio.testing.bench.stream_transfers import Transfer
from connet_trio.testing.bench.streams import Kind, StreamPlan, StreamResults, StreamRun
from connet_trio.testing.bench.wan import WanResults
from connet_trio.testing.bench.wan_runs import Outcome

MACHINE = Machine(cpu="Abacus", cores=2, kernel="Linux 6", python="3.11", date="2026-01-02", version="1")


@pytest.mark.parametrize(
    ("value", "most", "verdict"),
    [
        (2.0, False, Verdict.REACHED),
        (1.999, False, Verdict.MISSED),
        (2.0, True, Verdict.REACHED),
        (2.001, True, Verdict.MISSED),
        (math.nan, True, Verdict.UNKNOWN),
        (math.nan, False, Verdict.UNKNOWN),
    ],
)
def test_a_figure_is_judged_as_it_was_measured(value: float, most: bool, verdict: Verdict) -> None:
    assert Goal(figure="speed", value=value, bound=2, most=most).verdict is verdict


def test_goals_are_a_markdown_table_under_the_machine() -> None:
    goals = [
        Goal(figure="speed", value=251.7, bound=250, unit="MB/s", digits=0),
        Goal(figure="delay", value=2.555, bound=2.5, most=True, unit="ms"),
        Goal(figure="ratio", value=math.nan, bound=1.15),
    ]
    assert format_goals(goals, MACHINE).splitlines() == [
        "connet-trio 1, Abacus, 2 cores, Linux 6, Python 3.11, 2026-01-02",
        "",
        "| figure | must be | is |  |",
        "| --- | --- | ---: | --- |",
        "| speed | at least 250 MB/s | 252 MB/s | reached |",
        "| delay | at most 2.5 ms | 2.56 ms | not reached |",
        "| ratio | at least 1.15 |  | not measured |",
    ]


def test_the_model_of_the_cpu_is_read(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Abacus  Mark 2\nprocessor\t: 1\nmodel name\t: other\n")
    assert cpu_model(file) == "Abacus Mark 2"
    assert cpu_model(tmp_path / "none") == ""
    assert this_machine().cores >= 1


def some_tunnels(*, original: bool) -> Results:
    """One round; ours carry 150 MB/s down and 200 up with 1200 bytes at 2 + 3 s/GB, the original 100 both ways."""
    speeds = {own.name: {Metric.DOWNLOAD: 150.0, Metric.UPLOAD: 200.0} for own in own_tunnels()}
    speeds["direct-1200"] |= {Metric.DOWNLOAD_STREAMS: 165.0, Metric.UPLOAD_STREAMS: 210.0}
    speeds["direct-discovered"] |= {metric: float(number) for number, metric in enumerate(LATENCIES, 1)}
    if original:
        speeds |= {name: dict.fromkeys(TWO_WAYS, 100.0) for name in ("original", "original-relayed")}
    cpu = {"source": 2.0, "destination": 3.0, "server": 6.0}
    samples = [
        Sample(round=1, entrance=name, metric=metric, value=value, cpu=cpu)
        for name, values in speeds.items()
        for metric, value in values.items()
    ]
    series = {Metric.SERIES: (100.0, 95.0, 89.0), Metric.SERIES_AFTER_ABANDONED: (91.0, 92.0)}
    samples += [
        Sample(round=1, entrance="direct-1200", metric=metric, value=value)
        for metric, values in series.items()
        for value in values
    ]
    return Results(entrances=tuple(speeds), references=(), samples=tuple(samples), memories=())


TWO_WAYS = Metric.DOWNLOAD, Metric.UPLOAD


def test_tunnels_are_compared_by_the_worse_direction() -> None:
    goals = tunnel_goals(some_tunnels(original=True), TUNNELS)
    assert [(goal.figure, goal.value, goal.bound, goal.most) for goal in goals] == [
        ("direct / original, 1200 bytes", 1.5, 1.0, False),
        ("direct / original, 1452 bytes", 1.5, 1.15, False),
        ("direct / original, MTU discovered", 1.5, 2.0, False),
        ("direct, CPU of source + destination, 1200 bytes", 5.0, 5.5, True),
        ("direct, CPU of source + destination, 1452 bytes", 5.0, 4.8, True),
        ("slowest of downloads 2 to 20 / first", 0.89, 0.9, False),
        ("slowest of 20 after half-read ones / first", 0.91, 0.9, False),
        ("relayed / original, 1200 bytes", 1.5, 0.75, False),
        ("relayed / original, MTU discovered", 1.5, 0.75, False),
        ("relay process, CPU, 1200 bytes", 6.0, 5.3, True),
        ("8 streams at once / one", 1.05, 1.0, False),
        ("1 KiB request on a new connection, p50", 1.0, 1.5, True),
        ("1 KiB request on a new connection, p99", 2.0, 4.0, True),
        ("1 KiB request beside a bulk download, p50", 3.0, 3.5, True),
        ("1 KiB request beside a bulk download, p99", 4.0, 10.0, True),
    ]


def test_without_the_original_what_needs_it_is_not_measured() -> None:
    goals = tunnel_goals(some_tunnels(original=False), TUNNELS)
    unknown = {goal.figure for goal in goals if goal.verdict is Verdict.UNKNOWN}
    assert unknown == {goal.figure for goal in goals if "original" in goal.figure}


def test_every_step_is_taken_at_an_entrance_that_there_is() -> None:
    names = {own.name for own in own_tunnels()} | {"original"}
    assert all(step.entrances is None or step.entrances <= names for step in goal_steps(TUNNELS))


def test_streams_have_goals_of_speed_cpu_and_endurance() -> None:
    transfers = [Transfer(megabytes_per_second=speed, sender_cpu=3.0, receiver_cpu=3.5) for speed in (250.0, 250.0)]
    runs = [StreamRun(label="1200", round=1, kind=kind, transfers=tuple(transfers)) for kind in Kind]
    results = StreamResults(plan=StreamPlan(transfers=2), labels=("1200",), runs=tuple(runs))
    assert [goal.value for goal in stream_goals(results)] == [250.0, 6.5, 1.0, 1.0]
    assert all(goal.verdict is Verdict.REACHED for goal in stream_goals(results))


def test_many_of_them_have_goals() -> None:
    figures = ScaleFigures(
        idle_streams=IdleStreams(
            streams=7, alone=BulkCost(sender=1.0, receiver=1.0), beside=BulkCost(sender=3.0, receiver=2.0)
        ),
        idle_connections=IdleConnections(connections=8, seconds=20.0, bytes_each=50 * 1024, core_share=0.03),
        handshakes=Handshakes(count=9, server=0.002, dialer=0.003),
    )
    goals = scale_goals(figures)
    assert [goal.value for goal in goals] == [2.5, 50.0, 3.0, 500.0]
    assert [goal.verdict for goal in goals] == [Verdict.MISSED, *[Verdict.REACHED] * 3]


def test_a_dial_beside_a_dead_path_is_judged_by_its_median() -> None:
    (goal,) = failover_goals(Failover(seconds=(5.0, 5.6, 5.4)))
    assert (goal.value, goal.verdict) == (5.4, Verdict.REACHED)


def test_simulated_runs_are_what_their_goals_ask_for() -> None:
    runs = wan_runs([1, 2])
    outcomes = [Outcome(megabits=(85.0, 24.0)[: len(run.flows)], dropped=0.0, traces=()) for run in runs]
    goals = wan_goals(WanResults(runs=tuple(zip(runs, outcomes, strict=True))))
    assert [goal.bound for goal in goals] == [90, 75, 36, 90, 85, 80, 85, 85, 25, 25]
    assert [goal.value for goal in goals] == [85.0] * 8 + [24.0] * 2
    assert len(runs) == 2 * len(goals)
    assert {run.seconds for run in runs if CongestionControl.CUBIC in run.flows[1:]} == {60.0}
