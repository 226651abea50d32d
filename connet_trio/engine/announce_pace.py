"""Control: how soon an announcement counts (protocol section 4.2).

Each one is pushed to every opposite endpoint, so one client that changes its mind without end would keep all of them
busy. A bucket for each endpoint of a connection, whatever stream its announcements come on: some count at once, the
others in turn. Nobody is refused, and a client that starts many endpoints waits for none of them.

Always: a bucket that has filled up again is forgotten, at the latest when those used before it have.
"""

from connet_trio.records.model import Role


class AnnouncePace:
    """The announcements of one connection."""

    def __init__(self, *, burst: int, per_second: float) -> None:
        """Let `burst` announcements of an endpoint count at once, and `per_second` in the long run."""
        self._interval = 1 / per_second
        self._slack = burst * self._interval
        self._full_at: dict[tuple[str, Role], float] = {}  # in the order of use

    def handle_announce(self, endpoint: str, role: Role, now: float) -> float:
        """An announcement has come at `now` (seconds, monotonic); when it counts, in turn with those before it."""
        self._forget_full(now)
        full_at = max(now, self._full_at.pop((endpoint, role), now)) + self._interval
        self._full_at[endpoint, role] = full_at
        return max(now, full_at - self._slack)

    def _forget_full(self, now: float) -> None:
        while self._full_at:
            oldest, full_at = next(iter(self._full_at.items()))
            if full_at > now:
                return
            del self._full_at[oldest]
