import hashlib
import math
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from connet_trio.testing.local_site import LocalSite, Processes
from connet_trio.testing.processes import status_of

MIB = 1 << 20
PIECE = random.Random(7).randbytes(1 << 18)
"""Incompressible, and cheap to send again."""

LONG_PUSH_BYTES = int(os.environ.get("CONNET_TRIO_PUSH_MIB", "0")) * MIB
"""How much to push past a stalled reader; unless set, what `PUSH_SECONDS` allow, and at most 200 MiB."""
PUSH_SECONDS = 4.0

STUCK_SECONDS = 1.5
"""Without progress for so long, a sender is held back."""

ALLOWED_GROWTH = 16 * MIB
"""For each stream."""
STALLED = 8

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def target_service(site: LocalSite, handler: Handler) -> AsyncIterator[None]:
    """The service that the destination leads to, in this process."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, handler, site.target, host="127.0.0.1"))
        yield
        nursery.cancel_scope.cancel()


async def answer_digest(stream: trio.SocketStream) -> None:
    """Answer a whole stream with its digest."""
    digest = hashlib.sha256()
    async for data in stream:
        digest.update(data)
    await stream.send_all(digest.hexdigest().encode())
    await stream.send_eof()


class Push:
    """A sender: at the end, `digest` is what the other side should have got."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.sent = 0
        self.deadline = math.inf
        """When to stop sending."""
        self._sent_more = trio.Event()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    async def run(self, wants_more: Callable[[], bool]) -> None:
        while wants_more():
            await self._stream.send_all(PIECE)
            self._digest.update(PIECE)
            self.sent += len(PIECE)
            self._sent_more.set()
            self._sent_more = trio.Event()
        await self._stream.send_eof()

    async def wait_sent(self, count: int) -> None:
        """Wait until `count` bytes are on their way."""
        while self.sent < count:
            await self._sent_more.wait()

    async def wait_stuck(self) -> None:
        """Wait until it has made no progress for `STUCK_SECONDS`."""
        since, sent = trio.current_time(), self.sent
        while trio.current_time() < since + STUCK_SECONDS:
            await trio.sleep(0.05)
            if self.sent > sent:
                since, sent = trio.current_time(), self.sent


async def transfer(site: LocalSite, count: int) -> None:
    """Send `count` bytes through the source, and compare what the target says of them."""
    async with await trio.open_tcp_stream("127.0.0.1", site.source) as stream:
        push = Push(stream)
        await push.run(lambda: push.sent < count)
        assert await whole(stream) == push.digest


async def whole(stream: trio.SocketStream) -> str:
    return b"".join([data async for data in stream]).decode()


class Memory:
    """How much each process has grown, at most, since this was made."""

    def __init__(self, processes: Processes) -> None:
        self._services = {"server": processes.server, "destination": processes.destination, "source": processes.source}
        self._before = {name: service.resident_bytes() for name, service in self._services.items()}
        self.growth = dict.fromkeys(self._services, 0)

    async def watch(self) -> None:
        """Look ten times a second, for ever."""
        while True:
            for name, service in self._services.items():
                self.growth[name] = max(self.growth[name], service.resident_bytes() - self._before[name])
            await trio.sleep(0.1)

    def check(self, streams: int = 1) -> None:
        allowed = streams * ALLOWED_GROWTH
        assert {name: growth for name, growth in self.growth.items() if growth > allowed} == {}


@pytest.mark.parametrize("separate_relay", [False, True], ids=["server", "control and relay"])
async def test_a_transfer_over_the_relay_arrives_whole(site: LocalSite, separate_relay: bool) -> None:
    with trio.fail_after(60):
        async with (
            site.open_relayed(separate_relay=separate_relay) as processes,
            target_service(site, answer_digest),
        ):
            await transfer(site, 4 * MIB)
            page = await status_of(processes.source)
            (peer,) = page["sources"]["serviceA"]["peers"].values()
            assert (page["status"], peer["path"]) == ("connected", "relay")
            assert page["sources"]["serviceA"]["bytes-out"] == 4 * MIB
            offered = (await status_of(processes.destination))["destinations"]["serviceA"]
            assert offered["bytes-in"] == 4 * MIB
            relay = await relay_page(processes)
            assert relay["bytes-forwarded"] >= 4 * MIB
            assert relay["handler-errors"] == 0
            assert [await service.stop() for service in reversed(processes.all)] == [0] * len(processes.all)


