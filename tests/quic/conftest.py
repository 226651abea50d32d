"""Two transports on a simulated network, what they need to know each other, and a socket that meddles between them."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from connet_trio.identity import Credential, EndpointIdentity, PinnedServer, Realm, check_client, issue_identity
from connet_trio.quic.connection import Connection
from connet_trio.quic.datagram_run import DatagramRun, datagrams_of
from connet_trio.quic.engine_choice import QuicEngine
from connet_trio.quic.handshake import Answer, Dialing, Listening
from connet_trio.quic.limits import WINDOWS, Windows
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.quic.stream import Stream
from connet_trio.quic.transport import Transport, open_transport
from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import DEFAULT_LINK, Link, SimulatedNetwork, open_network

WALL_NOW = 1_800_000_000.0
ALPN = "connet-peer/0.2"
RESET_KEY = bytes(range(32))
LISTENER = issue_identity(Realm.PEER, wall_now=WALL_NOW, entropy=random.Random(1).randbytes)
DIALER = issue_identity(Realm.PEER, wall_now=WALL_NOW, entropy=random.Random(2).randbytes)
STRANGER = issue_identity(Realm.PEER, wall_now=WALL_NOW, entropy=random.Random(3).randbytes)
FAR, NEAR = "192.0.2.1:4000", "192.0.2.2:5000"
"""Where the listener and the dialer are."""


def run_in_virtual_time(async_fn: Callable[[], Awaitable[Any]], **others: object) -> Any:
    async def run_bounded() -> Any:
        with trio.fail_after(7200):  # a test that waits for ever would be kept alive by its keepalives
            return await async_fn()

    return run_simulated(run_bounded, seed=0)


virtual_time = pytest.mark.trio(run=run_in_virtual_time)
"""For `pytestmark`: the clock jumps, and tasks run in the same order each time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the mark of a module count: pytest-trio takes the nearest, which is the one of `trio_mode`."""
    for item in items:
        if any(mark.kwargs.get("run") is run_in_virtual_time for mark in item.iter_markers("trio")):
            item.add_marker(virtual_time, append=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that may open a transport on both engines, or on those its module names as `ENGINES`."""
    opens = any(hasattr(metafunc.module, name) for name in ("open_pair", "open_transport"))
    if opens or "pair" in metafunc.fixturenames:
        metafunc.parametrize("engine", getattr(metafunc.module, "ENGINES", ["fast", "stock"]), indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The engine of every transport that a test opens without naming one; None for a test that opens none."""
    # of its own accord: pytest would forget a name that is only added to those a test asks for
    if not hasattr(request, "param"):
        return None
    # the default of one argument: transports are opened in many ways, some by what is tested
    monkeypatch.setitem(open_transport.__wrapped__.__kwdefaults__, "quic_engine", QuicEngine(request.param))  # type: ignore[attr-defined]
    return str(request.param)


def wall_clock() -> float:
    return WALL_NOW


def dialing(**changes: object) -> Dialing:
    """How DIALER dials LISTENER."""
    usual = Dialing(
        alpns=(ALPN,),
        trust=PinnedServer(LISTENER.server.der, LISTENER.name),
        server_name=LISTENER.name,
        credential=DIALER.client,
    )
    return attrs.evolve(usual, **changes)  # type: ignore[arg-type]


def listening(
    windows: Windows = WINDOWS,
    expected: EndpointIdentity = DIALER,
    credential: Credential = LISTENER.server,
    alpns: tuple[str, ...] = (ALPN,),
    **changes: object,
) -> Listening:
    """How LISTENER answers DIALER."""
    answer = Answer(
        credential=credential,
        alpns=alpns,
        client_trust=lambda leaf, wall_now: check_client(leaf, {expected.client.der}, wall_now),
    )
    usual = Listening(choose=lambda name: answer if name == LISTENER.name else None, windows=windows)
    return attrs.evolve(usual, **changes)  # type: ignore[arg-type]


class MeddlingSocket:
    """A socket of the network whose datagrams a test watches, holds back or replaces, and that it adds some to."""

    def __init__(self, socket: DatagramSocket) -> None:
        self.socket = socket
        self.sent: list[bytes] = []
        self.received: list[Datagram] = []
        self.outgoing: Callable[[bytes], Sequence[bytes]] = lambda data: [data]
        self.incoming: Callable[[bytes], Sequence[bytes]] = lambda data: [data]

    @property
    def local_address(self) -> AddressPort:
        return self.socket.local_address

    @property
    def forbids_fragments(self) -> bool:
        return self.socket.forbids_fragments

    async def wait_readable(self) -> None:
        await self.socket.wait_readable()

    def receive_batch(self) -> list[Datagram]:
        batch = list(datagrams_of(self.socket.receive_batch()))
        self.received += batch
        return [(altered, path) for data, path in batch for altered in self.incoming(data)]

    def send_batch(self, batch: Sequence[Datagram | DatagramRun]) -> None:
        datagrams = list(datagrams_of(batch))
        self.sent += [data for data, _ in datagrams]
        self.socket.send_batch([(altered, path) for data, path in datagrams for altered in self.outgoing(data)])

    def path_to(self, remote: AddressPort, *, zone: int = 0) -> NetworkPath:
        return self.socket.path_to(remote, zone=zone)

    def close(self) -> None:
        self.socket.close()


@attrs.frozen(kw_only=True)
class Pair:
    """A dialer's and a listener's transport, and the network between them."""

    dialer: Transport
    listener: Transport
    near: MeddlingSocket
    far: MeddlingSocket
    network: SimulatedNetwork

    @property
    def address(self) -> AddressPort:
        return self.far.local_address

    async def connect(self) -> tuple[Connection, Connection]:
        """A connection, as each side sees it: the dialer's, the listener's."""
        dialled = await self.dialer.dial(self.address, dialing())
        return dialled, await self.listener.accept()

    async def open_streams(self) -> tuple[Stream, Stream]:
        """A stream on a new connection, as each side sees it."""
        return await open_streams(*await self.connect())

    def cut(self) -> None:
        self.network.cut(str(self.near.local_address.address), str(self.far.local_address.address))

    def heal(self) -> None:
        self.network.heal(str(self.near.local_address.address), str(self.far.local_address.address))


async def open_streams(opener: Connection, acceptor: Connection) -> tuple[Stream, Stream]:
    """A new stream, as each side sees it; a byte has gone through, since the acceptor would not know of it."""
    ours = await opener.open_stream()
    await ours.send_all(b"!")
    theirs = await acceptor.accept_stream()
    assert await theirs.receive_some() == b"!"
    return ours, theirs


@asynccontextmanager
async def open_pair(
    seed: int = 0,
    link: Link = DEFAULT_LINK,
    listen: Listening | None = None,
    reset_key: bytes | None = None,
    trace_limit: int = 0,
    dialer_clock: Callable[[], float] = wall_clock,
    listener_clock: Callable[[], float] = wall_clock,
    quic_engine: QuicEngine | None = None,
) -> AsyncIterator[Pair]:
    """A pair on a new network; without `quic_engine`, the fixture `engine` says which."""
    open_one = open_transport if quic_engine is None else partial(open_transport, quic_engine=quic_engine)
    async with open_network(seed, link=link, trace_limit=trace_limit) as network:
        far, near = MeddlingSocket(network.socket(FAR)), MeddlingSocket(network.socket(NEAR))
        async with (
            open_one(far, wall_clock=listener_clock, listening=listen or listening(), reset_key=reset_key) as listener,
            open_one(near, wall_clock=dialer_clock) as dialer,
        ):
            yield Pair(dialer=dialer, listener=listener, near=near, far=far, network=network)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with open_pair() as made:
        yield made
