"""Source: which destinations are asked for a stream, and in which order (protocol section 9).

Without a policy every path is tried, the best first. With one it is destinations that are chosen among, each by its
best path; the policy orders them, and how many are asked is for the retry to say. Either way what is suspect comes last
(`engine.paths`).

A relay chooses the destination itself (section 6.3), so what is decided here holds for direct paths; of several
destinations behind one relay it decides how often the relay is asked. Once it has failed it is not asked again for the
same stream: it has tried them all.
"""

import enum
from collections.abc import Callable, Collection, Mapping, Sequence

import attrs
from attrs.validators import ge

from connet_trio.engine.paths import Path

DEFAULT_COUNT = 2
DEFAULT_MILLISECONDS = 1000


class BalancePolicy(enum.Enum):
    """How destinations are ordered, in the words of the configuration."""

    LEAST_LATENCY = "least-latency"
    """The nearest first."""
    LEAST_CONNS = "least-conns"
    """The one with the fewest streams of this source first, of equal ones the nearest."""
    ROUND_ROBIN = "round-robin"
    """Each in turn."""
    RANDOM = "random"


class BalanceRetry(enum.Enum):
    """How many destinations are asked for one stream, in the words of the configuration."""

    NEVER = ""
    """One."""
    COUNT = "count"
    """So many."""
    TIMED = "timed"
    """As many as there is time for."""
    ALL = "all"


@attrs.frozen(kw_only=True)
class Balancing:
    """How a source chooses among destinations. Without a policy, the rest is not looked at."""

    policy: BalancePolicy | None = None
    retry: BalanceRetry = BalanceRetry.NEVER
    retry_max: int = attrs.field(default=0, validator=ge(0))
    """Destinations for `COUNT`, milliseconds for `TIMED`; 0 stands for 2, and for 1000."""

    @property
    def most(self) -> int | None:
        """How many destinations are asked at most; None is no bound."""
        match self.retry:
            case BalanceRetry.NEVER:
                return 1
            case BalanceRetry.COUNT:
                return self.retry_max or DEFAULT_COUNT
            case BalanceRetry.TIMED | BalanceRetry.ALL:
                return None

    @property
    def seconds(self) -> float | None:
        """How long all attempts together may take; None is no bound."""
        if self.policy is None or self.retry is not BalanceRetry.TIMED:
            return None
        return (self.retry_max or DEFAULT_MILLISECONDS) / 1000


NO_BALANCING = Balancing()


@attrs.frozen
class Attempt:
    """To ask for a stream through `path`."""

    path: Path
    peer_id: str | None = None
    """The destination it is meant for; None without a policy, where that does not matter."""


class Balancer:
    """Decides for one source."""

    def __init__(self, balancing: Balancing, draw: Callable[[], float]) -> None:
        """Begin; `draw` is luck, a number from 0 to 1."""
        self.balancing = balancing
        self._draw = draw
        self._dials = 0

    def attempts(
        self,
        candidates: Sequence[Path],
        relays_of: Mapping[str, Collection[str]],
        *,
        is_suspect: Callable[[Path], bool],
        streams_of: Callable[[str], int],
    ) -> list[Attempt]:
        """What to try for the next stream, in order; nothing when no path stands.

        Args:
          candidates: the active paths, the best first and suspects last.
          relays_of: for each destination, by id, the relays it is on.
          is_suspect: whether a path has left a request unanswered.
          streams_of: how many streams this source has through a destination.
        """
        policy = self.balancing.policy
        if policy is None:
            return [Attempt(path) for path in candidates]
        best = _best_places(candidates, relays_of)
        by_place = sorted(best, key=lambda peer_id: (best[peer_id], peer_id))
        ordered = self._order(policy, by_place, streams_of)
        silent = {path.id for path in candidates if path.kind.is_direct and is_suspect(path)}
        ordered.sort(key=lambda peer_id: _is_doubtful(candidates[best[peer_id]], silent, is_suspect))
        tried: dict[Path, Attempt] = {}
        for peer_id in ordered[: self.balancing.most]:
            path = candidates[best[peer_id]]
            tried.setdefault(path, Attempt(path, peer_id))
        return list(tried.values())

    def _order(self, policy: BalancePolicy, by_place: Sequence[str], streams_of: Callable[[str], int]) -> list[str]:
        match policy:
            case BalancePolicy.LEAST_LATENCY:
                return list(by_place)
            case BalancePolicy.LEAST_CONNS:
                return sorted(by_place, key=streams_of)
            case BalancePolicy.ROUND_ROBIN:
                self._dials += 1
                ids = sorted(by_place)
                first = self._dials % len(ids) if ids else 0
                return ids[first:] + ids[:first]
            case BalancePolicy.RANDOM:
                return sorted(by_place, key=lambda _: self._draw())


def _is_doubtful(path: Path, silent: Collection[str], is_suspect: Callable[[Path], bool]) -> bool:
    """Whether `path` is suspect, or the other direct path between the same two sockets is."""
    return is_suspect(path) or (path.kind.is_direct and path.id in silent)


def _best_places(candidates: Sequence[Path], relays_of: Mapping[str, Collection[str]]) -> dict[str, int]:
    """For each destination that a candidate leads to, the place of the first one."""
    direct: dict[str, int] = {}
    relayed: dict[str, int] = {}
    for place, path in enumerate(candidates):
        (direct if path.kind.is_direct else relayed).setdefault(path.id, place)
    best: dict[str, int] = {}
    for peer_id, relay_ids in relays_of.items():
        places = [relayed[relay_id] for relay_id in relay_ids if relay_id in relayed]
        if peer_id in direct:
            places.append(direct[peer_id])
        if places:
            best[peer_id] = min(places)
    return best
