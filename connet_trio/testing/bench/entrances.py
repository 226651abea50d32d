"""The entrances, ours with their processes, and the target service that all of them lead to."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from connet_trio.records.model import HostPort
from connet_trio.records.text import printable
from connet_trio.testing.bench.listening import LOOPBACK, wait_listening
from connet_trio.testing.bench.load import Place, WrongAnswer, request, resolve
from connet_trio.testing.bench.plan import BenchFailed, Foreign
from connet_trio.testing.bench.setups import Own
from connet_trio.testing.certificates import write_certificate
from connet_trio.testing.local_site import START_SECONDS, LocalSite, RouteName
from connet_trio.testing.processes import CONNET_TRIO, ServiceProcess, free_ports, open_process, status_of

PATH_SECONDS = 20.0
"""In which two clients of one machine have found each other, or never will."""
PATHS = {"direct": {"outgoing", "incoming"}, "relay": {"relay"}}
"""What the status page calls the paths of a route."""
POLL_SECONDS = 0.1

FOREIGN_SECONDS = 30.0
"""In which the entrance of another program has to lead to the target."""
PAUSE_SECONDS = 0.5

PYTHON = CONNET_TRIO[0]
PACKAGE = "connet_trio.testing.bench"
LAST_LINES = 5


async def assume_path() -> None:
    """For entrances that have one path and no page to show it."""
    await trio.lowlevel.checkpoint()


@attrs.frozen(kw_only=True)
class Entrance:
    """Where load goes in, and what is between it and the target."""

    name: str
    place: Place
    pids: Mapping[str, int]
    """The known processes in between, by what they are."""
    confirm_path: Callable[[], Awaitable[None]] = assume_path
    """Raises BenchFailed when load would not go the way that the name says."""
    services: tuple[ServiceProcess, ...] = ()

    @property
    def last_words(self) -> str:
        """What our processes wrote last, to follow a message; empty when they wrote nothing."""
        return "".join(f"\n  {line}" for service in self.services for line in service.lines[-LAST_LINES:])


@asynccontextmanager
async def open_target(port: int, directory: Path) -> AsyncIterator[int]:
    """The target service for the length of a block, on that port (0: any free one); yields the port."""
    command = [PYTHON, "-m", f"{PACKAGE}.target", "--port", str(port)]
    async with open_process(command, directory=directory) as service:
        with trio.fail_after(START_SECONDS):
            listening = await wait_listening(service)
        yield listening


@asynccontextmanager
async def open_entrances(wanted: Sequence[Own], target: int, directory: Path) -> AsyncIterator[list[Entrance]]:
    """Some of our own entrances to TCP port `target` for the length of a block; their files are in `directory`."""
    async with AsyncExitStack() as stack:
        entrances = []
        ports = iter(free_ports(4 * len(wanted)))  # at once, lest two of them are the same
        for own in wanted:
            home = directory / own.name
            home.mkdir()
            if own.kind == "plain":
                entrances.append(await stack.enter_async_context(_open_plain(target, home)))
                continue
            control, relays, relay, source = (next(ports) for _ in range(4))
            site = LocalSite(
                directory=home,
                control=control,
                relays=relays,
                relay=relay,
                target=target,
                source=source,
                keys=own.setup.keys,
            )
            route: RouteName = "direct" if own.kind == "direct" else "relay"
            entrances.append(await stack.enter_async_context(_open_route(own.name, route, site)))
        yield entrances


@asynccontextmanager
async def _open_plain(target: int, directory: Path) -> AsyncIterator[Entrance]:
    command = [PYTHON, "-m", f"{PACKAGE}.plain_copy", "--target", str(target)]
    async with open_process(command, directory=directory) as service:
        with trio.fail_after(START_SECONDS):
            port = await wait_listening(service)
        yield Entrance(name="plain", place=await _on_loopback(port), pids={"copy": service.pid}, services=(service,))


@asynccontextmanager
async def _open_route(name: str, route: RouteName, site: LocalSite) -> AsyncIterator[Entrance]:
    """A server and two clients whose source takes that route and no other."""
    write_certificate(site.directory, ["localhost", LOOPBACK])
    site.write_server()
    site.write_clients(route=route)
    async with site.open_connected("is up") as processes:  # its path is then looked for on the status page

        async def confirm_path() -> None:
            await wait_path(lambda: status_of(processes.source), route)

        await confirm_path()
        pids = {
            "server": processes.server.pid,
            "destination": processes.destination.pid,
            "source": processes.source.pid,
        }
        yield Entrance(
            name=name,
            place=await _on_loopback(site.source),
            pids=pids,
            confirm_path=confirm_path,
            services=processes.all,
        )


async def _on_loopback(port: int) -> Place:
    (place,) = await resolve(HostPort(LOOPBACK, port))
    return place


async def wait_path(page: Callable[[], Awaitable[dict[str, Any]]], route: RouteName) -> None:
    """Wait until the status page of a source shows one peer, reached by `route`.

    Raises:
      BenchFailed: that has not come true in `PATH_SECONDS`; what the page shows instead is in the text.
    """
    deadline = trio.current_time() + PATH_SECONDS
    while True:
        try:
            with trio.fail_at(deadline):
                (source,) = (await page())["sources"].values()
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as exc:
            raise BenchFailed(f"the status page of the source cannot be read: {str(exc) or 'no answer'}") from exc
        peers = list(source["peers"].values())
        if len(peers) == 1 and peers[0]["path"] in PATHS[route]:
            return
        if trio.current_time() + POLL_SECONDS >= deadline:
            raise BenchFailed(f"no {route} path in {PATH_SECONDS:g} s: the source has {_describe(peers)}")
        await trio.sleep(POLL_SECONDS)


def _describe(peers: Sequence[Mapping[str, Any]]) -> str:
    if not peers:
        return "found no destination"
    return "; ".join(f"{peer['path'] or 'no path'} ({printable(peer['why']) or 'no reason given'})" for peer in peers)


async def find_foreign(foreign: Foreign, target: int) -> Entrance:
    """Wait until another program's entrance leads to TCP port `target`.

    Raises:
      BenchFailed: it has not in `FOREIGN_SECONDS`.
    """
    reason = "it does not answer"
    with trio.move_on_after(FOREIGN_SECONDS):
        while True:
            try:
                places = await resolve(foreign.place)
            except OSError as exc:
                places, reason = [], printable(str(exc))
            for place in places:
                try:
                    await request(place)
                except (OSError, WrongAnswer, trio.BrokenResourceError, trio.TooSlowError) as exc:
                    reason = printable(str(exc)) or reason
                else:
                    pids = {f"process {pid}": pid for pid in foreign.pids}
                    return Entrance(name=foreign.name, place=place, pids=pids)
            await trio.sleep(PAUSE_SECONDS)
    raise BenchFailed(
        f"{foreign.name} at {foreign.place} has not led to the target service at {LOOPBACK}:{target} "
        f"in {FOREIGN_SECONDS:g} s: {reason}"
    )
