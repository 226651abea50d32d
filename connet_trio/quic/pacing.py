"""When the next packet of a connection may leave: a bucket of bytes that fills at a rate, emptied in bursts.

The rate is that of a rate-based controller, or the congestion window over a round trip. What a late timer has cost is
made up for, since a busy process wakes many milliseconds late and would never reach its rate; a pause of the
application or of the window is not, or a short queue would not hold what leaves at once. The bucket may be overdrawn,
since what is due (an acknowledgement with data behind it) leaves anyway; the debt is paid before the next.
"""

from math import ceil
from typing import Protocol

from aioquic.quic.recovery import QuicPacketPacer

BURST_BYTES = 130_000
"""Two segmentation-offload calls: with one, turns of the loop cost a twelfth more (measured at 1200 bytes). Without a
cap one turn builds a whole congestion window (measured: 400 packets)."""
BURST_PACKETS = 108
"""So many of 1200 bytes; of smaller ones not more, as each costs as much."""
JUMBO_BURST_PACKETS = 16
"""So many of 16,384 bytes, though those are twice as many bytes."""
QUANTUM_SECONDS = 0.001
"""What a pause between two bursts is worth: a timer for each packet would cost more than the packet."""
NEAR_QUANTUM_SECONDS = 0.008
NEAR_BYTES = 800_000
NEAR_SECONDS = 0.002
"""Where a round trip is shorter than the last, a pause is worth that much more, up to so many bytes; for each more of
it half as much. On loopback and in a rack the CPU is what limits the rate: what leaves and arrives in small pieces
costs up to half as much again, and who paces by the measured rate would follow it down. (Linux does likewise for TCP:
`net.ipv4.tcp_tso_rtt_log`.)"""
UNKNOWN_SECONDS = 0.1
"""Taken for the round trip before there is a sample."""
LATEST_SECONDS = 0.02
"""By which a wake may be late and is made up for."""
IDLE_BURST_PACKETS = 10
"""What may leave at once after a pause: an initial window, as RFC 9002 section 7.7 allows."""
SLOWEST_SECONDS = 1.0
"""Between two packets, at most."""
SHORTEST_RTT_SECONDS = 1e-6
ROUNDING_BYTES = 1
"""By which a sum and a difference of the same floats may disagree."""
WINDOW_GAIN = 1.25
"""Windows per round trip (RFC 9002 section 7.7), so that it is the window that limits."""


class Rates(Protocol):
    """Says how fast to send."""

    @property
    def pacing_rate(self) -> float:
        """Bytes per second; 0 holds nothing back."""

    @property
    def send_quantum(self) -> int:
        """Bytes to send at a time."""


class BurstPacer(QuicPacketPacer):
    """Takes the place of aioquic's pacer; answers `now` once a burst is spent, which means: call again at once."""

    def __init__(self, *, max_datagram_size: int, rates: Rates | None = None) -> None:
        """Pace datagrams of at most `max_datagram_size`, as `rates` says, or else by window and round trip."""
        super().__init__(max_datagram_size=max_datagram_size)
        self._rates = rates
        self._window_rate = 0.0
        self._credit = 0.0
        self._filled_at = 0.0
        self._due_at: float | None = None
        self._building = 0
        self.min_rtt = UNKNOWN_SECONDS
        """Seconds of the shortest round trip so far."""
        self.set_datagram_bytes(max_datagram_size)

    def set_datagram_bytes(self, size: int) -> None:
        """Datagrams are of this size from now on."""
        self._datagram_bytes = size
        self._burst = min(BURST_PACKETS, max(JUMBO_BURST_PACKETS, BURST_BYTES // size))
        self._left = self._burst

    @property
    def rate(self) -> float | None:
        """Bytes per second, None while nothing is held back."""
        rate = self._window_rate if self._rates is None else self._rates.pacing_rate
        return rate or None

    def next_send_time(self, now: float) -> float | None:  # type: ignore[override]  # its own annotation is wrong
        """None when a packet may leave now, else when to ask again."""
        spent = self._left <= 0
        rate = self.rate
        if rate is None:
            self._left = self._burst if spent else self._left
            return now if spent else None
        self._fill(now, rate)
        credit, quantum = self._credit - self._building, self._quantum(rate)
        if self._due_at is not None or spent:
            enough = credit >= min(quantum, self._burst * self._datagram_bytes) - ROUNDING_BYTES
        else:
            enough = credit > 0
        if enough and not spent:
            self._due_at = None
            return None
        self._left = self._burst
        if enough:
            return now
        self._due_at = now + (quantum - credit) / rate
        return self._due_at

    @property
    def sendable_packets(self) -> int:
        """How many full datagrams may leave as a run, right after `next_send_time` has let one."""
        if self.rate is None:
            return self._left
        return min(self._left, ceil(self._credit / self._datagram_bytes))

    def update_after_run(self, packets: int, size: int) -> None:
        """Count a run of packets that has left, of `size` bytes in all, as the two below do one by one."""
        self._left -= packets
        self.charge(size)

    def update_after_send(self, now: float) -> None:
        """Count a packet that is being built; what it weighs is known when it leaves."""
        self._left -= 1
        self._building += self._datagram_bytes

    def charge(self, size: int) -> None:
        """`size` bytes leave."""
        self._building = 0
        if self.rate is not None:
            self._credit -= size

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Follow the congestion window, where no controller has a rate."""
        slowest = self._datagram_bytes / SLOWEST_SECONDS
        rate = WINDOW_GAIN * congestion_window / max(smoothed_rtt, SHORTEST_RTT_SECONDS)
        self._window_rate = max(rate, slowest)

    def _fill(self, now: float, rate: float) -> None:
        if now <= self._filled_at:
            return
        filled = self._credit + (now - self._filled_at) * rate
        after_pause = max(self._quantum(rate), IDLE_BURST_PACKETS * self._datagram_bytes)
        lateness = 0.0 if self._due_at is None else min(max(now - self._due_at, 0.0), LATEST_SECONDS)
        self._credit, self._filled_at = min(filled, after_pause + lateness * rate), now

    def _quantum(self, rate: float) -> float:
        quantum = rate * QUANTUM_SECONDS if self._rates is None else self._rates.send_quantum
        nearby = int(min(rate * NEAR_QUANTUM_SECONDS, NEAR_BYTES)) >> int(self.min_rtt / NEAR_SECONDS)
        return max(min(quantum, self._burst * self._datagram_bytes) + nearby, 2 * self._datagram_bytes)
