"""When the next packet of a connection may leave: rate pacing with a deep bucket, in bursts of one system call."""

from math import ceil

from aioquic.quic.recovery import QuicPacketPacer

BURST_BYTES = 65_000
"""One segmentation-offload call; without a cap one turn builds a whole congestion window (measured: 400 packets)."""
BURST_PACKETS = 64
"""The kernel's limit of segments in a call."""
BUCKET_PACKETS = 256
"""Depth of the pacing bucket: a timer fires 1 ms late at best, and 16 packets (aioquic's) per ms are 19 MB/s."""


class BurstPacer(QuicPacketPacer):
    """Takes the place of aioquic's pacer; answers `now` once a burst is spent, which means: call again at once."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._burst = min(BURST_PACKETS, BURST_BYTES // max_datagram_size)
        self._left = self._burst

    def next_send_time(self, now: float) -> float | None:  # type: ignore[override]  # its own annotation is wrong
        """None when a packet may leave now, else when to ask again."""
        if self._left <= 0:
            self._left = self._burst
            return now
        at: float | None = super().next_send_time(now)
        return at

    def update_after_send(self, now: float) -> None:
        """Count a packet against the burst and the bucket."""
        self._left -= 1
        super().update_after_send(now)

    def sendable_packets(self, now: float) -> int:
        """How many packets may leave now; none if `next_send_time` has another answer than None."""
        if self.packet_time is None:
            return self._left
        self.update_bucket(now=now)
        return min(self._left, ceil(self.bucket_time / self.packet_time))

    def update_after_run(self, now: float, packets: int) -> None:
        """Count so many packets, as `update_after_send` does one by one."""
        self._left -= packets
        if self.packet_time is not None:
            self.update_bucket(now=now)
            self.bucket_time = max(self.bucket_time - packets * self.packet_time, 0.0)

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Follow the congestion window, with our depth of bucket."""
        super().update_rate(congestion_window, smoothed_rtt)
        if self.packet_time is not None:
            self.bucket_max = max(self.bucket_max, BUCKET_PACKETS * self.packet_time)
