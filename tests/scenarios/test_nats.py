"""Clients behind NATs of every kind: who reaches whom directly, and what becomes of that when a NAT forgets.

The rule is that of any tool without port prediction: direct unless one side's mapping depends on the destination and
the other side filters by port (RFC 4787 sections 4 and 5).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product

import pytest
import trio

from connet_trio.endpoints import Destination
from connet_trio.records.model import Route
from connet_trio.testing import (
    ADDRESS_RESTRICTED,
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    OPEN,
    PORT_RESTRICTED,
    SYMMETRIC,
    Dependence,
    Deployment,
    Link,
    NatBehavior,
    PortAllocation,
    paths_of,
    run_simulated,
    simulated_deployment,
)
from connet_trio.testing.deployment import echo_stream, exchange

KINDS: dict[str, NatBehavior | None] = {
    "open": OPEN,
    "full": FULL_CONE,
    "address": ADDRESS_RESTRICTED,
    "port": PORT_RESTRICTED,
    "symmetric": SYMMETRIC,
}
OTHERS: dict[str, NatBehavior | None] = {
    "address-symmetric": ADDRESS_SYMMETRIC,
    "firewall": FIREWALL,
    "random ports": NatBehavior(ports=PortAllocation.RANDOM),
}
DIRECT_SECONDS = 2.0


def simulate(
    scenario: Callable[[Deployment], Awaitable[None]], *, seed: int = 1, relays: int = 1, link: Link | None = None
) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=seed, relays=relays, link=link or Link(delay=0.0125)) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0

    run_simulated(run, seed=seed)


def serving(destination: Destination) -> Callable[[], Awaitable[None]]:
    return partial(trio.serve_listeners, echo_stream, [destination])


def can_be_direct(one: NatBehavior | None, other: NatBehavior | None) -> bool:
    def depends(nat: NatBehavior | None) -> bool:
        return nat is not None and nat.translates and nat.mapping is not Dependence.ENDPOINT_INDEPENDENT

    def filters_ports(nat: NatBehavior | None) -> bool:
        return nat is not None and nat.filtering is Dependence.ADDRESS_AND_PORT_DEPENDENT

    return not (depends(one) and filters_ports(other)) and not (depends(other) and filters_ports(one))


async def wait_direct(deployment: Deployment, name: str = "echo") -> None:
    """Wait until every client reaches its peer directly."""
    while True:
        if all(paths_of(client, name).is_direct for client in deployment.clients):
            return
        await trio.sleep(0.01)


@pytest.mark.reliability(line=1)
@pytest.mark.parametrize(
    ("destination_kind", "source_kind"),
    [*product(KINDS, KINDS), *product(OTHERS, ("open", "port")), ("port", "firewall"), ("firewall", "firewall")],
)
def test_every_pair_of_nats_is_connected_and_directly_wherever_that_is_possible(
    destination_kind: str, source_kind: str
) -> None:
    kinds = {**KINDS, **OTHERS}
    destination_nat, source_nat = kinds[destination_kind], kinds[source_kind]

    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(
            route=Route.ANY, destination_behind=destination_nat, source_behind=source_nat
        )
        offering, using = deployment.clients
        if can_be_direct(destination_nat, source_nat):
            with trio.fail_after(DIRECT_SECONDS):
                await wait_direct(deployment)
        else:
            await trio.sleep(30)
            assert not paths_of(using, "echo").is_direct
            assert not paths_of(offering, "echo").is_direct
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            assert await exchange(await source.dial(), b"x" * 10_000) == b"x" * 10_000
            nursery.cancel_scope.cancel()

    simulate(scenario)


@pytest.mark.reliability(line=2)
def test_two_clients_behind_one_nat_without_hairpinning_use_their_inside_addresses() -> None:
    async def scenario(deployment: Deployment) -> None:
        home = deployment.add_site(PORT_RESTRICTED)
        await deployment.add_pair(route=Route.ANY, destination_behind=home, source_behind=home)
        with trio.fail_after(DIRECT_SECONDS):
            await wait_direct(deployment)
        [peer] = deployment.clients[1].status().sources["echo"].peers.values()
        inside = {str(address) for address in deployment.clients[0].status().local_addresses}
        assert {path.address for path in peer.connections if path.style.value != "relay"} <= inside

    simulate(scenario)


@pytest.mark.reliability(line=1)
def test_two_homes_behind_one_carrier_grade_nat_that_hairpins_are_direct() -> None:
    async def scenario(deployment: Deployment) -> None:
        carrier = deployment.add_site(NatBehavior(filtering=Dependence.ENDPOINT_INDEPENDENT, hairpinning=True))
        homes = [deployment.add_site(PORT_RESTRICTED, behind=carrier) for _ in range(2)]
        await deployment.add_pair(route=Route.ANY, destination_behind=homes[0], source_behind=homes[1])
        with trio.fail_after(DIRECT_SECONDS):
            await wait_direct(deployment)

    simulate(scenario)


@pytest.mark.reliability(line=5)
@pytest.mark.long
@pytest.mark.parametrize("forgetful", ["destination", "source"])
@pytest.mark.parametrize("ports", PortAllocation)
def test_a_nat_that_forgets_every_thirty_seconds_breaks_no_stream_through_the_relay_and_direct_is_back_in_fifteen(
    forgetful: str, ports: PortAllocation
) -> None:
    async def scenario(deployment: Deployment) -> None:
        homes = [deployment.add_site(NatBehavior(ports=ports)) for _ in range(2)]
        relayed = await deployment.add_pair("relayed", destination_behind=homes[0], source_behind=homes[1])
        offering, using = deployment.clients
        destination = await offering.add_destination("echo")
        source = await using.add_source("echo")
        await source.wait_reachable()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(relayed[0]))
            nursery.start_soon(serving(destination))
            stream = await relayed[1].dial()
            for _ in range(20):
                homes[0 if forgetful == "destination" else 1].forget()
                for _ in range(15):
                    await stream.send_all(b"still here")
                    await trio.sleep(1)
                assert paths_of(using, "echo").is_direct
                assert paths_of(offering, "echo").is_direct
                for _ in range(15):
                    await stream.send_all(b"still here")
                    await trio.sleep(1)
            await stream.send_eof()
            answer = b"".join([chunk async for chunk in stream])
            assert answer == b"still here" * 600
            nursery.cancel_scope.cancel()

    simulate(scenario)


def test_a_client_that_moves_to_another_network_is_reached_directly_again_within_fifteen_seconds() -> None:
    async def scenario(deployment: Deployment) -> None:
        homes = [deployment.add_site(PORT_RESTRICTED) for _ in range(3)]
        destination, source = await deployment.add_pair(
            route=Route.ANY, destination_behind=homes[0], source_behind=homes[1]
        )
        await wait_direct(deployment)
        using = deployment.clients[1]
        before = using.status().stun_addresses
        deployment.host_of(using).change_uplink(homes[2], "192.168.77.5/24")
        await trio.sleep(15)
        assert paths_of(using, "echo").is_direct
        assert using.status().stun_addresses != before
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving(destination))
            assert await exchange(await source.dial(), b"moved") == b"moved"
            nursery.cancel_scope.cancel()

    simulate(scenario)
