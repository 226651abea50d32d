"""How an endpoint keeps its relayed streams from the relay: what it offers or answers, and the stream that follows.

Decided in `engine/encryption.py`; here both sides of it meet our certificates, our peers and the clock. The other side
says which peer it is by the name in its server leaf; behind a relay it may be another than the one dialled (trap T26).
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TypeVar

import attrs

from connet_trio.concurrency import AbortableStream, Watched
from connet_trio.endpoints.peer_directory import PeerDirectory
from connet_trio.engine.encryption import (
    Opener,
    Sealer,
    agree_as_destination,
    agree_as_source,
    check_choice,
    check_offer,
    choose_scheme,
    make_offer,
    seals_of_destination,
    seals_of_source,
)
from connet_trio.errors import CertificateRejected, RemoteProtocolError
from connet_trio.identity import (
    Credential,
    EndpointIdentity,
    PinnedServer,
    X25519Pair,
    check_client,
    new_key_pair,
)
from connet_trio.records.control import RemotePeer
from connet_trio.records.peer import Connect, Connected, EcdhOffer, RelayEncryption, TlsOffer
from connet_trio.records.text import printable
from connet_trio.secure import open_tls_stream, pinned_context, seal_stream

logger = logging.getLogger(__name__)

TLS_CONTEXTS = 16
"""Of so many peers what `ssl` needs is kept; it takes a millisecond to make."""

PLAIN = (RelayEncryption.NONE,)

Encrypt = Callable[[AbortableStream], Awaitable[AbortableStream]]
"""From the stream on which records were exchanged to the one that carries payload. The caller bounds the wait.

Raises RemoteProtocolError when the other side is not who it says, and trio.BrokenResourceError.
"""


class NotEncrypted(RemoteProtocolError):
    """The destination has answered, and the two cannot keep the stream from the relay."""


class RelayEncryptions:
    """The relay encryptions of one endpoint, for as long as it has the same certificates."""

    def __init__(
        self,
        schemes: tuple[RelayEncryption, ...],
        identity: EndpointIdentity,
        peers: Callable[[], Iterable[RemotePeer]],
        lists: Watched[int],
        *,
        label: str,
        wall_clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        """Prepare.

        Args:
          label: how the log calls the endpoint.
          schemes: those allowed, in the order in which they are offered.
          peers: whom control lists.
          lists: is another number whenever `peers` may give others.
        """
        self.schemes = tuple(dict.fromkeys(schemes))
        self._identity = identity
        self._directory = PeerDirectory(peers, lists)
        self._label = label
        self._last_trouble = ""
        self._wall_clock = wall_clock
        self._entropy = entropy
        self._server_context = lru_cache(TLS_CONTEXTS)(partial(_context, identity.server, server_side=True))
        self._client_context = lru_cache(TLS_CONTEXTS)(partial(_context, identity.client, server_side=False))

    # --- a source

    def offer(self) -> "Offer":
        """What to ask a destination with, made anew for each stream."""
        pair = new_key_pair(self._entropy) if RelayEncryption.DHXCP in self.schemes else None
        request = Connect(
            source_encryption=self.schemes,
            source_tls=TlsOffer(client_name=self._identity.name) if RelayEncryption.TLS in self.schemes else None,
            source_dh_x25519=None if pair is None else self._dhxcp_offer(pair),
        )
        return Offer(request, partial(self._encrypt_as_source, pair))

    async def _encrypt_as_source(
        self, pair: X25519Pair | None, answer: Connected, stream: AbortableStream
    ) -> AbortableStream:
        with _explained("relay encryption"):
            chosen = check_choice(answer.destination_encryption, self.schemes)
        if chosen is RelayEncryption.TLS:
            with _explained("relay encryption tls"):
                name = _present(answer.destination_tls, "destination").client_name
                peer = await self._directory.find(name)
                tls = await open_tls_stream(stream, self._client_context(peer.server_certificate), server_name=name)
                PinnedServer(peer.server_certificate, name).check((tls.peer_certificate or b"",), self._wall_clock())
            return tls
        if chosen is RelayEncryption.DHXCP:
            assert pair is not None  # it was offered
            with _explained("relay encryption dhxcp"):
                public = await self._public_key(_present(answer.destination_dh_x25519, "destination"))
                return seal_stream(stream, *seals_of_source(agree_as_source(pair, public)))
        return stream

    # --- a destination

    async def answer(self, request: Connect) -> tuple[Connected, Encrypt]:
        """What to answer a source, and what to do after that.

        Raises:
          RemoteProtocolError: there is no agreement; the text is for the source.
        """
        with self._told():
            return await self._answer(request)

    async def _answer(self, request: Connect) -> tuple[Connected, Encrypt]:
        chosen = choose_scheme(request.source_encryption, self.schemes)
        if chosen is RelayEncryption.TLS:
            with _explained("destination tls"):
                peer = await self._directory.find(_present(request.source_tls, "source").client_name)
                context = self._server_context(peer.client_certificate)
            own = TlsOffer(client_name=self._identity.name)
            answer = Connected(destination_encryption=chosen, destination_tls=own)
            return answer, partial(self._serve_tls, context, peer.client_certificate)
        if chosen is RelayEncryption.DHXCP:
            with _explained("destination public key"):
                public = await self._public_key(_present(request.source_dh_x25519, "source"))
            pair = new_key_pair(self._entropy)
            with _explained("new streamer"):
                sealer, opener = seals_of_destination(agree_as_destination(pair, public))
            answer = Connected(destination_encryption=chosen, destination_dh_x25519=self._dhxcp_offer(pair))
            return answer, partial(_seal, sealer, opener)
        return Connected(), _leave

    async def _serve_tls(self, context: ssl.SSLContext, client_leaf: bytes, stream: AbortableStream) -> AbortableStream:
        with self._told(), _explained("relay encryption tls"):
            tls = await open_tls_stream(stream, context, server_side=True)
            check_client(tls.peer_certificate or b"", {client_leaf}, self._wall_clock())
        return tls

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in the log why a source was turned away; once, where the next one is for the same reason."""
        try:
            yield
        except RemoteProtocolError as exc:
            if str(exc) != self._last_trouble:
                self._last_trouble = str(exc)
                logger.warning("%s: a source was turned away behind a relay: %s", self._label, printable(str(exc)))
            raise

    # --- both

    def _dhxcp_offer(self, pair: X25519Pair) -> EcdhOffer:
        return make_offer(pair, self._identity.name, self._identity.server, self._wall_clock())

    async def _public_key(self, offer: EcdhOffer) -> bytes:
        peer = await self._directory.find(offer.client_name)
        return check_offer(offer, peer.server_certificate, self._wall_clock())


