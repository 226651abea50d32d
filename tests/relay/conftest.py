"""A relay on a simulated network in virtual time, a control server that speaks the records by hand, and clients too."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_address
from random import Random
from typing import Any, TypeVar

import attrs
import pytest
import trio

from connet_trio.concurrency import Watched
from connet_trio.errors import DialFailed, PathLost
from connet_trio.identity import (
    EndpointIdentity,
    PinnedServer,
    Realm,
    certificate_key,
    issue_identity,
    issue_server_credential,
    new_key_pair,
    seal_client_authentication,
    server_name,
    shared_key,
)
from connet_trio.quic import (
    Answer,
    Connection,
    Dialing,
    Listening,
    RecordStream,
    Stream,
    Surroundings,
    Transport,
    open_transport,
)
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.records import relay as relay_records
from connet_trio.records.control_relay import Authenticate, Authenticated, ClientAuthentication
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Endpoint, Error, HostPort, Role
from connet_trio.records.peer import Connect, Connected, RelayEncryption
from connet_trio.relay import RelayIngressSettings, RelayServer, RelaySettings, open_relay
from connet_trio.store import run_inline
from connet_trio.testing.network import Link, SimulatedNetwork, open_network
from connet_trio.wire import ConnectionKind, WireVersion, codecs, encode_frame, protocol_names, wire_version

T = TypeVar("T")

WALL_START = 1_800_000_000.0
RELAY, CONTROL, SOURCE, DESTINATION = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
RELAY_PORT, CONTROL_PORT = 19_191, 19_189
TOKEN = "staple of a relay"
NAME = "control.example"
CREDENTIAL = issue_server_credential([NAME], [], wall_now=WALL_START, entropy=Random(1).randbytes)
IDENTITIES = [issue_identity(Realm.PEER, wall_now=WALL_START, entropy=Random(seed).randbytes) for seed in range(2, 8)]
ALPNS = {WireVersion.V1: "connet-peer-relay/0.2", WireVersion.V2: "connet-relay/0.3"}
CONNECT = codecs.PEER_REQUEST.encode(Connect(source_encryption=(RelayEncryption.NONE,)))
CONNECTED = codecs.PEER_RESPONSE.encode(Connected())


def wall_clock() -> float:
    return WALL_START + trio.current_time()


class FakeControl:
    """Lets relays in by the book of protocol section 5.1, unless told otherwise."""

    def __init__(self, control_id: str, token: str, seed: int) -> None:
        self.control_id = control_id
        self.token = token
        self.refusal: Error | None = None
        self.is_silent = False
        self.requests: list[Authenticate] = []
        self.connections: list[Connection] = []
        self.keys: Watched[tuple[bytes, ...]] = Watched(())
        """What seals tokens, one for each time a relay was let in."""
        self.scope = trio.CancelScope()
        self._entropy = Random(seed).randbytes

    async def run(self, transport: AbstractAsyncContextManager[Transport], task_status: trio.TaskStatus[None]) -> None:
        """Serve until `scope` is cancelled, which closes every connection."""
        with self.scope:
            async with transport as opened, trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    nursery.start_soon(self._serve, await opened.accept())

    async def _serve(self, connection: Connection) -> None:
        self.connections.append(connection)
        try:
            stream = await connection.accept_stream()
            records = RecordStream(stream, wire_version(ConnectionKind.RELAY_TO_CONTROL, connection.alpn))
            request = await records.receive(codecs.RELAY_CONTROL_AUTHENTICATE)
            self.requests.append(request)
            if self.is_silent:
                await trio.sleep_forever()
            await records.send(codecs.RELAY_CONTROL_AUTHENTICATE_REPLY, self._answer(request))
            stream.close()
            await connection.wait_closed()
        except PathLost:
            pass

    def _answer(self, request: Authenticate) -> Error | Authenticated:
        if request.token != self.token:
            return Error(ErrorCode.AUTHENTICATION_FAILED, "token not found")
        if self.refusal is not None:
            return self.refusal
        pair = new_key_pair(self._entropy)
        self.keys.set((*self.keys.value, shared_key(request.relay_authentication_key, pair.secret)))
        return Authenticated(
            control_id=self.control_id,
            reconnect_token=b"come back %d" % len(self.requests),
            control_authentication_key=pair.public,
        )

    def seal(self, claim: ClientAuthentication, key: bytes | None = None) -> bytes:
        """A token for a client, under the latest key unless another is given."""
        return self.seal_bytes(codecs.CLIENT_AUTHENTICATION.encode(claim), key)

    def seal_bytes(self, payload: bytes, key: bytes | None = None) -> bytes:
        return seal_client_authentication(payload, key or self.keys.value[-1], self._entropy)


@attrs.frozen
class Client:
    """One endpoint's connection to the relay, let in."""

    connection: Connection
    identity: EndpointIdentity

    @property
    def version(self) -> WireVersion:
        return wire_version(ConnectionKind.CLIENT_TO_RELAY, self.connection.alpn)

    async def ask(self, request: bytes = CONNECT) -> RecordStream:
        """A new stream on which `request` has been said."""
        records = RecordStream(await self.connection.open_stream(), self.version)
        await records.send_payload(request)
        return records

    async def connect(self) -> Stream:
        """A stream that a destination has accepted."""
        records = await self.ask()
        with trio.fail_after(30):
            assert await records.receive_payload() == CONNECTED
        return records.stream

    async def refusal(self, request: bytes = CONNECT) -> Error:
        """The error that `request` is answered with, after which the stream ends."""
        records = await self.ask(request)
        with trio.fail_after(30):
            answer = await records.receive(codecs.PEER_RESPONSE)
            assert isinstance(answer, Error)
            assert await records.receive_or_end(codecs.PEER_RESPONSE) is None
        records.stream.close()
        return answer

    async def requested(self) -> tuple[RecordStream, bytes]:
        """The next stream the relay opens, and the request on it."""
        records = RecordStream(await self.connection.accept_stream(), self.version)
        return records, await records.receive_payload()

    async def accept(self) -> Stream:
        """The next stream the relay opens, accepted."""
        records, _ = await self.requested()
        await records.send_payload(CONNECTED)
        return records.stream


