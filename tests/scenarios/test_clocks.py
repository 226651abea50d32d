"""Clocks that are wrong, and clocks that are set: certificates of endpoints follow."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from connet_trio.client import Client, ClientSettings, open_client
from connet_trio.errors import DialFailed
from connet_trio.records.model import HostPort, Route
from connet_trio.testing import Deployment, paths_of, run_simulated, simulated_deployment, simulated_surroundings
from connet_trio.testing.deployment import CLIENTS_PORT, CONTROL_HOST, START, TOKEN, echo_stream, exchange

YEAR = 365.25 * 86_400


class Clock:
    """A wall clock that somebody sets."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead
        """Seconds by which it is wrong."""

    def __call__(self) -> float:
        return START + trio.current_time() + self.ahead


def simulate(scenario: Callable[[Deployment], Awaitable[None]], *, relays: int = 1) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=1, relays=relays) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0

    run_simulated(run, seed=1)


@asynccontextmanager
async def client_at(deployment: Deployment, host: str, clock: Clock) -> AsyncIterator[Client]:
    settings = ClientSettings(
        token=TOKEN,
        server=HostPort(CONTROL_HOST, CLIENTS_PORT),
        server_roots=(deployment.credential.der,),
        quic_engine=deployment.quic_engine,
    )
    surroundings = attrs.evolve(simulated_surroundings(deployment.network, host, host), wall_clock=clock)
    async with open_client(settings, surroundings=surroundings) as client:
        yield client


def test_a_box_that_boots_in_1970_says_that_a_clock_is_wrong() -> None:
    async def scenario(deployment: Deployment) -> None:
        with pytest.raises(DialFailed, match=r"it is 1970-01-01 .* is one of the clocks wrong\?"):
            async with client_at(deployment, "203.0.113.50", Clock(ahead=-START)):
                pytest.fail("logged in")

    simulate(scenario)


@pytest.mark.parametrize("route", [Route.DIRECT, Route.RELAY])
def test_certificates_made_in_the_future_are_made_anew_once_the_clock_is_set(route: Route) -> None:
    async def scenario(deployment: Deployment) -> None:
        clock = Clock(ahead=1.5 * YEAR)
        source = await (await deployment.add_client()).add_source("db", route=route)
        async with client_at(deployment, "203.0.113.50", clock) as offering:
            destination = await offering.add_destination("db", route=route)
            await trio.sleep(10)
            [peer] = source.log.status().peers.values()
            if route is Route.DIRECT:
                assert peer.path is None
                assert "is one of the clocks wrong?" in peer.why
            clock.ahead = 0.0
            await trio.sleep(15)
            await source.wait_reachable()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
                assert await exchange(await source.dial(), b"in time") == b"in time"
                nursery.cancel_scope.cancel()

    simulate(scenario)


def test_certificates_about_to_end_are_made_anew_and_paths_come_back() -> None:
    async def scenario(deployment: Deployment) -> None:
        clock = Clock()
        async with (
            client_at(deployment, "203.0.113.50", clock) as offering,
            client_at(deployment, "203.0.113.51", clock) as using,
        ):
            destination = await offering.add_destination("db")
            source = await using.add_source("db")
            await source.wait_reachable()
            await trio.sleep(5)
            before = [peer for peer in source.known.paths.peers.values() if peer.peer is not None]
            clock.ahead = 1.95 * YEAR
            await trio.sleep(20)
            after = [peer for peer in source.known.paths.peers.values() if peer.peer is not None]
            assert [peer.id for peer in after] == [peer.id for peer in before]
            assert after[0].peer != before[0].peer
            assert paths_of(using, "db").is_direct
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
                assert await exchange(await source.dial(), b"renewed") == b"renewed"
                nursery.cancel_scope.cancel()

    simulate(scenario)
