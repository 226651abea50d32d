"""A control server whose store has suffered meanwhile starts, says so, and has lost no more than it must."""

import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from connet_trio.client import open_client
from connet_trio.control.snapshot import SAVE_PAUSE_SECONDS
from connet_trio.quic.authentication import MAX_METADATA_BYTES
from connet_trio.records.model import Route
from connet_trio.store.database import DATABASE_NAME
from connet_trio.testing.local_site import LocalSite
from connet_trio.testing.processes import ServiceProcess, status_of
from tests.processes.test_processes_restarts import client_settings

NAME = "kept"
PAGE_BYTES = 4096
SMALL_DISK_BYTES = 10_000
"""Less than SQLite wants beside a database; what is on the disk already stays there."""


@asynccontextmanager
async def control_on(site: LocalSite) -> AsyncIterator[ServiceProcess]:
    async with site.open("control", "--config", "control.toml") as control:
        with trio.fail_after(20):
            await control.wait_line("is up")
        yield control
        assert [line for line in control.lines if "Traceback" in line] == []


@contextmanager
def small_disk() -> Iterator[None]:
    """Processes started now find no room on the disk, nor does this one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@asynccontextmanager
async def registered_client(site: LocalSite) -> AsyncIterator[None]:
    """Somebody who has announced an endpoint that takes some room."""
    async with open_client(client_settings(site, metadata="x" * MAX_METADATA_BYTES)) as client:
        await client.add_destination(NAME, route=Route.DIRECT)
        yield


def database_of(site: LocalSite) -> Path:
    return site.directory / "state" / "connet-trio" / "control" / DATABASE_NAME


def identity(page: dict[str, Any]) -> str:
    return str(page["relay-server-id"])


@pytest.mark.reliability(line=16)
async def test_a_store_that_suffered_costs_no_more_than_what_suffered(site: LocalSite) -> None:
    database = database_of(site)
    with trio.fail_after(90):
        async with control_on(site) as control:
            before = identity(await status_of(control))
            async with registered_client(site):
                await trio.sleep(2 * SAVE_PAUSE_SECONDS)
                control.kill_group()  # so that what it knows is in the journal

        # the last record is half written: no more than that is lost
        journal = database.with_name(DATABASE_NAME + "-wal")
        with journal.open("r+b") as file:
            file.truncate(journal.stat().st_size - PAGE_BYTES // 2)
        async with control_on(site) as control:
            assert identity(await status_of(control)) == before
            async with registered_client(site):
                assert await control.stop() == 0

        # the disk is full: nothing is lost
        with small_disk():
            async with control_on(site) as control:
                await control.wait_line("can be read and not be written")
                page = await status_of(control)
                assert (identity(page), list(page["endpoints"])) == (before, [NAME])
                assert await control.stop() == 0

        # a page is damaged: what lay there is lost
        with database.open("r+b") as file:
            file.seek(database.stat().st_size - PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)
        async with control_on(site) as control:
            await control.wait_line("of its records could be read and are kept")
            page = await status_of(control)
            assert (identity(page), list(page["endpoints"])) == (before, [])
            assert await control.stop() == 0