async def relay_page(processes: Processes) -> dict[str, Any]:
    """The relay's page, after a look at control's."""
    if processes.relay is None:
        combined = await status_of(processes.server)
        assert set(combined) == {"control", "relay"}
        control, relay = combined["control"], combined["relay"]
    else:
        control, relay = await status_of(processes.server), await status_of(processes.relay)
    assert (len(control["clients"]), len(control["relays"])) == (2, 1)
    assert set(control["endpoints"]) == set(relay["endpoints"]) == {"serviceA"}
    return dict(relay)


@pytest.mark.reliability(line=19)
async def test_a_reader_that_stops_costs_no_memory_and_loses_nothing(engine_site: LocalSite) -> None:
    resume = trio.Event()

    async def answer_late(stream: trio.SocketStream) -> None:
        if not resume.is_set():
            await resume.wait()
        await answer_digest(stream)

    with trio.fail_after(40 + LONG_PUSH_BYTES / (2 * MIB)):
        async with (
            engine_site.open_relayed() as processes,
            target_service(engine_site, answer_late),
            trio.open_nursery() as nursery,
        ):
            resume.set()
            await transfer(engine_site, 2 * MIB)  # what any transfer allocates is there before memory is looked at
            resume = trio.Event()
            memory = Memory(processes)
            nursery.start_soon(memory.watch)
            async with await trio.open_tcp_stream("127.0.0.1", engine_site.source) as stream:
                push = Push(stream)
                nursery.start_soon(push.run, lambda: wants_more(push))
                await push.wait_stuck()
                stuck_at = push.sent
                push.deadline = trio.current_time() + PUSH_SECONDS
                resume.set()
                assert await whole(stream) == push.digest
            assert push.sent > stuck_at
            memory.check()
            nursery.cancel_scope.cancel()


def wants_more(push: Push) -> bool:
    if LONG_PUSH_BYTES:
        return push.sent < LONG_PUSH_BYTES
    return push.sent < 200 * MIB and trio.current_time() < push.deadline


@pytest.mark.reliability(line=19)
async def test_eight_readers_that_stop_cost_little_and_hold_up_nobody_else(engine_site: LocalSite) -> None:
    stalled = 0

    async def answer_all_but_the_first(stream: trio.SocketStream) -> None:
        nonlocal stalled
        if stalled < STALLED:
            stalled += 1
            await trio.sleep_forever()
        await answer_digest(stream)

    with trio.fail_after(60):
        async with (
            engine_site.open_relayed() as processes,
            target_service(engine_site, answer_all_but_the_first),
            trio.open_nursery() as nursery,
        ):
            memory = Memory(processes)
            nursery.start_soon(memory.watch)
            async with AsyncExitStack() as opened:
                pushes = []
                for _ in range(STALLED):
                    stream = await trio.open_tcp_stream("127.0.0.1", engine_site.source)
                    pushes.append(Push(await opened.enter_async_context(stream)))
                    nursery.start_soon(pushes[-1].run, lambda: True)
                for push in pushes:
                    await push.wait_stuck()
                await transfer(engine_site, 16 * MIB)  # more than any window has left
                memory.check(STALLED)
                nursery.cancel_scope.cancel()


@pytest.mark.reliability(line=20)
async def test_a_writer_to_a_dead_destination_costs_no_memory(engine_site: LocalSite) -> None:
    with trio.fail_after(40):
        async with (
            engine_site.open_relayed() as processes,
            target_service(engine_site, answer_digest),
            trio.open_nursery() as nursery,
        ):
            await transfer(engine_site, 2 * MIB)
            memory = Memory(processes)
            nursery.start_soon(memory.watch)
            async with await trio.open_tcp_stream("127.0.0.1", engine_site.source) as stream:
                push = Push(stream)
                nursery.start_soon(push.run, lambda: True)
                await push.wait_sent(MIB)
                processes.destination.send_signal(signal.SIGSTOP)
                await push.wait_stuck()
                memory.check()
                nursery.cancel_scope.cancel()
