"""One source or destination of a client: announces itself, follows its peers and keeps its relays.

    endpoint ─┬─ session: for each session with control, one announce stream and one relay stream
              ├─ relay links: one task for each relay offered; they outlive a session
              └─ suspicions: a path that did not answer is tried in its turn again after a while

What the lists mean for paths is decided in `engine/paths.py`; this module carries it out.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import attrs
import trio

from connet_trio.concurrency import Backoff, Outage, Watched, keep_session
from connet_trio.endpoints.announcing import announce, subscribe_relays
from connet_trio.endpoints.control_link import ControlLink
from connet_trio.endpoints.knowledge import Knowledge
from connet_trio.endpoints.peer_log import PeerLog
from connet_trio.endpoints.relay_link import RelayLink
from connet_trio.engine import Path
from connet_trio.errors import ConnetError, DialFailed, EndpointClosed, Refused
from connet_trio.identity import Realm, issue_identity
from connet_trio.quic import Stream, Surroundings, Transport
from connet_trio.records.control import Peer, Peers, Relay, Relays
from connet_trio.records.model import Role, Route

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class ClientContext:
    """What every endpoint of a client shares."""

    transport: Transport
    surroundings: Surroundings
    metadata: str
    handshake_idle_timeout: float


class Endpoint:
    """What sources and destinations have in common. Lives as long as `run` does."""

    def __init__(self, name: str, role: Role, route: Route, context: ClientContext) -> None:
        surroundings = context.surroundings
        self.known = Knowledge(name=name, role=role, route=route)
        self.log = PeerLog(self.known, surroundings.wall_clock)
        self.active = Watched(False)
        """Whether a path to some peer stands."""
        self._context = context
        self._identity = issue_identity(Realm.PEER, wall_now=surroundings.wall_clock(), entropy=surroundings.entropy)
        self._announcement = Watched(self._peer())
        self._suspected = trio.Event()
        self._closed = False

    @property
    def name(self) -> str:
        """What it is announced as."""
        return self.known.name

    @property
    def label(self) -> str:
        """The name as logs show it."""
        return self.known.label

    async def wait_reachable(self) -> None:
        """Wait until a path to some peer stands."""
        await self.active.wait_value(bool)

    def handle_leaving(self) -> None:
        """The client is leaving: what goes down from here on is no news."""
        self._closed = True

    def check_open(self) -> None:
        """Raise EndpointClosed once the endpoint is over."""
        if self._closed:
            raise EndpointClosed(f"{self.known.role.name.lower()} {self.label} is closed")

    async def handle_stream(self, stream: Stream) -> None:
        """A stream that a relay opened; only destinations expect any."""
        stream.abort()
        await trio.lowlevel.checkpoint()

    # --- tasks

    async def run(
        self, sessions: Watched[ControlLink | None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Announce in every session and keep the relays. Started once control has accepted the announcement.

        Raises:
          Refused, DialFailed: control refused the very first announcement, or left it unanswered; later ones are
            retried.
        """
        start = _Start(task_status)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_suspicions)
                async for session in sessions.changes():
                    if session is not None:
                        await self._attend(session, nursery, start)
        finally:
            self._closed = True

    async def _attend(self, session: ControlLink, nursery: trio.Nursery, start: "_Start") -> None:
        """Hold the streams of one session until it is lost."""
        async with trio.open_nursery() as streams:
            announce_it = partial(self._announce, start=start)
            streams.start_soon(self._hold, "announcement", session, start, announce_it)
            if self.known.route.allows_relay:
                subscribe = partial(self._subscribe, nursery=nursery)
                streams.start_soon(self._hold, "list of relays", session, start, subscribe)
            await session.connection.wait_closed()
            streams.cancel_scope.cancel()

    async def _announce(self, session: ControlLink, up: Callable[[], None], *, start: "_Start") -> None:
        def handle(peers: Peers) -> None:
            up()
            self._handle_peers(peers)
            start.set_done()

        try:
            await announce(session, self.name, self.known.role, self._announcement, handle)
        finally:
            self.known.announced = False

    async def _subscribe(self, session: ControlLink, up: Callable[[], None], *, nursery: trio.Nursery) -> None:
        def handle(relays: Relays) -> None:
            up()
            self._handle_relays(relays, nursery)

        await subscribe_relays(session, self.name, self.known.role, self._identity.client.der, handle)

    async def _hold(
        self,
        what: str,
        session: ControlLink,
        start: "_Start",
        once: Callable[[ControlLink, Callable[[], None]], Awaitable[None]],
    ) -> None:
        """Open a stream again, with growing delays, whenever it ends before the session."""
        outage = Outage(logger, f"{self.label}: {what}")

        async def hold(up: Callable[[], None]) -> None:
            def answered() -> None:
                up()
                outage.handle_recovery()

            await once(session, answered)

        def report(error: ConnetError, delay: float) -> None:
            if session.connection.is_closed:
                return  # the session says it
            if isinstance(error, Refused | DialFailed) and not start.done:
                raise error
            outage.handle_trouble(error)

        await keep_session(hold, self._backoff(), report)

    async def _watch_suspicions(self) -> None:
        while True:
            self._suspected = trio.Event()
            with trio.move_on_at(self.known.paths.next_deadline()):
                await self._suspected.wait()
            self.known.paths.handle_timer(trio.current_time())
            self._refresh()

    def _backoff(self) -> Backoff:
        return Backoff(Random(self._context.surroundings.luck.random()))

    # --- told by control

    def _handle_peers(self, peers: Peers) -> None:
        self.known.peers = {remote.id: remote for remote in peers.peers}
        self.known.paths.handle_peers(peers.peers)
        if not self.known.announced:
            self.known.announced = True
            self.log.report_online()
        self._refresh()

    def _handle_relays(self, relays: Relays, nursery: trio.Nursery) -> None:
        links = self.known.links
        offers = {relay.id: relay for relay in relays.relays}
        for relay_id in [known for known in links if known not in offers]:
            links.pop(relay_id).scope.cancel()
            self._handle_relay_down(relay_id)
        for relay_id, offer in offers.items():
            if relay_id in links:
                links[relay_id].offer = offer
            else:
                link = links[relay_id] = self._make_link(offer)
                nursery.start_soon(link.run)

    def _make_link(self, offer: Relay) -> RelayLink:
        return RelayLink(
            offer,
            label=self.label,
            transport=self._context.transport,
            surroundings=self._context.surroundings,
            credential=self._identity.client,
            handshake_idle_timeout=self._context.handshake_idle_timeout,
            metadata=self._context.metadata,
            on_change=self._handle_link_change,
            handle_stream=self.handle_stream,
        )

    # --- told by relay links and by those who try paths

    def _handle_link_change(self, link: RelayLink) -> None:
        relay_id = link.offer.id
        if self.known.links.get(relay_id) is not link:
            return  # withdrawn, and perhaps offered anew meanwhile
        if link.connection is None:
            self._handle_relay_down(relay_id)
            return
        self.known.paths.handle_relay_up(relay_id)
        self._announcement.set(self._peer())
        self._refresh()

    def _handle_relay_down(self, relay_id: str) -> None:
        self.known.paths.handle_relay_down(relay_id)
        self._announcement.set(self._peer())
        self._refresh()

    def handle_no_answer(self, path: Path) -> None:
        """A path did not answer in time: suspect."""
        self.known.paths.handle_no_answer(path, trio.current_time())
        self._suspected.set()
        self._refresh()

    def handle_answer(self, path: Path) -> None:
        """A path answered."""
        self.known.paths.handle_answer(path)
        self._refresh()

    def _refresh(self) -> None:
        """Peers, relays or suspicions are different: tell those who watch."""
        if self._closed:
            return
        self.active.set(bool(self.known.paths.active()))
        self.log.report_changes()

    def _peer(self) -> Peer:
        # direct addresses are announced by the release that can be dialled on them
        return Peer(
            server_certificate=self._identity.server.der,
            client_certificate=self._identity.client.der,
            relay_ids=tuple(relay_id for relay_id, link in self.known.links.items() if link.connection is not None),
        )


class _Start:
    """Reports the first answer of control to whoever started the endpoint, once."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status
        self.done = False

    def set_done(self) -> None:
        if not self.done:
            self.done = True
            self._task_status.started()
