"""Command line of the lab, see the package."""

import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from connet_trio.concurrency import single_error
from connet_trio.testing.links import Link
from connet_trio.testing.natlab.grid import Grid
from connet_trio.testing.natlab.kernel_grid import kernel_grid
from connet_trio.testing.natlab.kinds import USUAL, NatKind, Neighbours
from connet_trio.testing.natlab.picture import NoMatplotlib, check_matplotlib, draw_grid
from connet_trio.testing.natlab.punch_grid import kernel_punch_grid, simulated_punch_grid
from connet_trio.testing.natlab.simulated_grid import simulated_grid
from connet_trio.testing.natlab.topology import why_no_natlab
from connet_trio.testing.processes import ProcessEnded

FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


def read_kinds(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[NatKind, ...]:
    """A click callback for kinds with commas between them."""
    try:
        return tuple(dict.fromkeys(NatKind(each) for each in text.split(",")))
    except ValueError as exc:
        known = ", ".join(kind.value for kind in NatKind)
        raise click.BadParameter(f"{exc}; there are {known}") from exc


class Stopped(Exception):
    """A signal has come; the text says which."""


async def until_stopped(measure: Callable[[], Awaitable[Grid]]) -> Grid:
    """What `measure` returns; a signal ends it as every other failure does, so that no namespace stays.

    Raises:
      Stopped: one has. Everything else comes out as it is.
    """
    found: list[Grid] = []
    stopped: list[int] = []
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals, single_error():
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                stopped.append(await anext(signals))
                nursery.cancel_scope.cancel()

            nursery.start_soon(obey)
            found.append(await measure())
            nursery.cancel_scope.cancel()
    if not found:
        raise Stopped(f"stopped by {signal.Signals(stopped[0]).name}")
    return found[0]


@click.command(context_settings={"max_content_width": 120})
@click.option("--simulated", is_flag=True, help="On the simulated network: no root, a few seconds")
@click.option("--punch", is_flag=True, help="What `connet-trio punch` opens, instead of what clients reach")
@click.option(
    "--kinds",
    metavar="KIND,…",
    default=",".join(kind.value for kind in USUAL),
    show_default=True,
    callback=read_kinds,
    help="Rows and columns. There are also remap, adm, fw and naive",
)
@click.option(
    "--delay-ms",
    type=click.FloatRange(0.0),
    default=12.5,
    show_default=True,
    help="Of each access, each way: a quarter of the round trip between clients",
)
@click.option("--loss", metavar="PERCENT", type=click.FloatRange(0.0, 100.0), default=0.0, help="On each access")
@click.option("--seed", default="0", show_default=True, help="Decides which packets are lost")
@click.option(
    "--at-once",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Clients that start at the same time; more are faster, and disturb each other",
)
@click.option("--json", "json_file", metavar="FILE", type=FILE, help="Every cell, with the reason where not direct")
@click.option("--plot", metavar="FILE", type=FILE, help="A picture of the grid, PNG (extra: plot)")
def main(
    *,
    simulated: bool,
    punch: bool,
    kinds: Sequence[NatKind],
    delay_ms: float,
    loss: float,
    seed: str,
    at_once: int,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Who reaches whom through which NATs, and how soon.

    Builds an internet of network namespaces with NATs of nftables, starts a server and real clients in it (or peers of
    `connet-trio punch`), and prints how each pair got connected: `direct 0.4 s`, `relay` or `failed`. Needs root,
    iproute2 and nftables. Ends with 1 if a pair is not connected as well as its NATs allow.

    \b
    open     no NAT
    full     one mapping for all destinations, everybody may send in
    addr     one mapping, addresses that were written to may send in
    port     one mapping, addresses and ports that were written to: the usual home router
    sym      a mapping with a random port for each destination
    double   `port` behind `port`: a carrier's NAT in front
    blocked  no UDP, not even to the server
    remap    as `port`, with a random port
    adm      as `sym`, one for each destination address
    fw       a firewall before a public address
    naive    as `port`, but what comes too early makes it choose another port (kernel only)
    """
    link = Link(delay=delay_ms / 1000, loss=loss / 100)
    try:
        if plot is not None:
            check_matplotlib()
        grid = _measure(simulated, punch, kinds, link=link, seed=seed, at_once=at_once)
        if json_file is not None:
            json_file.write_text(json.dumps(grid.to_json(), indent=1) + "\n", "utf-8")
        if plot is not None:
            draw_grid(grid, plot, ends=("peer a", "peer b") if punch else ("destination", "source"))
    except (Stopped, NoMatplotlib, ProcessEnded, OSError, RuntimeError, ValueError) as failure:
        click.echo(f"FAILED: {failure}", err=True)
        sys.exit(2)
    except trio.TooSlowError:
        click.echo("FAILED: a process took too long to start", err=True)
        sys.exit(2)
    click.echo(grid.to_text())
    shortfalls = grid.shortfalls()
    for shortfall in shortfalls:
        click.echo(f"not as it could be: {shortfall}", err=True)
    sys.exit(1 if shortfalls else 0)


def _measure(simulated: bool, punch: bool, kinds: Sequence[NatKind], *, at_once: int, **setup: Any) -> Grid:
    if simulated:
        return (simulated_punch_grid if punch else simulated_grid)(kinds, tuple(Neighbours), **setup)
    missing = why_no_natlab()
    if missing:
        raise RuntimeError(f"{missing}; --simulated needs nothing")
    measure: Callable[..., Any] = kernel_punch_grid if punch else kernel_grid
    return trio.run(until_stopped, partial(measure, kinds, tuple(Neighbours), at_once=at_once, say=_say, **setup))


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main(prog_name="scripts/natlab")
