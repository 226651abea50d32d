"""A host falls silent: no close, no reset, no ICMP. Whoever was connected to it finds out by itself, and forgets it."""

import gc
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio

from connet_trio.concurrency import AbortableStream
from connet_trio.endpoints import Source
from connet_trio.errors import ConnectFailed
from connet_trio.quic import Connection, Stream
from connet_trio.records.model import Route
from connet_trio.records.status import PathStyle
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import CONTROL_HOST, Deployment, echo_stream, exchange, simulated_deployment
from connet_trio.testing.network import Link

NOTICED_SECONDS = 25.0
"""Idle timeout (20 s), and what the last probes may add."""
FORGOTTEN_SECONDS = NOTICED_SECONDS + 30.0
"""When control lists it no more: after the expiry."""

RELAY_HOST, SOURCE_HOST, DEAD_HOST = "198.51.100.1", "203.0.113.1", "203.0.113.2"
EVERYBODY = (CONTROL_HOST, RELAY_HOST, SOURCE_HOST)


def simulate(scenario: Callable[[Deployment], Awaitable[None]]) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=12, link=Link(delay=0.01)) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0
            assert deployment.relays[1].status().handler_errors == 0

    run_simulated(run, seed=12)


def living() -> Counter[str]:
    """What a leak would add to: tasks, connections that anything still refers to, and streams of those not over."""
    gc.collect()
    things = gc.get_objects()
    connections = [thing for thing in things if isinstance(thing, Connection)]
    streams = [thing for thing in things if isinstance(thing, Stream) and not thing.connection.is_closed]
    tasks = trio.lowlevel.current_statistics().tasks_living
    return Counter(tasks=tasks, connections=len(connections), streams=len(streams))


async def offer(deployment: Deployment, route: Route, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """A destination that echoes, on the host that is going to die; cancel what it starts with to end its program."""
    with trio.CancelScope() as scope:
        async with deployment.open_client(DEAD_HOST) as client:
            destination = await client.add_destination("db", route=route)
            task_status.started(scope)
            await trio.serve_listeners(echo_stream, [destination])


async def check_broken(stream: AbortableStream, died: float) -> None:
    """A stream that ran when the other end died breaks in time, and does not end as if it were whole."""
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    assert trio.current_time() - died <= NOTICED_SECONDS
    stream.abort()


async def check_noticed(deployment: Deployment, source: Source, died: float) -> None:
    """Control, the relay and the source each find out, and none of them by being told."""
    await trio.sleep_until(died + NOTICED_SECONDS)
    assert len(deployment.control.status().clients) == 1
    relayed = deployment.relays[1].status()
    assert all(not endpoint.destinations for endpoint in relayed.endpoints.values())
    assert relayed.streams == 0
    connections = [path for peer in source.log.status().peers.values() for path in peer.connections]
    assert [path for path in connections if path.style is not PathStyle.RELAY] == []


async def live_and_die(deployment: Deployment, source: Source, route: Route) -> None:
    """A destination comes, serves, dies, is noticed and forgotten; its host is whole again afterwards, and empty."""
    async with trio.open_nursery() as nursery:
        program = await nursery.start(offer, deployment, route)
        await source.wait_reachable()
        streams = [await source.dial() for _ in range(5)]
        assert await exchange(await source.dial(), b"alive") == b"alive"
        for stream in streams:
            await stream.send_all(b"asking")
            assert await stream.receive_some() == b"asking"
        await trio.sleep(3)
        for host in EVERYBODY:
            deployment.network.cut(DEAD_HOST, host)
        died = trio.current_time()
        async with trio.open_nursery() as watching:
            watching.start_soon(check_noticed, deployment, source, died)
            for stream in streams:
                watching.start_soon(check_broken, stream, died)
        with pytest.raises(ConnectFailed):
            await source.dial()
        await trio.sleep_until(died + FORGOTTEN_SECONDS)
        assert not source.active.value
        assert not source.log.status().peers
        assert not deployment.control.status().endpoints["db"].destinations
        program.cancel()
    for host in EVERYBODY:
        deployment.network.heal(DEAD_HOST, host)
    await trio.sleep(40)


@pytest.mark.reliability(line=12)
@pytest.mark.parametrize("route", [Route.RELAY, Route.DIRECT, Route.ANY])
def test_a_destination_that_dies_in_silence_is_noticed_in_time_and_leaves_nothing_behind(route: Route) -> None:
    async def scenario(deployment: Deployment) -> None:
        source = await (await deployment.add_client(SOURCE_HOST)).add_source("db", route=route)
        await trio.sleep(40)
        tasks = living()["tasks"]
        await live_and_die(deployment, source, route)
        after_one = living()
        assert after_one["tasks"] == tasks
        await live_and_die(deployment, source, route)
        assert living() == after_one  # each listener may hold on to the last connection it accepted, and no other

    simulate(scenario)
