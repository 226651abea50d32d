"""Two transports on a simulated network, or on loopback, and what they need to know each other."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest

from connet_trio.identity import EndpointIdentity, PinnedServer, Realm, check_client, issue_identity
from connet_trio.quic.connection import Connection
from connet_trio.quic.handshake import Answer, Dialing, Listening
from connet_trio.quic.limits import WINDOWS, Windows
from connet_trio.quic.transport import Transport, open_transport
from connet_trio.records.model import AddressPort
from connet_trio.testing.network import DEFAULT_LINK, Link, SimulatedNetwork, open_network

WALL_NOW = 1_800_000_000.0
ALPN = "connet-peer/0.2"
LISTENER = identity_of_listener = issue_identity(Realm.PEER, wall_now=WALL_NOW, entropy=random.Random(1).randbytes)
DIALER = issue_identity(Realm.PEER, wall_now=WALL_NOW, entropy=random.Random(2).randbytes)
STRANGER = issue_identity(Realm.PEER, wall_now=WALL_NOW, entropy=random.Random(3).randbytes)


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


def listening(windows: Windows = WINDOWS, expected: EndpointIdentity = DIALER, **changes: object) -> Listening:
    """How LISTENER answers DIALER."""
    answer = Answer(
        credential=LISTENER.server,
        alpns=(ALPN,),
        client_trust=lambda leaf, wall_now: check_client(leaf, {expected.client.der}, wall_now),
    )
    usual = Listening(choose=lambda name: answer if name == LISTENER.name else None, windows=windows)
    return attrs.evolve(usual, **changes)  # type: ignore[arg-type]


@attrs.frozen(kw_only=True)
class Pair:
    """A dialer's and a listener's transport, and the network between them if it is simulated."""

    dialer: Transport
    listener: Transport
    address: AddressPort
    network: SimulatedNetwork

    async def connect(self) -> tuple[Connection, Connection]:
        """A connection, as each side sees it."""
        dialled = await self.dialer.dial(self.address, dialing())
        return dialled, await self.listener.accept()


@asynccontextmanager
async def open_pair(
    seed: int = 0, link: Link = DEFAULT_LINK, listen: Listening | None = None, reset_key: bytes | None = None
) -> AsyncIterator[Pair]:
    async with open_network(seed, link=link) as network:
        far, near = network.socket("192.0.2.1:4000"), network.socket("192.0.2.2:5000")
        async with (
            open_transport(
                far, wall_clock=wall_clock, listening=listen or listening(), reset_key=reset_key
            ) as listener,
            open_transport(near, wall_clock=wall_clock) as dialer,
        ):
            yield Pair(dialer=dialer, listener=listener, address=far.local_address, network=network)


@pytest.fixture
async def pair(autojump_clock: object) -> AsyncIterator[Pair]:
    async with open_pair() as made:
        yield made
