"""Two clients talk directly: the whole product in virtual time."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address

import attrs
import pytest
import trio

from connet_trio.client import ClientSettings, open_client
from connet_trio.endpoints import Destination, Source
from connet_trio.engine import InterfaceAddress
from connet_trio.errors import NoActivePeers
from connet_trio.records.model import HostPort, Route
from connet_trio.records.status import PathStyle, PeerStatus
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CLIENTS_PORT,
    CONTROL_HOST,
    TOKEN,
    Deployment,
    echo_stream,
    exchange,
    relay_bytes,
    simulated_deployment,
    simulated_surroundings,
)
from connet_trio.testing.network import Link

DESTINATION_HOST, SOURCE_HOST = "203.0.113.1", "203.0.113.2"
DIRECT = (PathStyle.INCOMING, PathStyle.OUTGOING)


def simulate(
    scenario: Callable[[Deployment], Awaitable[None]], *, seed: int = 1, relays: int = 1, link: Link | None = None
) -> None:
    """Run `scenario` on a deployment of its own."""

    async def run() -> None:
        async with simulated_deployment(seed=seed, relays=relays, link=link or Link(delay=0.01)) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0
            assert all(relay.status().handler_errors == 0 for relay in deployment.relays.values())

    run_simulated(run, seed=seed)


def the_peer(endpoint: Source | Destination) -> PeerStatus:
    [peer] = endpoint.log.status().peers.values()
    return peer


async def wait_path(endpoint: Source | Destination, *styles: PathStyle) -> float:
    """Wait until the one peer of `endpoint` is reached in one of these ways; returns the time."""
    while True:
        peers = list(endpoint.log.status().peers.values())
        if peers and peers[0].path in styles:
            return trio.current_time()
        await trio.sleep(0.01)


def serving(destination: Destination) -> Callable[[], Awaitable[None]]:
    return partial(trio.serve_listeners, echo_stream, [destination])


def test_bytes_go_directly_and_not_through_the_relay() -> None:
    async def scenario(deployment: Deployment) -> None:
        data = random.Random(1).randbytes(300_000)
        destination, source = await deployment.add_pair(route=Route.ANY)
        await wait_path(source, *DIRECT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            assert await exchange(await source.dial(), data) == data
            nursery.cancel_scope.cancel()
        assert relay_bytes(deployment) == {1: 0}
        carried = [connection for connection in the_peer(source).connections if connection.style in DIRECT]
        assert sum(connection.bytes_in for connection in carried) >= len(data)

    simulate(scenario)


@pytest.mark.reliability(line=3)
def test_the_relay_serves_within_four_round_trips_and_the_direct_path_stands_within_two_seconds() -> None:
    round_trip = 0.05

    async def scenario(deployment: Deployment) -> None:
        await (await deployment.add_client()).add_destination("db")
        client = await deployment.add_client()
        await trio.sleep(5)
        began = trio.current_time()
        source = await client.add_source("db")
        announced = trio.current_time()
        await source.wait_reachable()
        assert trio.current_time() - announced <= 4 * round_trip + 0.01
        assert await wait_path(source, *DIRECT) - began <= 2.0

    simulate(scenario, link=Link(delay=round_trip / 2))


def test_each_side_dials_and_both_connections_are_kept() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(route=Route.DIRECT)
        await trio.sleep(2)
        for endpoint in (destination, source):
            assert [connection.style for connection in the_peer(endpoint).connections] == list(DIRECT)
        await trio.sleep(120)  # neither is lost while nothing happens
        assert [connection.style for connection in the_peer(source).connections] == list(DIRECT)

    simulate(scenario, relays=0)


def test_a_direct_route_says_why_a_peer_behind_a_relay_alone_is_not_reached() -> None:
    async def scenario(deployment: Deployment) -> None:
        await (await deployment.add_client()).add_destination("db", route=Route.RELAY)
        source = await (await deployment.add_client()).add_source("db", route=Route.DIRECT)
        await trio.sleep(5)
        assert the_peer(source).path is None
        assert the_peer(source).why == (
            "directly: it announces no address to dial; through a relay: our route is direct"
        )
        with pytest.raises(NoActivePeers):
            await source.dial()

    simulate(scenario)


@pytest.mark.reliability(line=4)
def test_new_streams_work_within_seven_seconds_after_the_direct_path_is_cut() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(route=Route.ANY)
        await wait_path(source, *DIRECT)
        await trio.sleep(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            deployment.network.cut(DESTINATION_HOST, SOURCE_HOST)
            began = trio.current_time()
            assert await exchange(await source.dial(), b"x") == b"x"
            assert trio.current_time() - began <= 7
            await wait_path(source, PathStyle.RELAY)
            assert trio.current_time() - began <= 7
            assert "not directly" in the_peer(source).why
            nursery.cancel_scope.cancel()

    simulate(scenario)


@pytest.mark.reliability(line=4)
def test_a_cut_is_noticed_within_seven_seconds_without_any_stream() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(route=Route.ANY)
        await wait_path(source, *DIRECT)
        await trio.sleep(60)
        deployment.network.cut(DESTINATION_HOST, SOURCE_HOST)
        began = trio.current_time()
        assert await wait_path(source, PathStyle.RELAY) - began <= 7
        assert await wait_path(destination, PathStyle.RELAY) - began <= 7

    simulate(scenario)


@pytest.mark.parametrize("seconds", [4, 10, 60, 600])
def test_a_path_that_was_cut_is_direct_again_within_fifteen_seconds(seconds: float) -> None:
    async def scenario(deployment: Deployment) -> None:
        _, source = await deployment.add_pair(route=Route.ANY)
        await wait_path(source, *DIRECT)
        deployment.network.cut(DESTINATION_HOST, SOURCE_HOST)
        await trio.sleep(seconds)
        deployment.network.heal(DESTINATION_HOST, SOURCE_HOST)
        began = trio.current_time()
        assert await wait_path(source, *DIRECT) - began <= 15

    simulate(scenario)


def test_a_stream_outlives_a_cut_after_which_its_connection_is_no_path_any_more() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(route=Route.ANY)
        await wait_path(source, *DIRECT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            stream = await source.dial()
            await stream.send_all(b"before")
            assert await stream.receive_some() == b"before"
            deployment.network.cut(DESTINATION_HOST, SOURCE_HOST)
            await wait_path(source, PathStyle.RELAY)
            deployment.network.heal(DESTINATION_HOST, SOURCE_HOST)
            await wait_path(source, *DIRECT)
            await stream.send_all(b"after")
            assert await stream.receive_some() == b"after"
            nursery.cancel_scope.cancel()

    simulate(scenario)


@pytest.mark.reliability(line=7)
def test_of_thirty_two_addresses_thirty_may_be_dead() -> None:
    dead = [IPv4Address("192.0.2.100") + number for number in range(30)]
    fakes = tuple(
        InterfaceAddress(address=address, prefix_bits=24, interface=f"eth{number}", index=number + 2)
        for number, address in enumerate([*dead, IPv4Address(DESTINATION_HOST)])
    )

    async def scenario(deployment: Deployment) -> None:
        surroundings = attrs.evolve(
            simulated_surroundings(deployment.network, DESTINATION_HOST, 1), interfaces=lambda: fakes
        )
        settings = ClientSettings(
            token=TOKEN,
            server=HostPort(CONTROL_HOST, CLIENTS_PORT),
            server_roots=(deployment.credential.der,),
            quic_engine=deployment.quic_engine,
        )
        consumer = await deployment.add_client(SOURCE_HOST)
        async with open_client(settings, surroundings=surroundings) as client:
            await client.add_destination("db", route=Route.DIRECT)
            source = await consumer.add_source("db", route=Route.DIRECT)
            announced = trio.current_time()
            assert await wait_path(source, PathStyle.OUTGOING) - announced <= 5
            assert len(the_peer(source).direct_addresses) >= 31

    simulate(scenario, relays=0)


def test_a_client_with_both_roles_of_a_name_reaches_itself() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        destination = await client.add_destination("db", route=Route.DIRECT)
        source = await client.add_source("db", route=Route.DIRECT)
        await wait_path(source, *DIRECT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            assert await exchange(await source.dial(), b"to myself") == b"to myself"
            nursery.cancel_scope.cancel()

    simulate(scenario, relays=0)


def test_direct_paths_and_their_streams_never_notice_that_control_is_away() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(route=Route.DIRECT)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            stream = await source.dial()
            for host in (DESTINATION_HOST, SOURCE_HOST):
                deployment.network.cut(CONTROL_HOST, host)
            for _ in range(30):
                await stream.send_all(b"ping")
                assert await stream.receive_some() == b"ping"
                assert await exchange(await source.dial(), b"new") == b"new"
                await trio.sleep(5)
            assert {connection.style for connection in the_peer(source).connections} == set(DIRECT)
            nursery.cancel_scope.cancel()

    simulate(scenario, relays=0)


def test_an_endpoint_that_is_withdrawn_is_gone_at_once() -> None:
    async def scenario(deployment: Deployment) -> None:
        source = await (await deployment.add_client()).add_source("db", route=Route.DIRECT)
        async with deployment.open_client() as offering:
            await offering.add_destination("db", route=Route.DIRECT)
            await wait_path(source, *DIRECT)
        await trio.sleep(0.5)
        assert not source.log.status().peers
        assert not source.active.value

    simulate(scenario, relays=0)


def test_a_destination_that_was_killed_and_is_back_is_reached_directly_again() -> None:
    async def scenario(deployment: Deployment) -> None:
        source = await (await deployment.add_client(SOURCE_HOST)).add_source("db", route=Route.DIRECT)
        async with deployment.open_client(DESTINATION_HOST) as offering:
            await offering.add_destination("db", route=Route.DIRECT)
            await wait_path(source, *DIRECT)
            for host in (SOURCE_HOST, CONTROL_HOST):
                deployment.network.cut(DESTINATION_HOST, host)  # no goodbye gets out
        for host in (SOURCE_HOST, CONTROL_HOST):
            deployment.network.heal(DESTINATION_HOST, host)
        back = trio.current_time()
        destination = await (await deployment.add_client(DESTINATION_HOST)).add_destination("db", route=Route.DIRECT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            await wait_path(destination, *DIRECT)
            assert await exchange(await source.dial(), b"x") == b"x"
            assert trio.current_time() - back <= 15
            nursery.cancel_scope.cancel()

    simulate(scenario, relays=0)
