"""Acknowledgements and losses where a burst is one entry of the log."""

from typing import Any

from aioquic.quic.packet_builder import QuicDeliveryState, QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace

from connet_trio.quic.datagram_sizing import MtuAwareRecovery
from connet_trio.quic.fast.congestion import tell_acknowledged, tell_sent
from connet_trio.quic.fast.sent_log import SentLog, SentRun


class FastRecovery(MtuAwareRecovery):
    """Loss recovery over a `SentLog`. Swapped in by class: the layout is the same.

    Round trips, losses, probes and congestion are the affair of what is below. Here runs only leave the log in one step
    before stock code sees an acknowledgement. One packet, the last of what was acknowledged of runs, is left to it:
    from that it learns what it would have learned from all, when the packet was sent and that it asked for the
    acknowledgement.
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

    def _acknowledge_runs(self, ack_rangeset: RangeSet, now: float, space: QuicPacketSpace) -> None:
        log: Any = space.sent_packets
        if not isinstance(log, SentLog):
            return  # one of the handshake's spaces
        runs = [run for numbers in ack_rangeset for run in log.take_runs(numbers.start, numbers.stop)]
        if runs:
            last = runs.pop()
            # they are full; a small packet behind them may be the newest, and would hide that the path carries them
            self.path_mtu.handle_acked(last.stop - 1, last.packet_bytes)
            log.put_back(last.packet(last.stop - 1))
            runs.append(last.part(last.packet_number, last.stop - 1))
        for run in runs:
            self._acknowledge(run, now, space)

    def _acknowledge(self, run: SentRun, now: float, space: QuicPacketSpace) -> None:
        if run.count:
            space.ack_eliciting_in_flight -= run.count
            tell_acknowledged(self._cc, run, now)
            run.sender.on_data_delivery(QuicDeliveryState.ACKED, run.offset, run.end_offset, False)

    def _put_back(self, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        log: Any = space.sent_packets
        log.put_back(packet)
