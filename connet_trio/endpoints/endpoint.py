"""One source or destination of a client: announces itself, follows its peers and keeps the paths to them.

    endpoint ─┬─ attendance: for each session with control, one announce stream and one relay stream
              ├─ relay links: one task for each relay offered ┐ they outlive a session
              ├─ direct links: one task for each peer         ┘
              ├─ connections of direct links, which may outlive their time as a path
              ├─ addresses: announced anew when we can be reached elsewhere
              └─ deadlines: suspicions that end, peers kept long enough

What the lists mean for paths is decided in `engine/paths.py`; this module carries it out.
"""

import logging
import math
from collections.abc import Mapping
from random import Random

import attrs
import trio

from connet_trio.concurrency import Watched
from connet_trio.endpoints.attendance import Attendance, Listeners
from connet_trio.endpoints.control_link import ControlLink
from connet_trio.endpoints.direct_link import DirectContext, DirectLink
from connet_trio.endpoints.knowledge import Knowledge
from connet_trio.endpoints.peer_log import PeerLog
from connet_trio.endpoints.relay_encryption import RelayEncryptions
from connet_trio.endpoints.relay_link import RelayLink
from connet_trio.engine import Path
from connet_trio.errors import CertificateRejected, EndpointClosed
from connet_trio.identity import EndpointIdentity, Realm, issue_identity, needs_renewal
from connet_trio.quic import Stream, Surroundings, Transport
from connet_trio.records.control import Peer, Peers, Relay, Relays, RemotePeer
from connet_trio.records.model import AddressPort, Role, Route
from connet_trio.records.peer import RelayEncryption
from connet_trio.records.text import printable

logger = logging.getLogger(__name__)

FAREWELL_SECONDS = 0.5
"""A peer that leaves closes its connections a moment before control's list says so, and is not worth two lines."""


@attrs.frozen(kw_only=True)
class ClientContext:
    """What every endpoint of a client shares."""

    transport: Transport
    surroundings: Surroundings
    metadata: str
    handshake_idle_timeout: float
    direct: DirectContext
    directs: Watched[tuple[AddressPort, ...]]
    """Where peers may dial us."""


