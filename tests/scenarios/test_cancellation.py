"""Whatever is awaited may be cancelled, at every one of its checkpoints: no socket, task or registration is left.

Each attempt is made again and again in one deployment, and cancelled each time: before it begins; as its task, or one
that this has started, begins its first step, its second, and so on, until it ends by itself; and at moments a few
milliseconds apart, which find everybody waiting. Who is cancelled at the beginning of a step finishes that step, with
what it has waited for in its hands, and meets the cancellation at its next checkpoint.
"""

import gc
import itertools
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from connet_trio.client import Client, ClientSettings, SourceSettings, open_client, run_client
from connet_trio.concurrency import AbortableStream
from connet_trio.control import ControlSettings, IngressSettings, open_control, run_control
from connet_trio.endpoints import Source
from connet_trio.engine import Restriction
from connet_trio.errors import ConnectFailed
from connet_trio.quic import Connection, Surroundings
from connet_trio.records.model import HostPort, Route
from connet_trio.records.peer import RelayEncryption
from connet_trio.relay import RelayIngressSettings, RelaySettings, open_relay, run_relay
from connet_trio.server import ServerSettings, open_server, run_server
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CLIENT_PORT,
    CLIENTS_PORT,
    CONTROL_HOST,
    RELAY_PORT,
    RELAY_TOKEN,
    RELAYS_PORT,
    TOKEN,
    Deployment,
    echo_stream,
    exchange,
    simulated_deployment,
    simulated_surroundings,
)
from connet_trio.testing.network import Link

HOST = "203.0.113.99"
PORTS = (CLIENTS_PORT, RELAYS_PORT, RELAY_PORT, CLIENT_PORT)

MOST_STEPS = 1000
"""An attempt that takes more is not going to end."""
MOMENT_SECONDS = 0.004
"""Between two moments; one way through the network takes 10 ms."""
GOODBYE_SECONDS = 2.0
"""After which nothing is registered any more."""
SETTLED_SECONDS = 25.0
"""After which handshakes, exchanges and connections that were given up are over on either side."""

Attempt = Callable[[], Awaitable[object]]


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope as a task, or one of those below it, begins a step; the first to come has number 1."""

    def __init__(self, top: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self._top = top
        self._scope = scope
        self._steps_left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_below(task):
            self._steps_left -= 1
            if self._steps_left == 0:
                self._scope.cancel()

    def _is_below(self, task: trio.lowlevel.Task) -> bool:
        above: trio.lowlevel.Task | None = task
        while above is not None and above is not self._top:
            above = above.parent_nursery and above.parent_nursery.parent_task
        return above is not None


async def ends_before(step: int, attempt: Attempt) -> bool:
    """Make the attempt, cancelled at that step, 0 for before it begins; whether it ended by itself all the same."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(trio.lowlevel.current_task(), scope, step)
        if step == 0:
            scope.cancel()
        trio.lowlevel.add_instrument(instrument)
        try:
            await attempt()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return not scope.cancelled_caught


