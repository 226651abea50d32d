"""What BBR makes of loss: round by round, for the short term, and as a property of the path."""

from math import inf

import attrs

from connet_trio.quic.congestion.constants import NO_BOUND, BbrConstants, State
from connet_trio.quic.congestion.sampling import RateSample

BETA = 0.7
"""What a bound shrinks to at most at a time, as cubic's window does (2.8)."""
STARTUP_LOSS_RANGES = 6
"""Gaps in one round that end Startup, if they also are more than the loss threshold (5.3.1.3)."""
FLOOR_BYTES = 600_000
"""What a CRUISE phase has to carry for its loss to mean something: 500 packets of 1200."""


@attrs.frozen
class LossRound:
    """A round trip that is over."""

    lost: int
    delivered: int
    ranges: int
    """Gaps in the packet numbers."""
    recovery_rounds: int
    """How many in a row had loss before this one."""

    def exceeds(self, threshold: float) -> bool:
        """Whether more than this share was lost."""
        return self.lost > threshold * (self.lost + self.delivered)

    def ends_startup(self, threshold: float) -> bool:
        """Whether there was so much loss that the pipe must be full (5.3.1.3)."""
        return self.recovery_rounds >= 1 and self.ranges >= STARTUP_LOSS_RANGES and self.exceeds(threshold)


class LossRounds:
    """Counts loss by round trips, which begin anew with the first loss in each."""

    def __init__(self) -> None:
        self._ends_at = 0
        self._had_loss = False
        self._ranges = 0
        self._last_lost = -2
        self._recovery_rounds = 0
        self._lost_before = self._delivered_before = 0

    def handle_lost(self, number: int, delivered: int) -> bool:
        """Note the loss of packet `number`; whether it is the first of its round."""
        is_first = not self._had_loss
        if is_first:
            self._had_loss, self._ends_at = True, delivered
        self._ranges += number != self._last_lost + 1
        self._last_lost = number
        return is_first

    def forget(self) -> None:
        """What this round has lost does not count."""
        self._had_loss = False

    def update(self, sample: RateSample, *, delivered: int, lost: int) -> LossRound | None:
        """The round that this acknowledgement ends, if it ends one; both counts are of all time."""
        if sample.prior_delivered < self._ends_at:
            return None
        ended = LossRound(
            lost - self._lost_before if self._had_loss else 0,
            delivered - self._delivered_before,
            self._ranges,
            self._recovery_rounds,
        )
        self._recovery_rounds = self._recovery_rounds + 1 if self._had_loss else 0
        self._ends_at, self._had_loss, self._ranges = delivered, False, 0
        self._lost_before, self._delivered_before = lost, delivered
        return ended


class ShortTerm:
    """Bounds that follow what got through in a round with loss, until bandwidth is probed for again (5.5.10.3)."""

    def __init__(self) -> None:
        self.bandwidth = inf
        self.in_flight: int = NO_BOUND
        self.latest_in_flight = 0
        """The most delivered within a round trip, of this round."""
        self._latest_bandwidth = 0.0

    def note(self, sample: RateSample) -> None:
        """Take a sample of the round."""
        self._latest_bandwidth = max(self._latest_bandwidth, sample.rate)
        self.latest_in_flight = max(self.latest_in_flight, sample.delivered)

    def begin_round(self, sample: RateSample) -> None:
        """Forget the samples of the last round but this one."""
        self._latest_bandwidth, self.latest_in_flight = sample.rate, sample.delivered

    def forget_round(self) -> None:
        """Forget them all."""
        self._latest_bandwidth, self.latest_in_flight = 0.0, 0

    def reset(self) -> None:
        """Take the bounds away."""
        self.bandwidth, self.in_flight = inf, NO_BOUND

    def shrink(self, max_bandwidth: float, window: int) -> None:
        """A round has ended in which something was lost."""
        bandwidth = max_bandwidth if self.bandwidth == inf else self.bandwidth
        in_flight = window if self.in_flight == NO_BOUND else self.in_flight
        self.bandwidth = max(self._latest_bandwidth, BETA * bandwidth)
        self.in_flight = max(self.latest_in_flight, int(BETA * in_flight))

    def raise_to(self, bandwidth: float, in_flight: int) -> None:
        """The loss was none."""
        self.bandwidth, self.in_flight = max(self.bandwidth, bandwidth), max(self.in_flight, in_flight)


class LossFloor:
    """The loss that is the path's own, and no sign of congestion. Our deviation; 0 as the draft has it.

    Loss by congestion comes in bursts, above all when bandwidth is probed for; that of a radio is always there. So
    the floor is the smaller of what the last two CRUISE phases lost.
    """

    def __init__(self, constants: BbrConstants) -> None:
        self.value = 0.0
        self._cap = constants.loss_floor_cap
        self._last: float | None = None
        self._cruise: tuple[int, int] | None = None

    def handle_state(self, state: State, *, lost: int, delivered: int) -> None:
        """BBR enters `state`; both counts are of all time."""
        if self._cruise is not None:
            gone, arrived = lost - self._cruise[0], delivered - self._cruise[1]
            if gone + arrived >= FLOOR_BYTES:
                rate = gone / (gone + arrived)
                self.value = min(self._cap, rate, rate if self._last is None else self._last)
                self._last = rate
        self._cruise = (lost, delivered) if state is State.CRUISE else None
