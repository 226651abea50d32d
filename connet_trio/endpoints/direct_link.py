"""The direct paths between one endpoint and one remote peer (protocol section 7).

    direct link ─┬─ outgoing: dial every address of the peer, hold the connection that works, again when it is lost
                 └─ expectation on the direct port: the peer's own dials become the incoming path

Both may stand at once, and both are used. A connection that has been silent for too long is no path any more, and
another takes its place; the streams that run on it go on for as long as it lives. When the peer is withdrawn, all of
its connections end, whatever runs on them: it may have lost the right to any.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import attrs
import trio

from connet_trio.concurrency import Backoff, Watched, keep_session
from connet_trio.endpoints.checking import answer_check, ask_check
from connet_trio.endpoints.direct_port import DirectPort
from connet_trio.endpoints.retiring import retire
from connet_trio.engine import Candidate, Path, PathKind
from connet_trio.errors import ConnetError, DialFailed, PathLost
from connet_trio.identity import EndpointIdentity, PinnedServer, server_name
from connet_trio.quic import Connection, Dialing, Stream, Surroundings, Transport, dial_race
from connet_trio.records.control import Peer
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort
from connet_trio.records.text import printable
from connet_trio.wire import ConnectionKind, protocol_names

logger = logging.getLogger(__name__)

WITHDRAWN = (ErrorCode.DIRECT_KEEPALIVE_CLOSED, "keepalive closed")
CHECK_FAILED = (ErrorCode.CONNECTION_CHECK_FAILED, "connection check failed")
KEEPALIVE_SECONDS = 2.5
"""After that much silence the peer is asked for a sign of life, which every QUIC peer gives by its acknowledgement."""
SILENCE_SECONDS = 6.0
"""After that much silence a connection is no path any more: a dead one is to be noticed within 7 s."""
INITIAL_RTT_SECONDS = 0.05
"""Guess for the first round trip: what the NAT on the other side drops is sent again after 0.1, 0.3, 0.7, 1.5 s."""
UNCHECKED = 32
"""Connections of one peer that may wait for their check: its candidates, of which it drops all but one."""
REPLACED = 32
"""Connections of one peer that are no path any more and wait for their streams to end; the next closes the oldest."""
RELAXED_SECONDS = 300.0
"""How long a peer that has dialled us, and that we dial in vain, is left alone: one direct path will do."""
VAIN_ATTEMPTS = 3
"""After so many of them."""
RACES_AT_ONCE = 32
"""Peers of a client that are dialled at the same time; the others wait for their turn."""
RACE_SECONDS = 20.0
"""So long may a turn be: enough for a handshake and some checks, which are asked one after the other."""


@attrs.frozen(kw_only=True)
class DirectContext:
    """What the direct links of a client share."""

    transport: Transport
    surroundings: Surroundings
    port: DirectPort
    candidates: Callable[[Sequence[AddressPort]], tuple[Candidate, ...]]
    """In which order to try the addresses that a peer announces."""
    handshake_idle_timeout: float
    handle_silence: Callable[[bool], None]
    """Told that a path went silent or a peer is dialled in vain: the address we announce may be one we had."""
    races: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(RACES_AT_ONCE))


class DirectLink:
    """Keeps one peer connected directly while it is listed. `run` in a nursery; cancel `scope` to end it."""

    def __init__(
        self,
        peer_id: str,
        peer: Peer,
        *,
        label: str,
        context: DirectContext,
        identity: EndpointIdentity,
        holding: trio.Nursery,
        on_change: Callable[[Path, bool], None],
        handle_stream: Callable[[Stream], Awaitable[None]],
    ) -> None:
        """Prepare; nothing is dialled yet.

        Args:
          holding: where connections are served; one may outlive its time as a path by the streams that run on it.
          on_change: told of a path, and whether it stands now.

        Raises:
          CertificateRejected: the peer's certificates cannot be used.
        """
        self.peer_id = peer_id
        """May be changed by whoever owns the link: control may come to know the peer by another."""
        self.peer = peer
        self.scope = trio.CancelScope()
        self.connections: dict[PathKind, Connection] = {}
        """The paths that stand."""
        self.last_error = ""
        """Why the last attempt to dial failed; empty while the outgoing path stands."""
        self.attempts = 0
        """How often the peer has been dialled in vain since the outgoing path stood."""
        self._label = label
        self._context = context
        self._identity = identity
        self._holding = holding
        self._on_change = on_change
        self._handle_stream = handle_stream
        self._server_name = server_name(peer.server_certificate)
        self._own_name = identity.name
        self._incoming = Watched(False)
        self._unchecked: set[Connection] = set()
        self._served: dict[Connection, None] = {}  # the oldest first; paths among them
        self._moved = False
        self._dialing_scope = trio.CancelScope()

    def is_for(self, peer: Peer) -> bool:
        """Whether `peer` is the one this link was made for: other certificates, other peer."""
        ours = (self.peer.server_certificate, self.peer.client_certificate)
        return ours == (peer.server_certificate, peer.client_certificate)

    def handle_peer(self, peer: Peer) -> None:
        """The peer announced itself anew: new addresses are tried at once."""
        moved = set(peer.directs) != set(self.peer.directs)
        self.peer = peer
        if moved and PathKind.OUTGOING not in self.connections:
            self._moved = True
            self._dialing_scope.cancel()

    async def run(self) -> None:
        """Expect the peer and dial it, again and again. Returns when `scope` is cancelled."""
        try:
            with self.scope, self._context.port.expect(self._own_name, self.peer.client_certificate, self._welcome):
                while True:
                    with trio.CancelScope() as self._dialing_scope:
                        backoff = Backoff(Random(self._context.surroundings.luck.random()), shrinks=False)
                        await keep_session(self._hold_outgoing, backoff, self._report, refusals_last=False)
        finally:
            for connection in (*self._served, *self._unchecked):
                connection.close(*WITHDRAWN)

    # --- outgoing

    async def _hold_outgoing(self, up: Callable[[], None]) -> None:
        if self.attempts >= VAIN_ATTEMPTS and not self._moved:
            with trio.move_on_after(RELAXED_SECONDS):
                await self._incoming.wait_value(lambda stands: not stands)
        self._moved = False
        connection = await self._dial()
        up()
        self.last_error, self.attempts = "", 0
        self._begin(PathKind.OUTGOING, connection)
        self._holding.start_soon(self._serve, connection)
        await self._hold(PathKind.OUTGOING, connection)
        raise PathLost(
            f"no sign of life for {SILENCE_SECONDS:g} s" if connection.lost is None else str(connection.lost)
        )

    async def _dial(self) -> Connection:
        dialing = Dialing(
            alpns=protocol_names(ConnectionKind.PEER_TO_PEER),
            trust=PinnedServer(self.peer.server_certificate, self._server_name),
            server_name=self._server_name,
            credential=self._identity.client,
            handshake_idle_seconds=self._context.handshake_idle_timeout,
            initial_rtt_seconds=INITIAL_RTT_SECONDS,
        )
        async with self._context.races:
            candidates = self._context.candidates(self.peer.directs)
            if not candidates:
                raise DialFailed("none of its addresses can be reached from here")
            with trio.move_on_after(RACE_SECONDS):
                return await dial_race(self._context.transport, candidates, dialing, ask_check)
        raise DialFailed(f"none of its addresses answered the check within {RACE_SECONDS:g} s")

    def _report(self, error: ConnetError, delay: float) -> None:
        self.last_error = printable(str(error), limit=500)
        self.attempts += 1
        if self.attempts == VAIN_ATTEMPTS and PathKind.INCOMING not in self.connections:  # else it does reach us
            self._context.handle_silence(False)
        logger.debug("%s: direct path not made: %s; again in %.2g s", self._label, self.last_error, delay)

    # --- incoming

    async def _welcome(self, connection: Connection) -> None:
        if len(self._unchecked) >= UNCHECKED:
            return
        self._unchecked.add(connection)
        try:
            await answer_check(connection)
        except ConnetError as exc:
            reason = printable(str(exc))
            logger.debug("%s: %s, check failed: %s", self._label, connection.remote_address, reason)
            connection.close(*CHECK_FAILED)
        finally:
            self._unchecked.remove(connection)
        if connection.is_closed:  # the peer may be withdrawn, or have found a better way
            return
        connection.raise_windows()
        self._begin(PathKind.INCOMING, connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold, PathKind.INCOMING, connection)
            await self._serve(connection)
            nursery.cancel_scope.cancel()

    # --- both

    def _begin(self, kind: PathKind, connection: Connection) -> None:
        """Make a connection the path of its kind; what was it before ends when its streams do."""
        connection.set_keepalive(KEEPALIVE_SECONDS)
        self._served[connection] = None
        previous = self.connections.get(kind)
        self.connections[kind] = connection
        self._incoming.set(PathKind.INCOMING in self.connections)
        if previous is not None:
            self._retire(previous)
        self._on_change(Path(kind, self.peer_id), True)

    def _retire(self, connection: Connection) -> None:
        self._holding.start_soon(retire, connection, WITHDRAWN)
        replaced = [served for served in self._served if served not in self.connections.values()]
        if len(replaced) > REPLACED:
            replaced[0].close(*WITHDRAWN)

    async def _hold(self, kind: PathKind, connection: Connection) -> None:
        """Watch a path until it is lost, silent or replaced; then let it end."""
        try:
            await connection.wait_silent(SILENCE_SECONDS)
        except trio.Cancelled:
            connection.close(*WITHDRAWN)
            raise
        finally:
            was_path = self.connections.get(kind) is connection
            if was_path:
                del self.connections[kind]
                self._incoming.set(PathKind.INCOMING in self.connections)
                self._on_change(Path(kind, self.peer_id), False)
        if was_path and connection.lost is None:
            self._context.handle_silence(True)
            self._retire(connection)

    async def _serve(self, connection: Connection) -> None:
        """Take the peer's streams until the connection is over, and end it when we are."""
        try:
            async with trio.open_nursery() as nursery:
                try:
                    while True:
                        nursery.start_soon(self._handle_stream, await connection.accept_stream())
                except PathLost:
                    nursery.cancel_scope.cancel()
        finally:
            connection.close(*WITHDRAWN)
            del self._served[connection]
