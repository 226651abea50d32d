"""`scripts/bench tunnels`: the whole product with real processes, beside other tunnels."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import click

from connet_trio.testing.bench.commands.options import (
    check_output,
    failures_told,
    output_options,
    parsed,
    say,
    setup_options,
    setups_of,
    size_option,
    write_output,
)
from connet_trio.testing.bench.figures import Metric, Results
from connet_trio.testing.bench.jobs import Job, run_job
from connet_trio.testing.bench.plan import FULL, OURS, QUICK, Foreign, Plan, parse_foreign, parse_only
from connet_trio.testing.bench.plots import Plot, size_plot
from connet_trio.testing.bench.rounds import Rounds
from connet_trio.testing.bench.setups import Own, own_entrances, size_curves
from connet_trio.testing.bench.steps import plan_steps
from connet_trio.testing.bench.tables import format_results

AMOUNTS = tuple(field.name for field in attrs.fields(Plan))


def foreign_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Entrances of other programs."""
    for option in (
        click.option("--target-port", type=click.IntRange(1, 65_535), help="TCP port of the target  [default: any]"),
        click.option("--also-pid", metavar="NAME=PID[,PID]", multiple=True, help="Its processes, for CPU and memory"),
        click.option("--also", metavar="NAME=HOST:PORT", multiple=True, help="The entrance of another tunnel"),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--only", default=",".join(OURS), show_default=True, callback=parsed(parse_only), help="Entrances")
@setup_options
@foreign_options
@click.option("--quick", is_flag=True, help="Small amounts, where the options below do not say another one")
@click.option("--rounds", type=click.IntRange(1), help=f"Times each figure is taken  [default: {FULL.rounds}]")
@click.option("--bytes", "transfer_bytes", metavar="SIZE", callback=size_option, help="Per transfer  [default: 256MiB]")
@click.option("--parallel", type=click.IntRange(1), help=f"Streams at once  [default: {FULL.parallel}]")
@click.option("--transfers", type=click.IntRange(2), help="Downloads in a row, then again after half-read ones")
@click.option("--requests", type=click.IntRange(1), help=f"Sequential requests a round  [default: {FULL.requests}]")
@click.option(
    "--seconds",
    "window_seconds",
    type=click.FloatRange(0.1),
    help=f"For which connections are counted  [default: {FULL.window_seconds:g}]",
)
@click.option(
    "--rss-bytes", metavar="SIZE", callback=size_option, help="Carried before memory is read  [default: 1GiB]"
)
@output_options
def tunnels(**options: Any) -> None:
    """The whole product with real processes, beside other tunnels.

    TCP in, TCP out: over the direct path, over the relay, through a plain TCP copy and whatever --also names, in turn,
    round after round; ratios are taken within each round.

    \b
    ssh -N -L 7000:127.0.0.1:31999 localhost &
    scripts/bench --target-port 31999 --also ssh=127.0.0.1:7000 --also-pid ssh=$!
    """
    plan = _plan(options)
    own = own_entrances(options["only"], setups_of(options))
    foreign, target_port = foreign_of(options, own)
    rounds = Rounds(steps=plan_steps(plan), count=plan.rounds, rss_bytes=plan.rss_bytes)
    job = Job(own=own, foreign=foreign, target_port=target_port, rounds=rounds)
    with failures_told():
        check_output(options)
        results = run_job(job, say)
        document = {"plan": attrs.asdict(plan), **results.to_json()}
        write_output(options, document, [download_plot(results, job.own)])
    click.echo(f"\n{format_results(results, plan)}")


def _plan(options: dict[str, Any]) -> Plan:
    given = {name: options[name] for name in AMOUNTS if options[name] is not None}
    try:
        return attrs.evolve(QUICK if options["quick"] else FULL, **given)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def foreign_of(options: dict[str, Any], own: tuple[Own, ...]) -> tuple[tuple[Foreign, ...], int]:
    """What `foreign_options` say: the entrances, and the port of the target."""
    if options["also"] and options["target_port"] is None:
        raise click.UsageError("--also needs --target-port, the port of 127.0.0.1 that the other tunnel leads to")
    try:
        foreign = parse_foreign(options["also"], options["also_pid"], [entrance.name for entrance in own])
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    return foreign, options["target_port"] or 0


def download_plot(results: Results, own: Sequence[Own]) -> Plot:
    """Downloads over the packet size of our tunnels; others have one speed."""
    curves: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(entrance.kind for entrance in own if entrance.kind != "plain"):
        setups = {entrance.name: entrance.setup for entrance in own if entrance.kind == kind}
        for rest, names in size_curves(setups).items():
            curves[f"{kind} {rest}".strip()] = {size: _download(results, name) for size, name in names.items()}
    levels = {name: _download(results, name) for name in results.references}
    return size_plot("Download through a tunnel, medians", curves, levels)


def _download(results: Results, entrance: str) -> float:
    return statistics.median(results.values(entrance, Metric.DOWNLOAD))
