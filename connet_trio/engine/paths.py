"""Client: the paths to the peers of one endpoint, and the order to try them (protocol sections 4.4, 7.6 and 9).

A *direct* path is a connection between us and one peer that passed its check; there may be one that we dialled
(outgoing) and one that the peer dialled (incoming). A relay chooses the destination itself (section 6.3, trap T26), so
a relay is one path, whichever peers are on it: it is *active* while our link to it is up and a remote peer announces
it. Of the active paths some are *suspect*: asked for a stream, they gave no answer. A suspect is tried last, until it
answers, is made anew, or the probe interval has passed and the next attempt through it is the probe.

A peer missing from the first list of a new session is *kept* for a while: control may have restarted without its
store, or list us before its other clients are back, and what still works must not be torn down for that (trap T16). A
control that lost its store gives everybody a new id; the certificates tell who is who. A peer that leaves a later list
has left.

Always: only active paths are suspect; kept peers are not listed ones.
"""

import enum
import math
from collections.abc import Callable, Mapping, Sequence

import attrs

from connet_trio.records.control import Peer, RemotePeer

PROBE_INTERVAL_SECONDS = 15.0
"""How long a path without an answer is tried last: no longer than a lost link may wait to be dialled (section 7.5)."""
KEEP_SECONDS = 30.0
"""How long a peer is kept that the first list of a session lacks: the expiry time of control, unless configured."""


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
    """A relay's id, or the peer's of a direct path."""


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
    """There is no direct path, we have relays, and the peer is on none of them."""

    ours: tuple[str, ...]
    """Ids of the relays whose link is up, ordered."""
    theirs: tuple[str, ...]
    """Ids of the relays that the peer announces, as it ordered them; empty when it is on none."""


@attrs.frozen
class NoRelayUp:
    """There is no direct path, and we have no link to any relay."""


PeerState = ConnectedVia | NotAnswering | NoCommonRelay | NoRelayUp


