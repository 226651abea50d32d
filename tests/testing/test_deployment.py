"""Deployments place clients behind NATs, and tell how they are reached."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from connet_trio.engine import InterfaceAddress
from connet_trio.errors import Refused
from connet_trio.quic import QuicEngine
from connet_trio.records.model import Route
from connet_trio.records.status import PathStyle, Status
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CLIENT_PORT,
    CONTROL_HOST,
    Deployment,
    echo_stream,
    exchange,
    paths_of,
    simulated_deployment,
    simulated_surroundings,
)
from connet_trio.testing.nat import FIREWALL, OPEN, PORT_RESTRICTED, SYMMETRIC, NatBehavior
from connet_trio.testing.network import Link, Sighting


def simulate(scenario: Callable[[Deployment], Awaitable[None]]) -> None:
    async def run() -> None:
        async with simulated_deployment(link=Link(delay=0.01)) as deployment:
            await scenario(deployment)

    run_simulated(run, seed=1)


@pytest.mark.parametrize(
    ("behind", "own", "seen"),
    [
        (OPEN, "203.0.113.1/32", "203.0.113.1"),
        (PORT_RESTRICTED, "10.0.1.2/24", "198.18.0.1"),
        (FIREWALL, "198.19.1.2/24", "198.19.1.2"),
    ],
)
def test_a_client_is_seen_by_control_from_where_its_nat_puts_it(
    behind: NatBehavior | None, own: str, seen: str
) -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client(behind=behind)
        host = deployment.host_of(client)
        *_, interface = host.interfaces()
        assert isinstance(interface, InterfaceAddress)
        assert f"{interface.address}/{interface.prefix_bits}" == own
        assert deployment.clients == (client,)
        assert (host.router is None) is (behind is OPEN)
        (known,) = deployment.control.status().clients.values()
        assert known.address == f"{seen}:{CLIENT_PORT}"

    simulate(scenario)


def test_clients_of_one_site_are_neighbors_and_sites_may_be_in_series() -> None:
    async def scenario(deployment: Deployment) -> None:
        carrier = deployment.add_site(PORT_RESTRICTED)
        home = deployment.add_site(PORT_RESTRICTED, behind=carrier)
        clients = [await deployment.add_client(behind=home) for _ in range(2)]
        addresses = [str(deployment.host_of(client).interfaces()[-1].address) for client in clients]
        assert addresses == ["10.0.2.2", "10.0.2.3"]
        assert (str(carrier.address), str(home.address)) == ("198.18.0.1", "10.0.1.2")
        seen = {known.address.rpartition(":")[0] for known in deployment.control.status().clients.values()}
        assert seen == {"198.18.0.1"}

    simulate(scenario)


def test_a_client_runs_on_a_host_that_is_given_and_that_is_where_it_is() -> None:
    async def scenario(deployment: Deployment) -> None:
        host = deployment.network.host("203.0.113.50", "2001:db8::50")
        assert deployment.host_of(await deployment.add_client(host)) is host
        with pytest.raises(ValueError, match="is where it is"):
            await deployment.add_client("203.0.113.51", behind=PORT_RESTRICTED)
        async with deployment.open_client("203.0.113.52") as client:
            assert len(deployment.clients) == 2
        assert client not in deployment.clients

    simulate(scenario)


def test_services_see_the_interfaces_of_their_host_as_they_are_now() -> None:
    async def scenario(deployment: Deployment) -> None:
        host = deployment.network.host("203.0.113.50")
        surroundings = simulated_surroundings(deployment.network, host, 0)
        assert surroundings.interfaces is not None
        assert surroundings.interfaces()[-1].address == host.interfaces()[-1].address
        host.set_addresses("203.0.113.51")
        assert str(surroundings.interfaces()[-1].address) == "203.0.113.51"

    simulate(scenario)


def test_a_pair_behind_nats_works_through_the_relay_and_says_so() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(
            route=Route.RELAY, destination_behind=SYMMETRIC, source_behind=PORT_RESTRICTED
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            assert await exchange(await source.dial(), b"through") == b"through"
            nursery.cancel_scope.cancel()
        offering, using = deployment.clients
        for client in (offering, using):
            paths = paths_of(client, "echo")
            assert list(paths.selected.values()) == [PathStyle.RELAY]
            assert not paths.is_direct
            assert paths.bytes_in.keys() == paths.bytes_out.keys() == {PathStyle.RELAY}
            assert paths.bytes_in[PathStyle.RELAY] >= len(b"through") <= paths.bytes_out[PathStyle.RELAY]
        with pytest.raises(KeyError):
            paths_of(using, "other")

    simulate(scenario)


def test_an_endpoint_without_peers_is_not_reached_directly() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        await client.add_source("lonely", route=Route.DIRECT)
        assert not paths_of(client, "lonely").is_direct

    simulate(scenario)


def test_a_client_that_moves_to_another_network_comes_back_to_control() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client(behind=PORT_RESTRICTED)
        deployment.host_of(client).change_uplink(deployment.add_site(SYMMETRIC), "192.168.1.7")
        await trio.sleep(60)
        assert client.status().status is Status.CONNECTED
        deployment.network.cut(deployment.host_of(client), CONTROL_HOST)
        await trio.sleep(60)
        assert client.status().status is Status.RECONNECTING

    simulate(scenario)


@pytest.mark.parametrize("engine", QuicEngine)
def test_the_same_seed_replays_the_same_trace(engine: QuicEngine) -> None:
    async def scenario() -> list[Sighting]:
        link = Link(delay=0.01, jitter=0.003, loss=0.02, duplication=0.01, reordering=0.01)
        async with simulated_deployment(seed=8, link=link, trace_limit=10_000, quic_engine=engine) as deployment:
            destination, source = await deployment.add_pair(
                route=Route.ANY, destination_behind=PORT_RESTRICTED, source_behind=SYMMETRIC
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
                assert await exchange(await source.dial(), bytes(50_000)) == bytes(50_000)
                await trio.sleep(30)
                nursery.cancel_scope.cancel()
            return list(deployment.network.trace)

    first, second = (run_simulated(scenario, seed=8) for _ in range(2))
    assert len(first) > 300
    assert first == second


def test_clients_may_be_added_within_nurseries_that_end_before_the_deployment() -> None:
    async def scenario(deployment: Deployment) -> None:
        async with trio.open_nursery() as nursery:
            destination, source = await deployment.add_pair()
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            assert await exchange(await source.dial(), b"within") == b"within"
            nursery.cancel_scope.cancel()
        assert len(deployment.clients) == 2

    simulate(scenario)


def test_a_client_that_cannot_start_says_why() -> None:
    async def scenario(deployment: Deployment) -> None:
        with pytest.raises(Refused, match="token"):
            await deployment.add_client(token="another")
        assert not deployment.clients

    simulate(scenario)
