"""Delivery rate samples, one for each acknowledgement (section 4.1 of the draft).

A sample is what was delivered since its newest packet left, over the longer of the time in which that was sent and the
time in which it was acknowledged: acknowledgements that arrive in a clump do not look like a fast path. A sample taken
while the application had nothing to send says how fast that was, not how fast the path is; it is marked.
"""

import attrs

from connet_trio.quic.congestion.controller import SendLimit, Snapshot


@attrs.define(kw_only=True)
class RateSample:
    """What one acknowledgement tells."""

    newly_acked: int
    """Bytes acknowledged by it."""
    delivered: int
    """Bytes delivered since its newest packet left."""
    prior_delivered: int
    """Bytes delivered before that."""
    rate: float
    """Bytes per second; 0 for a packet acknowledged at the instant it left."""
    rtt: float
    """Seconds, of the newest packet."""
    lost: int
    """Bytes lost since its newest packet left."""
    in_flight: int
    """Bytes in flight when its newest packet left, that one included."""
    is_app_limited: bool


class DeliverySampler:
    """Counts what is sent, delivered and lost."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.delivered = 0
        self.lost = 0
        self.app_limited_until = 0
        """Samples are application-limited until more than this has been delivered; 0: they are not."""
        self._window_limited_until = 0
        self._delivered_at = 0.0
        self._first_sent_at = 0.0
        self._newest: Snapshot | None = None
        self._newly_acked = 0

    @property
    def is_window_limited(self) -> bool:
        """Whether the window was full within the last round trip."""
        return self.delivered < self._window_limited_until

    def handle_sent(self, size: int, now: float) -> Snapshot:
        """Count `size` bytes as in flight."""
        if not self.in_flight:
            self._first_sent_at = self._delivered_at = now
        self.in_flight += size
        return Snapshot(
            now,
            self.delivered,
            self._delivered_at,
            self._first_sent_at,
            self.app_limited_until != 0,
            self.in_flight,
            self.lost,
        )

    def handle_acked(self, snapshot: Snapshot, size: int, now: float) -> None:
        """Count them as delivered."""
        self.in_flight -= size
        self.handle_late(snapshot, size, now)

    def handle_late(self, snapshot: Snapshot, size: int, now: float) -> None:
        """Count what was given up, and is not in flight any more, as delivered."""
        self.delivered += size
        self._delivered_at = now
        self._newly_acked += size
        if self._newest is None or snapshot.sent_at >= self._newest.sent_at:
            self._newest = snapshot

    def handle_lost(self, size: int) -> None:
        """Count them as lost."""
        self.in_flight -= size
        self.lost += size

    def handle_expired(self, size: int) -> None:
        """Count them as neither."""
        self.in_flight -= size

    def handle_limit(self, limit: SendLimit) -> None:
        """Note why nothing more is sent; it holds until all that is in flight now has been delivered."""
        if limit is SendLimit.APPLICATION:
            self.mark_app_limited()
        elif limit is SendLimit.WINDOW:
            self._window_limited_until = self.delivered + self.in_flight

    def mark_app_limited(self) -> None:
        """There is a bubble in the pipe, until it has been acknowledged (4.1.2.4)."""
        self.app_limited_until = max(self.delivered + self.in_flight, 1)

    def take_sample(self, now: float) -> RateSample | None:
        """The sample of the acknowledgement that ends; None if it has acknowledged nothing."""
        newest = self._newest
        if newest is None:
            return None
        if self.delivered > self.app_limited_until:
            self.app_limited_until = 0
        self._first_sent_at = max(self._first_sent_at, newest.sent_at)
        interval = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at)
        delivered = self.delivered - newest.delivered
        sample = RateSample(
            newly_acked=self._newly_acked,
            delivered=delivered,
            prior_delivered=newest.delivered,
            # the draft drops intervals below the smallest round trip: TCP's, where a retransmission is acknowledged too
            # soon; here the last delivery before a packet left is never later than that
            rate=delivered / interval if interval > 0 else 0.0,
            rtt=now - newest.sent_at,
            lost=self.lost - newest.lost,
            in_flight=newest.in_flight,
            is_app_limited=newest.is_app_limited,
        )
        self._newest, self._newly_acked = None, 0
        return sample


class RoundTrips:
    """Counts round trips by packets: one is over when something sent after its begin is acknowledged (5.5.1)."""

    def __init__(self) -> None:
        self.count = 0
        self.began = False
        """Whether the acknowledgement at hand began one."""
        self._ends_at = 0

    def update(self, sample: RateSample, delivered: int) -> None:
        """Note an acknowledgement, `delivered` bytes being acknowledged in all."""
        self.began = sample.prior_delivered >= self._ends_at
        if self.began:
            self._ends_at = delivered
            self.count += 1

    def restart(self, delivered: int) -> None:
        """Begin a round trip now."""
        self._ends_at = delivered
