"""Control and a relay in one process, on a simulated network in virtual time."""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from connet_trio.client import ClientSettings, open_client
from connet_trio.control import IngressSettings
from connet_trio.endpoints import Destination, Source
from connet_trio.engine import Restriction
from connet_trio.errors import BindFailed, DialFailed
from connet_trio.identity import issue_server_credential
from connet_trio.quic import CongestionControl, DatagramSocket, QuicEngine, Surroundings
from connet_trio.quic.core import Core
from connet_trio.quic.fast import FastCore
from connet_trio.records.model import AddressPort, HostPort, Route
from connet_trio.records.status import Status, to_json
from connet_trio.relay import RelayIngressSettings, RelaySettings, open_relay
from connet_trio.server import Server, ServerSettings, open_server, run_server
from connet_trio.server.server import loopback_for
from connet_trio.store import run_inline
from connet_trio.testing.deployment import START, echo_stream, exchange, simulated_surroundings
from connet_trio.testing.network import Link, SimulatedNetwork, open_network

HOST = "192.0.2.1"
CLIENTS_PORT, RELAY_PORT = 19_190, 19_191
TOKEN = "token of a client"
CREDENTIAL = issue_server_credential([], [ip_address(HOST)], wall_now=START, entropy=Random(1).randbytes)


@attrs.define
class Lab:
    """A host to run servers on, and a network with clients."""

    network: SimulatedNetwork
    nursery: trio.Nursery
    starts: int = 0
    settings_of_clients: dict[str, Any] = attrs.field(factory=dict)

    def settings(self, **changes: Any) -> ServerSettings:
        usual = ServerSettings(
            client_ingresses=(IngressSettings(address=HostPort(HOST, CLIENTS_PORT), credential=CREDENTIAL),),
            client_tokens=((TOKEN, Restriction()),),
            relay_ingresses=(
                RelayIngressSettings(address=HostPort(HOST, RELAY_PORT), hostports=(HostPort(HOST, RELAY_PORT),)),
            ),
        )
        return attrs.evolve(usual, **changes)

    def surroundings(self) -> Surroundings:
        async def open_socket(place: HostPort) -> DatagramSocket:
            await trio.lowlevel.checkpoint()
            return self.network.socket(AddressPort(ip_address(place.host), place.port))

        self.starts += 1
        return attrs.evolve(
            simulated_surroundings(self.network, HOST, self.starts),
            open_udp_socket=open_socket,
            store_runner=run_inline,
        )

    def open_server(self, **changes: Any) -> AbstractAsyncContextManager[Server]:
        return open_server(self.settings(**changes), surroundings=self.surroundings())

    async def start_alone(self, **changes: Any) -> None:
        """Start a server that is expected not to get that far."""
        async with self.open_server(**changes):
            pass

    async def add_pair(self) -> tuple[Destination, Source]:
        """A destination that echoes and a source, on clients that live until the test is over, and a path by relay."""
        destination = await self.nursery.start(self._run_destination)
        source = await self.nursery.start(self._run_source)
        await source.wait_reachable()
        return destination, source

    async def _run_destination(self, *, task_status: trio.TaskStatus[Destination]) -> None:
        async with self._open_client("203.0.113.1") as client:
            destination = await client.add_destination("echo", route=Route.RELAY)
            task_status.started(destination)
            await trio.serve_listeners(echo_stream, [destination])

    async def _run_source(self, *, task_status: trio.TaskStatus[Source]) -> None:
        async with self._open_client("203.0.113.2") as client:
            task_status.started(await client.add_source("echo", route=Route.RELAY))
            await trio.sleep_forever()

    def _open_client(self, host: str) -> AbstractAsyncContextManager[Any]:
        settings = ClientSettings(
            token=TOKEN,
            server=HostPort(HOST, CLIENTS_PORT),
            server_roots=(CREDENTIAL.der,),
            direct_address=HostPort(),
            **self.settings_of_clients,
        )
        return open_client(settings, surroundings=simulated_surroundings(self.network, host, host))


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """For tests that ask for `autojump_clock` themselves: pytest-trio looks for a clock among their arguments only."""
    async with open_network("server", link=Link(delay=0.01)) as network, trio.open_nursery() as nursery:
        yield Lab(network, nursery)
        nursery.cancel_scope.cancel()


