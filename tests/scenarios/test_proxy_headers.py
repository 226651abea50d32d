"""A destination that wants a PROXY header gets one, over every path, before anything else."""

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

import pytest

from connet_trio.concurrency import AbortableStream
from connet_trio.endpoints import Destination, Source
from connet_trio.records.model import AddressPort, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption
from connet_trio.records.proxy import ClientAddresses
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import Deployment, simulated_deployment
from connet_trio.wire import encode_proxy_header

ADDRESSES = ClientAddresses(AddressPort(IPv4Address("192.0.2.7"), 50_000), AddressPort(IPv4Address("192.0.2.1"), 22))


def simulate(scenario: Callable[[Deployment], Awaitable[None]]) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=1) as deployment:
            await scenario(deployment)

    run_simulated(run, seed=1)


async def add_pair(
    deployment: Deployment, version: ProxyVersion, route: Route, scheme: RelayEncryption = RelayEncryption.NONE
) -> tuple[Destination, Source]:
    offering, using = await deployment.add_client(), await deployment.add_client()
    destination = await offering.add_destination("db", route=route, relay_encryptions=(scheme,), proxy_version=version)
    source = await using.add_source("db", route=route, relay_encryptions=(scheme,))
    await source.wait_reachable()
    return destination, source


async def receive_exactly(stream: AbortableStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        received += await stream.receive_some(count - len(received))
    return received


@pytest.mark.parametrize(
    ("version", "route", "scheme"),
    [
        (ProxyVersion.V1, Route.DIRECT, RelayEncryption.NONE),
        (ProxyVersion.V2, Route.RELAY, RelayEncryption.NONE),
        (ProxyVersion.V1, Route.RELAY, RelayEncryption.TLS),
        (ProxyVersion.V2, Route.RELAY, RelayEncryption.DHXCP),
    ],
)
def test_the_header_is_the_first_that_the_service_reads(
    version: ProxyVersion, route: Route, scheme: RelayEncryption
) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await add_pair(deployment, version, route, scheme)
        for addresses in (ADDRESSES, None):
            stream = await source.dial(addresses)
            await stream.send_all(b"payload")
            expected = encode_proxy_header(version, addresses) + b"payload"
            assert await receive_exactly(await destination.accept(), len(expected)) == expected

    simulate(scenario)


@pytest.mark.parametrize("route", [Route.DIRECT, Route.RELAY])
def test_a_destination_that_wants_none_gets_payload_alone(route: Route) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await add_pair(deployment, ProxyVersion.NONE, route)
        stream = await source.dial(ADDRESSES)
        await stream.send_all(b"payload")
        await stream.send_eof()
        assert b"".join([chunk async for chunk in await destination.accept()]) == b"payload"

    simulate(scenario)
