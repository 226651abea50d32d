"""Losses and acknowledgements as aioquic reports them: packets are made by hand, time is a number."""

import attrs
import pytest
from aioquic import tls
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from connet_trio.quic.congestion import CongestionControl, CongestionTrace
from connet_trio.quic.engine_controllers import Cubic, RateControl, engine_name
from connet_trio.quic.pacing import JUMBO_BURST_PACKETS
from connet_trio.quic.recovery import Recovery

PACKET = 1200
RTT = 0.1


@attrs.define
class Sender:
    """A recovery whose packets leave and are acknowledged when a test says so."""

    recovery: Recovery
    space: QuicPacketSpace
    fates: dict[int, list[QuicDeliveryState]]
    next_number: int = 0

    def send(self, count: int, now: float, size: int = PACKET, *, in_flight: bool = True) -> range:
        """Send packets; their numbers."""
        numbers = range(self.next_number, self.next_number + count)
        self.next_number = numbers.stop
        for number in numbers:
            packet = QuicSentPacket(
                tls.Epoch.ONE_RTT, in_flight, in_flight, False, number, QuicPacketType.ONE_RTT, now, size
            )
            fate = self.fates.setdefault(number, [])
            packet.delivery_handlers.append((fate.append, ()))
            self.recovery.on_packet_sent(packet=packet, space=self.space)
        return numbers

    def acknowledge(self, *numbers: range, now: float) -> None:
        """An acknowledgement of these arrives."""
        self.recovery.on_ack_received(ack_rangeset=RangeSet(numbers), ack_delay=0.0, now=now, space=self.space)

    def lost(self) -> list[int]:
        """Packets that were given up."""
        return [number for number, fate in self.fates.items() if QuicDeliveryState.LOST in fate]

    @property
    def trace(self) -> CongestionTrace:
        return self.recovery.trace()


def make_sender(control: CongestionControl = CongestionControl.CUBIC) -> Sender:
    made = QuicPacketRecovery(
        congestion_control_algorithm=engine_name(control),
        initial_rtt=0.1,
        max_datagram_size=PACKET,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
    )
    recovery = Recovery.adopt(made, control=control, datagram_bytes=PACKET, luck=float)
    space = QuicPacketSpace(is_application_data=True)
    recovery.spaces = [QuicPacketSpace(), QuicPacketSpace(), space]
    recovery.handshake_confirmed = True
    return Sender(recovery, space, {})


@pytest.fixture(params=[CongestionControl.CUBIC, CongestionControl.BBR])
def sender(request: pytest.FixtureRequest) -> Sender:
    return make_sender(request.param)


def test_three_later_packets_make_one_lost(sender: Sender) -> None:
    sender.send(10, 0.0)
    sender.acknowledge(range(3), range(4, 6), now=RTT)
    assert sender.lost() == []
    sender.acknowledge(range(3), range(4, 7), now=RTT)
    assert sender.lost() == [3]
    assert sender.trace.lost_packets == 1


def test_an_age_of_nine_eighths_of_a_round_trip_makes_one_lost(sender: Sender) -> None:
    sender.send(5, 0.0)
    sender.acknowledge(range(3), range(4, 5), now=RTT)
    due = sender.recovery.get_loss_detection_time(amplification_limited=False)
    assert due is not None
    assert due == pytest.approx(9 / 8 * RTT)
    sender.recovery.on_loss_detection_timeout(now=due)
    assert sender.lost() == [3], "the same deadline comes again"


def test_a_packet_that_was_only_late_widens_the_threshold(sender: Sender) -> None:
    sender.send(20, 0.0)
    sender.acknowledge(range(2), range(3, 8), now=RTT)
    assert sender.lost() == [2]
    sender.acknowledge(range(8), now=RTT + 0.001)
    assert sender.trace.packet_threshold == 10
    assert sender.trace.spurious_losses == 1
    assert sender.fates[2] == [QuicDeliveryState.LOST], "a packet that was given up is delivered to nobody"
    sender.acknowledge(range(9), range(10, 19), now=RTT + 0.002)
    assert sender.lost() == [2]


