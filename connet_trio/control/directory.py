"""What control knows of endpoints and relays, and who is told when it changes (protocol sections 4.2 to 4.4 and 5.1).

The registry and the roster decide. Here their decisions reach those who watch a list, and time reaches the registry.
Lists *conflate*: who is slow to take them gets the latest only.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import trio

from connet_trio.concurrency import Watched
from connet_trio.control.lists import PeerList
from connet_trio.control.snapshot import SavedEndpoint, SavedRelay, Snapshot
from connet_trio.engine import Announcement, ClientConnection, PeersChanged, Registry, RelayEntry, RelayRoster
from connet_trio.records.control import Peer
from connet_trio.records.model import Role

RESTORED_RELAY_SECONDS = 30.0
"""For which a relay of the last run stays listed without a word: twice the longest wait between its attempts."""
RESTORED = ""
"""Stands for the connection of a relay that has not come back since we started."""


class Directory:
    """The endpoints of all clients, and all relays."""

    def __init__(self, *, expiry_seconds: float | None) -> None:
        """Start empty; `expiry_seconds` is for how long endpoints of a lost client stay, None for not at all."""
        self._expires = expiry_seconds is not None
        self._registry = Registry(expiry_seconds=expiry_seconds)
        self._roster = RelayRoster()
        self._lists: dict[tuple[str, Role], PeerList] = {}
        self._nap = trio.CancelScope()
        self.relays: Watched[Mapping[str, RelayEntry]] = Watched({})
        """Every relay by its id."""
        self.revision = Watched(0)
        """Counts the changes."""

    # --- endpoints

    def announce(self, connection: ClientConnection, endpoint: str, role: Role, peer: Peer, metadata: str) -> None:
        """`connection` says how its `endpoint` is reached."""
        self._tell(self._registry.handle_announce(connection, endpoint, role, peer, metadata))

    def withdraw(self, connection: ClientConnection, endpoint: str, role: Role) -> None:
        """`connection`, still alive, offers or seeks `endpoint` no more."""
        self._tell(self._registry.handle_withdraw(connection, endpoint, role))

    def disconnect(self, connection: ClientConnection) -> None:
        """`connection` is gone; what it announced stays for the expiry."""
        self._tell(self._registry.handle_disconnect(connection, trio.current_time()))
        self._nap.deadline = min(self._nap.deadline, self._registry.next_deadline())

    @contextmanager
    def watch_peers(self, endpoint: str, role: Role) -> Iterator[PeerList]:
        """The list for an endpoint of this name and role, kept up to date for the length of a block."""
        key = (endpoint, role)
        watched = self._lists.setdefault(key, PeerList(self._registry.peers(endpoint, role)))
        watched.watchers += 1
        try:
            yield watched
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                del self._lists[key]

    def announcements(self) -> list[Announcement]:
        """Every announcement, those about to expire included."""
        return self._registry.entries()

    def latest_connection_id(self) -> str:
        """The latest of the connections that have announced something, empty without one."""
        return max((known.connection.connection_id for known in self.announcements()), default="")

    # --- relays

    def register_relay(self, relay_id: str, connection_id: str, entry: RelayEntry) -> None:
        """A relay has authenticated."""
        if self._roster.handle_register(relay_id, connection_id, entry):
            self._tell_relays()

    def lose_relay(self, relay_id: str, connection_id: str) -> None:
        """This connection of a relay is gone; a newer one counts on."""
        if self._roster.handle_lost(relay_id, connection_id):
            self._tell_relays()

    # --- over time

    async def run(self) -> None:
        """Take off what has expired. Never returns."""
        async with trio.open_nursery() as nursery:
            restored = tuple(self._roster.entries())
            if restored:
                nursery.start_soon(self._lose_restored, restored)
            while True:
                with trio.CancelScope(deadline=self._registry.next_deadline()) as self._nap:
                    await trio.sleep_forever()
                self._tell(self._registry.handle_timer(trio.current_time()))

    def snapshot(self) -> Snapshot:
        """What the next run should know."""
        return Snapshot(
            endpoints=tuple(_saved_endpoint(announcement) for announcement in self._registry.entries()),
            relays=tuple(_saved_relay(relay_id, entry) for relay_id, entry in self._roster.entries().items()),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Know what the last run did; call before `run`. Its clients and relays are gone since this moment."""
        saved = snapshot.endpoints if self._expires else ()
        for known in saved:
            if known.peer is not None:
                self.announce(_connection(known), known.endpoint, known.role, known.peer, known.metadata)
        for known in saved:
            self.disconnect(_connection(known))
        for relay in snapshot.relays:
            self.register_relay(relay.id, RESTORED, _entry(relay))

    async def _lose_restored(self, relay_ids: tuple[str, ...]) -> None:
        await trio.sleep(RESTORED_RELAY_SECONDS)
        for relay_id in relay_ids:
            self.lose_relay(relay_id, RESTORED)

    def _tell(self, changes: list[PeersChanged]) -> None:
        for change in changes:
            asker = change.role.opposite
            if (change.endpoint, asker) in self._lists:
                self._lists[change.endpoint, asker].set(self._registry.peers(change.endpoint, asker))
        if changes:
            self.revision.set(self.revision.value + 1)

    def _tell_relays(self) -> None:
        self.relays.set(self._roster.entries())
        self.revision.set(self.revision.value + 1)


def _connection(saved: SavedEndpoint) -> ClientConnection:
    return ClientConnection(saved.client_id, saved.connection_id)


def _saved_endpoint(announcement: Announcement) -> SavedEndpoint:
    return SavedEndpoint(
        client_id=announcement.connection.client_id,
        connection_id=announcement.connection.connection_id,
        endpoint=announcement.endpoint,
        role=announcement.role,
        peer=announcement.peer,
        metadata=announcement.metadata,
    )


def _saved_relay(relay_id: str, entry: RelayEntry) -> SavedRelay:
    return SavedRelay(
        id=relay_id,
        addresses=entry.addresses,
        metadata=entry.metadata,
        server_certificate=entry.server_certificate,
        seal_key=entry.seal_key,
    )


def _entry(saved: SavedRelay) -> RelayEntry:
    return RelayEntry(
        addresses=saved.addresses,
        metadata=saved.metadata,
        server_certificate=saved.server_certificate,
        seal_key=saved.seal_key,
    )
