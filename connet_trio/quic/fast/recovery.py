"""Acknowledgements and losses where a burst is one entry of the log."""

from typing import Any

from aioquic.quic.packet_builder import QuicDeliveryState, QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace

from connet_trio.quic.datagram_sizing import MtuAwareRecovery
from connet_trio.quic.fast.congestion import tell_acknowledged, tell_sent
from connet_trio.quic.fast.sent_log import SentLog, SentRun

ACKED = QuicDeliveryState.ACKED  # here, since to look it up in its enumeration is slow
SHORTEST_RTT_SECONDS = 0.001
"""Below that aioquic believes no sample."""


class FastRecovery(MtuAwareRecovery):
    """Loss recovery over a `SentLog`. Swapped in by class: the layout is the same.

    Losses and probes are the affair of what is below, and so are the spaces of the handshake. An acknowledgement is
    taken here, entry by entry, with the effect that stock code would have packet by packet.
    """

    def on_run_sent(self, run: SentRun, space: QuicPacketSpace) -> None:
        """Count a burst as sent; it asks for acknowledgement."""
        log: Any = space.sent_packets
        log.add_run(run)
        space.ack_eliciting_in_flight += run.count
        self._time_of_last_sent_ack_eliciting_packet = run.sent_time
        tell_sent(self._cc, run)
        self._bucket.update_after_run(run.count, run.sent_bytes)

    def on_small_sent(self, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        """As `on_packet_sent` and the pacer, for one packet that leaves as soon as it is built."""
        space.sent_packets[packet.packet_number] = packet
        if packet.in_flight:
            space.ack_eliciting_in_flight += 1
            self._time_of_last_sent_ack_eliciting_packet = packet.sent_time  # type: ignore[assignment]
            self._cc.on_packet_sent(packet=packet)
        self._bucket.update_after_run(1, packet.sent_bytes if packet.in_flight else 0)

    def on_ack_received(self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace) -> None:
        """Take an acknowledgement."""
        log: Any = space.sent_packets
        if not isinstance(log, SentLog):  # one of the handshake's spaces
            super().on_ack_received(ack_rangeset=ack_rangeset, ack_delay=ack_delay, now=now, space=space)
            return
        ranges = list(ack_rangeset)
        if self._log:
            self._find_late(ranges, now, space)
        largest = ranges[-1].stop - 1
        space.largest_acked_packet = max(space.largest_acked_packet, largest)
        taken = [entry for numbers in ranges for entry in log.take(numbers.start, numbers.stop)]
        if taken:
            is_eliciting = [self._acknowledge(entry, now, space) for entry in taken]
            newest = taken[-1]
            last = newest.stop - 1 if isinstance(newest, SentRun) else newest.packet_number
            if last == largest and any(is_eliciting):
                assert newest.sent_time is not None
                self._measure(now - newest.sent_time, ack_delay, now)
            self._detect_loss(now=now, space=space)
            if self.peer_completed_address_validation:
                self._pto_count = 0
        self._bucket.min_rtt = self._rtt_min if self._rtt_initialized else self._rtt_initial
        if self._rate_control is not None:
            self._rate_control.on_ack_end(now=now)

    def _acknowledge(self, entry: QuicSentPacket | SentRun, now: float, space: QuicPacketSpace) -> bool:
        """Whether it asked for that."""
        if isinstance(entry, SentRun):
            space.ack_eliciting_in_flight -= entry.count
            # each of them: a small packet behind them may be the newest, and would hide that the path carries full ones
            self.path_mtu.handle_acked(entry.stop - 1, entry.packet_bytes)
            tell_acknowledged(self._cc, entry, now)
            entry.sender.on_data_delivery(ACKED, entry.offset, entry.end_offset, False)
            return True
        space.ack_eliciting_in_flight -= entry.is_ack_eliciting
        if entry.sent_bytes:  # which one that had been given up has not
            self.path_mtu.handle_acked(entry.packet_number, entry.sent_bytes)
        if entry.in_flight:
            self._cc.on_packet_acked(packet=entry, now=now)
        for handler, arguments in entry.delivery_handlers:
            handler(ACKED, *arguments)
        return entry.is_ack_eliciting

    def _measure(self, sample: float, ack_delay: float, now: float) -> None:
        """Take a round trip into account (RFC 9002 section 5.3), as stock code does."""
        self._rtt_latest = max(sample, SHORTEST_RTT_SECONDS)
        self._rtt_min = min(self._rtt_min, self._rtt_latest)
        ack_delay = min(ack_delay, self.max_ack_delay)
        if self._rtt_latest > self._rtt_min + ack_delay:
            self._rtt_latest -= ack_delay
        if self._rtt_initialized:
            self._rtt_variance = 3 / 4 * self._rtt_variance + 1 / 4 * abs(self._rtt_min - self._rtt_latest)
            self._rtt_smoothed = 7 / 8 * self._rtt_smoothed + 1 / 8 * self._rtt_latest
        else:
            self._rtt_first_sample_time, self._rtt_initialized = now, True
            self._rtt_variance, self._rtt_smoothed = sample / 2, sample
        self._cc.on_rtt_measurement(now=now, rtt=sample)
        self._pacer.update_rate(congestion_window=self._cc.congestion_window, smoothed_rtt=self._rtt_smoothed)

    def _detect_loss(self, *, now: float, space: QuicPacketSpace) -> None:
        log: Any = space.sent_packets
        if isinstance(log, SentLog) and (log.oldest is None or log.oldest > space.largest_acked_packet):
            space.loss_time = None  # nothing has been overtaken
        else:
            super()._detect_loss(now=now, space=space)

    def _put_back(self, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        log: Any = space.sent_packets
        log.put_back(packet)
