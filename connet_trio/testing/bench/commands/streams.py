"""`scripts/bench streams`: bulk over the Stream API."""

from collections.abc import Mapping
from typing import Any

import attrs
import click

from connet_trio.testing.bench.commands.options import (
    check_output,
    failures_told,
    output_options,
    say,
    setup_options,
    setups_of,
    size_option,
    write_output,
)
from connet_trio.testing.bench.plots import Plot, size_plot
from connet_trio.testing.bench.setups import Setup, size_curves
from connet_trio.testing.bench.streams import Kind, StreamPlan, StreamResults, format_streams, measure_streams

DEFAULT = StreamPlan()
AMOUNTS = tuple(field.name for field in attrs.fields(StreamPlan))


@click.command()
@setup_options
@click.option("--rounds", type=click.IntRange(1), default=DEFAULT.rounds, show_default=True, help="With new processes")
@click.option(
    "--bytes",
    "transfer_bytes",
    metavar="SIZE",
    callback=size_option,
    default="100000000",
    show_default=True,
    help="Per transfer",
)
@click.option(
    "--transfers", type=click.IntRange(1), default=DEFAULT.transfers, show_default=True, help="On one connection"
)
@click.option("--parallel", type=click.IntRange(1), default=DEFAULT.parallel, show_default=True, help="Streams at once")
@click.option(
    "--abandoned",
    type=click.IntRange(0),
    default=DEFAULT.abandoned,
    show_default=True,
    help="Half-read streams, after which transfers are taken again",
)
@output_options
def streams(**options: Any) -> None:
    """Bulk over the Stream API between two processes, without TCP.

    MB/s, and CPU seconds per GB (10^9 bytes) of sender and receiver. Wall speed moves with the neighbours of the
    machine; CPU seconds are the number to trust.
    """
    setups = setups_of(options)
    plan = StreamPlan(**{name: options[name] for name in AMOUNTS})
    with failures_told():
        check_output(options)
        results = measure_streams(setups, plan, say)
        write_output(options, {"plan": attrs.asdict(plan), **results.to_json()}, [stream_plot(results, setups)])
    click.echo(f"\n{format_streams(results)}")


def stream_plot(results: StreamResults, setups: Mapping[str, Setup]) -> Plot:
    """MB/s of one stream over the packet size."""
    curves = {
        rest or "one stream": {
            size: results.median(label, Kind.ONE, lambda transfer: transfer.megabytes_per_second)
            for size, label in labels.items()
        }
        for rest, labels in size_curves(setups).items()
    }
    return size_plot("Stream API, medians", curves, {})
