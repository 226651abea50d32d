"""Real clients, and real peers of `connet-trio punch`, behind the kernel's NATs: who is connected, how, and how soon.

The tables say what has to be; `scripts/natlab` measures more kinds. All pairs of a table are measured in one network,
once, since each takes seconds of waiting and hardly any work; the first test of the file has that to wait for.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest
import trio

from connet_trio.testing import Link
from connet_trio.testing.namespaces import PLACES
from connet_trio.testing.natlab.grid import Cell, Grid
from connet_trio.testing.natlab.kernel_grid import kernel_grid
from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Way, possible
from connet_trio.testing.natlab.punch_grid import kernel_punch_grid
from connet_trio.testing.natlab.services import LabServices
from connet_trio.testing.natlab.topology import open_natlab, why_no_natlab
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


@attrs.frozen
class Found:
    """What was measured, all at the same time: networks do not meet."""

    clients: Grid
    peers: Grid
    reboot_seconds: float
    """From the reboot of a home router until its client is connected directly from its new place."""


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
def found() -> Found:
    return trio.run(measure)


async def measure() -> Found:
    results: dict[str, Any] = {}

    async def clients() -> None:
        kinds, neighbours = kinds_of(EXPECTED), tuple(NEIGHBOURS)
        results["clients"] = await kernel_grid(kinds, neighbours, link=ACCESS, at_once=AT_ONCE)

    async def peers() -> None:
        results["peers"] = await kernel_punch_grid(kinds_of(EXPECTED_HOLES), link=ACCESS, at_once=1)

    async def reboot() -> None:
        with TemporaryDirectory() as directory:
            results["reboot_seconds"] = await reboot_a_home(Path(directory))

    async with trio.open_nursery() as nursery:
        for job in (clients, peers, reboot):
            nursery.start_soon(job)
    return Found(**results)


async def reboot_a_home(directory: Path) -> float:
    with open_natlab(ACCESS) as lab:
        lab.add_site("x", NatKind.REMAP)
        lab.add_site("y", NatKind.PORT)
        services = LabServices(lab=lab, directory=directory)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lab.run)
            with trio.fail_after(90):
                async with services.open_server(), services.open_client("x", offers="x") as destination:
                    await destination.wait_line("is up")
                    async with services.open_client("y", uses=["x"]) as source:
                        await source.wait_line("connected directly")
                        before = await direct_places(services)
                        lab.reboot("x-r")
                        seconds = await until_elsewhere(services, before)
            nursery.cancel_scope.cancel()
        return seconds


async def until_elsewhere(services: LabServices, before: set[str]) -> float:
    began = trio.current_time()
    while True:
        if await direct_places(services) - before:
            return trio.current_time() - began
        await trio.sleep(0.2)


async def direct_places(services: LabServices) -> set[str]:
    """Where the source is connected to its peer directly."""
    [peer] = (await services.status("y"))["sources"]["x"]["peers"].values()
    return {path["address"] for path in peer["connections"] if path["style"] != "relay"}


def check(cell: Cell, expected: Way) -> None:
    assert cell.way is expected, cell.why
    if expected is Way.DIRECT:
        assert cell.seconds is not None
        assert 0 < cell.seconds <= DIRECT_SECONDS


@pytest.mark.reliability(line=1)
@pytest.mark.parametrize(("destination", "source"), EXPECTED, ids=lambda kind: kind.value)
def test_clients_are_connected_as_well_as_their_nats_allow(found: Found, destination: NatKind, source: NatKind) -> None:
    expected = EXPECTED[destination, source]
    assert expected is possible(destination, source)
    check(found.clients.cells[destination, source], expected)


@pytest.mark.reliability(line=2)
@pytest.mark.parametrize("neighbours", NEIGHBOURS, ids=lambda each: each.value)
def test_neighbours_use_what_they_share(found: Found, neighbours: Neighbours) -> None:
    check(found.clients.neighbours[neighbours], NEIGHBOURS[neighbours])


@pytest.mark.parametrize(("one", "other"), EXPECTED_HOLES, ids=lambda kind: kind.value)
def test_a_hole_is_opened_wherever_the_nats_allow(found: Found, one: NatKind, other: NatKind) -> None:
    cell = found.peers.cells[one, other]
    check(cell, EXPECTED_HOLES[one, other])
    if cell.way is Way.FAILED:
        assert "symmetric" in cell.why


@pytest.mark.reliability(line=5)
def test_a_home_router_that_reboots_and_maps_anew_is_passed_directly_again(found: Found) -> None:
    assert found.reboot_seconds <= 15


async def test_a_lab_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "connet_trio.testing.natlab", "--kinds", "port"]
    with trio.fail_after(60):
        async with open_process(command, directory=tmp_path) as lab:
            await lab.wait_line("pairs of")
            assert [name for name in os.listdir(PLACES) if name.startswith(f"ct{lab.pid}-")]
            assert await lab.stop() == 2
            assert lab.lines[-1] == "FAILED: stopped by SIGTERM"
            assert not [name for name in os.listdir(PLACES) if name.startswith(f"ct{lab.pid}-")]
