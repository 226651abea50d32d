"""Control: who announces what, and until when (protocol sections 4.2 and 4.4).

An announcement belongs to one connection of one client. It is *live* while that connection is, then *expired*: still
listed, for the expiry. It ends when

- its stream ends while the connection is alive (`handle_withdraw`): at once;
- its connection ends (`handle_disconnect`): after the expiry, at once when expiry is off;
- it is expired and a later connection of the client announces the same endpoint: at once, since the later one has
  taken its place, and must not uncover it by withdrawing.

Always: a client appears at most once in a list, as its latest connection announced it. An output names the lists that
look different to those who watch them; becoming expired is no difference.
"""

import math
from collections.abc import Mapping

import attrs

from connet_trio.records.control import Peer, Peers, RemotePeer
from connet_trio.records.model import Role


@attrs.frozen
class ClientConnection:
    """One connection of one client; connection ids sort as text in the order of time (section 4.1)."""

    client_id: str
    connection_id: str


@attrs.frozen
class PeersChanged:
    """The list of those who announce `endpoint` in `role` looks different; the opposite role watches it."""

    endpoint: str
    role: Role


@attrs.frozen(kw_only=True)
class Announcement:
    """What one connection says of one endpoint."""

    connection: ClientConnection
    endpoint: str
    role: Role
    peer: Peer
    metadata: str
    """The client's."""
    expires_at: float | None = None
    """Seconds, on the clock of `handle_disconnect`; None while the connection is alive."""


_Group = PeersChanged
"""Those who announce one endpoint in one role; known by the event that says their list has changed."""

_OfClient = Mapping[str, Announcement]
"""What one client has announced in one group, by connection id."""


class Registry:
    """The endpoints of all clients."""

    def __init__(self, *, expiry_seconds: float | None) -> None:
        """Start empty; `expiry_seconds` None switches expiry off."""
        self._expiry_seconds = expiry_seconds
        self._groups: dict[_Group, dict[str, _OfClient]] = {}
        self._announced: dict[ClientConnection, dict[_Group, None]] = {}
        self._deadlines: dict[ClientConnection, float] = {}  # of ended connections; earliest first, as time only grows
        self._peers: dict[_Group, Peers] = {}  # made when first asked for

    def handle_announce(
        self, connection: ClientConnection, endpoint: str, role: Role, peer: Peer, metadata: str
    ) -> list[PeersChanged]:
        """Take what `connection`, which is alive, says of `endpoint`; it replaces what it said before."""
        group = PeersChanged(endpoint, role)
        kept = dict(self._of_client(group, connection))
        superseded = [
            old.connection
            for connection_id, old in kept.items()
            if old.expires_at is not None and connection_id < connection.connection_id
        ]
        for old_connection in superseded:
            del kept[old_connection.connection_id]
            self._forget(old_connection, group)
        kept[connection.connection_id] = Announcement(
            connection=connection, endpoint=endpoint, role=role, peer=peer, metadata=metadata
        )
        self._announced.setdefault(connection, {})[group] = None
        return self._replace(group, connection.client_id, kept)

    def handle_withdraw(self, connection: ClientConnection, endpoint: str, role: Role) -> list[PeersChanged]:
        """The announce stream has ended and the connection has not. After `handle_disconnect`, this changes nothing."""
        if connection in self._deadlines:
            return []
        return self._remove(connection, PeersChanged(endpoint, role))

    def handle_disconnect(self, connection: ClientConnection, now: float) -> list[PeersChanged]:
        """The connection has ended, in whatever way, at `now` (seconds, monotonic, never less than before)."""
        if connection in self._deadlines:
            return []
        changes: list[PeersChanged] = []
        for group in tuple(self._announced.get(connection, ())):
            if self._expiry_seconds is None or self._is_superseded(connection, group):
                changes += self._remove(connection, group)
            else:
                self._mark_expired(connection, group, now + self._expiry_seconds)
        return changes

    def next_deadline(self) -> float:
        """When `handle_timer` next has something to remove; `math.inf` when nothing is expired."""
        return next(iter(self._deadlines.values()), math.inf)

    def handle_timer(self, now: float) -> list[PeersChanged]:
        """Remove what has been expired for long enough; each changed list is named once."""
        due = [connection for connection, expires_at in self._deadlines.items() if expires_at <= now]
        before = {group: self._listed(group) for connection in due for group in self._announced[connection]}
        for connection in due:
            for group in tuple(self._announced[connection]):
                self._remove(connection, group)
        return [group for group, listed in before.items() if self._listed(group) != listed]

    def peers(self, endpoint: str, role_of_asker: Role) -> Peers:
        """Those whom an endpoint pairs with: the opposite role of the same name, ordered by client id."""
        return self._listed(PeersChanged(endpoint, role_of_asker.opposite))

    def entries(self) -> list[Announcement]:
        """Every announcement, expired ones too, ordered by endpoint, role, client id and age."""
        everything = (
            announcement
            for by_client in self._groups.values()
            for of_client in by_client.values()
            for announcement in of_client.values()
        )
        return sorted(everything, key=_order)

    def _listed(self, group: _Group) -> Peers:
        if group not in self._groups:
            return Peers()
        if group not in self._peers:
            visible = (_visible(of_client) for _, of_client in sorted(self._groups[group].items()))
            self._peers[group] = Peers(peers=tuple(peer for peer in visible if peer is not None))
        return self._peers[group]

    def _of_client(self, group: _Group, connection: ClientConnection) -> _OfClient:
        return self._groups.get(group, {}).get(connection.client_id, {})

    def _is_superseded(self, connection: ClientConnection, group: _Group) -> bool:
        return any(
            other.expires_at is None and connection_id > connection.connection_id
            for connection_id, other in self._of_client(group, connection).items()
        )

    def _mark_expired(self, connection: ClientConnection, group: _Group, expires_at: float) -> None:
        self._deadlines[connection] = expires_at
        kept = dict(self._of_client(group, connection))
        kept[connection.connection_id] = attrs.evolve(kept[connection.connection_id], expires_at=expires_at)
        self._groups[group][connection.client_id] = kept

    def _remove(self, connection: ClientConnection, group: _Group) -> list[PeersChanged]:
        kept = dict(self._of_client(group, connection))
        if kept.pop(connection.connection_id, None) is None:
            return []
        self._forget(connection, group)
        return self._replace(group, connection.client_id, kept)

    def _forget(self, connection: ClientConnection, group: _Group) -> None:
        announced = self._announced[connection]
        del announced[group]
        if not announced:
            del self._announced[connection]
            self._deadlines.pop(connection, None)

    def _replace(self, group: _Group, client_id: str, kept: _OfClient) -> list[PeersChanged]:
        by_client = self._groups.setdefault(group, {})
        before = _visible(by_client.get(client_id, {}))
        if kept:
            by_client[client_id] = kept
        else:
            by_client.pop(client_id, None)
        if not by_client:
            del self._groups[group]
        if before == _visible(kept):
            return []
        self._peers.pop(group, None)
        return [group]


def _visible(of_client: _OfClient) -> RemotePeer | None:
    if not of_client:
        return None
    latest = of_client[max(of_client)]
    return RemotePeer(id=latest.connection.client_id, peer=latest.peer, metadata=latest.metadata)


def _order(announcement: Announcement) -> tuple[str, Role, str, str]:
    connection = announcement.connection
    return announcement.endpoint, announcement.role, connection.client_id, connection.connection_id