async def echo(stream: Stream) -> None:
    """Say back what comes until it ends."""
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.send_eof()


async def receive_all(stream: Stream) -> bytes:
    """Everything until the end."""
    return b"".join([data async for data in stream])


class Lab:
    """Everything a test needs; made by the fixture `lab`."""

    RELAY, CONTROL, SOURCE, DESTINATION = RELAY, CONTROL, SOURCE, DESTINATION
    TOKEN, NAME, CREDENTIAL = TOKEN, NAME, CREDENTIAL
    CONNECT, CONNECTED = CONNECT, CONNECTED
    echo = staticmethod(echo)
    receive_all = staticmethod(receive_all)
    frame = staticmethod(encode_frame)

    def __init__(self, network: SimulatedNetwork, nursery: trio.Nursery) -> None:
        self.network = network
        self.nursery = nursery
        self.relays: list[RelayServer] = []
        self.control: FakeControl
        self._hosts = iter(range(10, 250))
        self._seeds = iter(range(1000))

    # --- control and relay

    async def start_control(self, control_id: str = "control 1", token: str = TOKEN) -> FakeControl:
        """A control server, in place of one that was stopped."""
        self.control = FakeControl(control_id, token, next(self._seeds))
        answer = Answer(credential=CREDENTIAL, alpns=protocol_names(ConnectionKind.RELAY_TO_CONTROL))
        transport = open_transport(
            self.network.socket(f"{CONTROL}:{CONTROL_PORT}"),
            wall_clock=wall_clock,
            listening=Listening(choose=lambda name: answer),
        )
        await self.nursery.start(self.control.run, transport)
        return self.control

    def settings(self, **changes: Any) -> RelaySettings:
        ingress = RelayIngressSettings(
            address=HostPort(RELAY, RELAY_PORT), hostports=(HostPort("relay.example", RELAY_PORT),)
        )
        usual = RelaySettings(
            token=TOKEN, control=HostPort(NAME, CONTROL_PORT), control_roots=(CREDENTIAL.der,), ingresses=(ingress,)
        )
        return attrs.evolve(usual, **changes)

    def surroundings(self, **changes: Any) -> Surroundings:
        async def open_socket(place: HostPort) -> DatagramSocket:
            await trio.lowlevel.checkpoint()
            return self.network.socket(AddressPort(ip_address(place.host), place.port))

        async def resolve(place: HostPort) -> tuple[AddressPort, ...]:
            await trio.lowlevel.checkpoint()
            if place.host != NAME:
                raise DialFailed(f"cannot resolve {place.host}: unknown here")
            return (AddressPort(ip_address(CONTROL), place.port),)

        usual = Surroundings(
            wall_clock=wall_clock,
            luck=Random(7),
            entropy=Random(f"relay {next(self._seeds)}").randbytes,
            open_udp_socket=open_socket,
            resolve=resolve,
            store_runner=run_inline,
        )
        return attrs.evolve(usual, **changes)

    @asynccontextmanager
    async def open_relay(self, surroundings: Surroundings | None = None, **changes: Any) -> AsyncIterator[RelayServer]:
        async with open_relay(self.settings(**changes), surroundings=surroundings or self.surroundings()) as relay:
            self.relays.append(relay)
            yield relay

    async def start(self, surroundings: Surroundings | None = None, **changes: Any) -> RelayServer:
        """A relay that control has let in, for the rest of the test."""
        return await self.hold(self.open_relay(surroundings, **changes))

    async def start_alone(self, surroundings: Surroundings | None = None, **changes: Any) -> None:
        """Start a relay that is expected not to get that far; it is stopped at once."""
        async with self.open_relay(surroundings, **changes):
            pass

    async def hold(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Enter `resource` until the test is over."""

        async def hold(*, task_status: trio.TaskStatus[T]) -> None:
            async with resource as value:
                task_status.started(value)
                await trio.sleep_forever()

        held: T = await self.nursery.start(hold)
        return held

    # --- clients

    def identity(self, number: int) -> EndpointIdentity:
        return IDENTITIES[number]

    def claim(self, role: Role, number: int = 0, endpoint: str = "db") -> ClientAuthentication:
        key = certificate_key(IDENTITIES[number].client.der)
        return ClientAuthentication(endpoint=Endpoint(endpoint), role=role, certificate_key=key)

    async def transport(self, host: str | None = None) -> Transport:
        address = f"{host or f'192.0.2.{next(self._hosts)}'}:0"
        return await self.hold(open_transport(self.network.socket(address), wall_clock=wall_clock))

    async def dial(
        self,
        host: str | None = None,
        number: int = 0,
        versions: Sequence[WireVersion] = (),
        transport: Transport | None = None,
        **changes: Any,
    ) -> Connection:
        """A connection to the relay that has not said a word."""
        leaf = self.control.requests[-1].server_certificate
        name = server_name(leaf)
        dialing = Dialing(
            alpns=tuple(ALPNS[version] for version in versions) or protocol_names(ConnectionKind.CLIENT_TO_RELAY),
            trust=PinnedServer(leaf, name),
            server_name=name,
            credential=IDENTITIES[number].client,
        )
        transport = transport or await self.transport(host)
        return await transport.dial(AddressPort(ip_address(RELAY), RELAY_PORT), attrs.evolve(dialing, **changes))

    async def authenticate(self, connection: Connection, token: bytes, metadata: str = "") -> Error | None:
        """Show a token; the error it is answered with, if it is."""
        version = wire_version(ConnectionKind.CLIENT_TO_RELAY, connection.alpn)
        records = RecordStream(await connection.open_stream(), version)
        request = relay_records.Authenticate(authentication=token, metadata=metadata, build_version="test")
        await records.send(codecs.RELAY_AUTHENTICATE, request)
        records.stream.finish()
        with trio.fail_after(30):
            answer = await records.receive(codecs.RELAY_AUTHENTICATE_REPLY)
            assert await records.receive_or_end(codecs.RELAY_AUTHENTICATE_REPLY) is None
        return answer if isinstance(answer, Error) else None

    async def client(
        self,
        role: Role,
        number: int = 0,
        *,
        host: str | None = None,
        endpoint: str = "db",
        metadata: str = "",
        versions: Sequence[WireVersion] = (),
        **changes: Any,
    ) -> Client:
        connection = await self.dial(host, number, versions, **changes)
        token = self.control.seal(self.claim(role, number, endpoint))
        assert await self.authenticate(connection, token, metadata) is None
        return Client(connection, IDENTITIES[number])

    async def source(self, number: int = 0, **changes: Any) -> Client:
        return await self.client(Role.SOURCE, number, **changes)

    async def destination(
        self, number: int = 1, handle: Callable[[Stream], Awaitable[None]] | None = None, **changes: Any
    ) -> Client:
        """A destination; with `handle`, it accepts every stream and gives it to that."""
        client = await self.client(Role.DESTINATION, number, **changes)
        if handle is not None:
            self.nursery.start_soon(self._accept_all, client, handle)
        return client

    async def refusing(self, number: int, text: str, **changes: Any) -> Client:
        """A destination that answers every request with an error."""
        client = await self.client(Role.DESTINATION, number, **changes)
        self.nursery.start_soon(self._refuse_all, client, text)
        return client

    async def pair(self) -> tuple[Client, Client]:
        """A source and a destination on a relay with everything in place."""
        await self.start_control()
        await self.start()
        return await self.source(host=SOURCE), await self.destination(host=DESTINATION)

    async def joined(self) -> tuple[Stream, Stream]:
        """The two ends of a stream through the relay."""
        source, destination = await self.pair()
        return await self.join(source, destination)

    async def join(self, source: Client, destination: Client) -> tuple[Stream, Stream]:
        """One more stream from `source` to `destination`, its two ends."""
        records = await source.ask()
        accepted = await destination.accept()
        assert await records.receive_payload() == CONNECTED
        return records.stream, accepted

    async def _accept_all(self, client: Client, handle: Callable[[Stream], Awaitable[None]]) -> None:
        try:
            while True:
                self.nursery.start_soon(handle, await client.accept())
        except PathLost:
            pass

    async def _refuse_all(self, client: Client, text: str) -> None:
        try:
            while True:
                records, _ = await client.requested()
                error = Error(ErrorCode.DESTINATION_RELAY_ENCRYPTION_ERROR, text)
                await records.send(codecs.PEER_RESPONSE, error)
                records.stream.close()
        except PathLost:
            pass


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """For tests that ask for `autojump_clock` themselves: pytest-trio looks for a clock among their arguments only."""
    async with open_network("relay", link=Link(delay=0.01)) as network, trio.open_nursery() as nursery:
        made = Lab(network, nursery)
        yield made
        assert [relay.status().handler_errors for relay in made.relays] == [0] * len(made.relays)
        nursery.cancel_scope.cancel()
