"""Clients that may have only so many files open, and are asked for far more connections than that."""

import resource
import sys
from contextlib import AsyncExitStack, suppress

import pytest
import trio

from connet_trio.testing.local_site import LocalSite
from connet_trio.testing.processes import ServiceProcess, status_of
from tests.processes.test_processes_transfer import target_service

FILES_OF_SOURCE, FILES_OF_DESTINATION = 256, 64
"""The destination gets no more streams at once than its connections allow, so few files it has to have too."""
DIALS = 1000
MEANWHILE_SECONDS = 5.0
"""In which others are served meanwhile, on a busy machine."""
RELIEF_SECONDS = 1.0


async def echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


async def is_echoed(stream: trio.SocketStream, data: bytes) -> bool:
    """Whether `data` comes back; not if the connection ends first."""
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)
        return await stream.receive_some() == data
    return False


def may_open(service: ServiceProcess, files: int) -> None:
    """From now on it may have so many open, and cannot allow itself more."""
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (files, files))


@pytest.fixture
def many_files() -> None:
    """This process holds the other ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3 * DIALS:
        if hard != resource.RLIM_INFINITY and hard < 3 * DIALS:
            pytest.skip(f"this machine allows only {hard} open files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 * DIALS, hard))


@pytest.mark.reliability(line=17)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes the limits of a process that runs")
@pytest.mark.usefixtures("many_files")
async def test_a_thousand_dials_beyond_what_may_be_open_are_refused_and_hold_up_nobody(site: LocalSite) -> None:
    with trio.fail_after(60):
        async with site.open_relayed() as processes, target_service(site, echo), AsyncExitStack() as stack:
            print()
            may_open(processes.source, FILES_OF_SOURCE)
            may_open(processes.destination, FILES_OF_DESTINATION)
            first = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", site.source))
            assert await is_echoed(first, b"before")
            async with AsyncExitStack() as dialled:
                refused = await dial_many(site, dialled)
                assert DIALS - FILES_OF_SOURCE <= refused < DIALS
                with trio.fail_after(MEANWHILE_SECONDS):
                    assert await is_echoed(first, b"meanwhile")
                    assert (await status_of(processes.source))["status"] == "connected"
                    assert (await status_of(processes.destination))["status"] == "connected"
            with trio.fail_after(RELIEF_SECONDS):
                await wait_served(site)
            assert await is_echoed(first, b"after")
            for service in (processes.source, processes.destination):
                lines = [line for line in service.lines if "files" in line]
                assert 1 <= len(lines) <= 3, lines
                assert "LimitNOFILE" in lines[0]
                assert not [line for line in service.lines if "Traceback" in line]
                assert await service.stop() == 0


async def dial_many(site: LocalSite, stack: AsyncExitStack) -> int:
    """Dial `DIALS` times, and hold what stands for as long as `stack` does; how many were refused, once that many are.

    Those that are neither refused nor served wait for their turn.
    """
    refused = 0

    async def dial() -> None:
        nonlocal refused
        try:
            stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", site.source))
            answered = await is_echoed(stream, b"hello")
        except OSError:  # reset before this task has looked at it
            answered = False
        refused += not answered
        if refused == DIALS - FILES_OF_SOURCE:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for _ in range(DIALS):
            nursery.start_soon(dial)
    return refused


async def wait_served(site: LocalSite) -> None:
    """Dial until a connection is served."""
    while True:
        async with await trio.open_tcp_stream("127.0.0.1", site.source) as stream:
            if await is_echoed(stream, b"again"):
                return
        await trio.sleep(0.05)
