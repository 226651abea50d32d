"""A server that boots in 1970, and one that runs for longer than its own certificates."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from ipaddress import ip_address
from random import Random
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.client import ClientSettings, open_client
from connet_trio.control import IngressSettings
from connet_trio.endpoints import Source
from connet_trio.engine import Restriction
from connet_trio.identity import Credential, issue_server_credential
from connet_trio.quic import DatagramSocket, Surroundings
from connet_trio.records.model import AddressPort, HostPort, Route
from connet_trio.records.status import Status
from connet_trio.relay import RelayIngressSettings
from connet_trio.server import Server, ServerSettings, open_server
from connet_trio.testing.deployment import START, echo_stream, exchange, simulated_surroundings
from connet_trio.testing.network import Link, SimulatedNetwork, open_network

HOST, LOOPBACK = "192.0.2.1", "127.0.0.1"
CLIENTS_PORT, RELAY_PORT = 19_190, 19_191
TOKEN = "token of a client"
DAY = 86_400.0


@attrs.define
class WallClock:
    """Unix seconds: a moment, and what has passed since."""

    start: float = START

    def __call__(self) -> float:
        return self.start + trio.current_time()


@attrs.define
class Lab:
    """A host to run a server on, whose clock may be wrong, and a network with clients."""

    network: SimulatedNetwork
    nursery: trio.Nursery
    credential: Credential
    clock: WallClock = attrs.field(factory=WallClock)
    """Of the server."""
    clients_clock: WallClock = attrs.field(factory=WallClock)
    """Of the clients that start from now on."""

    def open_server(self) -> AbstractAsyncContextManager[Server]:
        async def open_socket(place: HostPort) -> DatagramSocket:
            await trio.lowlevel.checkpoint()
            return self.network.socket(AddressPort(ip_address(place.host), place.port))

        settings = ServerSettings(
            client_ingresses=(IngressSettings(address=HostPort(HOST, CLIENTS_PORT), credential=self.credential),),
            client_tokens=((TOKEN, Restriction()),),
            relay_ingresses=(
                RelayIngressSettings(address=HostPort(HOST, RELAY_PORT), hostports=(HostPort(HOST, RELAY_PORT),)),
            ),
        )
        surroundings = attrs.evolve(self._surroundings(HOST), wall_clock=self.clock, open_udp_socket=open_socket)
        return open_server(settings, surroundings=surroundings)

    async def add_source(self, host: str) -> Source:
        """A source of `echo` on a client that lives until the test is over; the route is by relay."""
        source: Source = await self.nursery.start(self._run_source, host)
        return source

    async def add_destination(self, host: str) -> None:
        """A destination that echoes, likewise."""
        await self.nursery.start(self._run_destination, host)

    async def lose_control(self) -> None:
        """Cut the relay inside from control for as long as it takes to be noticed."""
        self.network.cut(HOST, LOOPBACK)
        await trio.sleep(40)
        self.network.heal(HOST, LOOPBACK)
        await trio.sleep(40)

    async def _run_destination(self, host: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with self._open_client(host) as client:
            destination = await client.add_destination("echo", route=Route.RELAY)
            task_status.started()
            await trio.serve_listeners(echo_stream, [destination])

    async def _run_source(self, host: str, *, task_status: trio.TaskStatus[Source]) -> None:
        async with self._open_client(host) as client:
            task_status.started(await client.add_source("echo", route=Route.RELAY))
            await trio.sleep_forever()

    def _open_client(self, host: str) -> AbstractAsyncContextManager[Any]:
        settings = ClientSettings(
            token=TOKEN,
            server=HostPort(HOST, CLIENTS_PORT),
            server_roots=(self.credential.der,),
            direct_address=HostPort(),
        )
        surroundings = attrs.evolve(self._surroundings(host), wall_clock=self.clients_clock)
        return open_client(settings, surroundings=surroundings)

    def _surroundings(self, host: str) -> Surroundings:
        return simulated_surroundings(self.network, host, host)


@pytest.fixture
async def lab(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    """For tests that ask for `autojump_clock` themselves: pytest-trio looks for a clock among their arguments only."""
    with monkeypatch.context() as patched:
        patched.setattr("connet_trio.identity.certificates.LIFETIME", timedelta(days=3650))
        credential = issue_server_credential([], [ip_address(HOST)], wall_now=START, entropy=Random(1).randbytes)
    async with open_network("clock", link=Link(delay=0.01)) as network, trio.open_nursery() as nursery:
        yield Lab(network, nursery, credential)
        nursery.cancel_scope.cancel()


def texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_a_server_that_boots_in_1970_serves_clients_once_its_clock_is_right(
    lab: Lab, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lab.clock.start = 0.0
    async with lab.open_server() as server:
        await lab.add_destination("203.0.113.1")
        source = await lab.add_source("203.0.113.2")
        await trio.sleep(30)
        assert not source.active.value
        refusals = [text for text in texts(caplog) if "is one of the clocks wrong?" in text]
        assert ["expired at 1972-01-01" in text for text in refusals] == [True, True]  # one for each client

        lab.clock.start = START
        with trio.fail_after(30):
            await source.wait_reachable()
        assert await exchange(await source.dial(), b"at last") == b"at last"
        assert "issued a new certificate, valid until 2029-01-14: the clock moved" in caplog.text

        caplog.clear()
        await lab.lose_control()
        assert server.status().relay.status is Status.CONNECTED
        assert await exchange(await source.dial(), b"and again") == b"and again"
        assert "clocks wrong" not in caplog.text
        assert (server.status().control.handler_errors, server.status().relay.handler_errors) == (0, 0)


async def test_a_server_outlives_its_own_certificates(
    lab: Lab, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(*arguments: object) -> None:
        await trio.sleep_forever()  # so that years may pass at once

    monkeypatch.setattr("connet_trio.relay.leaf.watch_wall_clock", never)
    caplog.set_level(logging.INFO)
    async with lab.open_server() as server:
        await lab.add_destination("203.0.113.1")
        source = await lab.add_source("203.0.113.2")
        await source.wait_reachable()
        stream = await source.dial()
        caplog.clear()
        for days in (701, 30):  # into the last month of the first certificates, and past their end
            lab.clock.start += days * DAY
            await trio.sleep(3610)
        assert await exchange(stream, b"for two years") == b"for two years"
        issued = [record.getMessage() for record in caplog.records if record.name == "connet_trio.relay.leaf"]
        assert issued == ["issued a new certificate, valid until 2030-12-16: the old one ends on 2029-01-14"]
        caplog.clear()
        await lab.lose_control()
        assert server.status().relay.status is Status.CONNECTED
        assert [text for text in texts(caplog) if text.startswith("control") and "clocks wrong" in text] == []
        lab.clients_clock = lab.clock
        await lab.add_destination("203.0.113.3")
        late = await lab.add_source("203.0.113.4")
        with trio.fail_after(20):
            await late.wait_reachable()
        assert await exchange(await late.dial(), b"hello") == b"hello"
        assert (server.status().control.handler_errors, server.status().relay.handler_errors) == (0, 0)
