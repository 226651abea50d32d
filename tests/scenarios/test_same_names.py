"""Several clients, one name: destinations share it, sources share them (protocol sections 1 and 4.2)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from connet_trio.endpoints import Destination, Source
from connet_trio.errors import ConfigError
from connet_trio.quic import Stream
from connet_trio.records.model import Route
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import CONTROL_HOST, Deployment, exchange, simulated_deployment
from connet_trio.testing.network import Link

RELAY, NEAR, FAR = "198.51.100.1", "203.0.113.11", "203.0.113.12"


def simulate(scenario: Callable[[Deployment], Awaitable[None]]) -> None:
    """Run `scenario` on a deployment of its own, where one destination is nearer to the relay than the other."""

    async def run() -> None:
        async with simulated_deployment(seed=1, link=Link(delay=0.01)) as deployment:
            deployment.network.set_link(RELAY, NEAR, Link(delay=0.005))
            deployment.network.set_link(RELAY, FAR, Link(delay=0.06))
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0
            assert all(relay.status().handler_errors == 0 for relay in deployment.relays.values())

    run_simulated(run, seed=1)


async def say(word: bytes, stream: Stream) -> None:
    """Answer whatever comes with one word."""
    try:
        async for _ in stream:
            pass
        await stream.send_all(word)
        await stream.send_eof()
    except trio.BrokenResourceError:
        stream.abort()


async def offer(deployment: Deployment, host: str) -> Destination:
    """A destination of `db` on a client of its own."""
    return await (await deployment.add_client(host)).add_destination("db", route=Route.RELAY)


async def seek(deployment: Deployment) -> Source:
    """A source of `db` on a client of its own."""
    return await (await deployment.add_client()).add_source("db", route=Route.RELAY)


@asynccontextmanager
async def serving(**destinations: Destination) -> AsyncIterator[None]:
    """Each destination says its own name, from when all paths stand to the end of the block."""
    async with trio.open_nursery() as nursery:
        for word, destination in destinations.items():
            nursery.start_soon(partial(trio.serve_listeners, partial(say, word.encode()), [destination]))
        await trio.sleep(2)
        yield
        nursery.cancel_scope.cancel()


async def ask(source: Source) -> bytes:
    """Which destination answers."""
    with trio.fail_after(30):
        return await exchange(await source.dial(), b"who is there?")


def test_two_destinations_share_a_name_and_the_nearest_is_asked_first() -> None:
    async def scenario(deployment: Deployment) -> None:
        far, near = await offer(deployment, FAR), await offer(deployment, NEAR)
        source = await seek(deployment)
        async with serving(far=far, near=near):
            assert len(deployment.control.status().endpoints["db"].destinations) == 2
            assert [await ask(source) for _ in range(5)] == [b"near"] * 5

    simulate(scenario)


def test_when_one_of_two_destinations_stops_the_source_goes_on_with_the_other() -> None:
    async def scenario(deployment: Deployment) -> None:
        far, source = await offer(deployment, FAR), await seek(deployment)
        async with serving(far=far):
            async with deployment.open_client(NEAR) as client:
                near = await client.add_destination("db", route=Route.RELAY)
                async with serving(near=near):
                    assert await ask(source) == b"near"
            assert source.active.value
            assert [await ask(source) for _ in range(3)] == [b"far"] * 3

    simulate(scenario)


def test_when_one_of_two_destinations_vanishes_the_next_dial_still_succeeds() -> None:
    async def scenario(deployment: Deployment) -> None:
        far, near = await offer(deployment, FAR), await offer(deployment, NEAR)
        source = await seek(deployment)
        async with serving(far=far, near=near):
            for host in (RELAY, CONTROL_HOST):
                deployment.network.cut(NEAR, host)
            began = trio.current_time()
            assert await ask(source) == b"far"
            assert trio.current_time() - began < 5

    simulate(scenario)


def test_two_sources_of_one_name_are_both_served_at_once() -> None:
    async def scenario(deployment: Deployment) -> None:
        near = await offer(deployment, NEAR)
        first, second = await seek(deployment), await seek(deployment)
        async with serving(near=near):
            assert len(deployment.control.status().endpoints["db"].sources) == 2
            held = await first.dial()
            assert [await ask(second) for _ in range(3)] == [b"near"] * 3
            assert await exchange(held, b"?") == b"near"

    simulate(scenario)


def test_one_client_has_each_name_once_in_each_role() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        await client.add_destination("db", route=Route.RELAY)
        await client.add_source("db", route=Route.RELAY)
        with pytest.raises(ConfigError, match="already has a destination db"):
            await client.add_destination("db", route=Route.RELAY)
        with pytest.raises(ConfigError, match="already has a source db"):
            await client.add_source("db", route=Route.RELAY)
        assert client.status().destinations.keys() == client.status().sources.keys() == {"db"}

    simulate(scenario)
