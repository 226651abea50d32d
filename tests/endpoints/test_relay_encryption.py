"""What the two sides of a relayed stream make of each other's offers, good and bad."""

import random
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from connet_trio.concurrency import AbortableStream, Watched
from connet_trio.endpoints.peer_directory import UNKNOWN_PEER_SECONDS
from connet_trio.endpoints.relay_encryption import RelayEncryptions, plain_answer, plain_offer
from connet_trio.errors import RemoteProtocolError
from connet_trio.identity import EndpointIdentity, Realm, issue_identity
from connet_trio.records.control import Peer, RemotePeer
from connet_trio.records.peer import Connect, Connected, EcdhOffer, RelayEncryption, TlsOffer
from connet_trio.secure import TlsStream
from tests.concurrency.test_splice import make_pair

NONE, TLS, DHXCP = RelayEncryption.NONE, RelayEncryption.TLS, RelayEncryption.DHXCP
WALL = 1_800_000_000.0


def identity(name: str) -> EndpointIdentity:
    return issue_identity(Realm.PEER, wall_now=WALL, entropy=random.Random(name).randbytes)


SOURCE, DESTINATION, STRANGER = map(identity, ("source", "destination", "stranger"))


def listed(who: EndpointIdentity, peer_id: str = "") -> RemotePeer:
    peer = Peer(server_certificate=who.server.der, client_certificate=who.client.der)
    return RemotePeer(id=peer_id or who.name, peer=peer)


@attrs.define
class Side:
    """One end, and whom control has told it about."""

    who: EndpointIdentity
    peers: list[RemotePeer]
    schemes: tuple[RelayEncryption, ...] = (TLS, DHXCP)
    lists: Watched[int] = attrs.field(factory=lambda: Watched(0))
    wall: float = WALL
    encryptions: RelayEncryptions = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.encryptions = RelayEncryptions(
            self.schemes,
            self.who,
            lambda: self.peers,
            self.lists,
            label="db",
            wall_clock=lambda: self.wall,
            entropy=random.Random(self.who.name).randbytes,
        )

    def tell(self, *peers: RemotePeer) -> None:
        self.peers = list(peers)
        self.lists.set(self.lists.value + 1)


def source(*schemes: RelayEncryption) -> Side:
    return Side(SOURCE, [listed(DESTINATION)], schemes or (TLS, DHXCP))


def destination(*schemes: RelayEncryption) -> Side:
    return Side(DESTINATION, [listed(SOURCE)], schemes or (TLS, DHXCP))


async def meet(ours: Side, theirs: Side) -> tuple[list[AbortableStream], list[str]]:
    """The ends of a stream, our own first, the records having been exchanged; or why there is none."""
    offer = ours.encryptions.offer()
    answer, serve = await theirs.encryptions.answer(offer.request)
    below_source, below_destination = make_pair(100_000)
    ends: dict[int, AbortableStream] = {}
    troubles: list[str] = []

    async def run(place: int, end: Callable[[], Awaitable[AbortableStream]], below: AbortableStream) -> None:
        try:
            ends[place] = await end()
        except (RemoteProtocolError, trio.BrokenResourceError) as exc:
            troubles.append(str(exc))
            below.abort()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 0, lambda: offer.encrypt(answer, below_source), below_source)
        nursery.start_soon(run, 1, lambda: serve(below_destination), below_destination)
    return [ends[place] for place in sorted(ends)], troubles


@pytest.mark.parametrize("scheme", RelayEncryption)
async def test_both_sides_come_to_the_same_stream(scheme: RelayEncryption) -> None:
    (dialled, accepted), _ = await meet(source(scheme), destination(scheme))
    for end, other in ((dialled, accepted), (accepted, dialled)):
        await end.send_all(b"hello")
        assert await other.receive_some() == b"hello"
    if scheme is TLS:
        assert isinstance(dialled, TlsStream)
        assert dialled.peer_certificate == DESTINATION.server.der


def test_a_source_offers_its_schemes_in_its_order_each_with_what_it_needs() -> None:
    assert plain_offer().request == Connect(source_encryption=(NONE,))
    assert source(NONE).encryptions.offer().request == Connect(source_encryption=(NONE,))
    request = source(NONE, DHXCP, NONE, TLS).encryptions.offer().request
    assert request.source_encryption == (NONE, DHXCP, TLS)
    assert request.source_tls == TlsOffer(client_name=SOURCE.name)
    assert request.source_dh_x25519 is not None
    assert request.source_dh_x25519.client_name == SOURCE.name


def test_each_stream_has_a_key_of_its_own() -> None:
    side = source(DHXCP)
    first, second = (side.encryptions.offer().request.source_dh_x25519 for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.key_time[:32] != second.key_time[:32]


# --- what a destination refuses

DHXCP_OFFER = source(DHXCP).encryptions.offer().request.source_dh_x25519
assert DHXCP_OFFER is not None


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Connect(source_encryption=(NONE,)), "select encryption scheme: no shared encryption schemes"),
        (Connect(source_encryption=(TLS, 7)), "unknown relay encryption scheme 7"),
        (Connect(source_encryption=(TLS,)), "destination tls: the source says nothing about itself"),
        (Connect(source_encryption=(DHXCP,)), "destination public key: the source says nothing about itself"),
        (
            Connect(source_encryption=(TLS,), source_tls=TlsOffer(client_name="x\n")),
            r"destination tls: control lists no peer of the name x\\n",
        ),
        (
            Connect(source_encryption=(TLS,), source_tls=TlsOffer()),
            "destination tls: control lists no peer of the name ",
        ),
        (
            Connect(source_encryption=(DHXCP,), source_dh_x25519=attrs.evolve(DHXCP_OFFER, signature=bytes(64))),
            "destination public key: the signature of the key is not the peer's",
        ),
        (
            Connect(source_encryption=(DHXCP,), source_dh_x25519=attrs.evolve(DHXCP_OFFER, key_time=b"")),
            "destination public key: key and time of 0 bytes, not 40",
        ),
        (
            Connect(source_encryption=(DHXCP,), source_dh_x25519=EcdhOffer(client_name=DESTINATION.name)),
            "destination public key: control lists no peer",
        ),
    ],
)
async def test_a_destination_says_why_it_refuses(request_: Connect, text: str, autojump_clock: MockClock) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        await destination().encryptions.answer(request_)


