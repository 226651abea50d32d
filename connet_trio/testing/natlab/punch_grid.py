"""The grid of `connet-trio punch`: holes for other programs through the kernel's NATs, and through simulated ones.

In the kernel lab one process at each site is a peer of every process at the other end, each from a port of its own and
in a room of its own. A hole counts when datagrams pass both ways between the ports that made it, once those who made it
have let go of them; the time is from the start of both to the end of both.
"""

import json
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import trio

from connet_trio.concurrency import Watched, single_error
from connet_trio.punch import OpenHole
from connet_trio.testing.links import Link
from connet_trio.testing.natlab.grid import Cell, Grid, describe
from connet_trio.testing.natlab.kernel_grid import Say
from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Pair, Way
from connet_trio.testing.natlab.simulated_sites import SimulatedSites, check_simulated
from connet_trio.testing.natlab.sites import Ends, build_sites
from connet_trio.testing.natlab.topology import SERVER, SERVER_ADDRESSES, NatLab, open_natlab
from connet_trio.testing.processes import CONNET_TRIO, ServiceProcess, open_process
from connet_trio.testing.punch_lab import CONTROL, SECOND, PunchLab, check_hole, simulate, together

CONTROL_PORT, SECOND_PORT, FIRST_PORT = 7777, 7778, 10_000
SECRET = "a secret of the lab"
START_SECONDS = 30.0
PUNCH_SECONDS = 8.0
"""After which a pair is given up, from the start of both."""
CHECK_SECONDS = 5.0
AGAIN_SECONDS = 0.2


def simulated_punch_grid(
    kinds: Sequence[NatKind], neighbours: Sequence[Neighbours] = (), *, link: Link, seed: int | str = 0
) -> Grid:
    """Every pair of kinds, and every kind of neighbours, in virtual time; otherwise as `simulated_grid`."""
    check_simulated(kinds)
    pairs = [(one, other) for one in kinds for other in kinds]
    return Grid(
        title=f"punch through simulated NATs, {describe(link)}",
        kinds=kinds,
        cells={pair: _simulate(pair, link, seed) for pair in pairs},
        neighbours={each: _simulate(each, link, seed) for each in neighbours},
        has_relay=False,
    )


def _simulate(pair: Pair, link: Link, seed: int | str) -> Cell:
    async def scenario(lab: PunchLab) -> Cell:
        one, other = SimulatedSites(lab.network, link, (CONTROL, SECOND.host)).add_pair(pair)
        await lab.start_control()
        began = trio.current_time()
        # behind one NAT two inside hosts with one port would get in each other's way
        hole, back = await together(
            partial(lab.outcome, one, "a", port=FIRST_PORT, time_limit=PUNCH_SECONDS),
            partial(lab.outcome, other, "b", port=FIRST_PORT + 1, time_limit=PUNCH_SECONDS),
        )
        seconds = trio.current_time() - began
        if not isinstance(hole, OpenHole) or not isinstance(back, OpenHole):
            return Cell(Way.FAILED, why=str(back if isinstance(hole, OpenHole) else hole))
        await check_hole(one, hole, other, back)
        return Cell(Way.DIRECT, seconds)

    return simulate(scenario, seed=f"{seed}{pair}", link=attrs.evolve(link, delay=2 * link.delay))


