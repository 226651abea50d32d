"""aioquic's loss recovery with what it lacks: reordering that is borne, losses taken back, rate-based control.

One acknowledgement: packets given up that arrive after all (`LossLog`), then aioquic's own work (deliveries, round
trip, `_detect_loss` below), then the end of it, told to the controller. An engine that handles packets in bursts calls
the same methods; what it keeps for a burst has `packet_number`, `sent_time`, `sent_bytes`, `in_flight` and `snapshot`.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Self

from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from connet_trio.quic.congestion import (
    CongestionControl,
    CongestionTrace,
    LossLog,
    ReorderingTolerance,
    SendLimit,
)
from connet_trio.quic.engine_controllers import BbrControl, Cubic, RateControl
from connet_trio.quic.pacing import BurstPacer

REMEMBERED_SECONDS = 1.0
"""For which a packet given up may still arrive, in addition to two round trips."""
CLOCK_SLACK = 1e-9
"""Seconds: a sum and a difference of the same floats disagree by that, and a timer asked for again and again is a
standstill in virtual time."""


class Recovery(QuicPacketRecovery):
    """Takes the place of aioquic's by class: `adopt`."""

    _pacer: BurstPacer

    @classmethod
    def adopt(
        cls, made: QuicPacketRecovery, *, control: CongestionControl, datagram_bytes: int, luck: Callable[[], float]
    ) -> Self:
        """Turn aioquic's, that has seen no packet, into one of ours."""
        made.__class__ = cls
        assert isinstance(made, cls)
        made._set_up(control, datagram_bytes, luck)
        return made

    def _set_up(self, control: CongestionControl, datagram_bytes: int, luck: Callable[[], float]) -> None:
        self._control = control
        self._datagram_bytes = datagram_bytes
        self._rate_control = self._cc if isinstance(self._cc, RateControl) else None
        if isinstance(self._cc, BbrControl):
            self._cc.luck = luck
        rates = None if self._rate_control is None else self._rate_control.controller
        self._pacer = self._bucket = BurstPacer(max_datagram_size=datagram_bytes, rates=rates)
        self._tolerance = ReorderingTolerance()
        self._log: LossLog[Any] = LossLog()
        self._ranges_seen: list[range] = []
        self.lost_packets = self.spurious_losses = 0

    # --- for the engine

    @property
    def congestion_window(self) -> int:
        """The window, less what would not be a whole packet: aioquic fills any room with a runt (one packet in ten)."""
        controller = self._cc
        room = controller.congestion_window - controller.bytes_in_flight
        return controller.bytes_in_flight + max(room, 0) // self._datagram_bytes * self._datagram_bytes

    def note_limit(self, *, paced: bool) -> None:
        """The engine has sent what it could: tell the controller what kept it from sending more.

        If neither the pacer nor the window did, data was missing, or the peer's credit for it.
        """
        if self._rate_control is None:
            return
        if paced:
            self._rate_control.on_limit(SendLimit.PACING)
        elif self.congestion_window > self.bytes_in_flight:
            self._rate_control.on_limit(SendLimit.APPLICATION)
        else:
            self._rate_control.on_limit(SendLimit.WINDOW)

    def set_datagram_bytes(self, size: int) -> None:
        """The path carries datagrams of this size from now on."""
        self._datagram_bytes = size
        self._bucket.set_datagram_bytes(size)
        if isinstance(self._cc, (RateControl, Cubic)):
            self._cc.set_datagram_bytes(size)

    def trace(self) -> CongestionTrace:
        """How things stand."""
        bbr = self._rate_control.controller if self._rate_control is not None else None
        return CongestionTrace(
            control=self._control,
            state=self._cc.state if isinstance(self._cc, Cubic) else "" if bbr is None else bbr.phase,
            window=self._cc.congestion_window,
            in_flight=self._cc.bytes_in_flight,
            pacing_rate=self._bucket.rate,
            bandwidth=None if bbr is None else bbr.bandwidth,
            min_rtt=None if bbr is None or bbr.round_trip == inf else bbr.round_trip,
            smoothed_rtt=self._rtt_smoothed if self._rtt_initialized else self._rtt_initial,
            datagram_bytes=self._datagram_bytes,
            packet_threshold=self._tolerance.packets,
            time_threshold=self._tolerance.round_trips,
            lost_packets=self.lost_packets,
            spurious_losses=self.spurious_losses,
        )

    # --- what aioquic calls

    def on_packet_sent(self, *, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        """Count a packet that leaves; the pacer learns its size only now, and a bare acknowledgement costs nothing."""
        super().on_packet_sent(packet=packet, space=space)
        self._bucket.charge(packet.sent_bytes if packet.in_flight else 0)

    def on_ack_received(self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace) -> None:
        """Take an acknowledgement."""
        if self._log and space.is_application_data:
            self._find_late(list(ack_rangeset), now, space)
        super().on_ack_received(ack_rangeset=ack_rangeset, ack_delay=ack_delay, now=now, space=space)
        self._bucket.min_rtt = self._rtt_min if self._rtt_initialized else self._rtt_initial
        if self._rate_control is not None:
            self._rate_control.on_ack_end(now=now)

    def _detect_loss(self, *, now: float, space: QuicPacketSpace) -> None:
        """Give up packets that others have overtaken by too much (RFC 9002 section 6.1, thresholds that adapt)."""
        delay = self._tolerance.round_trips * self._largest_rtt()
        largest = space.largest_acked_packet
        too_early, too_low = now - delay + CLOCK_SLACK, largest - self._tolerance.packets
        lost = []
        oldest: float | None = None
        for number, packet in space.sent_packets.items():
            if number > largest:
                break
            sent_at = packet.sent_time
            assert sent_at is not None
            if number <= too_low or sent_at <= too_early:
                lost.append(packet)
            elif oldest is None or sent_at < oldest:
                oldest = sent_at
        space.loss_time = None if oldest is None else oldest + delay
        if lost:
            self._on_packets_lost(
                now=now, packets=lost, persistent_congestion=self._in_persistent_congestion(packets=lost), space=space
            )

    def _on_packets_lost(
        self,
        *,
        congestion_event: bool = True,
        now: float,
        packets: Any,
        persistent_congestion: bool = False,
        space: QuicPacketSpace,
    ) -> None:
        """Give packets up, and remember those that may only be late."""
        packets = list(packets)
        if space.is_application_data:
            self._remember(packets, now, is_loss=congestion_event)
        super()._on_packets_lost(
            congestion_event=congestion_event,
            now=now,
            packets=packets,
            persistent_congestion=persistent_congestion,
            space=space,
        )

    def _largest_rtt(self) -> float:
        return max(self._rtt_latest, self._rtt_smoothed) if self._rtt_initialized else self._rtt_initial

    # --- packets that are only late

    def _remember(self, packets: list[Any], now: float, *, is_loss: bool) -> None:
        self._log.forget_before(now - 2 * self._rtt_smoothed - REMEMBERED_SECONDS)
        for packet in packets:
            if not packet.in_flight:
                continue  # a bare acknowledgement, which the controller has not heard of
            if not is_loss:
                self._log.note_expired(packet.packet_number, packet, sent_at=packet.sent_time)
            elif self._log.note_lost(packet.packet_number, packet, sent_at=packet.sent_time, now=now):
                self._tolerance.handle_recovery()
            self.lost_packets += is_loss

    def _find_late(self, ranges: list[range], now: float, space: QuicPacketSpace) -> None:
        # what arrives late changes another range than the last, or where that begins
        seen, self._ranges_seen = self._ranges_seen, [*ranges[:-1], range(ranges[-1].start, ranges[-1].start + 1)]
        if seen == self._ranges_seen:
            return
        largest = max(space.largest_acked_packet, ranges[-1].stop - 1)
        for number, given_up in self._log.take_late(ranges):
            if number == ranges[-1].stop - 1:
                self._expect_again(given_up.packet, space)
            if given_up.episode is None:
                continue
            self.spurious_losses += 1
            age = (now - given_up.sent_at) / self._largest_rtt()
            self._tolerance.handle_late(distance=largest - number, round_trips=age)
            if self._rate_control is not None:
                self._rate_control.on_packet_late(now=now, packet=given_up.packet)
        if self._log.take_spurious() and isinstance(self._cc, (RateControl, Cubic)):
            self._cc.on_spurious_loss()

    def _expect_again(self, packet: Any, space: QuicPacketSpace) -> None:
        """Let the newest packet acknowledged measure the round trip though a timeout has given it up.

        On a path that has become much slower all are given up before they are acknowledged: aioquic would never learn
        its new round trip, and go on sending probes as on the old one.
        """
        stand_in = QuicSentPacket(
            epoch=packet.epoch,
            in_flight=False,
            is_ack_eliciting=True,
            is_crypto_packet=False,
            packet_number=packet.packet_number,
            packet_type=packet.packet_type,
            sent_time=packet.sent_time,
        )
        self._put_back(stand_in, space)
        space.ack_eliciting_in_flight += 1

    def _put_back(self, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        """Have a packet among those sent again; they are in the order of their numbers."""
        space.sent_packets = dict(sorted({**space.sent_packets, packet.packet_number: packet}.items()))
