"""`scripts/bench scale`: what many of them cost."""

from functools import partial
from typing import Any

import attrs
import click
import trio

from connet_trio.quic import QuicEngine
from connet_trio.testing.bench.commands.options import failures_told, json_option, write_output
from connet_trio.testing.bench.scale import format_scale, run_scale


@click.command(short_help="Idle connections, idle streams, handshakes.")
@click.option("--idle-connections", type=click.IntRange(1), default=1000, show_default=True, help="With keepalives")
@click.option("--idle-streams", type=click.IntRange(1), default=1000, show_default=True, help="On one connection")
@click.option("--handshakes", type=click.IntRange(1), default=1000, show_default=True, help="With both certificates")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="For which idle connections are watched",
)
@click.option("--engine", type=click.Choice(["fast", "stock"]), default="fast", show_default=True)
@json_option
def scale(engine: str, json_file: Any, **amounts: Any) -> None:
    """What many of them cost: idle connections, idle streams, handshakes.

    Between two processes, over the Stream API; CPU seconds and memory of each by itself.
    """
    with failures_told():
        figures = trio.run(partial(run_scale, **amounts, quic_engine=QuicEngine(engine)))
        write_output({"json_file": json_file}, attrs.asdict(figures))
    click.echo(format_scale(figures))
