"""What a restarted control server still knows: announced endpoints and relays (protocol section 14).

Without it, the first client back after a restart would get empty lists, and drop the paths it has (trap T16).
"""

import logging
from collections.abc import Callable
from functools import partial

import attrs
import trio

from connet_trio.concurrency import Watched
from connet_trio.errors import RemoteProtocolError, StoreError
from connet_trio.records.control import Peer
from connet_trio.records.model import HostPort, Role, numbered
from connet_trio.store import Store
from connet_trio.wire.codecs import RecordCodec

logger = logging.getLogger(__name__)

SNAPSHOT_KEY = "control/snapshot"
SAVE_PAUSE_SECONDS = 1.0
"""After each save: what changes meanwhile is saved in one go, and lost if the process is killed."""


@attrs.frozen(kw_only=True)
class SavedEndpoint:
    """An announcement, in the words of `engine.registry`."""

    client_id: str = numbered(1, default="")
    connection_id: str = numbered(2, default="")
    endpoint: str = numbered(3, default="")
    role: Role = numbered(4, default=Role.UNKNOWN)
    peer: Peer | None = numbered(5, default=None)
    metadata: str = numbered(6, default="")


@attrs.frozen(kw_only=True)
class SavedRelay:
    """A relay with its key, which it holds as well until it authenticates anew: the tokens we seal go on working."""

    id: str = numbered(1, default="")
    addresses: tuple[HostPort, ...] = numbered(2, default=())
    metadata: str = numbered(3, default="")
    server_certificate: bytes = numbered(4, default=b"")
    seal_key: bytes = numbered(5, default=b"", secret=True)


@attrs.frozen(kw_only=True)
class Snapshot:
    """Everything at one moment."""

    endpoints: tuple[SavedEndpoint, ...] = numbered(1, default=())
    relays: tuple[SavedRelay, ...] = numbered(2, default=())


SNAPSHOT = RecordCodec(Snapshot)


async def load_snapshot(store: Store) -> Snapshot:
    """What the process before has saved, nothing if that cannot be understood.

    Raises:
      StoreError: the store cannot be read.
    """
    payload = await store.get(SNAPSHOT_KEY)
    try:
        return SNAPSHOT.decode(payload or b"")
    except RemoteProtocolError as exc:
        logger.warning("endpoints and relays of the last run are forgotten: %s: %s", store.place, exc)
        return Snapshot()


class SnapshotKeeper:
    """Saves what changes, at most once in `SAVE_PAUSE_SECONDS`.

    A store that cannot be written stops nobody; it is tried again after each pause.
    """

    def __init__(self, store: Store, take: Callable[[], Snapshot], revision: Watched[int]) -> None:
        """Take snapshots with `take` whenever `revision` changes."""
        self._store = store
        self._take = take
        self._revision = revision
        self._saved_revision = revision.value
        self._finished = False
        self.last_error = ""
        """Why the latest save failed; empty when it did not."""

    async def run(self) -> None:
        """Save until cancelled, or until `finish`."""
        while not self._finished:
            await self._revision.wait_value(lambda revision: revision != self._saved_revision)
            await self._save()
            await trio.sleep(SAVE_PAUSE_SECONDS)

    async def finish(self) -> None:
        """Save what has changed, then nothing more: what ends from here on is to be there at the next start."""
        await trio.lowlevel.checkpoint()
        if not self._finished and self._revision.value != self._saved_revision:
            await self._save()
        self._finished = True

    async def _save(self) -> None:
        if self._finished:
            return
        revision, snapshot = self._revision.value, self._take()
        try:
            await self._store.put_made(SNAPSHOT_KEY, partial(SNAPSHOT.encode, snapshot))  # a second for many endpoints
        except StoreError as exc:
            if not self.last_error:
                logger.warning("endpoints and relays would be forgotten by a restart: %s", exc)
            self.last_error = str(exc)
        else:
            self._saved_revision = revision
            self.last_error = ""
