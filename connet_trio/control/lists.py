"""The lists that control pushes: the peers of an endpoint, and the relays for it (protocol sections 4.2 and 4.3)."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

from connet_trio.concurrency import Watched
from connet_trio.engine import RelayEntry
from connet_trio.identity import seal_client_authentication
from connet_trio.records.control import ControlResponse, Peers, Relay, Relays
from connet_trio.wire import MAX_FRAME_BYTES, codecs

T = TypeVar("T")


class PeerList:
    """What the endpoints of one name and role are told of the opposite role; encoded once for all of them."""

    def __init__(self, peers: Peers) -> None:
        self._peers = Watched(peers)
        self._encoded: tuple[Peers, bytes] | None = None
        self.watchers = 0

    def set(self, peers: Peers) -> None:
        """Replace the list."""
        self._peers.set(peers)

    def changes(self) -> AsyncIterator[Peers]:
        """The list as it is, then the latest one after each change."""
        return self._peers.changes()

    def encode(self, peers: Peers) -> bytes:
        """The response that holds `peers`, as many of them as fit; the same object for all who ask for one list."""
        if self._encoded is None or self._encoded[0] is not peers:
            self._encoded = (peers, encode_fitting(peers.peers, lambda some: Peers(peers=some)))
        return self._encoded[1]


def encode_relays(relays: Mapping[str, RelayEntry], authentication: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """The response that offers `relays`, as many of them as fit, each with a token only it can open (section 5.3).

    Args:
      authentication: the encoded `ClientAuthentication` of who is offered them.
      entropy: for the nonces of the tokens.
    """
    offered = tuple(
        Relay(
            id=relay_id,
            addresses=entry.addresses,
            server_certificate=entry.server_certificate,
            authentication=seal_client_authentication(authentication, entry.seal_key, entropy),
            metadata=entry.metadata,
        )
        for relay_id, entry in relays.items()
    )
    return encode_fitting(offered, lambda some: Relays(relays=some))


def encode_fitting(entries: tuple[T, ...], make: Callable[[tuple[T, ...]], ControlResponse]) -> bytes:
    """The response that `make` makes of `entries`; half of them are left out until a frame has room for the rest."""
    payload = codecs.CONTROL_RESPONSE.encode(make(entries))
    while len(payload) > MAX_FRAME_BYTES:
        entries = entries[: len(entries) // 2]
        payload = codecs.CONTROL_RESPONSE.encode(make(entries))
    return payload
