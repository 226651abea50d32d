"""Processes that are killed, and start again on the same files: what the others notice, and when all is as before."""

import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any, BinaryIO

import pytest
import trio

from connet_trio.client import ClientSettings, open_client
from connet_trio.control.settings import DEFAULT_ENDPOINT_EXPIRY
from connet_trio.control.snapshot import SAVE_PAUSE_SECONDS
from connet_trio.endpoints import Source
from connet_trio.errors import ConnectFailed, ConnetError
from connet_trio.quic.authentication import MAX_METADATA_BYTES
from connet_trio.records.model import HostPort, Route
from connet_trio.store.database import DATABASE_NAME
from connet_trio.testing.local_site import LocalSite, ProcessName, SiteProcesses
from connet_trio.testing.processes import ServiceProcess, status_of

TICK_SECONDS = 0.05
LONGEST_GAP_SECONDS = 2.0
"""In a stream that ticks all the time, on a machine that starts Python processes meanwhile."""

CONTROL_SECONDS = 12.0
RELAY_SECONDS = 10.0
CLIENT_SECONDS = 15.0
"""From the moment a killed process is up again until everything works as before."""

IDLE_SECONDS = 20.0
"""Silence after which a connection is given up: only then is a client that was killed known to be gone."""

EXPIRY_SECONDS = 3.0

ATTEMPTS = 3
"""To kill control in the middle of a write, which takes some milliseconds."""
MANY = [f"many{number}" for number in range(90)]
MANY_CLIENTS = 4
"""So many endpoints of each that saving them is a write of megabytes, hundreds of frames in the write-ahead log."""
FRAMES = 20
"""Of a transaction, when control is killed."""


# --- streams that are watched


class Flow:
    """What arrives on a stream that always carries something."""

    def __init__(self) -> None:
        self.bytes = 0
        self.ended = False
        self.longest_gap = 0.0
        self._latest = trio.current_time()

    def check_unbroken(self) -> None:
        """It has flowed all the time, and still does."""
        self.note_gap()
        assert not self.ended
        assert self.bytes > 0
        assert self.longest_gap < LONGEST_GAP_SECONDS

    def note_gap(self) -> None:
        now = trio.current_time()
        self.longest_gap, self._latest = max(self.longest_gap, now - self._latest), now


Dial = Callable[[], Awaitable[trio.abc.HalfCloseableStream]]


async def follow(dial: Dial, *, task_status: trio.TaskStatus[Flow]) -> None:
    """Dial, again and again, until a stream brings something; then read it to its end."""
    flow = None
    while flow is None:
        with suppress(OSError, ConnectFailed, trio.BrokenResourceError):
            async with await dial() as stream:
                while data := await stream.receive_some():
                    if flow is None:
                        flow = Flow()
                        task_status.started(flow)
                    flow.bytes += len(data)
                    flow.note_gap()
        await trio.sleep(TICK_SECONDS)
    flow.ended = True


async def tick(stream: trio.abc.SendStream) -> None:
    """Some bytes, again and again, for as long as somebody takes them."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await stream.send_all(b"tick")
            await trio.sleep(TICK_SECONDS)


@asynccontextmanager
async def ticking_target(site: LocalSite) -> AsyncIterator[trio.Nursery]:
    """The service that the destination leads to, in this process; yields a nursery that is cancelled at the end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, tick, site.target, host="127.0.0.1"))
        yield nursery
        nursery.cancel_scope.cancel()


async def start_flow(site: LocalSite, nursery: trio.Nursery) -> Flow:
    """A stream from the source's port on, which has brought something already."""
    flow: Flow = await nursery.start(follow, partial(trio.open_tcp_stream, "127.0.0.1", site.source))
    return flow


# --- somebody else on the same server, who is never killed


def client_settings(site: LocalSite, **changes: Any) -> ClientSettings:
    certificate = PEM_cert_to_DER_cert((site.directory / "cert.pem").read_text())
    return ClientSettings(
        token="client-d-token",
        server=HostPort("127.0.0.1", site.control),
        server_roots=(certificate,),
        direct_address=HostPort("", 0),
        **changes,
    )


@asynccontextmanager
async def open_bystanders(site: LocalSite) -> AsyncIterator[Source]:
    """A destination and a source in this process, connected directly, under the same control; yields the source."""
    settings = client_settings(site, metadata="bystander")
    async with open_client(settings) as offering, open_client(settings) as using, trio.open_nursery() as nursery:
        destination = await offering.add_destination("other", route=Route.DIRECT)
        nursery.start_soon(trio.serve_listeners, tick, [destination])
        source = await using.add_source("other", route=Route.DIRECT)
        await source.wait_reachable()
        yield source
        nursery.cancel_scope.cancel()