async def test_a_source_reaches_a_destination_through_the_relay_inside(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.open_server() as server:
        _, source = await lab.add_pair()
        payload = Random(1).randbytes(100_000)
        assert await exchange(await source.dial(), payload) == payload
        status = server.status()
        assert status.relay.bytes_forwarded == 2 * len(payload)
        assert (status.control.handler_errors, status.relay.handler_errors) == (0, 0)


async def test_everybody_controls_congestion_as_the_settings_say(
    lab: Lab, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls: Counter[CongestionControl] = Counter()

    class NotedCore(FastCore):
        def __init__(self, *, congestion_control: CongestionControl, **others: Any) -> None:
            controls[congestion_control] += 1
            super().__init__(congestion_control=congestion_control, **others)

    monkeypatch.setattr("connet_trio.quic.transport.FastCore", NotedCore)
    lab.settings_of_clients = {"congestion_control": CongestionControl.BBR_TOLERANT}
    async with lab.open_server(congestion_control=CongestionControl.BBR):
        _, source = await lab.add_pair()
        assert await exchange(await source.dial(), b"?") == b"?"
    # each client dials control and relay, and the relay control
    assert controls == {CongestionControl.BBR_TOLERANT: 4, CongestionControl.BBR: 4 + 2}


@pytest.mark.parametrize("of_clients", list(QuicEngine))
async def test_everybody_runs_the_engine_and_the_packets_of_the_settings(
    lab: Lab, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, of_clients: QuicEngine
) -> None:
    cores: Counter[tuple[QuicEngine, int]] = Counter()

    class NotedCore(Core):
        def __init__(self, *, largest_datagram: int, **others: Any) -> None:
            cores[QuicEngine.STOCK, largest_datagram] += 1
            super().__init__(largest_datagram=largest_datagram, **others)

    class NotedFastCore(FastCore):
        def __init__(self, *, largest_datagram: int, **others: Any) -> None:
            cores[QuicEngine.FAST, largest_datagram] += 1
            super().__init__(largest_datagram=largest_datagram, **others)

    monkeypatch.setattr("connet_trio.quic.transport.Core", NotedCore)
    monkeypatch.setattr("connet_trio.quic.transport.FastCore", NotedFastCore)
    (of_server,) = set(QuicEngine) - {of_clients}
    lab.settings_of_clients = {"quic_engine": of_clients, "max_packet_size": 1452}
    async with lab.open_server(quic_engine=of_server, max_packet_size=1200):
        _, source = await lab.add_pair()
        assert await exchange(await source.dial(), b"?") == b"?"
    # each client dials control and relay, and the relay control
    assert cores == {(of_clients, 1452): 4, (of_server, 1200): 4 + 2}


async def test_the_status_has_both_halves(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.open_server() as server:
        await trio.sleep(1)  # control lists a relay once its answer is acknowledged
        page = to_json(server.status())
        assert list(page) == ["control", "relay"]
        assert page["relay"]["status"] == Status.CONNECTED.value
        assert page["relay"]["server-id"] == page["control"]["relay-server-id"]
        (relay,) = page["control"]["relays"].values()
        assert relay["hostport"] == page["relay"]["hostports"] == [f"{HOST}:{RELAY_PORT}"]


async def test_the_halves_meet_on_loopback_on_a_port_of_their_own(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.open_server() as server:
        (joint,) = server.control.relay_addresses
        assert str(joint.address) == "127.0.0.1"
        assert joint.port != 19_189
        async with lab.open_server(
            client_ingresses=(IngressSettings(address=HostPort(HOST, 1), credential=CREDENTIAL),),
            relay_ingresses=(RelayIngressSettings(address=HostPort(HOST, 2)),),
        ) as another:
            assert another.status().relay.status is Status.CONNECTED


@pytest.mark.parametrize(
    ("hosts", "joint"),
    [
        (["2001:db8::1"], "::1"),
        (["2001:db8::1", "2001:db8::2"], "::1"),
        (["2001:db8::1", HOST], "127.0.0.1"),
    ],
)
async def test_the_halves_meet_where_an_ingress_of_the_relay_reaches(
    lab: Lab, autojump_clock: MockClock, hosts: list[str], joint: str
) -> None:
    ingresses = tuple(RelayIngressSettings(address=HostPort(host, RELAY_PORT)) for host in hosts)
    async with lab.open_server(relay_ingresses=ingresses) as server:
        assert server.status().relay.status is Status.CONNECTED
        assert [str(place.address) for place in server.control.relay_addresses] == [joint]


@pytest.mark.parametrize("host", ["", "::", "0.0.0.0", "::ffff:192.0.2.1", "localhost"])
def test_a_socket_that_reaches_both_families_joins_over_ipv4(host: str) -> None:
    ingresses = (RelayIngressSettings(address=HostPort(host, RELAY_PORT)),)
    assert str(loopback_for(ingresses)) == "127.0.0.1"


async def test_no_other_relay_gets_in(lab: Lab, autojump_clock: MockClock) -> None:
    async with lab.open_server() as server:
        (joint,) = server.control.relay_addresses
        stranger = RelaySettings(
            token=TOKEN,
            control=HostPort(str(joint.address), joint.port),
            control_roots=(CREDENTIAL.der,),
            ingresses=(RelayIngressSettings(address=HostPort("127.0.0.1", 0)),),
        )
        with pytest.raises(DialFailed):
            async with open_relay(stranger, surroundings=lab.surroundings()):
                pass
        assert len(server.status().control.relays) == 1


async def test_a_server_that_starts_again_on_its_store_is_the_same(
    lab: Lab, autojump_clock: MockClock, tmp_path: Path
) -> None:
    seen = []
    for _ in range(2):
        async with lab.open_server(store_directory=tmp_path) as server:
            await trio.sleep(1)
            control = server.status().control
            (relay_id,) = control.relays
            seen.append((control.control_id, relay_id))
    assert seen[0] == seen[1]
    assert {path.name for path in await trio.Path(tmp_path).iterdir()} == {"control", "relay"}


async def test_draining_gives_streams_their_time_and_says_nothing_of_lost_control(
    lab: Lab, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab.open_server(drain_timeout=10.0) as server:
        _, source = await lab.add_pair()
        stream = await source.dial()
        caplog.clear()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.drain)
            await trio.sleep(5)
            assert server.control.status().clients == {}
            assert await exchange(stream, b"the last words") == b"the last words"
        assert 5 < trio.current_time() - began < 6
        assert server.status().relay.status is Status.DISCONNECTED
    loggers = ("connet_trio.relay", "connet_trio.control", "connet_trio.server")
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in loud if record.name.startswith(loggers)] == []


async def test_leaving_the_block_frees_every_socket_and_ends_every_task(lab: Lab, autojump_clock: MockClock) -> None:
    await wait_all_tasks_blocked()
    before = trio.lowlevel.current_statistics().tasks_living
    async with lab.open_server() as server:
        places = [*server.control.client_addresses, *server.control.relay_addresses, *server.relay.addresses]
    assert trio.lowlevel.current_statistics().tasks_living == before
    for place in places:
        lab.network.socket(place).close()


async def test_an_error_of_the_block_comes_out_as_itself(lab: Lab, autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError, match="of the caller"):
        async with lab.open_server():
            raise KeyError("of the caller")


async def test_a_port_that_is_taken_is_named_and_the_other_sockets_are_freed(
    lab: Lab, autojump_clock: MockClock
) -> None:
    lab.network.socket(f"{HOST}:{RELAY_PORT}")
    with pytest.raises(BindFailed, match=f"{HOST}:{RELAY_PORT}"):
        await lab.start_alone()
    lab.network.socket(f"{HOST}:{CLIENTS_PORT}").close()


async def test_a_server_starts_in_the_nursery_of_a_program_that_embeds_it(lab: Lab, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        run = partial(run_server, lab.settings(), surroundings=lab.surroundings())
        server = await nursery.start(run)
        assert server.status().relay.status is Status.CONNECTED
        assert server.warnings == ()
        nursery.cancel_scope.cancel()


@pytest.mark.reliability(line=25)
async def test_the_token_between_the_halves_is_in_no_representation(
    lab: Lab, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with lab.open_server() as server:
        assert ".relay.control.invalid" not in repr(server)
    assert TOKEN not in repr(lab.settings())
    assert ".relay.control.invalid" not in caplog.text.replace(server.status().control.control_id, "")
