"""Congestion controllers as aioquic calls them, registered with it under names of ours.

aioquic makes a controller of a name and of nothing else, so that what else one needs is given to it afterwards; and it
leaves out what rate-based control needs to hear, which `recovery.py` adds: the end of an acknowledgement, why sending
stopped, and that a loss was none.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from aioquic.quic.congestion.base import K_MINIMUM_WINDOW, QuicCongestionControl, register_congestion_control
from aioquic.quic.congestion.cubic import CubicCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket

from connet_trio.quic.congestion import (
    DRAFT,
    TOLERANT,
    Bbr,
    BbrConstants,
    CongestionControl,
    Controller,
    SendLimit,
)


class RateControl(QuicCongestionControl):
    """A `Controller` in the place of one of aioquic's."""

    def __init__(self, controller: Controller) -> None:
        # nothing of the base: its fields are properties here
        self.controller = controller

    @property
    def bytes_in_flight(self) -> int:  # type: ignore[override]
        """Sent, and neither acknowledged nor given up."""
        return self.controller.bytes_in_flight

    @property
    def congestion_window(self) -> int:  # type: ignore[override]
        """Bytes that may be in flight."""
        return self.controller.congestion_window

    def on_packet_sent(self, *, packet: Any) -> None:
        """Note a packet, or a burst with the bytes of all its packets; `packet.snapshot` goes with each of them."""
        packet.snapshot = self.controller.handle_sent(packet.sent_bytes, packet.sent_time)

    def on_packet_acked(self, *, now: float, packet: Any) -> None:
        """Note its arrival."""
        self.controller.handle_acked(packet.snapshot, packet.sent_bytes, now)

    def on_packets_lost(self, *, now: float, packets: Iterable[Any]) -> None:
        """Note what is lost."""
        for packet in packets:
            self.controller.handle_lost(packet.snapshot, packet.sent_bytes, packet.packet_number, now)

    def on_packets_expired(self, *, packets: Iterable[Any]) -> None:
        """Note what is sent again to be on the safe side, or belongs to keys that are gone."""
        for packet in packets:
            self.controller.handle_expired(packet.sent_bytes)

    def on_persistent_congestion(self) -> None:
        """Nothing got through for several timeouts."""
        self.controller.handle_persistent_congestion()

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """The controller measures the round trip itself."""

    # --- what aioquic does not tell

    def on_packet_late(self, *, now: float, packet: Any) -> None:
        """A packet reported lost has arrived."""
        self.controller.handle_late(packet.snapshot, packet.sent_bytes, now)

    def on_spurious_loss(self) -> None:
        """All of the last episode have."""
        self.controller.handle_spurious()

    def on_ack_end(self, *, now: float) -> None:
        """An acknowledgement has been told entirely, its losses included."""
        self.controller.handle_ack_end(now)

    def on_limit(self, limit: SendLimit) -> None:
        """Why sending stopped."""
        self.controller.handle_limit(limit)

    def set_datagram_bytes(self, size: int) -> None:
        """The path carries datagrams of this size from now on."""
        self.controller.set_datagram_bytes(size)


REDUCED_FIELDS = (
    "congestion_window",
    "ssthresh",
    "K",
    "_W_est",
    "_W_max",
    "_congestion_recovery_start_time",
    "_cwnd_epoch",
    "_first_slow_start",
    "_starting_congestion_avoidance",
    "_t_epoch",
)
"""What a congestion event changes."""


class Cubic(CubicCongestionControl):
    """aioquic's, which takes back what it did about a loss that was none (RFC 9438 section 4.9.2).

    And its window does not grow while less than half of it is used (RFC 9002 section 7.8): an application that trickles
    for a minute would have megabytes of it, and one day send them into a queue that is not so long.
    """

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._before: dict[str, Any] | None = None
        self._most_in_flight = self._most_before = 0
        """Of this round trip, and of the one before."""
        self._round_ends_at = 0.0

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """Note a packet, and how much is in flight with it."""
        super().on_packet_sent(packet=packet)
        sent_at = packet.sent_time
        assert sent_at is not None
        if sent_at > self._round_ends_at:  # not by each packet of a burst where a round trip takes no time
            self._round_ends_at = sent_at + self.rtt
            self._most_before, self._most_in_flight = self._most_in_flight, 0
        self._most_in_flight = max(self._most_in_flight, self.bytes_in_flight)

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Note its arrival, which makes room for more if there was need of it."""
        if self.uses_its_window:
            super().on_packet_acked(now=now, packet=packet)
        else:
            self.bytes_in_flight -= packet.sent_bytes
            self.last_ack = now if packet.sent_time is None else packet.sent_time

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Reduce the window, once for each congestion event."""
        before = {name: getattr(self, name) for name in REDUCED_FIELDS}
        super().on_packets_lost(now=now, packets=packets)
        if self._congestion_recovery_start_time != before["_congestion_recovery_start_time"]:
            self._before = before

    def on_persistent_congestion(self) -> None:
        """Begin anew."""
        super().on_persistent_congestion()
        self._before = None

    def on_spurious_loss(self) -> None:
        """Go back to where the last congestion event was met, or stay if that is less by now."""
        if self._before is not None and self._before["congestion_window"] > self.congestion_window:
            for name, value in self._before.items():
                setattr(self, name, value)
        self._before = None

    @property
    def usable_window(self) -> int:
        """Bytes up to which the window may grow: twice what has been in flight within two round trips."""
        return 2 * max(self._most_before, self._most_in_flight)

    @property
    def uses_its_window(self) -> bool:
        """Whether half of it or more is used, so that it may grow."""
        return self.usable_window >= self.congestion_window

    @property
    def state(self) -> str:
        """The phase, for the trace."""
        slow_start = self.ssthresh is None or self.congestion_window < self.ssthresh
        return "slow-start" if slow_start else "avoidance"

    def set_datagram_bytes(self, size: int) -> None:
        """The path carries datagrams of this size from now on."""
        self._max_datagram_size = self.additive_increase_factor = size
        self.congestion_window = max(self.congestion_window, K_MINIMUM_WINDOW * size)


def engine_name(control: CongestionControl) -> str:
    """What a controller is called in aioquic's configuration; its own names stay what they are for others."""
    return f"connet-trio {control.value}"


class BbrControl(RateControl):
    """BBR; without `luck` it probes as early as it may."""

    def __init__(self, *, max_datagram_size: int, constants: BbrConstants) -> None:
        self.luck: Callable[[], float] = float
        """Gives numbers from 0 to 1; set by whoever made this by its name."""
        super().__init__(Bbr(datagram_bytes=max_datagram_size, luck=lambda: self.luck(), constants=constants))


register_congestion_control(engine_name(CongestionControl.CUBIC), Cubic)
register_congestion_control(engine_name(CongestionControl.BBR), partial(BbrControl, constants=DRAFT))
register_congestion_control(engine_name(CongestionControl.BBR_TOLERANT), partial(BbrControl, constants=TOLERANT))