class Paths:
    """What one endpoint knows of the ways to its peers."""

    def __init__(
        self, *, probe_interval_seconds: float = PROBE_INTERVAL_SECONDS, keep_seconds: float = KEEP_SECONDS
    ) -> None:
        self._probe_interval_seconds = probe_interval_seconds
        self._keep_seconds = keep_seconds
        self._listed: dict[str, RemotePeer] = {}
        self._kept: dict[str, RemotePeer] = {}
        self._kept_until: dict[str, float] = {}
        self._relays_up: set[str] = set()
        self._direct_up: set[Path] = set()
        self._suspect_until: dict[Path, float] = {}

    # --- told by control

    def handle_first_peers(self, peers: Sequence[RemotePeer], now: float) -> Mapping[str, str]:
        """Take the first list of a session, at `now` (seconds, monotonic); who is missing is kept for a while.

        Returns as `handle_peers`.
        """
        for peer_id, remote in self._listed.items():
            self._kept[peer_id] = remote
            self._kept_until[peer_id] = now + self._keep_seconds
        return self.handle_peers(peers)

    def handle_peers(self, peers: Sequence[RemotePeer]) -> Mapping[str, str]:
        """Take the complete list of remote peers, in place of the one before.

        Returns:
          The new id of each kept peer that is listed again under another, by the id it was kept under; its direct paths
          are still known under that one.
        """
        self._listed = {remote.id: remote for remote in peers}
        renamed = self._listed_anew()
        for peer_id in (*self._listed, *renamed):
            self._kept.pop(peer_id, None)
            self._kept_until.pop(peer_id, None)
        self._forget_inactive()
        return renamed

    @property
    def peers(self) -> Mapping[str, RemotePeer]:
        """The peers there are, by client id: those listed, and those kept."""
        return {**self._kept, **self._listed}

    # --- told by links

    def handle_relay_up(self, relay_id: str) -> None:
        """Our link to a relay is authenticated; what was suspected of an earlier link is forgotten."""
        self._relays_up.add(relay_id)
        self._suspect_until.pop(Path(PathKind.RELAY, relay_id), None)

    def handle_relay_down(self, relay_id: str) -> None:
        """Our link to a relay is gone."""
        self._relays_up.discard(relay_id)
        self._suspect_until.pop(Path(PathKind.RELAY, relay_id), None)

    def handle_direct_up(self, path: Path) -> None:
        """A direct connection passed its check; what was suspected of an earlier one is forgotten."""
        self._direct_up.add(path)
        self._suspect_until.pop(path, None)

    def handle_direct_down(self, path: Path) -> None:
        """A direct connection is gone, or is silent and about to be replaced."""
        self._direct_up.discard(path)
        self._suspect_until.pop(path, None)

    def handle_no_answer(self, path: Path, now: float) -> None:
        """A stream asked for through `path` got no answer in time, at `now` (seconds, monotonic)."""
        if path in self.active():
            self._suspect_until[path] = now + self._probe_interval_seconds

    def handle_answer(self, path: Path) -> bool:
        """Whoever is at the end of `path` has answered, if only to refuse; returns whether that is news."""
        return self._suspect_until.pop(path, None) is not None

    # --- time

    def next_deadline(self) -> float:
        """When a suspicion is over or a kept peer is given up; `math.inf` when there is neither."""
        return min((*self._suspect_until.values(), *self._kept_until.values()), default=math.inf)

    def handle_timer(self, now: float) -> None:
        """Forget suspicions that are over and peers kept long enough; `peers` and `peer_states` may differ after."""
        self._suspect_until = {path: until for path, until in self._suspect_until.items() if until > now}
        for peer_id in [peer_id for peer_id, until in self._kept_until.items() if until <= now]:
            del self._kept[peer_id], self._kept_until[peer_id]
        self._forget_inactive()

    # --- asked by those who open streams

    def active(self) -> frozenset[Path]:
        """The paths that lead to some peer; a destination accepts streams on these only."""
        peers = self.peers
        announced = {relay_id for remote in peers.values() for relay_id in _details(remote).relay_ids}
        relayed = {Path(PathKind.RELAY, relay_id) for relay_id in self._relays_up & announced}
        return frozenset(relayed | {path for path in self._direct_up if path.id in peers})

    def candidates(self, rtt_of: Callable[[Path], float], now: float) -> list[Path]:
        """The active paths in the order to try them: direct before relay, then ascending round trip, suspects last.

        Args:
          rtt_of: the smoothed round-trip time of an active path in seconds.
        """

        def rank(path: Path) -> tuple[bool, bool, float, str, str]:
            return self.is_suspect(path, now), not path.kind.is_direct, rtt_of(path), path.id, path.kind.value

        return sorted(self.active(), key=rank)

    def is_suspect(self, path: Path, now: float) -> bool:
        """Whether a stream asked for through `path` got no answer not long before `now` (seconds, monotonic)."""
        return now < self._suspect_until.get(path, -math.inf)

    def peer_states(self, rtt_of: Callable[[Path], float], now: float) -> Mapping[str, PeerState]:
        """For each peer, by id, the path that is selected, or why there is none."""
        candidates = self.candidates(rtt_of, now)
        places: dict[tuple[bool, str], int] = {}  # of the first to each end: peers may be many, and so may paths
        for place, path in enumerate(candidates):
            places.setdefault((path.kind.is_direct, path.id), place)
        return {peer_id: self._state(remote, candidates, places, now) for peer_id, remote in self.peers.items()}

    def _state(
        self, remote: RemotePeer, candidates: Sequence[Path], places: Mapping[tuple[bool, str], int], now: float
    ) -> PeerState:
        theirs = _details(remote).relay_ids
        ends = [(True, remote.id), *((False, relay_id) for relay_id in theirs)]
        place = min((places[end] for end in ends if end in places), default=None)
        if place is not None:
            selected = candidates[place]
            return NotAnswering(selected) if self.is_suspect(selected, now) else ConnectedVia(selected)
        if self._relays_up:
            return NoCommonRelay(ours=tuple(sorted(self._relays_up)), theirs=theirs)
        return NoRelayUp()

    def _listed_anew(self) -> Mapping[str, str]:
        gone = {peer_id: _certificates(remote) for peer_id, remote in self._kept.items() if peer_id not in self._listed}
        if not gone:
            return {}
        ids = {_certificates(remote): peer_id for peer_id, remote in self._listed.items()}
        ids.pop(NOBODY, None)
        return {peer_id: ids[certificates] for peer_id, certificates in gone.items() if certificates in ids}

    def _forget_inactive(self) -> None:
        active = self.active()
        self._suspect_until = {path: until for path, until in self._suspect_until.items() if path in active}


NOBODY = (b"", b"")


def _certificates(remote: RemotePeer) -> tuple[bytes, bytes]:
    return _details(remote).server_certificate, _details(remote).client_certificate


def _details(remote: RemotePeer) -> Peer:
    return remote.peer if remote.peer is not None else Peer()  # trap T12: it may be absent