@attrs.frozen
class Offer:
    """One attempt of a source."""

    request: Connect
    encrypt: Callable[[Connected, AbortableStream], Awaitable[AbortableStream]]
    """What follows when the destination has answered; as `Encrypt`."""


def plain_offer() -> Offer:
    """That of a source without relay encryptions."""

    async def leave(answer: Connected, stream: AbortableStream) -> AbortableStream:
        with _explained("relay encryption"):
            check_choice(answer.destination_encryption, PLAIN)
        return stream

    return Offer(Connect(source_encryption=PLAIN), leave)


async def plain_answer(request: Connect) -> tuple[Connected, Encrypt]:
    """That of a destination without relay encryptions; raises as `RelayEncryptions.answer`."""
    choose_scheme(request.source_encryption, PLAIN)
    return Connected(), _leave


def _context(credential: Credential, expected: bytes, *, server_side: bool) -> ssl.SSLContext:
    try:
        return pinned_context(credential, expected, server_side=server_side)
    except ssl.SSLError as exc:
        raise RemoteProtocolError("the certificate of the peer is unusable") from exc


async def _seal(sealer: Sealer, opener: Opener, stream: AbortableStream) -> AbortableStream:
    return seal_stream(stream, sealer, opener)


async def _leave(stream: AbortableStream) -> AbortableStream:
    return stream


T = TypeVar("T")


def _present(part: T | None, whose: str) -> T:
    if part is None:
        raise RemoteProtocolError(f"the {whose} says nothing about itself")
    return part


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (RemoteProtocolError, CertificateRejected) as exc:
        raise NotEncrypted(f"{what}: {exc}") from exc