class Endpoint:
    """What sources and destinations have in common. Lives as long as `run` does."""

    def __init__(
        self,
        name: str,
        role: Role,
        route: Route,
        context: ClientContext,
        relay_encryptions: tuple[RelayEncryption, ...],
    ) -> None:
        surroundings = context.surroundings
        self.known = Knowledge(name=name, role=role, route=route, relay_encryptions=relay_encryptions)
        self.log = PeerLog(self.known, surroundings.wall_clock)
        self.active = Watched(False)
        """Whether a path to some peer stands."""
        self._context = context
        self._lists = Watched(0)
        self._identity = self._issue_identity()
        self.encryptions = self._make_encryptions()
        """How streams are kept from relays."""
        self._announcement = Watched(self._peer())
        listeners = Listeners(
            handle_peers=self._handle_peers,
            handle_relays=self._handle_relays,
            handle_unannounced=self._handle_unannounced,
        )
        self._attendance = Attendance(self.known, self._announcement, listeners, Random(surroundings.luck.random()))
        self._deadlines_moved = trio.Event()
        self._lapses = Watched(0)
        self._round = trio.CancelScope()
        self._tasks: trio.Nursery
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

    async def handle_relayed_stream(self, stream: Stream) -> None:
        """A stream that a relay opened; only destinations expect any."""
        stream.abort()
        await trio.lowlevel.checkpoint()

    async def handle_direct_stream(self, stream: Stream) -> None:
        """A stream that a peer opened; only destinations expect any."""
        stream.abort()
        await trio.lowlevel.checkpoint()

    def handle_clock(self, wall_now: float) -> None:
        """Look at our certificates at `wall_now` (Unix seconds): issue them anew if they are not valid long enough."""
        if not needs_renewal(self._identity.server.der, wall_now):
            return
        logger.info("%s: new certificates, the present ones are not valid at this time or not for long", self.label)
        # tokens of relays and expectations of peers are for the certificates we had: withdraw, and begin anew
        self._round.cancel()

    # --- tasks

    async def run(
        self, sessions: Watched[ControlLink | None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Announce in every session and keep the paths. Started once control has accepted the announcement.

        Raises:
          Refused, DialFailed: control refused the very first announcement, or left it unanswered; later ones are
            retried.
        """
        try:
            while True:
                with trio.CancelScope() as self._round:
                    await self._run_identity(sessions, task_status)
                self._forget_links()
                self._identity = self._issue_identity()  # not before: tasks of the round may still have had a turn
                self.encryptions = self._make_encryptions()
        finally:
            self._closed = True

    async def _run_identity(self, sessions: Watched[ControlLink | None], task_status: trio.TaskStatus[None]) -> None:
        """Everything that is bound to our present certificates."""
        self._announcement.set(self._peer())
        with self._context.direct.port.answer_for(self._identity.name, self._identity.server):
            async with trio.open_nursery() as self._tasks:
                self._tasks.start_soon(self._watch_deadlines)
                self._tasks.start_soon(self._watch_addresses)
                self._tasks.start_soon(self._report_lapses)
                await self._attendance.run(sessions, task_status=task_status)

    def _issue_identity(self) -> EndpointIdentity:
        surroundings = self._context.surroundings
        return issue_identity(Realm.PEER, wall_now=surroundings.wall_clock(), entropy=surroundings.entropy)

    def _make_encryptions(self) -> RelayEncryptions:
        return RelayEncryptions(
            self.known.relay_encryptions,
            self._identity,
            lambda: self.known.paths.peers.values(),
            self._lists,
            label=self.label,
            wall_clock=self._context.surroundings.wall_clock,
            entropy=self._context.surroundings.entropy,
        )

    async def _watch_deadlines(self) -> None:
        while True:
            self._deadlines_moved = trio.Event()
            with trio.move_on_at(self.known.paths.next_deadline()):
                await self._deadlines_moved.wait()
            self.known.paths.handle_timer(trio.current_time())
            self._lists.set(self._lists.value + 1)
            self._reconcile_direct()
            self._refresh()

    async def _report_lapses(self) -> None:
        async for lapses in self._lapses.changes():
            if lapses:
                await trio.sleep(FAREWELL_SECONDS)
                self._refresh()

    async def _watch_addresses(self) -> None:
        async for _ in self._context.directs.changes():
            self._announcement.set(self._peer())

    # --- told by control

    def _handle_peers(self, peers: Peers, first: bool) -> None:
        allowed = [self._allowed(remote) for remote in peers.peers]
        if first:
            renamed = self.known.paths.handle_first_peers(allowed, trio.current_time())
            self._deadlines_moved.set()
        else:
            renamed = self.known.paths.handle_peers(allowed)
        self._lists.set(self._lists.value + 1)
        for former_id, peer_id in renamed.items():
            self._rename(former_id, peer_id)
        if not self.known.announced:
            self.known.announced = True
            self.log.report_online()
        self._reconcile_direct()
        self._refresh()

    def _allowed(self, remote: RemotePeer) -> RemotePeer:
        """What our route lets us use of a peer (section 4.2)."""
        if remote.peer is None:
            return remote
        route = self.known.route
        peer = attrs.evolve(
            remote.peer,
            directs=remote.peer.directs if route.allows_direct else (),
            relay_ids=remote.peer.relay_ids if route.allows_relay else (),
        )
        return attrs.evolve(remote, peer=peer)

    def _handle_unannounced(self) -> None:
        self.known.announced = False

    def _handle_relays(self, relays: Relays) -> None:
        links = self.known.links
        offers = {relay.id: relay for relay in relays.relays}
        for relay_id in [known for known in links if known not in offers]:
            link = links.pop(relay_id)
            link.scope.cancel()
            if link.last_error:
                logger.info("%s: relay %s is no longer offered", self.label, link.label)
            self._handle_relay_down(relay_id)
        for relay_id, offer in offers.items():
            if relay_id in links:
                links[relay_id].handle_offer(offer)
            else:
                link = links[relay_id] = self._make_relay_link(offer)
                self._tasks.start_soon(link.run)

    def _make_relay_link(self, offer: Relay) -> RelayLink:
        return RelayLink(
            offer,
            label=self.label,
            transport=self._context.transport,
            surroundings=self._context.surroundings,
            credential=self._identity.client,
            handshake_idle_timeout=self._context.handshake_idle_timeout,
            metadata=self._context.metadata,
            holding=self._tasks,
            on_change=self._handle_link_change,
            handle_stream=self.handle_relayed_stream,
            make_offer=self.encryptions.offer,
        )

    # --- direct links

    def _reconcile_direct(self) -> None:
        """One direct link for each peer that announces addresses, and none for others (section 7.2)."""
        dialable = _dialable(self.known.paths.peers)
        links = self.known.direct
        for peer_id in [known for known in links if known not in dialable or not links[known].is_for(dialable[known])]:
            self._drop_direct(peer_id)
        self.known.unusable.clear()
        for peer_id, peer in dialable.items():
            if peer_id in links:
                links[peer_id].handle_peer(peer)
                continue
            try:
                link = self._make_direct_link(peer_id, peer)
            except CertificateRejected as exc:  # costs this peer alone (trap T12)
                self.known.unusable[peer_id] = f"its certificate is unusable: {printable(str(exc))}"
            else:
                links[peer_id] = link
                self._tasks.start_soon(link.run)

    def _rename(self, former_id: str, peer_id: str) -> None:
        """Control knows a peer by another id: its connections are as good as they were."""
        links = self.known.direct
        if former_id in links and peer_id not in links:
            link = links[peer_id] = links.pop(former_id)
            link.peer_id = peer_id
            for kind in link.connections:
                self.known.paths.handle_direct_down(Path(kind, former_id))
                self.known.paths.handle_direct_up(Path(kind, peer_id))
        self.log.handle_rename(former_id, peer_id)

    def _drop_direct(self, peer_id: str) -> None:
        link = self.known.direct.pop(peer_id)
        link.scope.cancel()
        for kind in link.connections:
            self.known.paths.handle_direct_down(Path(kind, peer_id))

    def _make_direct_link(self, peer_id: str, peer: Peer) -> DirectLink:
        def report(path: Path, stands: bool) -> None:
            if self.known.direct.get(path.id) is link:  # else withdrawn, and perhaps made anew meanwhile
                self._handle_direct_change(path, stands)

        link = DirectLink(
            peer_id,
            peer,
            label=self.label,
            context=self._context.direct,
            identity=self._identity,
            holding=self._tasks,
            on_change=report,
            handle_stream=self.handle_direct_stream,
        )
        return link

    def _forget_links(self) -> None:
        for peer_id in tuple(self.known.direct):
            self._drop_direct(peer_id)
        for relay_id in self.known.links:
            self.known.paths.handle_relay_down(relay_id)
        self.known.links.clear()
        self.active.set(False)  # no word in the log: it has one about the reason

    # --- told by links and by those who try paths

    def _handle_direct_change(self, path: Path, stands: bool) -> None:
        if stands:
            self.known.paths.handle_direct_up(path)
            self._refresh()
            return
        self.known.paths.handle_direct_down(path)
        self.active.set(bool(self.known.paths.active()))
        # no task is started here: who tells us serves a connection of the client's and may outlive our nursery
        self._lapses.set(self._lapses.value + 1)

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
        if path.id in self.known.links and not path.kind.is_direct:
            self.known.links[path.id].handle_no_answer()
        self._deadlines_moved.set()
        self._refresh()

    def handle_answer(self, path: Path) -> None:
        """A path answered."""
        if self.known.paths.handle_answer(path):
            self._refresh()

    def _refresh(self) -> None:
        """Peers, relays or suspicions are different: tell those who watch."""
        if self._closed:
            return
        self.active.set(bool(self.known.paths.active()))
        if trio.current_effective_deadline() > -math.inf:  # else this task is cancelled with all of us: no news
            self.log.report_changes()

    def _peer(self) -> Peer:
        return Peer(
            directs=self._context.directs.value if self.known.route.allows_direct else (),
            server_certificate=self._identity.server.der,
            client_certificate=self._identity.client.der,
            relay_ids=tuple(relay_id for relay_id, link in self.known.links.items() if link.connection is not None),
        )


def _dialable(peers: Mapping[str, RemotePeer]) -> dict[str, Peer]:
    return {peer_id: remote.peer for peer_id, remote in peers.items() if remote.peer and remote.peer.directs}
