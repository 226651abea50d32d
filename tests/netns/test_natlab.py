"""Real clients, and real peers of `connet-trio punch`, behind the kernel's NATs: who is connected, how, and how soon.

The tables say what has to be; `scripts/natlab` measures more kinds. All pairs of a table are measured in one network,
once, since each takes seconds of waiting and hardly any work; the first test of the file has that to wait for.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from connet_trio.testing import Link
from connet_trio.testing.namespaces import PLACES
from connet_trio.testing.natlab.grid import Cell, Grid
from connet_trio.testing.natlab.kernel_grid import kernel_grid
from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Way, possible
from connet_trio.testing.natlab.punch_grid import kernel_punch_grid
from connet_trio.testing.natlab.topology import why_no_natlab
from connet_trio.testing.processes import open_process

pytestmark = [pytest.mark.needs_netns, pytest.mark.skipif(bool(why_no_natlab()), reason=why_no_natlab())]

# rows are destinations, columns are sources
CLIENTS = """
          open    full    addr    port    sym     double
open      direct  direct  direct  direct  direct  direct
full      direct  direct  direct  direct  direct  direct
addr      direct  direct  direct  direct  direct  direct
port      direct  direct  direct  direct  relay   direct
sym       direct  direct  direct  relay   relay   relay
double    direct  direct  direct  direct  relay   direct
"""
PEERS = """
          addr    port    sym
addr      direct  direct  direct
port      direct  direct  failed
sym       direct  failed  failed
"""
NEIGHBOURS = {Neighbours.ONE_NAT: Way.DIRECT}
DIRECT_SECONDS = 2.0
ACCESS = Link(delay=0.0125)
"""50 ms between clients and back."""
AT_ONCE = 2


Grids = tuple[Grid, Grid]


def parse(table: str) -> Mapping[tuple[NatKind, NatKind], Way]:
    head, *rows = table.strip().splitlines()
    columns = [NatKind(word) for word in head.split()]
    expected = {}
    for row in rows:
        kind, *ways = row.split()
        for column, way in zip(columns, ways, strict=True):
            expected[NatKind(kind), column] = Way(way)
    return expected


EXPECTED = parse(CLIENTS)
EXPECTED_HOLES = parse(PEERS)


def kinds_of(expected: Mapping[tuple[NatKind, NatKind], Way]) -> tuple[NatKind, ...]:
    return tuple(dict.fromkeys(one for one, _ in expected))


@pytest.fixture(scope="module")
def grids() -> Grids:
    """That of the clients, and that of the peers: two networks side by side."""

    async def measure() -> Grids:
        found: dict[str, Grid] = {}

        async def clients() -> None:
            kinds, neighbours = kinds_of(EXPECTED), tuple(NEIGHBOURS)
            found["clients"] = await kernel_grid(kinds, neighbours, link=ACCESS, at_once=AT_ONCE)

        async def peers() -> None:
            found["peers"] = await kernel_punch_grid(kinds_of(EXPECTED_HOLES), link=ACCESS, at_once=1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(clients)
            nursery.start_soon(peers)
        return found["clients"], found["peers"]

    return trio.run(measure)


def check(cell: Cell, expected: Way) -> None:
    assert cell.way is expected, cell.why
    if expected is Way.DIRECT:
        assert cell.seconds is not None
        assert 0 < cell.seconds <= DIRECT_SECONDS


@pytest.mark.parametrize(("destination", "source"), EXPECTED, ids=lambda kind: kind.value)
def test_clients_are_connected_as_well_as_their_nats_allow(grids: Grids, destination: NatKind, source: NatKind) -> None:
    expected = EXPECTED[destination, source]
    assert expected is possible(destination, source)
    check(grids[0].cells[destination, source], expected)


@pytest.mark.parametrize("neighbours", NEIGHBOURS, ids=lambda each: each.value)
def test_neighbours_use_what_they_share(grids: Grids, neighbours: Neighbours) -> None:
    check(grids[0].neighbours[neighbours], NEIGHBOURS[neighbours])


@pytest.mark.parametrize(("one", "other"), EXPECTED_HOLES, ids=lambda kind: kind.value)
def test_a_hole_is_opened_wherever_the_nats_allow(grids: Grids, one: NatKind, other: NatKind) -> None:
    cell = grids[1].cells[one, other]
    check(cell, EXPECTED_HOLES[one, other])
    if cell.way is Way.FAILED:
        assert "symmetric" in cell.why


async def test_a_lab_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "connet_trio.testing.natlab", "--kinds", "port"]
    with trio.fail_after(60):
        async with open_process(command, directory=tmp_path) as lab:
            await lab.wait_line("pairs of")
            assert [name for name in os.listdir(PLACES) if name.startswith(f"ct{lab.pid}-")]
            assert await lab.stop() == 2
            assert lab.lines[-1] == "FAILED: stopped by SIGTERM"
            assert not [name for name in os.listdir(PLACES) if name.startswith(f"ct{lab.pid}-")]
