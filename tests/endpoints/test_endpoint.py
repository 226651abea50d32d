"""An endpoint through what changes who is who: new certificates of its own, new ids for everybody."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from connet_trio.control import ControlSettings, IngressSettings, open_control
from connet_trio.endpoints import Destination, Source
from connet_trio.engine import Restriction
from connet_trio.records.model import HostPort, Route
from connet_trio.records.status import PathStyle, PeerStatus
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CLIENTS_PORT,
    CONTROL_HOST,
    START,
    TOKEN,
    Deployment,
    echo_stream,
    exchange,
    simulated_deployment,
    simulated_surroundings,
)
from connet_trio.testing.network import open_network
from tests.endpoints.conftest import simulate

TOO_LATE = START + 720 * 86_400
"""Unix seconds; certificates made at `START` have ten days left."""
DESTINATION_HOST = "203.0.113.1"
DIRECT = {PathStyle.INCOMING, PathStyle.OUTGOING}


def the_peer(endpoint: Source | Destination) -> PeerStatus:
    [peer] = endpoint.log.status().peers.values()
    return peer


def styles(endpoint: Source | Destination) -> set[PathStyle]:
    """How the one peer of `endpoint` is connected."""
    return {connection.style for connection in the_peer(endpoint).connections}


def leaves(endpoint: Source | Destination) -> set[bytes]:
    """The certificates of the one peer of `endpoint`."""
    [remote] = endpoint.known.paths.peers.values()
    assert remote.peer is not None
    return {remote.peer.server_certificate, remote.peer.client_certificate}


def scene(scenario: Callable[[Deployment, Destination, Source], Awaitable[None]], route: Route = Route.ANY) -> None:
    """Run `scenario` with a destination that echoes and a source, connected for a while."""

    async def run() -> None:
        async with simulated_deployment(relays=1) as deployment:
            destination, source = await deployment.add_pair(route=route)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
                await trio.sleep(60)
                await scenario(deployment, destination, source)
                assert all(client.status().handler_errors == 0 for client in deployment.clients)
                nursery.cancel_scope.cancel()

    simulate(run)


@pytest.mark.parametrize("side", ["destination", "source", "both"])
def test_with_new_certificates_it_is_reached_as_before(side: str) -> None:
    async def scenario(deployment: Deployment, destination: Destination, source: Source) -> None:
        stream = await source.dial()
        before = leaves(destination) | leaves(source)
        for endpoint, name in ((destination, "destination"), (source, "source")):
            if side in (name, "both"):
                endpoint.handle_clock(TOO_LATE)
        await trio.sleep(3)
        assert styles(source) == styles(destination) == DIRECT | {PathStyle.RELAY}
        assert await exchange(await source.dial(), b"x") == b"x"
        assert len(before - leaves(destination) - leaves(source)) == (4 if side == "both" else 2)
        with pytest.raises(trio.BrokenResourceError):  # the connections are others
            await stream.receive_some()

    scene(scenario)


def test_certificates_that_are_good_for_long_are_kept() -> None:
    async def scenario(deployment: Deployment, destination: Destination, source: Source) -> None:
        for endpoint in (destination, source):
            endpoint.handle_clock(START + 600 * 86_400)
        stream = await source.dial()
        await trio.sleep(3)
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"

    scene(scenario)


def test_new_certificates_while_control_is_away_are_announced_when_it_is_back() -> None:
    async def scenario(deployment: Deployment, destination: Destination, source: Source) -> None:
        deployment.network.cut(CONTROL_HOST, DESTINATION_HOST)
        destination.handle_clock(TOO_LATE)
        await trio.sleep(60)
        deployment.network.heal(CONTROL_HOST, DESTINATION_HOST)
        await trio.sleep(30)
        assert styles(source) == DIRECT
        assert await exchange(await source.dial(), b"x") == b"x"

    scene(scenario, Route.DIRECT)


def test_new_certificates_say_so_and_blame_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: Deployment, destination: Destination, source: Source) -> None:
        with caplog.at_level("INFO", "connet_trio.endpoints"):
            caplog.clear()
            destination.handle_clock(TOO_LATE)
            await trio.sleep(3)

    scene(scenario)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("echo: new certificates")
    assert not any("announces no address" in line for line in said)


async def run_forgetful_control(
    deployment: Deployment, seed: int, *, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    """A control server without a store, which has other secrets for each seed."""
    ingress = IngressSettings(address=HostPort("", CLIENTS_PORT), credential=deployment.credential)
    settings = ControlSettings(client_ingresses=(ingress,), client_tokens=((TOKEN, Restriction()),))
    surroundings = simulated_surroundings(deployment.network, CONTROL_HOST, seed)
    with trio.CancelScope() as scope:
        async with open_control(settings, surroundings=surroundings):
            task_status.started(scope)
            await trio.sleep_forever()


def test_a_direct_stream_outlives_a_control_that_has_forgotten_everybody(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with open_network(1) as network, trio.open_nursery() as nursery:
            deployment = Deployment(network, 1, nursery)
            control = await nursery.start(run_forgetful_control, deployment, 1)
            destination, source = await deployment.add_pair(route=Route.DIRECT)
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            await trio.sleep(60)
            stream = await source.dial()
            former_id = the_peer(source).id
            caplog.clear()
            control.cancel()
            await trio.sleep(5)
            await nursery.start(run_forgetful_control, deployment, 2)
            await trio.sleep(120)  # longer than anybody is kept without being listed
            assert the_peer(source).id != former_id
            assert styles(source) == DIRECT
            await stream.send_all(b"still here")
            assert await stream.receive_some() == b"still here"
            said.extend(record.getMessage() for record in caplog.records if record.name.endswith("peer_log"))
            nursery.cancel_scope.cancel()

    said: list[str] = []
    with caplog.at_level("INFO", "connet_trio.endpoints.peer_log"):
        simulate(scenario)
    assert {line.partition(",")[0] for line in said} == {"echo is announced again"}


@pytest.mark.parametrize("route", [Route.RELAY, Route.ANY])
def test_a_client_that_is_cancelled_has_no_news_of_its_peers(caplog: pytest.LogCaptureFixture, route: Route) -> None:
    async def hold(deployment: Deployment, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with deployment.open_client() as client, trio.open_nursery() as using:
                source = await client.add_source("echo", route=route)
                using.start_soon(trio.sleep_forever)  # the block ends a moment after the tasks of the client
                await source.wait_reachable()
                await trio.sleep(10)
                task_status.started(scope)

    async def scenario() -> None:
        async with simulated_deployment(seed=1, relays=2) as deployment, trio.open_nursery() as nursery:
            await (await deployment.add_client()).add_destination("echo", route=route)
            scope = await nursery.start(hold, deployment)
            caplog.clear()
            scope.cancel()
            await trio.sleep(0.005)  # before the others hear of it
            said.extend(record.getMessage() for record in caplog.records if record.name.endswith("peer_log"))

    said: list[str] = []
    with caplog.at_level("INFO", "connet_trio.endpoints.peer_log"):
        for seed in range(5):  # who of the client's tasks is told first is a matter of luck
            run_simulated(scenario, seed=seed)
    assert said == []
