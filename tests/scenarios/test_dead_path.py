"""A stream asked for when its best path has just died: the whole product in virtual time, on both engines."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from connet_trio.endpoints import Source
from connet_trio.records.model import Route
from connet_trio.records.status import PathStyle
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import Deployment, echo_stream, exchange, relay_bytes, simulated_deployment
from connet_trio.testing.network import Link

DESTINATION_HOST, SOURCE_HOST = "203.0.113.1", "203.0.113.2"
NEARER_RELAY, FARTHER_RELAY = "198.51.100.1", "198.51.100.2"
DIRECT = (PathStyle.INCOMING, PathStyle.OUTGOING)
NEXT_PATH_SECONDS = 5.5


def the_path(source: Source) -> PathStyle | None:
    [peer] = source.log.status().peers.values()
    return peer.path


async def echo_on_new_stream(source: Source) -> float:
    """Seconds until a byte has come back on a stream asked for now."""
    began = trio.current_time()
    assert await exchange(await source.dial(), b"x") == b"x"
    return trio.current_time() - began


def simulate(scenario: Callable[[Deployment, Source], Awaitable[None]], *, route: Route, relays: int) -> None:
    """Run `scenario` once a destination that echoes is reached by every path that `route` and the relays allow."""

    async def run() -> None:
        async with simulated_deployment(seed=1, relays=relays, link=Link(delay=0.01)) as deployment:
            for host in (DESTINATION_HOST, SOURCE_HOST):
                deployment.network.set_link(host, FARTHER_RELAY, Link(delay=0.05))
            destination, source = await deployment.add_pair(route=route)
            await trio.sleep(3)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
                assert await echo_on_new_stream(source) < 1
                await scenario(deployment, source)
                nursery.cancel_scope.cancel()

    run_simulated(run, seed=1)


@pytest.mark.reliability(line=4)
@pytest.mark.parametrize("idle_seconds", [0.0, 20.0])
def test_a_stream_opens_through_the_relay_when_the_direct_path_has_just_died(idle_seconds: float) -> None:
    async def scenario(deployment: Deployment, source: Source) -> None:
        assert the_path(source) in DIRECT
        await trio.sleep(idle_seconds)
        deployment.network.cut(DESTINATION_HOST, SOURCE_HOST)
        assert await echo_on_new_stream(source) <= NEXT_PATH_SECONDS
        assert relay_bytes(deployment)[1] > 0

    simulate(scenario, route=Route.ANY, relays=1)


@pytest.mark.reliability(line=10)
def test_a_stream_opens_through_the_next_relay_when_the_nearer_one_has_just_died() -> None:
    async def scenario(deployment: Deployment, source: Source) -> None:
        assert relay_bytes(deployment)[2] == 0
        for host in (DESTINATION_HOST, SOURCE_HOST):
            deployment.network.cut(host, NEARER_RELAY)
        assert await echo_on_new_stream(source) <= NEXT_PATH_SECONDS
        assert relay_bytes(deployment)[2] > 0

    simulate(scenario, route=Route.RELAY, relays=2)
