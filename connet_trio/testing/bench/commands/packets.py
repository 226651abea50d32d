"""`scripts/bench packets`: what one packet costs in each layer, and the limit that follows."""

from typing import Any

import attrs
import click
import trio

from connet_trio.quic import PACKET_SIZES
from connet_trio.testing.bench.commands.options import failures_told, json_option, write_output
from connet_trio.testing.bench.packet_costs import format_packet_costs, measure_packet_costs


@click.command(short_help="What one packet costs in each layer, and the limit.")
@click.option(
    "--packet-size",
    "packet_sizes",
    type=click.IntRange(PACKET_SIZES.start, PACKET_SIZES.stop - 1),
    multiple=True,
    default=(1200, 1452, 16384),
    show_default=True,
    help="UDP payload. Repeatable",
)
@json_option
def packets(packet_sizes: tuple[int, ...], json_file: Any) -> None:
    """What one packet costs in each layer: cipher, kernel, the engine's loops, two engines.

    CPU time of this process alone. Cipher and kernel are what no engine in Python can do without.
    """
    with failures_told():
        found = [trio.run(measure_packet_costs, size) for size in packet_sizes]
        write_output({"json_file": json_file}, {"packets": [attrs.asdict(costs) for costs in found]})
    click.echo("\n\n".join(map(format_packet_costs, found)))