def test_losses_that_were_none_are_taken_back(sender: Sender) -> None:
    for turn in range(4):
        numbers = sender.send(20, turn * RTT)
        sender.acknowledge(range(numbers.stop), now=(turn + 1) * RTT)
    before = sender.trace
    first = sender.send(20, 4 * RTT).start
    sender.acknowledge(range(first + 2), range(first + 4, first + 20), now=5 * RTT)
    assert sender.lost() == [first + 2, first + 3]
    sender.acknowledge(range(first + 20), now=5 * RTT + 0.001)
    assert sender.trace.window >= before.window
    assert sender.trace.state == before.state


def test_cubic_shrinks_at_a_loss_and_stays_there_while_one_packet_is_missing() -> None:
    sender = make_sender()
    first = sender.send(20, 1.0).start
    sender.acknowledge(range(first + 2), range(first + 4, first + 10), now=1 + RTT)
    shrunk = sender.trace
    assert shrunk.state == "avoidance"
    sender.acknowledge(range(first + 3), range(first + 4, first + 10), now=1 + RTT + 0.001)
    assert sender.trace.window == shrunk.window
    assert sender.trace.spurious_losses == 1


def test_cubic_does_not_grow_on_what_it_does_not_use() -> None:
    trickling, busy = make_sender(), make_sender()
    for turn in range(20):
        for sender, count in ((trickling, 4), (busy, 10)):
            numbers = sender.send(count, turn * RTT)
            sender.acknowledge(range(numbers.stop), now=turn * RTT + 0.05)
    assert trickling.trace.window == 10 * PACKET
    assert busy.trace.window >= 19 * PACKET


def test_a_bare_acknowledgement_that_is_lost_is_no_loss(sender: Sender) -> None:
    sender.send(5, 0.0)
    sender.send(1, 0.0, 50, in_flight=False)
    sender.send(5, 0.0)
    sender.acknowledge(range(5), range(6, 11), now=RTT)
    assert sender.lost() == [5]
    assert sender.trace.lost_packets == 0
    assert sender.trace.in_flight == 0


def test_the_window_has_room_for_whole_packets_only(sender: Sender) -> None:
    recovery = sender.recovery
    sender.send(9, 0.0)
    assert recovery.congestion_window - recovery.bytes_in_flight == PACKET
    sender.send(1, 0.0, 100)
    assert recovery.congestion_window == recovery.bytes_in_flight
    sender.send(1, 0.0)
    assert recovery.congestion_window == recovery.bytes_in_flight, "a full window has less room than none"


def test_a_path_that_has_become_slow_is_learnt_from_a_packet_that_a_timeout_gave_up(sender: Sender) -> None:
    numbers = sender.send(1, 0.0)
    sender.acknowledge(numbers, now=RTT)
    sender.send(1, 1.0)
    for at in (1.3, 1.9):
        sender.recovery.on_loss_detection_timeout(now=at)
        sender.send(1, at)
    assert sender.lost() == [1, 2]
    sender.acknowledge(range(2), now=2.0)
    assert sender.trace.smoothed_rtt == pytest.approx(0.9 * RTT + 0.1, abs=0.05)
    assert sender.trace.lost_packets == 0
    assert sender.space.ack_eliciting_in_flight == 1
    assert list(sender.space.sent_packets) == [3]


def test_a_late_packet_in_the_middle_does_not_measure_the_round_trip(sender: Sender) -> None:
    sender.send(10, 0.0)
    sender.acknowledge(range(2), range(3, 10), now=RTT)
    assert sender.lost() == [2]
    sender.acknowledge(range(10), now=RTT + 0.5)
    assert sender.trace.smoothed_rtt == pytest.approx(RTT)


