"""An endpoint in its client's sessions with control: in each one an announce stream and a relay stream.

attendance ── for each session ─┬─ announcement: announce, follow the peers; again if the stream alone is lost
                                └─ list of relays: ask, follow; again if the stream alone is lost
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import NoReturn

import attrs
import trio

from connet_trio.concurrency import Backoff, Outage, Watched, keep_session
from connet_trio.endpoints.announcing import announce, subscribe_relays
from connet_trio.endpoints.control_link import ControlLink
from connet_trio.endpoints.knowledge import Knowledge
from connet_trio.errors import ConnetError, DialFailed, Refused
from connet_trio.records.control import Peer, Peers, Relays

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Listeners:
    """Who is told what control says."""

    handle_peers: Callable[[Peers, bool], None]
    """A list of peers, and whether it is the first on its stream."""
    handle_relays: Callable[[Relays], None]
    handle_unannounced: Callable[[], None]
    """The announce stream is over."""


class Attendance:
    """Keeps one endpoint announced. Cancelling `run` withdraws it."""

    def __init__(self, known: Knowledge, announcement: Watched[Peer], listeners: Listeners, luck: Random) -> None:
        self._known = known
        self._announcement = announcement
        self._listeners = listeners
        self._luck = luck
        self._ever_announced = False
        self._task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED

    async def run(
        self, sessions: Watched[ControlLink | None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Announce in every session, with the certificates that are in the announcement when this begins.

        Started once control has accepted it. May be cancelled and run again, with others.

        Raises:
          Refused, DialFailed: control refused the very first announcement, or left it unanswered; later ones are
            retried.
        """
        self._task_status = task_status
        async for session in sessions.changes():
            if session is not None:
                await self._attend(session)
        raise AssertionError("a watched value has no end")

    async def _attend(self, session: ControlLink) -> None:
        """Hold the streams of one session until it is lost."""
        async with trio.open_nursery() as streams:
            streams.start_soon(self._hold, "announcement", session, self._announce)
            if self._known.route.allows_relay:
                streams.start_soon(self._hold, "list of relays", session, self._subscribe)
            await session.connection.wait_closed()
            streams.cancel_scope.cancel()

    async def _announce(self, session: ControlLink, up: Callable[[], None]) -> None:
        lists = 0

        def handle(peers: Peers) -> None:
            nonlocal lists
            lists += 1
            up()
            self._listeners.handle_peers(peers, lists == 1)
            self._report_started()

        try:
            await announce(session, self._known.name, self._known.role, self._announcement, handle)
        finally:
            self._listeners.handle_unannounced()

    async def _subscribe(self, session: ControlLink, up: Callable[[], None]) -> None:
        def handle(relays: Relays) -> None:
            up()
            self._listeners.handle_relays(relays)

        certificate = self._announcement.value.client_certificate
        await subscribe_relays(session, self._known.name, self._known.role, certificate, handle)

    async def _hold(
        self, what: str, session: ControlLink, once: Callable[[ControlLink, Callable[[], None]], Awaitable[None]]
    ) -> None:
        """Open a stream again, with growing delays, whenever it ends before the session."""
        outage = Outage(logger, f"{self._known.label}: {what}")

        def answered(up: Callable[[], None]) -> None:
            up()
            outage.handle_recovery()

        async def hold(up: Callable[[], None]) -> None:
            await once(session, partial(answered, up))

        def report(error: ConnetError, delay: float) -> None:
            if session.connection.is_closed:
                return  # the session says it
            if isinstance(error, Refused | DialFailed) and not self._ever_announced:
                raise error
            outage.handle_trouble(error)

        await keep_session(hold, Backoff(Random(self._luck.random())), report)

    def _report_started(self) -> None:
        if not self._ever_announced:
            self._ever_announced = True
            self._task_status.started()