async def test_a_destination_without_encryption_refuses_who_insists() -> None:
    assert (await plain_answer(Connect()))[0] == Connected()
    with pytest.raises(RemoteProtocolError, match="no shared encryption schemes"):
        await plain_answer(Connect(source_encryption=(TLS,)))


async def test_a_destination_refuses_a_key_that_anybody_knows() -> None:
    key_time = bytes(32) + int(WALL * 1e9).to_bytes(8, "big")
    assert isinstance(SOURCE.server.private_key, Ed25519PrivateKey)
    signature = SOURCE.server.private_key.sign(key_time)
    offer = EcdhOffer(client_name=SOURCE.name, key_time=key_time, signature=signature)
    with pytest.raises(RemoteProtocolError, match="new streamer: unusable public key"):
        await destination().encryptions.answer(Connect(source_encryption=(DHXCP,), source_dh_x25519=offer))


# --- what a source refuses


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Connected(), "relay encryption: the destination chose none, which was not offered"),
        (Connected(destination_encryption=9), "relay encryption: the destination chose 9, which was not offered"),
        (Connected(destination_encryption=TLS), "relay encryption tls: the destination says nothing about itself"),
        (Connected(destination_encryption=DHXCP), "relay encryption dhxcp: the destination says nothing about itself"),
        (
            Connected(destination_encryption=TLS, destination_tls=TlsOffer(client_name=STRANGER.name)),
            "relay encryption tls: control lists no peer of the name",
        ),
        (
            Connected(destination_encryption=DHXCP, destination_dh_x25519=DHXCP_OFFER),  # its own, sent back
            "relay encryption dhxcp: control lists no peer of the name",
        ),
    ],
)
async def test_a_source_says_why_it_refuses(answer: Connected, text: str, autojump_clock: MockClock) -> None:
    below, _ = make_pair(100_000)
    with pytest.raises(RemoteProtocolError, match=text):
        await source().encryptions.offer().encrypt(answer, below)


@pytest.mark.parametrize("scheme", [TLS, DHXCP])
async def test_a_destination_whose_certificate_is_another_than_announced_is_refused(scheme: RelayEncryption) -> None:
    forged = attrs.evolve(STRANGER, name=DESTINATION.name)  # anybody can say any name
    _, troubles = await meet(source(scheme), Side(forged, [listed(SOURCE)], (scheme,)))
    assert any("certificate not accepted" in text or "not the peer's" in text for text in troubles)


# --- who is meant by a name


async def test_a_peer_that_appears_in_time_is_waited_for(autojump_clock: MockClock) -> None:
    late = Side(DESTINATION, [])
    request = source().encryptions.offer().request
    async with trio.open_nursery() as nursery:
        nursery.start_soon(late.encryptions.answer, request)
        await trio.sleep(UNKNOWN_PEER_SECONDS / 2)
        late.tell(listed(SOURCE))
    assert trio.current_time() < UNKNOWN_PEER_SECONDS
    late.tell()
    with pytest.raises(RemoteProtocolError, match="control lists no peer"):
        await late.encryptions.answer(request)


async def test_what_a_peer_announces_that_nobody_can_read_costs_that_peer_alone() -> None:
    bad = RemotePeer(id="bad", peer=Peer(server_certificate=b"no certificate"))
    empty = RemotePeer(id="empty")
    side = Side(DESTINATION, [bad, empty, listed(SOURCE)])
    answer, _ = await side.encryptions.answer(source().encryptions.offer().request)
    assert answer.destination_encryption is TLS


async def test_two_peers_of_one_name_are_nobody_unless_they_are_one() -> None:
    request = source().encryptions.offer().request
    again = Side(DESTINATION, [listed(SOURCE, "an earlier id"), listed(SOURCE)])
    await again.encryptions.answer(request)
    other = RemotePeer(
        id="other",
        peer=Peer(server_certificate=SOURCE.server.der, client_certificate=STRANGER.client.der),
    )
    with pytest.raises(RemoteProtocolError, match="destination tls: control lists 2 peers of the name"):
        await Side(DESTINATION, [listed(SOURCE), other]).encryptions.answer(request)


async def test_an_unusable_client_certificate_is_said_before_anything_is_shown() -> None:
    bad = RemotePeer(id="bad", peer=Peer(server_certificate=SOURCE.server.der, client_certificate=b"no certificate"))
    with pytest.raises(RemoteProtocolError, match="destination tls: the certificate of the peer is unusable"):
        await Side(DESTINATION, [bad]).encryptions.answer(source().encryptions.offer().request)


async def test_dates_of_certificates_are_judged_by_our_clock() -> None:
    ours = source(TLS)
    ours.wall = WALL + 3 * 366 * 86_400
    _, troubles = await meet(ours, destination(TLS))
    assert any("expired at" in text for text in troubles)
