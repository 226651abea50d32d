"""A socket that dials itself: a client with both roles of one name is its own peer."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import ifaddr
import pytest
import trio

from connet_trio.engine import Candidate
from connet_trio.quic import Connection, NoAnswer, Stream, Transport, open_transport, open_udp_socket
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import open_network
from tests.quic.conftest import NEAR, RESET_KEY, dialing, listening, open_streams, wall_clock

SIMULATED, REAL, WILDCARD = "simulated", "real", "wildcard"
DATA = random.Random(5).randbytes(300_000)


@asynccontextmanager
async def open_socket(kind: str) -> AsyncIterator[DatagramSocket]:
    match kind:
        case "simulated":
            async with open_network("self") as network:
                yield network.socket(NEAR)
        case "real":
            yield await open_udp_socket(HostPort("127.0.0.1", 0))
        case _:
            yield await open_udp_socket(HostPort("", 0))


@asynccontextmanager
async def open_alone(kind: str) -> AsyncIterator[tuple[Transport, AddressPort]]:
    """One transport with a key for resets, and the address it can dial itself at."""
    async with (
        open_socket(kind) as socket,
        open_transport(socket, wall_clock=wall_clock, listening=listening(), reset_key=RESET_KEY) as transport,
    ):
        address = transport.local_address
        if kind == WILDCARD:
            address = AddressPort(ip_address("127.0.0.1"), address.port)
        yield transport, address


def run(kind: str, scenario: Callable[[Transport, AddressPort], Awaitable[Any]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(30):
            async with open_alone(kind) as (transport, address):
                await scenario(transport, address)

    if kind == SIMULATED:
        run_simulated(bounded, seed=0)
    else:
        trio.run(bounded)


async def connect(transport: Transport, address: AddressPort) -> tuple[Connection, Connection]:
    dialled = await transport.dial(address, dialing())
    return dialled, await transport.accept()


async def transfer(sender: Stream, receiver: Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_all, DATA)
        received = b""
        while len(received) < len(DATA):
            received += await receiver.receive_some()
    assert received == DATA


every_socket = pytest.mark.parametrize("kind", [SIMULATED, REAL, WILDCARD])


@every_socket
def test_a_transport_connects_to_itself(kind: str) -> None:
    async def scenario(transport: Transport, address: AddressPort) -> None:
        dialled, accepted = await connect(transport, address)
        assert dialled is not accepted
        assert dialled.remote_address == accepted.remote_address == address
        for opener, acceptor in ((dialled, accepted), (accepted, dialled)):
            ours, theirs = await open_streams(opener, acceptor)
            await transfer(ours, theirs)
            await transfer(theirs, ours)

    run(kind, scenario)


@every_socket
def test_the_close_of_one_end_ends_the_other_alone(kind: str) -> None:
    async def scenario(transport: Transport, address: AddressPort) -> None:
        first, second = await connect(transport, address), await connect(transport, address)
        first[0].close(9, "enough")
        lost = await first[1].wait_closed()
        assert (lost.code, lost.reason) == (9, "enough")
        second[1].close(8, "of you too")
        assert (await second[0].wait_closed()).code == 8

    run(kind, scenario)


def test_keepalives_probes_and_silence_work_between_the_two_ends() -> None:
    async def scenario(transport: Transport, address: AddressPort) -> None:
        dialled, accepted = await connect(transport, address)
        await trio.sleep(25)
        await transport.check_alive(1)
        assert dialled.is_established
        assert accepted.is_established

    async def run_long() -> None:
        async with open_alone(SIMULATED) as (transport, address):
            await scenario(transport, address)

    run_simulated(run_long, seed=0)


@every_socket
def test_an_end_that_is_forgotten_resets_the_other_and_nothing_else(kind: str) -> None:
    async def scenario(transport: Transport, address: AddressPort) -> None:
        bystander, _ = await connect(transport, address)
        for forgotten in (0, 1):
            ends = await connect(transport, address)
            await open_streams(*ends)
            # a listener learns of the dialer's reset tokens with its first packets after the handshake
            ends[forgotten].abandon("test")
            transport.mark(ends[forgotten])
            await trio.sleep(0.1)
            ends[1 - forgotten].probe()
            assert "restarted and forgotten" in str(await ends[1 - forgotten].wait_closed())
        assert bystander.is_established
        assert len(transport.connections) == 2

    run(kind, scenario)


def link_local() -> Candidate | None:
    """A link-local address of this machine, with its zone."""
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            if entry.is_IPv6 and ip_address(entry.ip[0]).is_link_local and adapter.index:
                return Candidate(AddressPort(ip_address(entry.ip[0]), 0), adapter.index)
    return None


def test_a_link_local_address_is_dialled_through_its_zone() -> None:
    place = link_local()
    if place is None:
        pytest.skip("this machine has no link-local IPv6 address")

    async def scenario(transport: Transport, address: AddressPort) -> None:
        there = AddressPort(place.address.address, address.port)
        dialled = await transport.dial(there, dialing(), zone=place.zone)
        accepted = await transport.accept()
        assert dialled.remote_address == accepted.remote_address == there
        await transfer(*await open_streams(dialled, accepted))
        assert len(accepted.core._network_paths) == 1
        with pytest.raises(NoAnswer, match=rf"^\[{there.address}%{place.zone + 1}\]:{there.port}: no answer"):
            await transport.dial(there, dialing(handshake_idle_seconds=0.1), zone=place.zone + 1)

    run(WILDCARD, scenario)


def test_nothing_is_left_of_it() -> None:
    async def scenario(transport: Transport, address: AddressPort) -> None:
        for _ in range(5):
            ends = await connect(transport, address)
            await open_streams(*ends)
            ends[0].close(0, "done")
        await trio.sleep(5)
        table = transport._table
        assert [table._by_id, table._ids, table._by_token, table._tokens] == [{}, {}, {}, {}]

    run(SIMULATED, scenario)
