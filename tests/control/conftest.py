"""A control server on a simulated network in virtual time, and clients and relays made of records by hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
import pytest
import trio

from connet_trio.control import ControlServer, ControlSettings, IngressSettings, open_control
from connet_trio.engine import Restriction
from connet_trio.identity import (
    EndpointIdentity,
    PinnedServer,
    Realm,
    issue_identity,
    issue_server_credential,
    new_key_pair,
    shared_key,
)
from connet_trio.quic import (
    Connection,
    Dialing,
    RecordStream,
    Stream,
    Surroundings,
    Transport,
    Windows,
    open_transport,
)
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.records import control, control_relay
from connet_trio.records.model import AddressPort, Endpoint, HostPort, Role
from connet_trio.store import run_inline
from connet_trio.testing.network import SimulatedNetwork, open_network
from connet_trio.wire import ConnectionKind, codecs, protocol_names, wire_version

T = TypeVar("T")

WALL_START = 1_800_000_000.0
CONTROL = "192.0.2.1"
TOKEN, RELAY_TOKEN = "correct horse battery", "staple of a relay"
CLIENTS_PORT, RELAYS_PORT = 19_190, 19_189
NAME = "control.example"
CREDENTIAL = issue_server_credential([NAME], [], wall_now=WALL_START, entropy=Random(1).randbytes)
IDENTITIES = [issue_identity(Realm.PEER, wall_now=WALL_START, entropy=Random(seed).randbytes) for seed in range(2, 6)]


def wall_clock() -> float:
    return WALL_START + trio.current_time()


class RequestStream:
    """A stream of a client: records out, records in."""

    def __init__(self, stream: Stream, records: RecordStream) -> None:
        self.stream = stream
        self.records = records

    async def send(self, request: control.ControlRequest) -> None:
        await self.records.send(codecs.CONTROL_REQUEST, request)

    async def receive(self) -> control.ControlResponse:
        with trio.fail_after(60):
            return await self.records.receive(codecs.CONTROL_RESPONSE)

    async def receive_end(self) -> None:
        """The other side has said its last."""
        with trio.fail_after(60):
            assert await self.records.receive_or_end(codecs.CONTROL_RESPONSE) is None


@attrs.frozen
class Client:
    """A client that has authenticated."""

    connection: Connection
    kind: ConnectionKind
    answer: control.Authenticated

    async def open(self) -> RequestStream:
        with trio.fail_after(10):
            stream = await self.connection.open_stream()
        return RequestStream(stream, RecordStream(stream, wire_version(self.kind, self.connection.alpn)))

    async def ask(self, request: control.ControlRequest) -> RequestStream:
        opened = await self.open()
        await opened.send(request)
        return opened


@attrs.frozen
class Relay:
    """A relay that has authenticated."""

    connection: Connection
    answer: control_relay.Authenticated
    key: bytes


class Lab:
    """Everything a test needs; made by the fixture `lab`."""

    TOKEN, RELAY_TOKEN, CONTROL = TOKEN, RELAY_TOKEN, CONTROL
    CLIENTS, RELAYS = ConnectionKind.CLIENT_TO_CONTROL, ConnectionKind.RELAY_TO_CONTROL

    def __init__(self, network: SimulatedNetwork, nursery: trio.Nursery) -> None:
        self.network = network
        self._nursery = nursery
        self._hosts = iter(range(10, 250))
        self.servers: list[ControlServer] = []

    def settings(self, **changes: Any) -> ControlSettings:
        ingress = IngressSettings(address=HostPort(CONTROL, CLIENTS_PORT), credential=CREDENTIAL)
        usual = ControlSettings(
            client_ingresses=(ingress,),
            client_tokens=((TOKEN, Restriction()),),
            relay_ingresses=(attrs.evolve(ingress, address=HostPort(CONTROL, RELAYS_PORT)),),
            relay_tokens=((RELAY_TOKEN, Restriction()),),
        )
        return attrs.evolve(usual, **changes)

    def surroundings(self, **changes: Any) -> Surroundings:
        async def open_socket(address: HostPort) -> DatagramSocket:
            await trio.lowlevel.checkpoint()
            return self.network.socket(AddressPort(IPv4Address(address.host), address.port))

        usual = Surroundings(
            wall_clock=wall_clock,
            luck=Random(7),
            entropy=Random(8).randbytes,
            open_udp_socket=open_socket,
            store_runner=run_inline,
        )
        return attrs.evolve(usual, **changes)

    @asynccontextmanager
    async def open_control(self, **changes: Any) -> AsyncIterator[ControlServer]:
        async with open_control(self.settings(**changes), surroundings=self.surroundings()) as server:
            self.servers.append(server)
            yield server

    async def _hold(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Enter `resource` until the test is over."""

        async def hold(*, task_status: trio.TaskStatus[T]) -> None:
            async with resource as value:
                task_status.started(value)
                await trio.sleep_forever()

        held: T = await self._nursery.start(hold)
        return held

    async def start(self, **changes: Any) -> ControlServer:
        return await self._hold(self.open_control(**changes))

    async def transport(self, host: str | None = None) -> Transport:
        address = f"{host or f'192.0.2.{next(self._hosts)}'}:0"
        return await self._hold(open_transport(self.network.socket(address), wall_clock=wall_clock))

    async def dial(
        self,
        kind: ConnectionKind = CLIENTS,
        *,
        alpn: str | None = None,
        transport: Transport | None = None,
        **changes: Any,
    ) -> Connection:
        port = CLIENTS_PORT if kind is self.CLIENTS else RELAYS_PORT
        dialing = Dialing(
            alpns=protocol_names(kind) if alpn is None else (alpn,),
            trust=PinnedServer(CREDENTIAL.der, NAME),
            server_name=NAME,
            **changes,
        )
        transport = transport or await self.transport()
        return await transport.dial(AddressPort(IPv4Address(CONTROL), port), dialing)

    async def authenticate(
        self, connection: Connection, token: str = TOKEN, **changes: Any
    ) -> control.AuthenticateReply:
        stream = await connection.open_stream()
        records = RecordStream(stream, wire_version(self.CLIENTS, connection.alpn))
        await records.send(codecs.CONTROL_AUTHENTICATE, control.Authenticate(token=token, **changes))
        stream.finish()
        with trio.fail_after(60):
            return await records.receive(codecs.CONTROL_AUTHENTICATE_REPLY)

    async def client(
        self,
        *,
        alpn: str | None = None,
        token: str = TOKEN,
        transport: Transport | None = None,
        windows: Windows | None = None,
        **changes: Any,
    ) -> Client:
        dialing: dict[str, Any] = {} if windows is None else {"windows": windows}
        connection = await self.dial(alpn=alpn, transport=transport, **dialing)
        answer = await self.authenticate(connection, token, **changes)
        assert isinstance(answer, control.Authenticated)
        return Client(connection, self.CLIENTS, answer)

    async def authenticate_relay(self, connection: Connection, **changes: Any) -> control_relay.AuthenticateReply:
        stream = await connection.open_stream()
        records = RecordStream(stream, wire_version(self.RELAYS, connection.alpn))
        request = {
            "token": RELAY_TOKEN,
            "addresses": (HostPort("relay.example", 19_191),),
            "server_certificate": self.leaf(0),
            "relay_authentication_key": new_key_pair(Random(9).randbytes).public,
        }
        await records.send(
            codecs.RELAY_CONTROL_AUTHENTICATE,
            control_relay.Authenticate(**(request | changes)),
        )
        stream.finish()
        with trio.fail_after(60):
            return await records.receive(codecs.RELAY_CONTROL_AUTHENTICATE_REPLY)

    async def relay(self, *, alpn: str | None = None, seed: int = 9, **changes: Any) -> Relay:
        connection = await self.dial(self.RELAYS, alpn=alpn)
        pair = new_key_pair(Random(seed).randbytes)
        answer = await self.authenticate_relay(connection, relay_authentication_key=pair.public, **changes)
        assert isinstance(answer, control_relay.Authenticated)
        return Relay(connection, answer, shared_key(answer.control_authentication_key, pair.secret))

    # --- what is said

    def leaf(self, number: int) -> bytes:
        return self.identity(number).client.der

    def identity(self, number: int) -> EndpointIdentity:
        return IDENTITIES[number]

    def peer(self, number: int = 0, *, port: int = 5000, **changes: Any) -> control.Peer:
        usual = control.Peer(
            directs=(AddressPort(IPv4Address(f"198.51.100.{number + 1}"), port),),
            server_certificate=self.identity(number).server.der,
            client_certificate=self.identity(number).client.der,
        )
        return attrs.evolve(usual, **changes)

    def announce(
        self, role: Role = Role.DESTINATION, peer: control.Peer | None = None, name: str = "db"
    ) -> control.Announce:
        return control.Announce(endpoint=Endpoint(name), role=role, peer=peer or self.peer())

    def subscribe(
        self, role: Role = Role.SOURCE, name: str = "db", certificate: bytes | None = None
    ) -> control.SubscribeRelays:
        return control.SubscribeRelays(
            endpoint=Endpoint(name), role=role, client_certificate=self.leaf(1) if certificate is None else certificate
        )


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """For tests that ask for `autojump_clock` themselves: pytest-trio looks for a clock among their arguments only."""
    async with open_network("control") as network, trio.open_nursery() as nursery:
        made = Lab(network, nursery)
        yield made
        assert [server.status().handler_errors for server in made.servers] == [0] * len(made.servers)
        nursery.cancel_scope.cancel()


@pytest.fixture
def store_directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def living_tasks() -> Callable[[], int]:
    return lambda: trio.lowlevel.current_statistics().tasks_living
