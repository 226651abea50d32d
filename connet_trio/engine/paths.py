"""Client: the paths to the peers of one endpoint, and the order to try them (protocol sections 7.6 and 9).

A relay chooses the destination itself (section 6.3, trap T26), so a relay is one path, whichever peers are on it. It is
*active* while our link to it is up and a remote peer announces it. Of the active paths some are *suspect*: asked for a
stream, they gave no answer. A suspect is tried last, until it answers, its link comes up anew, or the probe interval
has passed and the next attempt through it is the probe.

Always: only active paths are suspect.
"""

import enum
import math
from collections.abc import Callable, Mapping, Sequence

import attrs

from connet_trio.records.control import RemotePeer

PROBE_INTERVAL_SECONDS = 15.0
"""How long a path without an answer is tried last: no longer than a lost link may wait to be dialled (section 7.5)."""


class PathKind(enum.Enum):
    """How a path reaches a peer, in the words of the status page (section 13)."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"
    RELAY = "relay"

    @property
    def is_direct(self) -> bool:
        """Whether no relay is between us and the peer."""
        return self is not PathKind.RELAY


@attrs.frozen
class Path:
    """A way to open a stream to a peer."""

    kind: PathKind
    id: str
    """A relay's id."""


@attrs.frozen
class ConnectedVia:
    """The peer is reached through `path`, the first that would be tried."""

    path: Path


@attrs.frozen
class NotAnswering:
    """Every path to the peer is suspect; `path` is the first that would be tried."""

    path: Path


@attrs.frozen
class NoCommonRelay:
    """We have relays and the peer is on none of them."""

    ours: tuple[str, ...]
    """Ids of the relays whose link is up, ordered."""
    theirs: tuple[str, ...]
    """Ids of the relays that the peer announces, as it ordered them; empty when it is on none."""


@attrs.frozen
class NoRelayUp:
    """We have no link to any relay."""


PeerState = ConnectedVia | NotAnswering | NoCommonRelay | NoRelayUp


class Paths:
    """What one endpoint knows of the ways to its peers."""

    def __init__(self, *, probe_interval_seconds: float = PROBE_INTERVAL_SECONDS) -> None:
        self._probe_interval_seconds = probe_interval_seconds
        self._relays_of_peers: dict[str, tuple[str, ...]] = {}
        self._relays_up: set[str] = set()
        self._suspect_until: dict[Path, float] = {}

    def handle_peers(self, peers: Sequence[RemotePeer]) -> None:
        """Take the complete list of remote peers, in place of the one before."""
        self._relays_of_peers = {
            remote.id: remote.peer.relay_ids if remote.peer is not None else ()  # trap T12: it may be absent
            for remote in peers
        }
        active = self.active()
        self._suspect_until = {path: until for path, until in self._suspect_until.items() if path in active}

    def handle_relay_up(self, relay_id: str) -> None:
        """Our link to a relay is authenticated; what was suspected of an earlier link is forgotten."""
        self._relays_up.add(relay_id)
        self._suspect_until.pop(Path(PathKind.RELAY, relay_id), None)

    def handle_relay_down(self, relay_id: str) -> None:
        """Our link to a relay is gone."""
        self._relays_up.discard(relay_id)
        self._suspect_until.pop(Path(PathKind.RELAY, relay_id), None)

    def handle_no_answer(self, path: Path, now: float) -> None:
        """A stream asked for through `path` got no answer in time, at `now` (seconds, monotonic)."""
        if path in self.active():
            self._suspect_until[path] = now + self._probe_interval_seconds

    def handle_answer(self, path: Path) -> None:
        """Whoever is at the end of `path` has answered, if only to refuse."""
        self._suspect_until.pop(path, None)

    def next_deadline(self) -> float:
        """When the next suspect may be tried in its turn again; `math.inf` without suspects."""
        return min(self._suspect_until.values(), default=math.inf)

    def handle_timer(self, now: float) -> None:
        """Forget suspicions that are over; `peer_states` may differ afterwards."""
        self._suspect_until = {path: until for path, until in self._suspect_until.items() if until > now}

    def active(self) -> frozenset[Path]:
        """The paths that lead to some peer; a destination accepts streams on these only."""
        announced = {relay_id for relay_ids in self._relays_of_peers.values() for relay_id in relay_ids}
        return frozenset(Path(PathKind.RELAY, relay_id) for relay_id in self._relays_up & announced)

    def candidates(self, rtt_of: Callable[[Path], float], now: float) -> list[Path]:
        """The active paths in the order to try them: direct before relay, then ascending round trip, suspects last.

        Args:
          rtt_of: the smoothed round-trip time of an active path in seconds.
        """

        def rank(path: Path) -> tuple[bool, bool, float, str]:
            return self._is_suspect(path, now), not path.kind.is_direct, rtt_of(path), path.id

        return sorted(self.active(), key=rank)

    def peer_states(self, rtt_of: Callable[[Path], float], now: float) -> Mapping[str, PeerState]:
        """For each remote peer, by id, the path that is selected, or why there is none."""
        candidates = self.candidates(rtt_of, now)
        return {peer_id: self._state(theirs, candidates, now) for peer_id, theirs in self._relays_of_peers.items()}

    def _state(self, theirs: tuple[str, ...], candidates: Sequence[Path], now: float) -> PeerState:
        if not self._relays_up:
            return NoRelayUp()
        selected = next((path for path in candidates if path.id in theirs), None)
        if selected is None:
            return NoCommonRelay(ours=tuple(sorted(self._relays_up)), theirs=theirs)
        return NotAnswering(selected) if self._is_suspect(selected, now) else ConnectedVia(selected)

    def _is_suspect(self, path: Path, now: float) -> bool:
        return now < self._suspect_until.get(path, -math.inf)
