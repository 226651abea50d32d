"""The ProbeBW part of BBR: when to look for more bandwidth, and how much may be in flight in the long term.

    DOWN ── drained ──▶ CRUISE ── time to probe ──▶ REFILL ── a round ──▶ UP ── full, or loss ──▶ DOWN

`inflight_longterm` is what was in flight when loss last exceeded the threshold; UP raises it by one packet, then two,
four, … a round. A probe that ended in loss makes the next one cautious: it stops where the last one hit, and goes on
at once if nothing was lost there (5.3.3.6).
"""

import enum
from collections.abc import Callable

import attrs

from connet_trio.quic.congestion.constants import NO_BOUND, State
from connet_trio.quic.congestion.controller import Snapshot
from connet_trio.quic.congestion.estimates import FullPipe, MaxBandwidth
from connet_trio.quic.congestion.loss_model import BETA
from connet_trio.quic.congestion.sampling import RateSample

HEADROOM = 0.15
"""Share of the long-term bound that CRUISE leaves to others (2.8)."""
PROBE_WAIT_SECONDS = 2.0
"""Between two probes at least, and up to one more, by luck, so that flows do not probe in step (5.3.3.8)."""
PROBE_WAIT_ROUNDS = 63
"""In round trips at most, or as many as a Reno flow would take to win back half its window, if that is less."""
MOST_DOUBLINGS = 30


class AckPhase(enum.Enum):
    """Which part of the cycle the packets that are acknowledged now were sent in."""

    OTHER = enum.auto()
    REFILLING = enum.auto()
    STARTING = enum.auto()
    FEEDBACK = enum.auto()
    STOPPING = enum.auto()


@attrs.define(kw_only=True)
class Flight:
    """How much is in flight, in bytes, and what it is compared with."""

    now: float
    in_flight: int
    window: int
    is_window_limited: bool
    target: int
    """What should be: the bandwidth-delay product, if the window allows as much (TargetInflight)."""
    drained: int
    """What is without a queue, by the largest bandwidth."""
    datagram_bytes: int
    smallest_window: int
    round_began: bool


