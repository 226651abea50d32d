"""What a user reads about the peers of an endpoint: one line when it is online, one at each change of path."""

import logging
from collections.abc import Callable
from typing import assert_never

import trio

from connet_trio.endpoints.knowledge import Knowledge
from connet_trio.engine import ConnectedVia, NoCommonRelay, NoRelayUp, NotAnswering, Path, PathKind, PeerState
from connet_trio.records.control import RemotePeer
from connet_trio.records.status import EndpointStatus, PathStatus, PathStyle, PeerStatus, RelayLinkStatus, Status
from connet_trio.records.text import printable, short_id

logger = logging.getLogger(__name__)


class PeerLog:
    """Remembers which path to each peer is selected and since when; tells the log and the status page."""

    def __init__(self, known: Knowledge, wall_clock: Callable[[], float]) -> None:
        self._known = known
        self._wall_clock = wall_clock
        self._states: dict[str, PeerState] = {}
        self._since: dict[str, float] = {}
        self._labels: dict[str, str] = {}
        self._online_before = False

    def report_online(self) -> None:
        """Control has accepted the announcement, for the first time or in a new session."""
        if self._online_before:
            logger.info("%s is announced again", self._known.label)
            return
        self._online_before = True
        logger.info("%s online, waiting for a %s", self._known.label, self._known.role.opposite.name.lower())

    def report_changes(self) -> None:
        """Something about peers, relays or paths may be different: say what is."""
        states = dict(self._known.paths.peer_states(self._known.rtt_of, trio.current_time()))
        for peer_id in [known for known in self._states if known not in states]:
            logger.info("%s: %s is gone", self._known.label, self._labels.pop(peer_id))
            self._since.pop(peer_id)
        peers = self._known.paths.peers
        for peer_id, state in states.items():
            self._labels[peer_id] = _peer_label(peers[peer_id])
            if peer_id not in self._states or _gist(self._states[peer_id]) != _gist(state):
                self._since[peer_id] = self._wall_clock()
                # a peer that is only just announced is about to be connected: not worth a line yet
                news = isinstance(state, ConnectedVia) or peer_id in self._states
                level = logging.INFO if news else logging.DEBUG
                logger.log(level, "%s: %s %s", self._known.label, self._labels[peer_id], self._describe(peer_id, state))
        self._states = states

    def handle_rename(self, former_id: str, peer_id: str) -> None:
        """A peer has another id: no news by itself."""
        if former_id in self._states and peer_id not in self._states:
            self._states[peer_id] = self._states.pop(former_id)
            self._since[peer_id] = self._since.pop(former_id)
            self._labels[peer_id] = self._labels.pop(former_id)

    def describe_path(self, path: Path) -> str:
        """How a path leads to its peer: `through relay eu1`, `directly from 192.0.2.7:19192`."""
        if path.kind is PathKind.RELAY:
            link = self._known.links.get(path.id)
            return f"through relay {short_id(path.id) if link is None else link.label}"
        connection = self._known.connection_of(path)
        verb = "to" if path.kind is PathKind.OUTGOING else "from"
        return "directly" if connection is None else f"directly {verb} {connection.remote_address}"

    def _describe(self, peer_id: str, state: PeerState) -> str:
        match state:
            case ConnectedVia(path):
                how = f"connected {self.describe_path(path)}, {self._known.rtt_of(path) * 1000:.0f} ms"
                why = self._why(peer_id, state) if self._known.route.allows_direct else ""  # else it was asked for
                return f"{how} ({why})" if why else how
            case NotAnswering(path):
                return f"does not answer {self.describe_path(path)}"
            case NoCommonRelay() | NoRelayUp():
                return f"not connected: {self._why(peer_id, state)}"
            case _:
                assert_never(state)

    def _why(self, peer_id: str, state: PeerState) -> str:
        match state:
            case ConnectedVia(path):
                return "" if path.kind.is_direct else f"not directly: {self._why_not_direct(peer_id)}"
            case NotAnswering(path):
                return f"no answer {self.describe_path(path)}"
            case NoCommonRelay() | NoRelayUp():
                return f"directly: {self._why_not_direct(peer_id)}; through a relay: {self._why_not_relayed(state)}"
            case _:
                assert_never(state)

    def _why_not_direct(self, peer_id: str) -> str:
        known = self._known
        link = known.direct.get(peer_id)
        if not known.route.allows_direct:
            return "our route is relay"
        if peer_id in known.unusable:
            return known.unusable[peer_id]
        if link is None:
            return "it announces no address to dial"
        return link.last_error or "being dialled"

    def _why_not_relayed(self, state: NoCommonRelay | NoRelayUp) -> str:
        if not self._known.route.allows_relay:
            return "our route is direct"
        match state:
            case NoCommonRelay(theirs=()):
                return "it is on no relay yet"
            case NoCommonRelay():
                return "it is on other relays than we are"
            case NoRelayUp():
                errors = [link.last_error for link in self._known.links.values() if link.last_error]
                return errors[0] if errors else "no relay is connected yet"
            case _:
                assert_never(state)

    def status(self) -> EndpointStatus:
        """The endpoint's part of the status page."""
        known = self._known
        states = known.paths.peer_states(known.rtt_of, trio.current_time())
        return EndpointStatus(
            status=Status.CONNECTED if known.announced else Status.RECONNECTING,
            relays={
                relay_id: RelayLinkStatus(
                    id=relay_id,
                    hostports=link.offer.addresses,
                    metadata=link.offer.metadata,
                    connection="" if link.connection is None else str(link.connection.remote_address),
                )
                for relay_id, link in known.links.items()
            },
            peers={
                peer_id: self._peer_status(remote, states[peer_id]) for peer_id, remote in known.paths.peers.items()
            },
            relay_encryptions=tuple(scheme.name.lower() for scheme in known.relay_encryptions),
            bytes_in=known.traffic.received,
            bytes_out=known.traffic.sent,
        )

    def _peer_status(self, remote: RemotePeer, state: PeerState) -> PeerStatus:
        selected = state.path if isinstance(state, ConnectedVia) else None
        if selected is not None and self._known.connection_of(selected) is None:
            selected = None  # gone, and not yet reported
        relayed = selected is not None and selected.kind is PathKind.RELAY
        return PeerStatus(
            id=remote.id,
            metadata=remote.metadata,
            direct_addresses=remote.peer.directs if remote.peer is not None else (),
            connections=self._connections(remote),
            path=None if selected is None else PathStyle(selected.kind.value),
            relay_id=selected.id if selected is not None and relayed else None,
            rtt_ms=None if selected is None else _milliseconds(self._known.rtt_of(selected)),
            since=self._since.get(remote.id) if selected is not None else None,
            why=self._why(remote.id, state),
        )

    def _connections(self, remote: RemotePeer) -> tuple[PathStatus, ...]:
        relay_ids = remote.peer.relay_ids if remote.peer is not None else ()
        direct = [Path(kind, remote.id) for kind in (PathKind.INCOMING, PathKind.OUTGOING)]
        statuses = []
        for path in (*direct, *(Path(PathKind.RELAY, relay_id) for relay_id in relay_ids)):
            connection = self._known.connection_of(path)
            if connection is not None:
                statuses.append(
                    PathStatus(
                        style=PathStyle(path.kind.value),
                        address=str(connection.remote_address),
                        relay_id=path.id if path.kind is PathKind.RELAY else None,
                        rtt_ms=_milliseconds(connection.smoothed_rtt),
                        bytes_in=connection.bytes_received,
                        bytes_out=connection.bytes_sent,
                        mtu=connection.datagram_size,
                    )
                )
        return tuple(statuses)


def _gist(state: PeerState) -> object:
    """What of a state is news when it changes: of two direct paths, either will do."""
    if isinstance(state, ConnectedVia | NotAnswering) and state.path.kind.is_direct:
        return type(state), "direct"
    return state


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _peer_label(remote: RemotePeer) -> str:
    """By its id too: an earlier run of the same device may still be listed, under the same metadata."""
    metadata = printable(remote.metadata, 64)
    return f"{metadata} ({short_id(remote.id)})" if metadata else short_id(remote.id)