# --- what control says


Registered = dict[str, set[str]]


def registered(page: dict[str, Any], name: str = "serviceA") -> Registered:
    """Who announces the endpoint on a connection that lives now: client ids by role."""
    live = {(client["id"], client["conn_id"]) for client in page["clients"].values()}
    endpoint = page["endpoints"].get(name, {"destinations": [], "sources": []})
    return {
        role: {entry["id"] for entry in endpoint[role] if (entry["id"], entry["conn_id"]) in live}
        for role in ("destinations", "sources")
    }


async def wait_page(service: ServiceProcess, fulfils: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the status page of `service` is as it should be."""
    while True:
        if fulfils(await status_of(service)):
            return
        await trio.sleep(0.1)


async def seconds_until(ready: Awaitable[Any]) -> float:
    began = trio.current_time()
    with trio.fail_after(60):
        await ready
    return trio.current_time() - began


# --- the tests


@pytest.mark.reliability(line=9)
async def test_each_process_is_killed_in_turn_and_all_is_well_again_without_a_restart_of_the_others(
    site: LocalSite,
) -> None:
    bounds: dict[ProcessName, float] = {
        "server": CONTROL_SECONDS,
        "relay": CLIENT_SECONDS,
        "destination": CLIENT_SECONDS,
        "source": CLIENT_SECONDS,
    }
    took: dict[ProcessName, float] = {}
    with trio.fail_after(180):
        async with (
            site.open_relayed(separate_relay=True) as processes,
            ticking_target(site),
            open_bystanders(site) as other_source,
        ):
            for name in bounds:
                async with trio.open_nursery() as streams:
                    flow, other = await start_flow(site, streams), await streams.start(follow, other_source.dial)
                    before = registered(await status_of(processes.server))
                    await processes.process(name).kill()
                    await processes.start_again(name)
                    took[name] = await seconds_until(wait_recovered(site, processes, other_source, name, before))
                    other.check_unbroken()
                    if name == "server":
                        flow.check_unbroken()
                    streams.cancel_scope.cancel()
            assert [await service.stop() for service in reversed(processes.all)] == [0] * 4
            check_logs(processes)
    assert {name: seconds for name, seconds in took.items() if seconds > bounds[name]} == {}


async def wait_recovered(
    site: LocalSite, processes: SiteProcesses, other_source: Source, killed: ProcessName, before: Registered
) -> None:
    """Wait until both clients are registered, and new streams work."""

    def is_back(page: dict[str, Any]) -> bool:
        now = registered(page)
        if killed in ("source", "destination"):  # a new process is a new client
            role = f"{killed}s"
            return bool(now[role] - before[role])
        return now == before and len(page["relays"]) == 1

    async with trio.open_nursery() as nursery:
        await wait_page(processes.server, is_back)
        await start_flow(site, nursery)
        await nursery.start(follow, other_source.dial)
        nursery.cancel_scope.cancel()


@pytest.mark.reliability(line=10)
async def test_a_relay_that_was_killed_is_used_again_even_if_no_stream_has_shown_that_it_was_gone(
    site: LocalSite,
) -> None:
    def is_back(page: dict[str, Any]) -> bool:
        endpoint = page["endpoints"].get("serviceA", {})
        return bool(endpoint.get("destinations") and endpoint.get("sources"))

    with trio.fail_after(60):
        async with site.open_relayed(separate_relay=True) as processes, ticking_target(site) as nursery:
            assert processes.relay is not None
            assert is_back(await status_of(processes.relay))
            await processes.relay.kill()
            relay = await processes.start_again("relay")
            assert await seconds_until(wait_page(relay, is_back)) < RELAY_SECONDS
            assert await seconds_until(start_flow(site, nursery)) < 1
            check_logs(processes)


class Journal:
    """SQLite's write-ahead log (sqlite.org/fileformat2.html section 4): 32 bytes, then a frame for each page written.

    A frame counts if it repeats the salt of the log; the last frame of a transaction says that it is committed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._page_bytes = int.from_bytes(self._read(8, 4), "big")

    def salt(self) -> bytes:
        """Another one for each time that the log is begun anew."""
        return self._read(16, 8)

    def has_frame(self, number: int) -> bool:
        """Whether so many frames, and one more, have been written since the log was begun."""
        return self._read(self._place(number) + 8, 8) == self.salt()

    def frames(self) -> int:
        """How many there are."""
        return next(number for number in itertools.count() if not self.has_frame(number))

    def is_unfinished(self) -> bool:
        """Whether the latest transaction has begun and is not committed."""
        frames = self.frames()
        return frames > 0 and self._read(self._place(frames - 1) + 4, 4) == bytes(4)

    def _place(self, number: int) -> int:
        return 32 + number * (24 + self._page_bytes)

    def _read(self, place: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, place)


@pytest.mark.reliability(line=9)
async def test_control_that_is_killed_while_it_writes_knows_everybody_again_and_no_stream_notices(
    site: LocalSite,
) -> None:
    file = site.directory / "state" / "connet-trio" / "control" / f"{DATABASE_NAME}-wal"
    with trio.fail_after(120):
        async with site.open_relayed(separate_relay=True) as processes, ticking_target(site) as nursery:
            flow = await start_flow(site, nursery)
            before = registered(await status_of(processes.server))
            was_writing = False
            for _ in range(ATTEMPTS):
                with file.open("rb") as opened:
                    journal = Journal(opened)
                    await kill_while_writing(site, processes.server, journal)
                    was_writing = was_writing or journal.is_unfinished()
                await processes.start_again("server")
                known = (await status_of(processes.server))["endpoints"]
                assert {name: len(known[name]["destinations"]) for name in MANY} == dict.fromkeys(MANY, MANY_CLIENTS)
                took = await seconds_until(wait_page(processes.server, lambda page: registered(page) == before))
                assert took < CONTROL_SECONDS
                flow.check_unbroken()
                check_logs(processes)
                if was_writing:
                    break
            assert was_writing
            nursery.cancel_scope.cancel()


async def kill_while_writing(site: LocalSite, control: ServiceProcess, journal: Journal) -> None:
    """Let control know so much that saving it takes a while, then a little more, and kill it as it saves that."""
    settings = client_settings(site, metadata="x" * MAX_METADATA_BYTES)
    async with AsyncExitStack() as stack:
        for _ in range(MANY_CLIENTS):
            client = await stack.enter_async_context(open_client(settings))
            for name in MANY:
                await client.add_destination(name, route=Route.DIRECT)
        await trio.sleep(2 * SAVE_PAUSE_SECONDS)  # all of it is saved, and what comes next will be at once
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, kill_in_transaction, control.pid, journal)
            with suppress(ConnetError):  # control may be dead before it answers
                await client.add_destination("one more", route=Route.DIRECT)
    assert await control.wait() == -signal.SIGKILL


