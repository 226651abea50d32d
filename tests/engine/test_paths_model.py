"""The paths to the peers of one endpoint, in any history, against a model too simple to be wrong."""

import math
from collections.abc import Mapping, Sequence

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from connet_trio.engine.paths import ConnectedVia, NoCommonRelay, NoRelayUp, NotAnswering, Path, PathKind, Paths
from connet_trio.records.control import Peer, RemotePeer

PROBE_SECONDS, KEEP_SECONDS = 15.0, 30.0
PEER_IDS, RELAY_IDS = ("a", "b", "c"), ("eu1", "us1")
RELAY_PATHS = [Path(PathKind.RELAY, relay_id) for relay_id in RELAY_IDS]
DIRECT_PATHS = [Path(kind, peer_id) for kind in (PathKind.INCOMING, PathKind.OUTGOING) for peer_id in PEER_IDS]
PATHS = RELAY_PATHS + DIRECT_PATHS

certificates = st.sampled_from([b"", b"one", b"two"])
details = st.none() | st.builds(
    Peer,
    relay_ids=st.lists(st.sampled_from(RELAY_IDS), max_size=2, unique=True).map(tuple),
    server_certificate=certificates,
    client_certificate=certificates,
)
peer_lists = st.lists(
    st.builds(RemotePeer, id=st.sampled_from(PEER_IDS), peer=details), max_size=3, unique_by=lambda remote: remote.id
)


@attrs.define
class Known:
    """A peer, as the model remembers it."""

    remote: RemotePeer
    until: float = math.inf
    """When it is given up; infinite while it is listed."""


def relays_of(remote: RemotePeer) -> Sequence[str]:
    return () if remote.peer is None else remote.peer.relay_ids


def who(remote: RemotePeer) -> tuple[bytes, bytes] | None:
    """Which certificates say who it is; None if they say nothing."""
    if remote.peer is None or remote.peer.server_certificate == remote.peer.client_certificate == b"":
        return None
    return remote.peer.server_certificate, remote.peer.client_certificate


