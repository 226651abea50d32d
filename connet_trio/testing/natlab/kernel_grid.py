"""The grid of the kernel lab: real clients behind nftables, one destination and one source for each kind of access.

A source client uses the destinations of all kinds at once, so two clients of each kind make every pair. Each pair has
addresses and mappings of its own to the other side, as a client with many peers always has. A pair counts as connected
the way its bytes went, which is read from the status pages after an echo; the time is from the announcement of the
source, when the destination has long been announced, until both ends had a direct path.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.records.status import PathStyle
from connet_trio.testing.links import Link
from connet_trio.testing.natlab.grid import Cell, Grid, describe
from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Pair, Way
from connet_trio.testing.natlab.services import (
    FIRST_SOURCE_PORT,
    START_SECONDS,
    TARGET_PORT,
    LabServices,
    logged,
)
from connet_trio.testing.natlab.sites import Ends, build_sites
from connet_trio.testing.natlab.topology import open_natlab
from connet_trio.testing.processes import ProcessEnded, ServiceProcess

DIRECT = (PathStyle.INCOMING.value, PathStyle.OUTGOING.value)
TURN_SECONDS = 4.0
"""So long a client may keep the next one from starting."""
CALM_SECONDS = 1.0
"""In which it may connect before the next one does, once it is up."""
SETTLE_SECONDS = 4.0
"""After which a source that has no direct path to a peer is not waited for."""
ECHO_BYTES = 20_000
ECHO_SECONDS = 15.0

Say = Callable[[str], None]


async def kernel_grid(
    kinds: Sequence[NatKind],
    neighbours: Sequence[Neighbours] = (),
    *,
    link: Link,
    seed: int | str = 0,
    at_once: int = 1,
    say: Say = lambda _line: None,
) -> Grid:
    """Every pair of kinds, and every kind of neighbours.

    Args:
      link: what each access to the internet but the server's is like, each way.
      at_once: clients that start at the same time; one each is slower, and does not add to what is measured.
      say: told how things are going.

    Raises:
      RuntimeError: this machine cannot build it.
      ProcessEnded, trio.TooSlowError: the server does not start.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="natlab-")))
        lab = stack.enter_context(open_natlab(link, seed=seed))
        pairs = build_sites(lab, kinds, neighbours)
        say(f"{len(pairs)} pairs of {len(lab.addresses)} hosts")
        services = LabServices(lab=lab, directory=directory)
        with single_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lab.run)
                found = await _Run(services, pairs, trio.CapacityLimiter(at_once), nursery, say).measure()
                nursery.cancel_scope.cancel()
    cells = {pair: cell for pair, cell in found.items() if not isinstance(pair, Neighbours)}
    shared = {pair: cell for pair, cell in found.items() if isinstance(pair, Neighbours)}
    return Grid(title=f"Kernel NATs, {describe(link)}", kinds=kinds, cells=cells, neighbours=shared)


