"""When the next packet of a connection may leave: rate pacing with a deep bucket, in bursts of one system call."""

from math import ceil

from aioquic.quic.recovery import QuicPacketPacer

from connet_trio.quic.limits import MAX_DATAGRAM_BYTES

BURST_BYTES = 65_000
"""One segmentation-offload call; without a cap one turn builds a whole congestion window (measured: 400 packets)."""
BURST_PACKETS = 64
"""The kernel's limit of segments in a call."""
JUMBO_BURST_PACKETS = 8
"""So many even where one call holds fewer: with 3 of 16,384 bytes, turns of the loop cost a quarter (measured)."""
BUCKET_PACKETS = 256
"""Depth of the pacing bucket, in datagrams of the base size: a timer fires 1 ms late at best, and 16 packets
(aioquic's) per ms are 19 MB/s."""


class BurstPacer(QuicPacketPacer):
    """Takes the place of aioquic's pacer; answers `now` once a burst is spent, which means: call again at once."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._left = self._burst

    @property
    def _burst(self) -> int:
        return min(BURST_PACKETS, max(JUMBO_BURST_PACKETS, BURST_BYTES // self._max_datagram_size))

    def set_datagram_bytes(self, size: int) -> None:
        """Datagrams are of this size from now on; the rate in bytes stays."""
        if self.packet_time is not None:
            self.packet_time *= size / self._max_datagram_size
        self._max_datagram_size = size

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
            packets = BUCKET_PACKETS * MAX_DATAGRAM_BYTES / self._max_datagram_size
            self.bucket_max = max(self.bucket_max, packets * self.packet_time)