class ProbeCycle:
    """Where ProbeBW stands."""

    def __init__(self, luck: Callable[[], float]) -> None:
        """Take `luck`, which gives numbers from 0 to 1."""
        self.inflight_longterm: int = NO_BOUND
        self.takes_samples = False
        """Whether loss now tells about a probe, and has not done so yet (is_bw_probe_sample)."""
        self._luck = luck
        self._phase = AckPhase.OTHER
        self._began_at = 0.0
        self._wait = 0.0
        self._rounds = 0
        self._raise_every: int = NO_BOUND
        self._raised_by = 0
        self._doublings = 0
        self._was_too_high = False
        self._was_cautious = False

    # --- transitions

    def begin_down(self, now: float) -> None:
        """Send less than arrives, to empty the queue."""
        self._raise_every = NO_BOUND
        self._rounds = int(2 * self._luck())
        self._wait = PROBE_WAIT_SECONDS + self._luck()
        self._began_at = now
        self.end_probe()

    def begin_refill(self) -> None:
        """Fill the pipe without a queue, for a round trip."""
        self._doublings = self._raised_by = 0
        self._was_cautious = False
        self._phase = AckPhase.REFILLING

    def begin_up(self, flight: Flight) -> None:
        """Send more than has arrived so far."""
        self.takes_samples = True
        self._phase = AckPhase.STARTING
        self._raise_faster(flight)

    def end_probe(self) -> None:
        """From the next round trip on, acknowledgements tell nothing about a probe."""
        self._phase = AckPhase.STOPPING

    def handle_round(self) -> None:
        """A round trip has begun."""
        self._rounds += 1

    # --- acknowledgements

    def adapt(
        self, sample: RateSample, flight: Flight, state: State, bandwidth: MaxBandwidth, loss_threshold: float
    ) -> bool:
        """Learn from an acknowledgement; whether to probe again at once (AdaptLongTermModel)."""
        if flight.round_began and self._phase is AckPhase.STARTING:
            self._phase = AckPhase.FEEDBACK
        elif flight.round_began and self._phase is AckPhase.STOPPING:
            self.takes_samples, self._phase = False, AckPhase.OTHER
            if state.probes_bandwidth:
                if not sample.is_app_limited:
                    bandwidth.advance()
                if self._was_cautious and not self._was_too_high:
                    return True
        if self.inflight_longterm != NO_BOUND and sample.lost <= sample.in_flight * loss_threshold:
            self.inflight_longterm = max(self.inflight_longterm, sample.in_flight)
            if state is State.UP:
                self._raise(sample.newly_acked, flight)
        return False

    def next_state(self, state: State, sample: RateSample, flight: Flight, pipe: FullPipe) -> State | None:
        """Where to go from `state`, None to stay."""
        if state in (State.DOWN, State.CRUISE) and self._is_time_to_probe(flight):
            return State.REFILL
        if state is State.DOWN and flight.in_flight <= min(self.headroom(flight), flight.drained):
            return State.CRUISE
        if state is State.REFILL and flight.round_began:
            return State.UP
        if state is State.UP and self._is_time_to_go_down(sample, flight, pipe):
            self._was_too_high = False
            return State.DOWN
        return None

    def headroom(self, flight: Flight) -> int:
        """The long-term bound less what is left to others (InflightWithHeadroom)."""
        if self.inflight_longterm == NO_BOUND:
            return NO_BOUND
        left = max(flight.datagram_bytes, int(HEADROOM * self.inflight_longterm))
        return max(self.inflight_longterm - left, flight.smallest_window)

    # --- loss

    def is_too_high(self, snapshot: Snapshot, lost: int, loss_threshold: float) -> bool:
        """Whether too much was in flight when a packet left that is lost, with all `lost` since (5.5.10.2)."""
        return self.takes_samples and lost > snapshot.in_flight * loss_threshold

    def note_too_high(self, snapshot: Snapshot, size: int, lost: int, target: int, loss_threshold: float) -> None:
        """Take what was in flight when the loss crossed the threshold for the long-term bound (InflightAtLoss)."""
        self._was_too_high, self.takes_samples = True, False
        if snapshot.is_app_limited:
            return
        before, lost_before = snapshot.in_flight - size, lost - size
        prefix = (loss_threshold * before - lost_before) / (1 - loss_threshold)
        self.inflight_longterm = max(int(before + max(prefix, 0.0)), int(target * BETA))

    # --- inside

    def _is_time_to_probe(self, flight: Flight) -> bool:
        # the draft compares rounds with bytes; what it means are packets
        rounds = min(flight.target // flight.datagram_bytes, PROBE_WAIT_ROUNDS)
        return flight.now > self._began_at + self._wait or self._rounds >= rounds

    def _is_time_to_go_down(self, sample: RateSample, flight: Flight, pipe: FullPipe) -> bool:
        if self._was_too_high and flight.in_flight >= self.inflight_longterm:
            self._was_cautious = True
            return True
        if flight.is_window_limited and flight.window >= self.inflight_longterm:
            pipe.restart(sample.rate)  # it is the bound that keeps the rate from growing
            return False
        return pipe.now

    def _raise(self, newly_acked: int, flight: Flight) -> None:
        if not flight.is_window_limited or flight.window < self.inflight_longterm:
            return
        self._raised_by += newly_acked
        if self._raised_by >= self._raise_every:
            steps = self._raised_by // self._raise_every
            self._raised_by -= steps * self._raise_every
            self.inflight_longterm += steps * flight.datagram_bytes
        if flight.round_began:
            self._raise_faster(flight)

    def _raise_faster(self, flight: Flight) -> None:
        self._raise_every = max(flight.window >> self._doublings, flight.datagram_bytes)
        self._doublings = min(self._doublings + 1, MOST_DOUBLINGS)