def kill_in_transaction(pid: int, journal: Journal) -> None:
    """Kill the process when some frames of its next transaction are written; in a thread, to be in time."""
    salt, frames = journal.salt(), journal.frames()
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        begun = 0 if journal.salt() != salt else frames
        if journal.has_frame(begun + FRAMES):
            break
    os.kill(pid, signal.SIGKILL)


def check_logs(processes: SiteProcesses) -> None:
    """Nobody was surprised, and no database was found damaged."""
    lines = [line for service in processes.all for line in service.lines]
    assert [line for line in lines if "Traceback" in line or "damaged" in line] == []


def listed(page: dict[str, Any]) -> set[str]:
    """Who offers the endpoint, according to a server's page, alive or not."""
    return {entry["id"] for entry in page["control"]["endpoints"]["serviceA"]["destinations"]}


@pytest.mark.reliability(line=11)
async def test_a_killed_client_is_listed_until_it_expires_and_a_stopped_one_is_gone_at_once(site: LocalSite) -> None:
    site.write_server(endpoint_expiry=f"{EXPIRY_SECONDS:g}s")
    with trio.fail_after(90):
        async with site.open_relayed() as processes:
            (destination_id,) = listed(await status_of(processes.server))
            await processes.destination.kill()
            noticed = wait_page(processes.server, lambda page: destination_id not in page["control"]["clients"])
            assert await seconds_until(noticed) < IDLE_SECONDS + 1
            assert listed(await status_of(processes.server)) == {destination_id}
            expired = wait_page(processes.server, lambda page: not listed(page))
            assert EXPIRY_SECONDS - 1 < await seconds_until(expired) < EXPIRY_SECONDS + 1
            await processes.start_again("destination")
            assert listed(await status_of(processes.server))
            assert await processes.destination.stop() == 0
            assert not listed(await status_of(processes.server))
            check_logs(processes)


@pytest.mark.reliability(line=11)
def test_endpoints_of_a_lost_client_are_listed_for_half_a_minute_unless_said() -> None:
    assert DEFAULT_ENDPOINT_EXPIRY == 30
    assert "| `endpoint-expiry-timeout` | `30s` |" in (Path(__file__).parents[2] / "README.md").read_text()
