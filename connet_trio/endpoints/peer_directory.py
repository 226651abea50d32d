"""Whom a name in a relayed stream's records means: the peer whose server leaf has it."""

from collections.abc import Callable, Iterable

import trio

from connet_trio.concurrency import Watched
from connet_trio.errors import CertificateRejected, RemoteProtocolError
from connet_trio.identity import server_name
from connet_trio.records.control import Peer, RemotePeer
from connet_trio.records.text import printable

UNKNOWN_PEER_SECONDS = 1.0
"""How long a peer may take to appear in control's list: less than a relay waits for a destination's answer."""


class PeerDirectory:
    """The peers of an endpoint by the name in their server leaf."""

    def __init__(self, peers: Callable[[], Iterable[RemotePeer]], lists: Watched[int]) -> None:
        """Begin with nobody.

        Args:
          peers: whom control lists.
          lists: is another number whenever `peers` may give others.
        """
        self._peers = peers
        self._lists = lists
        self._read: int | None = None  # the list that the following is of
        self._names: dict[bytes, str] = {}
        self._named: dict[str, list[Peer]] = {}

    async def find(self, name: str) -> Peer:
        """The one peer of this name. One that control is only just telling us about gets a moment to appear.

        Raises:
          RemoteProtocolError: there is none, or there are two.
        """
        with trio.move_on_after(UNKNOWN_PEER_SECONDS):
            await self._lists.wait_value(lambda _: bool(self._find(name)))
        found = self._find(name)
        if len(found) != 1:
            number = "no peer" if not found else f"{len(found)} peers"
            raise RemoteProtocolError(f"control lists {number} of the name {printable(name, 80)}")
        return found[0]

    def _find(self, name: str) -> list[Peer]:
        if self._read != self._lists.value:
            self._read = self._lists.value
            self._index()
        return self._named.get(name, [])

    def _index(self) -> None:
        names: dict[bytes, str] = {}
        self._named = {}
        for peer in (remote.peer for remote in self._peers() if remote.peer is not None):
            leaf = peer.server_certificate
            name = names[leaf] = self._names.get(leaf) or _name_in(leaf)
            same = self._named.setdefault(name, [])
            if not any(_leaves(peer) == _leaves(other) for other in same):
                same.append(peer)
        self._named.pop("", None)
        self._names = names


def _name_in(leaf: bytes) -> str:
    """Empty for a leaf that has none: it costs its peer alone (trap T12)."""
    try:
        return server_name(leaf)
    except CertificateRejected:
        return ""


def _leaves(peer: Peer) -> tuple[bytes, bytes]:
    return peer.server_certificate, peer.client_certificate
