"""A control server as a whole: its life, its status, and what it knows after a restart (protocol sections 13, 14)."""

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.control import ControlServer, open_control, run_control
from connet_trio.engine import NetworkRule, parse_networks
from connet_trio.errors import BindFailed, DialFailed, StoreError
from connet_trio.identity import PinnedServer
from connet_trio.quic import Dialing
from connet_trio.records.control import Peers
from connet_trio.records.model import Role
from connet_trio.records.status import ControlClientStatus, IngressStatus, Restrictions, to_json
from connet_trio.store import run_inline
from connet_trio.wire import protocol_names

LONELY = Peers()


async def test_the_status_tells_everything(lab: Any, autojump_clock: MockClock) -> None:
    (ingress,) = lab.settings().client_ingresses
    networks = NetworkRule(allow=parse_networks(["192.0.2.0/24"]), deny=parse_networks(["192.0.2.255"]))
    server = await lab.start(client_ingresses=(attrs.evolve(ingress, networks=networks),))
    transport = await lab.transport()
    client = await lab.client(transport=transport, metadata="laptop")
    await (await client.ask(lab.announce())).receive()
    await lab.relay(metadata="near")
    await trio.sleep(1)
    status = server.status()
    (client_status,) = status.clients.values()
    (relay_status,) = status.relays.values()
    (destination,) = status.endpoints["db"].destinations
    assert status.build_version
    assert status.client_ingresses == (
        IngressStatus(
            address="192.0.2.1:19190",
            restrictions=Restrictions(allows=("192.0.2.0/24",), denies=("192.0.2.255/32",)),
        ),
    )
    assert status.relay_ingresses == (IngressStatus(address="192.0.2.1:19189"),)
    assert client_status == ControlClientStatus(
        id=destination.id, conn_id=destination.conn_id, address=str(transport.local_address), metadata="laptop"
    )
    assert (len(destination.id), len(destination.conn_id)) == (52, 52)
    assert status.endpoints["db"].sources == ()
    assert relay_status.metadata == "near"
    assert to_json(status)["relays"][relay_status.id]["hostport"] == ["relay.example:19191"]
    assert [str(address) for address in server.client_addresses + server.relay_addresses] == [
        "192.0.2.1:19190",
        "192.0.2.1:19189",
    ]
    assert (server.warnings, status.last_error, status.handler_errors) == ((), "", 0)


async def test_every_ingress_is_served(lab: Any, autojump_clock: MockClock) -> None:
    (ingress,) = lab.settings().client_ingresses
    other = attrs.evolve(ingress, address=attrs.evolve(ingress.address, port=0))
    server = await lab.start(client_ingresses=(other, ingress), relay_ingresses=())
    assert len(server.client_addresses) == 2
    assert server.relay_addresses == ()
    await lab.client()


async def test_another_certificate_is_shown_to_relays_that_connect_from_now_on(
    lab: Any, autojump_clock: MockClock
) -> None:
    server = await lab.start()
    relay = await lab.relay()
    server.replace_relay_credential(lab.identity(0).server)
    with pytest.raises(DialFailed, match="not the one announced"):
        await lab.relay()
    identity = lab.identity(0)
    trust = PinnedServer(identity.server.der, identity.name)
    transport = await lab.transport()
    dialing = Dialing(alpns=protocol_names(lab.RELAYS), trust=trust, server_name=identity.name)
    await transport.dial(server.relay_addresses[0], dialing)
    assert relay.connection.lost is None
    await lab.client()  # clients are shown what they were