class Lab:
    """A deployment, and what was there before anything was cancelled."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.host = deployment.network.host(HOST, "127.0.0.1/8%lo")
        """Where what is cancelled may run."""
        self._standing: set[str] = set()
        self._before: Counter[str] = Counter()

    def surroundings(self) -> Surroundings:
        return simulated_surroundings(self.deployment.network, self.host, "cancelled")

    async def cancel_everywhere(self, attempt: Attempt, *, seconds: float, stride: int = 1) -> None:
        """Make `attempt` again and again, the last time to its end.

        Args:
          seconds: how long it takes at least, for the moments at which to cancel it.
          stride: from one step at which to cancel it to the next.
        """
        await trio.sleep(SETTLED_SECONDS)
        self._before = living()
        self._standing = set(self.deployment.control.status().endpoints)
        for number in range(round(seconds / MOMENT_SECONDS)):
            with trio.move_on_after((number + 0.5) * MOMENT_SECONDS) as scope:
                await attempt()
            assert scope.cancelled_caught
            await self.check()
        for step in range(0, MOST_STEPS, stride):
            if await ends_before(step, attempt):
                break
            await self.check()
        else:
            raise AssertionError(f"it has not ended by itself within {MOST_STEPS} steps")

    async def check(self) -> None:
        """Nothing is left of what was cancelled."""
        for port in PORTS:
            self.host.socket(port).close()  # raises BindFailed where one is left
        await trio.sleep(GOODBYE_SECONDS)
        control, relay = self.deployment.control.status(), self.deployment.relays[1].status()
        assert not [client for client in control.clients.values() if client.address.startswith(HOST)]
        assert control.endpoints.keys() == self._standing
        assert relay.endpoints.keys() <= self._standing
        assert (len(control.relays), relay.streams) == (1, 0)
        await trio.sleep(SETTLED_SECONDS)
        assert living() == self._before


def living() -> Counter[str]:
    """Tasks, connections that are not over, and their streams that are not."""
    connections = [thing for thing in gc.get_objects() if isinstance(thing, Connection) and not thing.is_closed]
    return Counter(
        tasks=trio.lowlevel.current_statistics().tasks_living,
        connections=len(connections),
        streams=sum(connection.stream_count for connection in connections),
    )


def simulate(scenario: Callable[[Lab], Awaitable[None]]) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=34, link=Link(delay=0.01)) as deployment:
            await scenario(Lab(deployment))
            assert deployment.control.status().handler_errors == 0
            assert deployment.relays[1].status().handler_errors == 0

    run_simulated(run, seed=34)
    gc.collect()  # what nobody closed says so now


# --- blocks and their twins


def client_settings(deployment: Deployment) -> ClientSettings:
    return ClientSettings(
        token=TOKEN,
        server=HostPort(CONTROL_HOST, CLIENTS_PORT),
        server_roots=(deployment.credential.der,),
        direct_address=HostPort("", CLIENT_PORT),
        quic_engine=deployment.quic_engine,
    )


def ingress(deployment: Deployment, port: int) -> IngressSettings:
    return IngressSettings(address=HostPort("", port), credential=deployment.credential)


def control_settings(deployment: Deployment) -> ControlSettings:
    return ControlSettings(
        client_ingresses=(ingress(deployment, CLIENTS_PORT),),
        client_tokens=((TOKEN, Restriction()),),
        relay_ingresses=(ingress(deployment, RELAYS_PORT),),
        relay_tokens=((RELAY_TOKEN, Restriction()),),
        quic_engine=deployment.quic_engine,
    )


def relay_settings(deployment: Deployment) -> RelaySettings:
    return RelaySettings(
        token=RELAY_TOKEN,
        control=HostPort(CONTROL_HOST, RELAYS_PORT),
        control_roots=(deployment.credential.der,),
        ingresses=(RelayIngressSettings(address=HostPort("", RELAY_PORT)),),
        quic_engine=deployment.quic_engine,
    )


def server_settings(deployment: Deployment) -> ServerSettings:
    return ServerSettings(
        client_ingresses=(ingress(deployment, CLIENTS_PORT),),
        client_tokens=((TOKEN, Restriction()),),
        relay_ingresses=(RelayIngressSettings(address=HostPort("", RELAY_PORT)),),
        quic_engine=deployment.quic_engine,
    )


@pytest.mark.reliability(line=34)
@pytest.mark.long
@pytest.mark.parametrize(
    ("open_block", "settings", "seconds"),
    [
        (open_client, client_settings, 0.1),
        (open_control, control_settings, 0.1),
        (open_relay, relay_settings, 0.1),
        (open_server, server_settings, 0.1),
    ],
)
def test_a_block_that_is_cancelled_leaves_nothing_behind(open_block: Any, settings: Any, seconds: float) -> None:
    async def scenario(lab: Lab) -> None:
        async def attempt() -> None:
            async with open_block(settings(lab.deployment), surroundings=lab.surroundings()) as opened:
                await trio.sleep(0.1)
                await opened.drain()

        await lab.cancel_everywhere(attempt, seconds=seconds, stride=2)
        await lab.check()

    simulate(scenario)


@pytest.mark.reliability(line=34)
@pytest.mark.long
@pytest.mark.parametrize(
    ("run", "settings"),
    [
        (run_client, client_settings),
        (run_control, control_settings),
        (run_relay, relay_settings),
        (run_server, server_settings),
    ],
)
def test_its_twin_leaves_nothing_behind_either(run: Any, settings: Any) -> None:
    async def scenario(lab: Lab) -> None:
        async def attempt() -> None:
            with trio.move_on_after(0.15):
                await run(settings(lab.deployment), surroundings=lab.surroundings())

        await lab.cancel_everywhere(attempt, seconds=0, stride=3)
        await lab.check()

    simulate(scenario)


@pytest.mark.reliability(line=34)
def test_a_client_with_endpoints_that_is_cancelled_leaves_nothing_behind() -> None:
    async def scenario(lab: Lab) -> None:
        async def attempt() -> None:
            async with lab.deployment.open_client(lab.host) as client:
                destination = await client.add_destination("db")
                source = await client.add_source("db")
                await source.wait_reachable()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
                    await use(source)
                    nursery.cancel_scope.cancel()

        async def use(source: Source) -> None:
            try:
                answers.append(await exchange(await source.dial(), b"myself"))
            except* (trio.BrokenResourceError, ConnectFailed):
                pass  # whose connection is cancelled along with it may hear of that first

        answers: list[bytes] = []
        await lab.cancel_everywhere(attempt, seconds=0.15, stride=10)
        assert answers[-1] == b"myself"
        await lab.check()

    simulate(scenario)


# --- what a client is asked to do


@pytest.mark.reliability(line=34)
@pytest.mark.long
@pytest.mark.parametrize("route", [Route.RELAY, Route.DIRECT, Route.ANY])
@pytest.mark.parametrize("add", [Client.add_destination, Client.add_source])
def test_an_endpoint_whose_announcement_is_cancelled_is_neither_announced_nor_remembered(
    add: Any, route: Route
) -> None:
    async def scenario(lab: Lab) -> None:
        client = await lab.deployment.add_client()
        await lab.cancel_everywhere(partial(add, client, "db", route=route), seconds=0.02, stride=2)
        assert list(lab.deployment.control.status().endpoints) == ["db"]

    simulate(scenario)


@pytest.mark.reliability(line=34)
def test_a_port_of_a_source_that_is_cancelled_is_free() -> None:
    async def scenario(lab: Lab) -> None:
        client = await lab.deployment.add_client()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = SourceSettings(name="db", listen=HostPort("127.0.0.1", port), route=Route.RELAY)

        async def attempt() -> None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))  # fails where the attempt before has left it taken
            await client.serve_source(settings)

        await lab.cancel_everywhere(attempt, seconds=0.02, stride=2)
        assert list(client.status().sources) == ["db"]

    simulate(scenario)


@pytest.mark.reliability(line=34)
@pytest.mark.long
@pytest.mark.parametrize(
    ("route", "encryption"),
    [
        (Route.DIRECT, RelayEncryption.NONE),
        (Route.RELAY, RelayEncryption.NONE),
        (Route.RELAY, RelayEncryption.TLS),
        (Route.RELAY, RelayEncryption.DHXCP),
    ],
)
def test_a_dial_that_is_cancelled_leaves_no_stream_behind(route: Route, encryption: RelayEncryption) -> None:
    async def scenario(lab: Lab) -> None:
        destination, source = await lab.deployment.add_pair(route=route, relay_encryptions=[encryption])

        async def attempt() -> None:
            (await source.dial()).abort()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            round_trip = 0.04 if route is Route.RELAY else 0.02
            trips = 2 if encryption is RelayEncryption.TLS else 1
            stride = 2 if encryption is RelayEncryption.NONE else 7
            await lab.cancel_everywhere(attempt, seconds=trips * round_trip, stride=stride)
            await lab.check()
            assert await exchange(await source.dial(), b"as ever") == b"as ever"
            nursery.cancel_scope.cancel()

    simulate(scenario)


@pytest.mark.reliability(line=34)
def test_waiting_for_a_path_may_be_cancelled() -> None:
    async def scenario(lab: Lab) -> None:
        source = await (await lab.deployment.add_client()).add_source("db")

        async def attempt() -> None:
            with trio.move_on_after(0.1):
                await source.wait_reachable()

        await lab.cancel_everywhere(attempt, seconds=0.1)

    simulate(scenario)


@pytest.mark.reliability(line=34)
def test_no_stream_is_lost_because_accepting_was_cancelled() -> None:
    async def scenario(lab: Lab) -> None:
        destination, source = await lab.deployment.add_pair()
        dialled = [await source.dial() for _ in range(3)]
        await trio.sleep(1)
        accepted: list[AbortableStream] = []

        async def attempt() -> None:
            accepted.append(await destination.accept())

        for step in itertools.cycle(range(4)):
            await ends_before(step, attempt)
            if len(accepted) == len(dialled):
                break
        for number, stream in enumerate(dialled):
            await stream.send_all(b"%d" % number)
            await stream.send_eof()
        with trio.fail_after(5):
            assert sorted([await whole(stream) for stream in accepted]) == [b"0", b"1", b"2"]

    simulate(scenario)


async def whole(stream: AbortableStream) -> bytes:
    return b"".join([data async for data in stream])
