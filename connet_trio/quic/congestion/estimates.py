"""What BBR believes about the path: its rate, its round trip, how much it aggregates, and whether it is full."""

from collections import deque
from math import inf

from connet_trio.quic.congestion.sampling import RateSample

MIN_RTT_SECONDS = 10.0
"""For which a smallest round trip is believed (2.16.1)."""
PROBE_RTT_INTERVAL_SECONDS = 5.0
"""After which it is measured anew, with less in flight (2.16.2)."""
FULL_GROWTH = 1.25
"""A rate that has grown by less in a round has not grown (5.3.1.2)."""
FULL_ROUNDS = 3
"""That many such rounds, and the pipe is full."""


class WindowedMax:
    """The largest of the values within a window of integer time."""

    def __init__(self) -> None:
        self._candidates: deque[tuple[int, float]] = deque()  # times grow, values shrink

    def update(self, value: float, time: int, window: int) -> float:
        """Note `value` at `time`, which never goes back; the largest one later than `time - window`."""
        candidates = self._candidates
        while candidates and candidates[-1][1] <= value:
            candidates.pop()
        candidates.append((time, value))
        while candidates[0][0] <= time - window:
            candidates.popleft()
        return candidates[0][1]


class MaxBandwidth:
    """The largest rate of this and of the previous ProbeBW cycle, in bytes per second (5.5.2 to 5.5.6)."""

    def __init__(self) -> None:
        self.value = 0.0
        self._previous = self._current = 0.0

    def update(self, sample: RateSample) -> None:
        """Take a sample, unless the application held it back and it says nothing new."""
        if sample.rate >= self.value or not sample.is_app_limited:
            self._current = max(self._current, sample.rate)
            self.value = max(self._previous, self._current)

    def advance(self) -> None:
        """The next cycle begins."""
        self._previous, self._current = self._current, 0.0


class MinRtt:
    """The smallest round trip of the last ten seconds, and when to look for it anew (5.3.4.3)."""

    def __init__(self) -> None:
        self.value = inf
        self.is_due = False
        """Whether no sample has been as small as the smallest for the interval of ProbeRTT."""
        self._since = 0.0
        self._recent = inf
        self._recent_since: float | None = None

    def update(self, rtt: float, now: float) -> None:
        """Take a sample, in seconds."""
        if self._recent_since is None:
            self._recent_since = self._since = now
        self.is_due = now > self._recent_since + PROBE_RTT_INTERVAL_SECONDS
        if rtt < self._recent or self.is_due:
            self._recent, self._recent_since = rtt, now
        if self._recent < self.value or now > self._since + MIN_RTT_SECONDS:
            self.value, self._since = self._recent, self._recent_since

    def postpone(self, now: float) -> None:
        """It has just been looked for."""
        self._recent_since = now


class AckAggregation:
    """Bytes acknowledged beyond what the rate explains: the path, or the peer, delivers in clumps (5.5.9)."""

    ROUNDS = 10

    def __init__(self) -> None:
        self.value = 0.0
        self._largest = WindowedMax()
        self._delivered = 0
        self._since = 0.0

    def restart(self, now: float) -> None:
        """Nothing was under way until now."""
        self._since = now

    def update(
        self, newly_acked: int, now: float, *, bandwidth: float, window: int, round_count: int, full: bool
    ) -> None:
        """Take an acknowledgement; until the pipe is `full`, only the last round counts."""
        expected = bandwidth * (now - self._since)
        if self._delivered <= expected:
            self._delivered, self._since, expected = 0, now, 0.0
        self._delivered += newly_acked
        extra = min(self._delivered - expected, window)
        self.value = self._largest.update(extra, round_count, self.ROUNDS if full else 1)


class FullPipe:
    """Looks for a plateau: three rounds in which sending faster has not delivered faster (5.3.1.2).

    The draft looks at one sample a round, that of the acknowledgement which begins it; one that happens to be small
    counts for a round without growth. Here growth is looked for on every acknowledgement.
    """

    def __init__(self) -> None:
        self.now = False
        """Whether it is full, as far as the current search can tell."""
        self.reached = False
        """Whether it ever was."""
        self._baseline = 0.0
        self._rounds = 0

    def restart(self, baseline: float = 0.0) -> None:
        """Search anew."""
        self.now, self._baseline, self._rounds = False, baseline, 0

    def update(self, sample: RateSample, *, round_began: bool) -> None:
        """Take a sample; those that the application held back say nothing."""
        if self.now or sample.is_app_limited or not sample.rate:
            return
        if sample.rate >= self._baseline * FULL_GROWTH:
            self.restart(sample.rate)
        elif round_began:
            self._rounds += 1
            if self._rounds >= FULL_ROUNDS:
                self.now = self.reached = True