@attrs.define
class _Run:
    """One measurement."""

    _services: LabServices
    _pairs: Mapping[Pair, Ends]
    _starting: trio.CapacityLimiter
    _nursery: trio.Nursery
    _say: Say
    _clients: dict[str, ServiceProcess] = attrs.field(factory=dict)
    _errors: dict[str, str] = attrs.field(factory=dict)
    """Why a client does not run."""

    async def measure(self) -> dict[Pair, Cell]:
        await self._nursery.start(self._hold_server)
        offering = dict.fromkeys(ends.first for ends in self._pairs.values())
        using = dict.fromkeys(ends.second for ends in self._pairs.values())
        for host in offering:
            listener = self._services.lab.listen(host, "127.0.0.1", TARGET_PORT)
            self._nursery.start_soon(partial(trio.serve_listeners, _send_back, [listener]))
        for starting in (offering, using):
            async with trio.open_nursery() as nursery:
                for host in starting:
                    nursery.start_soon(self._start, host)
        found: dict[Pair, Cell] = {}
        async with trio.open_nursery() as nursery:
            for pair, ends in self._pairs.items():
                nursery.start_soon(self._judge_pair, pair, ends, found)
        return {pair: found[pair] for pair in self._pairs}

    async def _hold_server(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with self._services.open_server():
            task_status.started()
            await trio.sleep_forever()

    # --- clients

    async def _start(self, host: str) -> None:
        """Start the client of a host; once it is up, wait until it has all direct paths it will have."""
        try:
            async with self._starting:
                client: ServiceProcess = await self._nursery.start(self._hold_client, host)
                with trio.move_on_after(TURN_SECONDS):
                    await client.wait_line("is up")
                    with trio.move_on_after(CALM_SECONDS):
                        await self._wait_direct(host, client)
            with trio.fail_after(START_SECONDS):
                await client.wait_line("is up")
            self._say(f"{host} is up")
            with trio.move_on_after(SETTLE_SECONDS):
                await self._wait_direct(host, client)
        except ProcessEnded:
            del self._clients[host]
            self._errors[host] = f"{host} has ended: {''.join(client.lines[-1:])}"
            self._say(self._errors[host])

    async def _hold_client(self, host: str, *, task_status: trio.TaskStatus[ServiceProcess]) -> None:
        partners = self._partners(host)
        async with self._services.open_client(host, offers=None if partners else host, uses=partners) as client:
            self._clients[host] = client
            task_status.started(client)
            await trio.sleep_forever()

    async def _wait_direct(self, host: str, client: ServiceProcess) -> None:
        for partner in self._partners(host):
            await client.wait_match(rf"{partner}: {partner} \(\w+\) connected directly")

    def _partners(self, host: str) -> list[str]:
        """The destinations that the source client on a host uses; none for a destination's."""
        return [ends.first for ends in self._pairs.values() if ends.second == host]

    # --- pairs

    async def _judge_pair(self, pair: Pair, ends: Ends, found: dict[Pair, Cell]) -> None:
        absent = [self._errors[host] for host in (ends.first, ends.second) if host not in self._clients]
        found[pair] = Cell(Way.FAILED, why="; ".join(absent)) if absent else await self._judge(ends)

    async def _judge(self, ends: Ends) -> Cell:
        echoed = await self._echo(ends)
        [peer] = (await self._services.status(ends.second))["sources"][ends.first]["peers"].values()
        if not echoed:
            return Cell(Way.FAILED, why=peer["why"])
        carried = sum(way["bytes-in"] for way in peer["connections"] if way["style"] in DIRECT)
        if carried < ECHO_BYTES:
            return Cell(Way.RELAY, why=peer["why"])
        peers = (await self._services.status(ends.first))["destinations"][ends.first]["peers"].values()
        [back] = [each for each in peers if each["metadata"] == ends.second]
        if peer["since"] is None or back["since"] is None:
            return Cell(Way.FAILED, why="the direct path was lost after the echo")
        return Cell(Way.DIRECT, max(peer["since"], back["since"]) - self._announced(ends))

    async def _echo(self, ends: Ends) -> bool:
        """Whether bytes come back through the pair."""
        data = random.Random(str(ends)).randbytes(ECHO_BYTES)
        port = FIRST_SOURCE_PORT + self._partners(ends.second).index(ends.first)
        with trio.move_on_after(ECHO_SECONDS), suppress(trio.BrokenResourceError):
            async with await self._services.lab.connect(ends.second, "127.0.0.1", port) as stream:
                await stream.send_all(data)
                await stream.send_eof()
                return b"".join([chunk async for chunk in stream]) == data
        return False

    def _announced(self, ends: Ends) -> float:
        """When the source was; Unix seconds."""
        lines = logged(self._clients[ends.second])
        return next(line.time for line in lines if line.message.startswith(f"{ends.first} online"))


async def _send_back(stream: trio.SocketStream) -> None:
    async with stream:
        with suppress(trio.BrokenResourceError):  # the other side's business
            async for chunk in stream:
                await stream.send_all(chunk)
            await stream.send_eof()
