"""`scripts/bench wan`: simulated wide-area links."""

import os
from typing import Any

import click

from connet_trio.quic import DEFAULT_QUIC_ENGINE, CongestionControl, QuicEngine
from connet_trio.testing.bench.commands.options import (
    check_output,
    failures_told,
    listed,
    output_options,
    parsed,
    say,
    write_output,
)
from connet_trio.testing.bench.plots import Plot
from connet_trio.testing.bench.wan import WanPlan, WanResults, format_wan, plain, simulate_wan
from connet_trio.testing.bench.wan_runs import Wan

CONTROLS = ",".join(control.value for control in CongestionControl)


def _share(percent: str) -> float:
    share = float(percent) / 100
    if not 0 <= share < 1:
        raise ValueError(f"{percent} % is no share of the datagrams")
    return share


@click.command()
@click.option(
    "--congestion-control",
    "controls",
    metavar="NAMES",
    default=CONTROLS,
    show_default=True,
    callback=listed(CongestionControl),
    help="With commas between them",
)
@click.option(
    "--engine",
    type=click.Choice([engine.value for engine in QuicEngine]),
    default=DEFAULT_QUIC_ENGINE.value,
    show_default=True,
    callback=parsed(QuicEngine),
)
@click.option("--rate", "megabits", type=click.FloatRange(0.01), default=100.0, show_default=True, help="Mbit/s")
@click.option("--rtt", "rtt_ms", type=click.FloatRange(0), default=40.0, show_default=True, help="ms, there and back")
@click.option("--queue", "queue_kib", type=click.IntRange(2), default=256, show_default=True, help="KiB that wait")
@click.option(
    "--loss",
    "losses",
    metavar="PERCENT,…",
    default="0,0.5,2",
    show_default=True,
    callback=listed(_share),
    help="Random, each on its own",
)
@click.option(
    "--reordering",
    "reorderings",
    metavar="PERCENT,…",
    default="1",
    show_default=True,
    callback=listed(_share),
    help="Late by 1 to 5 ms, each on its own",
)
@click.option("--seconds", type=click.FloatRange(0.1), default=15.0, show_default=True, help="Of virtual time a figure")
@click.option(
    "--beside-seconds",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="For each control beside cubic on one bottleneck; 0: none",
)
@click.option("--seeds", metavar="N,…", default="1", show_default=True, callback=listed(int), help="Of luck")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default=True,
    help="That simulate, side by side",
)
@output_options
def wan(**options: Any) -> None:
    """Throughput over simulated wide-area links, in virtual time.

    A bottleneck with a rate, a round trip, a queue and some bad luck; no CPU is in the figures, and a seed repeats
    itself. Goodput is what receivers read; IP and UDP headers take 2.3 % of the rate at 1200 bytes.
    """
    path = Wan(**{name: options[name] for name in ("megabits", "rtt_ms", "queue_kib")})
    names = "controls", "losses", "reorderings", "seconds", "beside_seconds", "seeds", "engine"
    try:
        plan = WanPlan(path=path, **{name: options[name] for name in names})
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    with failures_told():
        check_output(options)
        results = simulate_wan(plan.runs, options["processes"], say)
        write_output(options, {"plan": plain(plan), **results.to_json()}, [loss_plot(results, plan)])
    click.echo(f"\n{format_wan(results, plan)}")


def loss_plot(results: WanResults, plan: WanPlan) -> Plot:
    """Throughput over random loss, a curve for each congestion control."""
    alone = [figure for figure in results.figures if len(figure.flows) == 1 and not figure.wan.reordering]
    losses = sorted({figure.wan.loss for figure in alone})
    speeds = {(figure.flows[0], figure.wan.loss): figure.megabits[0] for figure in alone}
    return Plot(
        name="loss",
        title=f"One flow on {plan.path.megabits:g} Mbit/s, {plan.path.rtt_ms:g} ms (simulated)",
        across="random loss",
        up="Mbit/s",
        places=[f"{loss:.1%}" for loss in losses],
        curves={control.value: [speeds[control, loss] for loss in losses] for control in plan.controls},
    )