class PathsAgainstAModel(RuleBasedStateMachine):
    """What is known is what was said last and is not over; suspicion is a no that nothing has answered since."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = Paths(probe_interval_seconds=PROBE_SECONDS, keep_seconds=KEEP_SECONDS)
        self.known: dict[str, Known] = {}
        self.up: set[Path] = set()
        self.suspect_until: dict[Path, float] = {}
        self.now = 1000.0
        self.rtts: Mapping[Path, float] = {path: number / 100 for number, path in enumerate(PATHS)}

    # --- what happens

    @rule(remotes=peer_lists, is_first=st.booleans())
    def list_peers(self, remotes: list[RemotePeer], is_first: bool) -> None:
        kept = {peer_id: known for peer_id, known in self.known.items() if known.until < math.inf}
        if is_first:
            kept |= {
                peer_id: Known(known.remote, self.now + KEEP_SECONDS)
                for peer_id, known in self.known.items()
                if known.until == math.inf
            }
            renamed = self.paths.handle_first_peers(remotes, self.now)
        else:
            renamed = self.paths.handle_peers(remotes)
        listed = {remote.id: Known(remote) for remote in remotes}
        by_certificates = {who(remote): remote.id for remote in remotes if who(remote) is not None}
        expected = {
            peer_id: by_certificates[who(known.remote)]
            for peer_id, known in kept.items()
            if peer_id not in listed and who(known.remote) in by_certificates
        }
        assert renamed == expected
        self.known = {peer_id: known for peer_id, known in kept.items() if peer_id not in expected} | listed
        self.forget_inactive()

    @rule(path=st.sampled_from(PATHS))
    def come_up(self, path: Path) -> None:
        if path.kind is PathKind.RELAY:
            self.paths.handle_relay_up(path.id)
        else:
            self.paths.handle_direct_up(path)
        self.up.add(path)
        self.suspect_until.pop(path, None)

    @rule(path=st.sampled_from(PATHS))
    def go_down(self, path: Path) -> None:
        if path.kind is PathKind.RELAY:
            self.paths.handle_relay_down(path.id)
        else:
            self.paths.handle_direct_down(path)
        self.up.discard(path)
        self.suspect_until.pop(path, None)

    @rule(path=st.sampled_from(PATHS))
    def stay_silent(self, path: Path) -> None:
        self.paths.handle_no_answer(path, self.now)
        if path in self.active():
            self.suspect_until[path] = self.now + PROBE_SECONDS

    @rule(path=st.sampled_from(PATHS))
    def answer(self, path: Path) -> None:
        assert self.paths.handle_answer(path) is (path in self.suspect_until)
        self.suspect_until.pop(path, None)

    @rule(seconds=st.sampled_from([0.5, 5.0, 15.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.paths.handle_timer(self.now)
        self.known = {peer_id: known for peer_id, known in self.known.items() if known.until > self.now}
        self.suspect_until = {path: until for path, until in self.suspect_until.items() if until > self.now}
        self.forget_inactive()

    @rule(order=st.permutations(range(len(PATHS))))
    def measure(self, order: list[int]) -> None:
        self.rtts = {path: place / 100 for path, place in zip(PATHS, order, strict=True)}

    # --- what has to be true

    def active(self) -> set[Path]:
        announced = {relay_id for known in self.known.values() for relay_id in relays_of(known.remote)}
        ends = {PathKind.RELAY: announced}
        return {path for path in self.up if path.id in ends.get(path.kind, set(self.known))}

    def forget_inactive(self) -> None:
        active = self.active()
        self.suspect_until = {path: until for path, until in self.suspect_until.items() if path in active}

    def candidates(self) -> list[Path]:
        return self.paths.candidates(self.rtts.__getitem__, self.now)

    @invariant()
    def peers_are_those_listed_and_those_kept(self) -> None:
        assert self.paths.peers == {peer_id: known.remote for peer_id, known in self.known.items()}

    @invariant()
    def active_paths_are_up_and_lead_to_somebody(self) -> None:
        assert self.paths.active() == self.active()
        assert sorted(self.candidates(), key=repr) == sorted(self.active(), key=repr)

    @invariant()
    def the_next_deadline_is_the_earliest_end_of_anything(self) -> None:
        ends = [*self.suspect_until.values(), *(known.until for known in self.known.values())]
        assert self.paths.next_deadline() == min(ends, default=math.inf)

    @invariant()
    def suspects_come_last_then_relays_then_long_ways(self) -> None:
        ranks = [
            (path in self.suspect_until, path.kind is PathKind.RELAY, self.rtts[path]) for path in self.candidates()
        ]
        assert ranks == sorted(ranks)

    @invariant()
    def each_peer_is_reached_by_the_first_path_that_leads_to_it(self) -> None:
        states = self.paths.peer_states(self.rtts.__getitem__, self.now)
        assert states.keys() == self.known.keys()
        ours = tuple(sorted(path.id for path in self.up if path.kind is PathKind.RELAY))
        for peer_id, known in self.known.items():
            theirs = relays_of(known.remote)
            leading = [
                path
                for path in self.candidates()
                if (path.id in theirs and path.kind is PathKind.RELAY) or (path.id == peer_id and path.kind.is_direct)
            ]
            match states[peer_id]:
                case ConnectedVia(path):
                    assert path == leading[0]
                    assert path not in self.suspect_until
                case NotAnswering(path):
                    assert path == leading[0]
                    assert path in self.suspect_until
                case NoCommonRelay() as state:
                    assert not leading
                    assert (state.ours, state.theirs) == (ours, theirs)
                    assert ours
                case NoRelayUp():
                    assert not leading
                    assert not ours


TestPathsAgainstAModel = PathsAgainstAModel.TestCase
TestPathsAgainstAModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