def test_what_is_remembered_of_losses_is_forgotten_in_time(sender: Sender) -> None:
    sender.send(10, 0.0)
    sender.acknowledge(range(2), range(3, 10), now=RTT)
    sender.send(10, 3.0)
    sender.acknowledge(range(2), range(3, 12), range(13, 20), now=3.0 + RTT)
    sender.acknowledge(range(12), range(13, 20), now=3.0 + RTT)
    assert sender.trace.spurious_losses == 0


def test_sixteen_recoveries_later_the_threshold_is_three_again(sender: Sender) -> None:
    sender.send(20, 0.0)
    sender.acknowledge(range(2), range(3, 8), now=RTT)
    sender.acknowledge(range(8), now=RTT)
    wide = sender.trace.packet_threshold
    assert wide is not None
    assert wide > 3
    for turn in range(1, 18):
        numbers = sender.send(30, float(turn))
        sender.acknowledge(
            range(numbers.start, numbers.start + 2), range(numbers.start + 3, numbers.stop), now=turn + RTT
        )
    assert sender.trace.packet_threshold == 3


def limits_of(sender: Sender) -> tuple[bool, bool]:
    """Whether a packet sent now is marked as limited by the application, and the flow as by its window."""
    controller = sender.recovery._rate_control
    assert controller is not None
    snapshot = controller.controller.handle_sent(PACKET, 1.0)
    controller.controller.handle_expired(PACKET)
    return snapshot.is_app_limited, controller.controller._sampler.is_window_limited  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("count", "paced", "expected"), [(3, False, (True, False)), (10, False, (False, True)), (3, True, (False, False))]
)
def test_the_controller_is_told_what_kept_the_engine_from_sending(
    count: int, paced: bool, expected: tuple[bool, bool]
) -> None:
    sender = make_sender(CongestionControl.BBR)
    sender.send(count, 0.0)
    sender.recovery.note_limit(paced=paced)
    assert limits_of(sender) == expected


@pytest.mark.parametrize("control", CongestionControl)
def test_larger_datagrams_reach_window_pacer_and_controller(control: CongestionControl) -> None:
    sender = make_sender(control)
    sender.recovery._cc.on_persistent_congestion()
    sender.recovery.set_datagram_bytes(9000)
    assert sender.trace.datagram_bytes == 9000
    assert sender.recovery.congestion_window >= 2 * 9000
    assert sender.recovery.congestion_window % 9000 == 0
    assert sender.recovery._pacer.sendable_packets == JUMBO_BURST_PACKETS


def test_a_burst_counts_as_one_packet_of_all_its_bytes() -> None:
    """What an engine that keeps one record for each burst does."""
    sender = make_sender(CongestionControl.BBR)
    cc = sender.recovery._cc
    assert isinstance(cc, RateControl)

    @attrs.define
    class Burst:
        packet_number: int
        sent_time: float
        sent_bytes: int
        snapshot: object = None

    burst = Burst(9, 0.0, 10 * PACKET)
    cc.on_packet_sent(packet=burst)
    assert cc.bytes_in_flight == 10 * PACKET
    arrived, missing = Burst(7, 0.0, 8 * PACKET, burst.snapshot), Burst(9, 0.0, 2 * PACKET, burst.snapshot)
    cc.on_packet_acked(now=RTT, packet=arrived)
    cc.on_packets_lost(now=RTT, packets=[missing])
    cc.on_ack_end(now=RTT)
    assert cc.bytes_in_flight == 0
    assert sender.trace.bandwidth == pytest.approx(8 * PACKET / RTT)


def test_cubic_forgets_what_to_go_back_to_after_persistent_congestion() -> None:
    cubic = Cubic(max_datagram_size=PACKET)
    packets = [
        QuicSentPacket(tls.Epoch.ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT, 1.0, PACKET)
        for number in range(10)
    ]
    for packet in packets:
        cubic.on_packet_sent(packet=packet)
    cubic.on_packets_lost(now=2.0, packets=packets[:2])
    cubic.on_persistent_congestion()
    cubic.on_spurious_loss()
    assert cubic.congestion_window == 2 * PACKET
