"""Paths that drop packets larger than their MTU in silence, as wherever nobody sends ICMP or it is filtered."""

import random
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import pytest
import trio

from connet_trio.endpoints import Source
from connet_trio.records.model import Route
from connet_trio.testing import Deployment, Link, run_simulated, simulated_deployment
from connet_trio.testing.deployment import echo_stream, exchange
from connet_trio.testing.network import Fate

DATA = random.Random(6).randbytes(1 << 20)
BROADBAND = Link(delay=0.01, rate=12.5e6)
"""100 Mbit/s, 20 ms."""
RELAY_HOST = "198.51.100.1"


def simulate(scenario: Callable[[Deployment], Awaitable[None]], mtu: int) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=6, link=attrs.evolve(BROADBAND, mtu=mtu)) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0

    run_simulated(run, seed=6)


async def echo(deployment: Deployment, route: Route, half_way: Callable[[], None]) -> tuple[Source, float]:
    """Send `DATA` from a source to a destination and back; the source, and the seconds it took.

    `half_way` is called when half of it is back.
    """
    destination, source = await deployment.add_pair(route=route)
    answer, began = bytearray(), trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
        stream = await source.dial()

        async def send() -> None:
            await stream.send_all(DATA)
            await stream.send_eof()

        nursery.start_soon(send)
        async for chunk in stream:
            if len(answer) <= len(DATA) // 2 < len(answer) + len(chunk):
                half_way()
            answer += chunk
        seconds = trio.current_time() - began
        assert answer == DATA
        # half way, the source may have sent all it had; now it sends full packets once more
        assert await exchange(await source.dial(), DATA[:200_000]) == DATA[:200_000]
        nursery.cancel_scope.cancel()
    return source, seconds


def found_mtu(source: Source) -> int | None:
    """The largest datagram found to pass on the path in use."""
    (peer,) = source.log.status().peers.values()
    return max(path.mtu or 0 for path in peer.connections if path.bytes_in)


@pytest.mark.reliability(line=6)
@pytest.mark.parametrize(
    ("route", "mtu", "found"),
    [(Route.DIRECT, 1500, 1472), (Route.DIRECT, 1400, 1357), (Route.DIRECT, 1280, 1247), (Route.RELAY, 1280, 1247)],
)
def test_a_mebibyte_is_echoed_whatever_the_path_carries(route: Route, mtu: int, found: int) -> None:
    async def scenario(deployment: Deployment) -> None:
        source, seconds = await echo(deployment, route, lambda: None)
        assert seconds < 2
        await trio.sleep(2)
        assert found_mtu(source) == found

    simulate(scenario, mtu)


@pytest.mark.reliability(line=6)
@pytest.mark.parametrize("route", [Route.DIRECT, Route.RELAY])
def test_a_path_that_shrinks_in_the_middle_of_a_mebibyte_holds_it_up_for_a_moment(route: Route) -> None:
    async def scenario(deployment: Deployment) -> None:
        def shrink() -> None:
            one, other = [deployment.host_of(client) for client in deployment.clients]
            for near, far in ((one, other), (one, RELAY_HOST), (other, RELAY_HOST)):
                deployment.network.set_link(near, far, attrs.evolve(BROADBAND, mtu=1280))

        source, seconds = await echo(deployment, route, shrink)
        assert seconds < 2.5
        assert deployment.network.fates[Fate.TOO_BIG] > 20
        await trio.sleep(2)
        assert found_mtu(source) == 1247

    simulate(scenario, 1500)