async def test_draining_ends_every_session_and_lets_nobody_in(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    client, relay = await lab.client(), await lab.relay()
    silent = await lab.dial()
    await trio.sleep(1)
    began = trio.current_time()
    await server.drain()
    for connection in (client.connection, relay.connection, silent):
        lost = await connection.wait_closed()
        assert (lost.code, lost.reason) == (0, "connection closed")
    assert trio.current_time() - began < 1
    for kind in (lab.CLIENTS, lab.RELAYS):
        with pytest.raises(DialFailed, match="refuses connections"):
            await lab.dial(kind)
    await server.drain()


async def test_leaving_the_block_closes_the_sessions_and_gives_everything_back(
    lab: Any, autojump_clock: MockClock, living_tasks: Callable[[], int]
) -> None:
    transport = await lab.transport()
    before = living_tasks()
    for _ in range(2):
        async with lab.open_control():
            client = await lab.client(transport=transport)
            await (await client.ask(lab.announce())).receive()
        lost = await client.connection.wait_closed()
        assert (lost.code, lost.reason) == (0, "connection closed")
        assert living_tasks() == before


async def test_run_control_reports_its_server_and_ends_when_cancelled(lab: Any, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    server: ControlServer = await inner.start(_run, lab)
                    assert str(server.client_addresses[0]) == "192.0.2.1:19190"
                    await lab.client()
                    scope.cancel()
        nursery.cancel_scope.cancel()


async def _run(lab: Any, *, task_status: trio.TaskStatus[ControlServer]) -> None:
    await run_control(lab.settings(), surroundings=lab.surroundings(), task_status=task_status)


async def test_a_port_in_use_is_said_by_name_and_leaves_nothing_open(lab: Any, autojump_clock: MockClock) -> None:
    taken = lab.network.socket("192.0.2.1:19189")
    with pytest.raises(BindFailed, match=r"192\.0\.2\.1:19189"):
        async with lab.open_control():
            pytest.fail("it cannot have started")
    taken.close()
    await lab.start()


async def test_an_exception_of_the_block_comes_out_as_itself(lab: Any, autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with lab.open_control():
            raise ZeroDivisionError


async def test_after_an_orderly_restart_the_first_lists_are_those_from_before(
    lab: Any, autojump_clock: MockClock, store_directory: Path
) -> None:
    async with lab.open_control(store_directory=store_directory) as server:
        client = await lab.client()
        await (await client.ask(lab.announce(Role.DESTINATION, lab.peer(0)))).receive()
        relay = await lab.relay(metadata="near")
        await trio.sleep(0.1)
        before = server.status()
    async with lab.open_control(store_directory=store_directory) as server:
        assert server.status().control_id == before.control_id
        source = await lab.client()
        seeking = await source.ask(lab.announce(Role.SOURCE, lab.peer(1)))
        relays = await source.ask(lab.subscribe())
        (listed,) = (await seeking.receive()).peers
        assert (listed.id, listed.peer) == (before.endpoints["db"].destinations[0].id, lab.peer(0))
        (offered,) = (await relays.receive()).relays
        assert (offered.id, offered.metadata) == (next(iter(before.relays)), "near")
        # both come back, and stay
        again = await lab.client(reconnect_token=client.answer.reconnect_token)
        await (await again.ask(lab.announce(Role.DESTINATION, lab.peer(0)))).receive()
        await lab.relay(metadata="near", seed=10, reconnect_token=relay.answer.reconnect_token)
        await trio.sleep(60)
        assert list(server.status().relays) == [offered.id]
        assert [each.id for each in server.status().endpoints["db"].destinations] == [listed.id]


async def test_what_ends_while_draining_is_not_forgotten(
    lab: Any, autojump_clock: MockClock, store_directory: Path
) -> None:
    async with lab.open_control(store_directory=store_directory) as server:
        client = await lab.client()
        await (await client.ask(lab.announce())).receive()
        await lab.relay()
        await trio.sleep(5)
        await server.drain()
        await trio.sleep(50)
        assert server.status().relays == server.status().endpoints == {}
    server = await lab.start(store_directory=store_directory)
    assert len(server.status().relays) == len(server.status().endpoints) == 1


async def test_who_does_not_come_back_after_a_restart_is_forgotten_in_time(
    lab: Any, autojump_clock: MockClock, store_directory: Path
) -> None:
    async with lab.open_control(store_directory=store_directory):
        client = await lab.client()
        await (await client.ask(lab.announce())).receive()
        await lab.relay()
        await trio.sleep(2)
    async with lab.open_control(store_directory=store_directory) as server:
        await trio.sleep(29)
        assert len(server.status().relays) == len(server.status().endpoints) == 1
        await trio.sleep(2)
        assert server.status().relays == server.status().endpoints == {}
        await trio.sleep(2)
    async with lab.open_control(store_directory=store_directory) as server:
        assert server.status().relays == server.status().endpoints == {}


async def test_a_killed_server_has_forgotten_at_most_its_last_second(
    lab: Any, autojump_clock: MockClock, store_directory: Path, tmp_path: Path
) -> None:
    async with lab.open_control(store_directory=store_directory):
        client = await lab.client()
        await (await client.ask(lab.announce(name="one"))).receive()
        await (await client.ask(lab.announce(name="two"))).receive()
        await lab.relay()
        await trio.sleep(1.1)
        shutil.copytree(store_directory, tmp_path / "killed")
    server = await lab.start(store_directory=tmp_path / "killed")
    assert sorted(server.status().endpoints) == ["one", "two"]
    assert len(server.status().relays) == 1


class Failed(Exception):
    """Stands for whatever ends the program around a server."""


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_server_that_is_cancelled_or_ended_by_an_error_forgets_nothing(
    lab: Any, autojump_clock: MockClock, store_directory: Path, cancelled: bool
) -> None:
    with trio.CancelScope() as scope, suppress(Failed):
        async with lab.open_control(store_directory=store_directory):
            client = await lab.client()
            await (await client.ask(lab.announce(name="one"))).receive()
            await lab.relay()
            await trio.sleep(0.1)  # saved by now, and the next save is a second away
            await (await client.ask(lab.announce(name="two"))).receive()
            if not cancelled:
                raise Failed
            scope.cancel()
            await trio.sleep_forever()
    server = await lab.start(store_directory=store_directory)
    assert sorted(server.status().endpoints) == ["one", "two"]
    assert len(server.status().relays) == 1


async def test_no_relay_is_lost_because_control_is_cancelled(lab: Any, autojump_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        async with lab.open_control() as server:
            await lab.relay()
            await trio.sleep(2)
            scope.cancel()
            await trio.sleep_forever()
    assert len(server.status().relays) == 1  # or the last save could miss it, depending on which task ends first


async def test_a_client_that_comes_back_after_a_restart_counts_even_if_the_clock_was_set_back(
    lab: Any, autojump_clock: MockClock, store_directory: Path
) -> None:
    async with lab.open_control(store_directory=store_directory):
        client = await lab.client()
        await (await client.ask(lab.announce(Role.DESTINATION, lab.peer(0, port=1)))).receive()
    yesterday = lab.surroundings(wall_clock=lambda: 1_700_000_000.0)
    async with open_control(lab.settings(store_directory=store_directory), surroundings=yesterday):
        again = await lab.client(reconnect_token=client.answer.reconnect_token)
        await (await again.ask(lab.announce(Role.DESTINATION, lab.peer(0, port=2)))).receive()
        seeking = await (await lab.client()).ask(lab.announce(Role.SOURCE, lab.peer(1)))
        (listed,) = (await seeking.receive()).peers
        assert listed.peer == lab.peer(0, port=2)


async def test_without_expiry_no_endpoint_survives_a_restart(
    lab: Any, autojump_clock: MockClock, store_directory: Path
) -> None:
    async with lab.open_control(store_directory=store_directory):
        client = await lab.client()
        await (await client.ask(lab.announce())).receive()
    server = await lab.start(store_directory=store_directory, endpoint_expiry=None)
    assert server.status().endpoints == {}


async def test_a_snapshot_that_cannot_be_read_is_forgotten_with_a_warning(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(function: Callable[..., Any], *args: Any) -> Any:
        return b"\xff" if args == ("control/snapshot",) else await run_inline(function, *args)

    async with open_control(lab.settings(), surroundings=lab.surroundings(store_runner=run)) as server:
        await lab.client()
        assert server.status().endpoints == {}
    assert "of the last run are forgotten" in caplog.text


async def test_a_store_that_cannot_be_written_is_reported_once_and_stops_nobody(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    full = True

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        if full and function.__name__ == "put_made":
            await trio.lowlevel.checkpoint()
            raise StoreError("cannot write memory: disk full")
        return await run_inline(function, *args)

    async with open_control(lab.settings(), surroundings=lab.surroundings(store_runner=run)) as server:
        client = await lab.client()
        for name in ("one", "two"):
            assert await (await client.ask(lab.announce(name=name))).receive() == LONELY
            await trio.sleep(2)
        assert server.status().last_error == "cannot write memory: disk full"
        full = False
        assert await (await client.ask(lab.announce(name="three"))).receive() == LONELY
        await trio.sleep(2)
        assert server.status().last_error == ""
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "endpoints and relays would be forgotten by a restart: cannot write memory: disk full"
    ]
