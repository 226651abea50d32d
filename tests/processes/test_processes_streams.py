"""Streams that are opened and reset as fast as their credit allows, at control and at a relay.

The suite opens a tenth of what the figure is meant for; `CONNET_TRIO_STREAMS=10000` opens all of it.
"""

import os
from functools import partial

import pytest
import trio

from connet_trio.client import Client, open_client
from connet_trio.quic import Connection
from connet_trio.records.model import Route
from connet_trio.testing.local_site import LocalSite
from connet_trio.testing.processes import status_of
from tests.processes.test_processes_floods import Growth
from tests.processes.test_processes_restarts import client_settings
from tests.processes.test_processes_transfer import MIB, answer_digest, target_service, transfer

STREAMS = int(os.environ.get("CONNET_TRIO_STREAMS", "1000"))
AT_ONCE = 50
ALLOWED_GROWTH = 4 * MIB + 16 * MIB * STREAMS // 10_000
"""What `AT_ONCE` of them may hold, and what may be left of each."""


async def flood(connection: Connection, count: int) -> None:
    """Open so many streams, half a record on each, and give each up at once."""
    for _ in range(count):
        stream = await connection.open_stream()
        await stream.send_all(b"\0")
        stream.abort()


def connection_to(client: Client, port: int) -> Connection:
    (connection,) = (each for each in client._transport.connections if each.remote_address.port == port)
    return connection


@pytest.mark.reliability(line=21)
async def test_streams_opened_and_reset_at_once_cost_hardly_any_memory(site: LocalSite) -> None:
    with trio.fail_after(40 + STREAMS / 25):
        async with (
            site.open_relayed() as processes,
            target_service(site, answer_digest),
            open_client(client_settings(site)) as client,
        ):
            source = await client.add_source("serviceA", route=Route.RELAY)
            await source.wait_reachable()
            await transfer(site, 2 * MIB)
            grown = {}
            for victim, port in (("control", site.control), ("relay", site.relay)):
                connection = connection_to(client, port)
                await flood(connection, 2 * AT_ONCE)  # what the first of them allocate is there before memory is read
                growth = Growth(processes.server)
                async with trio.open_nursery() as watch:
                    watch.start_soon(growth.watch)
                    async with trio.open_nursery() as nursery:
                        for _ in range(AT_ONCE):
                            nursery.start_soon(partial(flood, connection, STREAMS // AT_ONCE))
                    await transfer(site, MIB)
                    watch.cancel_scope.cancel()
                grown[victim] = growth.take()
                assert not connection.is_closed
            assert {victim: bytes_ for victim, bytes_ in grown.items() if bytes_ > ALLOWED_GROWTH} == {}
            assert (await status_of(processes.server))["relay"]["handler-errors"] == 0
            assert await processes.server.stop() == 0
            assert [line for line in processes.server.lines if "Traceback" in line] == []
