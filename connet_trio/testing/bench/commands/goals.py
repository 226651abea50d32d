"""`scripts/bench goals`: everything, each figure beside what it has to reach."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import attrs
import click
import trio

from connet_trio.testing.bench.commands.options import failures_told, json_option, parsed, say, write_output
from connet_trio.testing.bench.commands.tunnels import foreign_of, foreign_options
from connet_trio.testing.bench.failover import simulate_failover
from connet_trio.testing.bench.goal_figures import (
    STREAMS,
    STREAMS_QUICK,
    failover_goals,
    scale_goals,
    stream_goals,
    wan_goals,
    wan_runs,
)
from connet_trio.testing.bench.goal_tunnels import (
    ORIGINAL,
    ORIGINAL_RELAYED,
    SMALL,
    TUNNELS,
    TUNNELS_QUICK,
    goal_steps,
    own_tunnels,
    tunnel_goals,
)
from connet_trio.testing.bench.goals import Goal, format_goals
from connet_trio.testing.bench.jobs import Job, run_job
from connet_trio.testing.bench.machine import this_machine
from connet_trio.testing.bench.plan import Plan
from connet_trio.testing.bench.rounds import Rounds
from connet_trio.testing.bench.scale import run_scale
from connet_trio.testing.bench.setups import Setup
from connet_trio.testing.bench.streams import StreamPlan, measure_streams
from connet_trio.testing.bench.wan import simulate_wan

MOST_WAN_SEEDS = 3
"""A second of virtual time takes up to two of a core."""

P = TypeVar("P", Plan, StreamPlan)
Part = Callable[[dict[str, Any]], tuple[list[Goal], Any]]
"""Measures; returns the goals, and all samples for JSON."""


def _parts(text: str) -> tuple[str, ...]:
    names = text.split(",")
    if unknown := set(names).difference(PARTS):
        raise ValueError(f"{', '.join(map(repr, sorted(unknown)))}: expected some of {', '.join(PARTS)}")
    return tuple(name for name in PARTS if name in names)


def _measure_streams(options: dict[str, Any]) -> tuple[list[Goal], Any]:
    plan = _with_rounds(STREAMS_QUICK if options["quick"] else STREAMS, options)
    results = measure_streams({SMALL: Setup(packet_size=SMALL)}, plan, say)
    return stream_goals(results), results.to_json()


def _measure_tunnels(options: dict[str, Any]) -> tuple[list[Goal], Any]:
    plan = _with_rounds(TUNNELS_QUICK if options["quick"] else TUNNELS, options)
    own = own_tunnels()
    foreign, target_port = foreign_of(options, own)
    rounds = Rounds(steps=goal_steps(plan), count=plan.rounds)
    results = run_job(Job(own=own, foreign=foreign, target_port=target_port, rounds=rounds), say)
    return tunnel_goals(results, plan), results.to_json()


def _measure_scale(options: dict[str, Any]) -> tuple[list[Goal], Any]:
    amounts: dict[str, Any] = QUICK_SCALE if options["quick"] else {}
    figures = trio.run(partial(run_scale, **amounts))
    return scale_goals(figures), attrs.asdict(figures)


def _simulate_failover(options: dict[str, Any]) -> tuple[list[Goal], Any]:
    failover = simulate_failover(range(1, _rounds(options) + 1))
    return failover_goals(failover), attrs.asdict(failover)


def _simulate_wan(options: dict[str, Any]) -> tuple[list[Goal], Any]:
    runs = wan_runs(range(1, min(_rounds(options), MOST_WAN_SEEDS) + 1))
    if options["quick"]:
        runs = [attrs.evolve(run, seconds=2.0) for run in runs]
    results = simulate_wan(runs, os.cpu_count() or 1, say)
    return wan_goals(results), results.to_json()


PARTS: dict[str, Part] = {
    "streams": _measure_streams,
    "tunnels": _measure_tunnels,
    "scale": _measure_scale,
    "failover": _simulate_failover,
    "wan": _simulate_wan,
}
QUICK_SCALE = {"idle_connections": 50, "idle_streams": 50, "handshakes": 50, "seconds": 2.0}


@click.command(short_help="All of it, each figure beside what it has to reach.")
@foreign_options
@click.option("--rounds", type=click.IntRange(1), help="Of what is timed, and seeds of what is simulated  [default: 5]")
@click.option("--parts", default=",".join(PARTS), show_default=True, callback=parsed(_parts), help="Of the table")
@click.option("--quick", is_flag=True, help="Small amounts and one round: what comes out is no figure to show")
@json_option
def goals(**options: Any) -> None:
    """All of it, each figure beside what it has to reach, as a Markdown table.

    Some goals are ratios to the Go original. Start it twice, once for each route, with destinations that lead to
    --target-port of 127.0.0.1, and name the TCP ports of its sources; without them these figures are not measured.

    \b
    scripts/bench goals --target-port 31999 \\
        --also original=127.0.0.1:7000 --also original-relayed=127.0.0.1:7001
    """
    foreign, _ = foreign_of(options, own_tunnels())  # before anything is measured
    if unknown := {entrance.name for entrance in foreign}.difference((ORIGINAL, ORIGINAL_RELAYED)):
        raise click.UsageError(f"{', '.join(sorted(unknown))}: expected {ORIGINAL} or {ORIGINAL_RELAYED}")
    found: list[Goal] = []
    document: dict[str, Any] = {}
    with failures_told():
        for name in options["parts"]:
            part_goals, document[name] = PARTS[name](options)
            found += part_goals
        write_output(options, {"goals": [_plain(goal) for goal in found], **document})
    click.echo(f"\n{format_goals(found, this_machine())}")


def _rounds(options: dict[str, Any]) -> int:
    return options["rounds"] or (1 if options["quick"] else TUNNELS.rounds)


def _with_rounds(plan: P, options: dict[str, Any]) -> P:
    return attrs.evolve(plan, rounds=_rounds(options))


def _plain(goal: Goal) -> dict[str, Any]:
    return {**attrs.asdict(goal), "verdict": goal.verdict.value}
