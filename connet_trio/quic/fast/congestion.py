"""Tells aioquic's congestion controls of many packets at once, with the effect of telling them of each."""

from aioquic.quic.congestion.base import QuicCongestionControl
from aioquic.quic.congestion.cubic import CubicCongestionControl
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket

from connet_trio.quic.fast.sent_log import SentRun


def remembers_no_packets(control: QuicCongestionControl) -> bool:
    """Whether it only adds up what it is told, so that a run may be told as one large packet."""
    return type(control) in (CubicCongestionControl, RenoCongestionControl)


def tell_sent(control: QuicCongestionControl, run: SentRun) -> None:
    """A run has been sent."""
    control.on_packet_sent(packet=_all_in_one(run))


def tell_acknowledged(control: QuicCongestionControl, run: SentRun, now: float) -> None:
    """A run has been acknowledged."""
    if control.ssthresh is None:  # slow start: the window grows by each byte
        control.on_packet_acked(packet=_all_in_one(run), now=now)
        return
    packet = run.packet(run.stop - 1)
    for told in range(run.count):
        if isinstance(control, CubicCongestionControl) and _is_under_way(control):
            _grow(control, run, run.count - told, now)
            return
        control.on_packet_acked(packet=packet, now=now)


def _is_under_way(control: CubicCongestionControl) -> bool:
    """Whether it is in congestion avoidance, and has been told of a packet since that began."""
    return (
        control.ssthresh is not None
        and control.congestion_window >= control.ssthresh
        and not control._first_slow_start
        and not control._starting_congestion_avoidance
    )


def _grow(control: CubicCongestionControl, run: SentRun, count: int, now: float) -> None:
    """What `on_packet_acked` does in congestion avoidance, for so many packets; the window never shrinks by it.

    Nearly a second is saved for each gigabyte: there, two cubes are computed for every packet, here for every run.
    """
    since = now - control._t_epoch
    cubic, friendly = control.W_cubic(since + control.rtt), control.W_cubic(since)
    window, estimate = control.congestion_window, control._W_est
    size, segment, increase = run.packet_bytes, control._max_datagram_size, control.additive_increase_factor
    for _ in range(count):
        estimate = int(estimate + increase * (size / window))
        if friendly < estimate:
            window = estimate
        else:
            target = window if cubic < window else int(window * 1.5) if cubic > 1.5 * window else cubic
            window = int(window + (target - window) * (segment / window))
    control.congestion_window, control._W_est = window, estimate
    control.bytes_in_flight -= count * size
    control.last_ack = run.sent_time


def _all_in_one(run: SentRun) -> QuicSentPacket:
    packet = run.packet(run.stop - 1)
    packet.sent_bytes = run.count * run.packet_bytes
    return packet