async def kernel_punch_grid(
    kinds: Sequence[NatKind],
    neighbours: Sequence[Neighbours] = (),
    *,
    link: Link,
    seed: int | str = 0,
    at_once: int = 2,
    say: Say = lambda _line: None,
) -> Grid:
    """Every pair of kinds, and every kind of neighbours; otherwise as `kernel_grid`."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="natlab-")))
        lab = stack.enter_context(open_natlab(link, seed=seed))
        pairs = build_sites(lab, kinds, neighbours)
        say(f"{len(pairs)} pairs of {len(lab.addresses)} hosts")
        (directory / "secret").write_text(SECRET)
        with single_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lab.run)
                found = await _Run(lab, directory, pairs, trio.CapacityLimiter(at_once), say).measure()
                nursery.cancel_scope.cancel()
    return Grid(
        title=f"punch through kernel NATs, {describe(link)}",
        kinds=kinds,
        cells={pair: cell for pair, cell in found.items() if not isinstance(pair, Neighbours)},
        neighbours={pair: cell for pair, cell in found.items() if isinstance(pair, Neighbours)},
        has_relay=False,
    )


_Started = tuple[ServiceProcess, ...]
"""Empty until there is one."""


@attrs.frozen
class _Site:
    """The peers of one host: their names, and the local port of each."""

    host: str
    ports: Mapping[str, int]


@attrs.frozen
class _Side:
    """One peer of a process that may be several."""

    name: str
    process: ServiceProcess

    async def wait_started(self) -> None:
        """Wait until it punches."""
        await self.process.wait_match(rf"\[{re.escape(self.name)}\] .*Start in peer mode")

    async def wait_told(self) -> Mapping[str, Any]:
        """What it says of its hole."""
        told: Mapping[str, Any] = json.loads(await self.process.wait_match(rf'^{{"peer": "{re.escape(self.name)}"'))
        return told

    def complaint(self) -> str:
        """What it said last about having no hole."""
        said = [line for line in self.process.lines if f"[{self.name}] " in line and "no hole yet: " in line]
        return said[-1].partition("no hole yet: ")[2].removesuffix("; trying on") if said else "no hole yet"

    def logged(self, text: str) -> float:
        """When it logged `text` first; Unix seconds."""
        line = next(line for line in self.process.lines if f"[{self.name}] " in line and text in line)
        return datetime.strptime(line[:26], "%Y/%m/%d %H:%M:%S.%f").timestamp()


@attrs.frozen
class _Run:
    """One measurement."""

    _lab: NatLab
    _directory: Path
    _pairs: Mapping[Pair, Ends]
    _starting: trio.CapacityLimiter
    _say: Say

    async def measure(self) -> dict[Pair, Cell]:
        sites = self._sites()
        found: dict[Pair, Cell] = {}
        local, second = (f"{SERVER_ADDRESSES[0]}:{CONTROL_PORT}", f"{SERVER_ADDRESSES[1]}:{SECOND_PORT}")
        async with self._open(SERVER, "--local", local, "--second-local", second) as control:
            with trio.fail_after(START_SECONDS):
                await control.wait_line("second address")
            async with trio.open_nursery() as holding:
                running = {site.host: Watched[_Started](()) for site in sites}
                async with trio.open_nursery() as nursery:
                    for site in sites:
                        nursery.start_soon(self._start, site, holding, running[site.host])
                    for pair, ends in self._pairs.items():
                        nursery.start_soon(self._judge, pair, ends, running, found)
                holding.cancel_scope.cancel()
        return {pair: found[pair] for pair in self._pairs}

    def _sites(self) -> list[_Site]:
        """One for each host; of two partners, neither has the other's ports."""
        ports: dict[str, dict[str, int]] = {}
        for number, ends in enumerate(self._pairs.values()):
            for side, host in enumerate((ends.first, ends.second)):
                ports.setdefault(host, {})[_names(ends)[side]] = FIRST_PORT + 2 * number + side
        return [_Site(host, of_host) for host, of_host in ports.items()]

    async def _start(self, site: _Site, holding: trio.Nursery, running: Watched[_Started]) -> None:
        async with self._starting:
            process: ServiceProcess = await holding.start(self._hold, site)
            running.set((process,))
            with trio.fail_after(START_SECONDS):
                await process.wait_line("Start in peer mode")
        self._say(f"{site.host} has started")

    async def _hold(self, site: _Site, *, task_status: trio.TaskStatus[ServiceProcess]) -> None:
        peers, places = ",".join(site.ports), ",".join(f":{port}" for port in site.ports.values())
        remote = f"{SERVER_ADDRESSES[0]}:{CONTROL_PORT}"
        words = ["--peer", peers, "--local", places, "--remote", remote, "--json"]
        async with self._open(site.host, *words) as process:
            task_status.started(process)
            await trio.sleep_forever()

    @asynccontextmanager
    async def _open(self, host: str, *words: str) -> AsyncIterator[ServiceProcess]:
        # stdout joins the log, which is read
        command = ["sh", "-c", 'exec "$@" >&2', "sh", *CONNET_TRIO, "punch", "--secret-file", "secret", *words]
        async with open_process(self._lab.command(host, command), directory=self._directory) as process:
            yield process

    async def _judge(
        self,
        pair: Pair,
        ends: Ends,
        running: Mapping[str, Watched[_Started]],
        found: dict[Pair, Cell],
    ) -> None:
        """What becomes of a pair; looked at as soon as both are done, for a hole that nobody uses closes."""
        hosts = (ends.first, ends.second)
        sides = []
        for host, name in zip(hosts, _names(ends), strict=True):
            [process] = await running[host].wait_value(bool)
            sides.append(_Side(name, process))
        for side in sides:
            await side.wait_started()
        told: tuple[Mapping[str, Any], ...] = ()
        with trio.move_on_after(PUNCH_SECONDS):
            told = await sides[0].wait_told(), await sides[1].wait_told()
        if not told:
            found[pair] = Cell(Way.FAILED, why="; ".join(dict.fromkeys(side.complaint() for side in sides)))
        elif not await self._passes(hosts, told):
            found[pair] = Cell(Way.FAILED, why="there should be a hole, and nothing passes")
        else:
            ended = max(side.logged("close: ok") for side in sides)
            found[pair] = Cell(Way.DIRECT, ended - max(side.logged("Start in peer mode") for side in sides))

    async def _passes(self, hosts: Sequence[str], told: Sequence[Mapping[str, Any]]) -> bool:
        """Whether datagrams pass both ways between the ports that made a hole."""
        with ExitStack() as stack:
            sockets = []
            for host, hole in zip(hosts, told, strict=True):
                made = trio.socket.from_stdlib_socket(self._lab.socket(host, socket.SOCK_DGRAM))
                stack.callback(made.close)
                await made.bind(("", hole["local"]["port"]))
                sockets.append(made)
            remotes = [(hole["remote"]["ip"], hole["remote"]["port"]) for hole in told]
            with trio.move_on_after(CHECK_SECONDS):
                await _deliver(sockets[0], remotes[0], sockets[1])
                await _deliver(sockets[1], remotes[1], sockets[0])
                return True
        return False


async def _deliver(source: trio.socket.SocketType, remote: tuple[str, int], target: trio.socket.SocketType) -> None:
    """Send until something arrives; a lab may lose some."""
    while True:
        await source.sendto(b"through", remote)
        with trio.move_on_after(AGAIN_SECONDS):
            while (await target.recvfrom(100))[0] != b"through":  # else a word of those who made the hole
                pass
            return


def _names(ends: Ends) -> tuple[str, str]:
    room = f"{ends.first}.{ends.second}"
    return f"{room}/a", f"{room}/b"
