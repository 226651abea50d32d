"""What a user reads about the peers of an endpoint: one line when it is online, one at each change of path."""

import logging
from collections.abc import Callable
from typing import assert_never

import trio

from connet_trio.endpoints.knowledge import Knowledge
from connet_trio.engine import ConnectedVia, NoCommonRelay, NoRelayUp, NotAnswering, Path, PeerState
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

    def report_online(self) -> None:
        """Control has accepted the announcement."""
        logger.info("%s online, waiting for a %s", self._known.label, self._known.role.opposite.name.lower())

    def report_changes(self) -> None:
        """Something about peers, relays or paths may be different: say what is."""
        states = dict(self._known.paths.peer_states(self._known.rtt_of, trio.current_time()))
        for peer_id in [known for known in self._states if known not in states]:
            logger.info("%s: %s is gone", self._known.label, self._labels.pop(peer_id))
            self._since.pop(peer_id)
        for peer_id, state in states.items():
            self._labels[peer_id] = _peer_label(self._known.peers[peer_id])
            if self._states.get(peer_id) != state:
                self._since[peer_id] = self._wall_clock()
                # a peer that is only just announced is about to be connected: not worth a line yet
                news = isinstance(state, ConnectedVia) or peer_id in self._states
                level = logging.INFO if news else logging.DEBUG
                logger.log(level, "%s: %s %s", self._known.label, self._labels[peer_id], self._describe(state))
        self._states = states

    def _describe(self, state: PeerState) -> str:
        match state:
            case ConnectedVia(path):
                milliseconds = self._known.rtt_of(path) * 1000
                return f"connected through relay {self._relay_label(path)}, {milliseconds:.0f} ms"
            case NotAnswering(path):
                return f"does not answer through relay {self._relay_label(path)}"
            case NoCommonRelay() | NoRelayUp():
                return f"not connected: {self._why(state)}"
            case _:
                assert_never(state)

    def _why(self, state: PeerState) -> str:
        match state:
            case ConnectedVia():
                return "direct paths are not in this release"
            case NotAnswering(path):
                return f"no answer through relay {self._relay_label(path)}"
            case NoCommonRelay(theirs=()):
                return "it is on no relay yet"
            case NoCommonRelay():
                return "it is on other relays than we are"
            case NoRelayUp():
                if not self._known.route.allows_relay:
                    return "its route is direct, and direct paths are not in this release"
                errors = [link.last_error for link in self._known.links.values() if link.last_error]
                return errors[0] if errors else "no relay is connected yet"
            case _:
                assert_never(state)

    def _relay_label(self, path: Path) -> str:
        link = self._known.links.get(path.id)
        return short_id(path.id) if link is None else link.label

    def status(self) -> EndpointStatus:
        """The endpoint's part of the status page."""
        known = self._known
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
            peers={peer_id: self._peer_status(remote) for peer_id, remote in known.peers.items()},
            bytes_in=known.traffic.received,
            bytes_out=known.traffic.sent,
        )

    def _peer_status(self, remote: RemotePeer) -> PeerStatus:
        state = self._states.get(remote.id, NoRelayUp())
        selected = state.path if isinstance(state, ConnectedVia) else None
        return PeerStatus(
            id=remote.id,
            metadata=remote.metadata,
            direct_addresses=remote.peer.directs if remote.peer is not None else (),
            connections=self._connections(remote),
            path=None if selected is None else PathStyle.RELAY,
            relay_id=None if selected is None else selected.id,
            rtt_ms=None if selected is None else round(self._known.rtt_of(selected) * 1000, 3),
            since=self._since.get(remote.id) if selected is not None else None,
            why=self._why(state),
        )

    def _connections(self, remote: RemotePeer) -> tuple[PathStatus, ...]:
        theirs = remote.peer.relay_ids if remote.peer is not None else ()
        return tuple(
            PathStatus(style=PathStyle.RELAY, address=str(link.connection.remote_address), relay_id=relay_id)
            for relay_id, link in self._known.links.items()
            if relay_id in theirs and link.connection is not None
        )


def _peer_label(remote: RemotePeer) -> str:
    return printable(remote.metadata, 64) or short_id(remote.id)
