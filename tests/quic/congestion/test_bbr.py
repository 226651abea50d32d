"""BBR on a path of numbers: among others, the test cases that the draft gives as examples."""

from random import Random

import pytest

from connet_trio.quic.congestion import DRAFT, TOLERANT, Bbr
from connet_trio.quic.congestion.constants import NO_BOUND, State
from tests.quic.congestion.conftest import PACKET, MakeSender, Sender

RATE = 1_200_000.0
BDP = RATE * 0.05


def test_startup_ends_when_the_rate_has_stopped_growing_and_has_found_it(make_sender: MakeSender) -> None:
    sender = make_sender()
    sender.run_until(State.DRAIN)
    assert sender.controller.pipe.reached
    assert sender.controller.max_bandwidth.value == pytest.approx(RATE, rel=0.02)
    assert sender.now < 1.0
    assert sender.states[0] == (0.0, State.STARTUP)


def test_startup_grows_exponentially(make_sender: MakeSender) -> None:
    sender = make_sender(rate=1e9)
    sender.run(0.06)
    first = sender.controller.bandwidth
    sender.run(0.5)
    assert sender.controller.bandwidth > 64 * first


def test_startup_ends_when_too_much_is_lost_though_the_application_is_the_limit(make_sender: MakeSender) -> None:
    luck = Random(1)
    sender = make_sender(rate=1e7, is_lost=lambda number: number > 100 and luck.random() < 0.2)
    for _ in range(2000):
        sender.has_data = False
        sender.run(0.0005)
        sender.has_data = True
        sender.run(0.0005)
        if sender.controller.state is not State.STARTUP:
            break
    assert sender.controller.pipe.reached
    assert sender.controller.cycle.inflight_longterm != NO_BOUND


def test_startup_goes_on_while_the_application_is_the_limit_and_nothing_is_lost(make_sender: MakeSender) -> None:
    sender = make_sender()
    for _ in range(300):
        sender.has_data = True
        sender.run(0.001)
        sender.has_data = False
        sender.run(0.009)
    assert sender.states == [(0.0, State.STARTUP)] or {state for _, state in sender.states} == {
        State.STARTUP,
        State.PROBE_RTT,
    }


def test_drain_empties_the_queue_within_three_round_trips(make_sender: MakeSender) -> None:
    sender = make_sender()
    sender.run_until(State.DRAIN)
    began = sender.now
    assert sender.controller.pacing_rate == pytest.approx(0.5 * RATE, rel=0.05)
    sender.run_until(State.CRUISE)  # by way of DOWN, which has nothing left to do
    assert sender.now - began < 0.25
    assert sender.controller.bytes_in_flight <= 1.1 * BDP + 4 * PACKET


def test_probe_bandwidth_goes_round_and_pauses_two_seconds_or_as_long_as_reno(make_sender: MakeSender) -> None:
    sender = make_sender(rate=2 * RATE, rtt=0.1)  # a BDP of 200 packets: time is shorter than 63 rounds
    sender.run(4.9)
    states = [state for _, state in sender.states]
    assert states[:5] == [State.STARTUP, State.DRAIN, State.CRUISE, State.REFILL, State.UP]
    assert states[5] is State.DOWN
    first = sender.entered(State.REFILL)[0]
    assert first - sender.entered(State.CRUISE)[0] == pytest.approx(2.0, abs=0.05)
    assert sender.entered(State.UP)[0] - first == pytest.approx(0.1, abs=0.05)


def test_a_small_pipe_is_probed_as_often_as_reno_would(make_sender: MakeSender) -> None:
    sender = make_sender(rate=RATE / 5, rtt=0.05)  # 10 packets
    sender.run(3.0)
    assert sender.entered(State.REFILL)[0] - sender.entered(State.CRUISE)[0] < 1.2


def test_luck_decides_when_to_probe_so_that_flows_do_not_in_step(make_sender: MakeSender) -> None:
    early, late = (make_sender(rate=2 * RATE, rtt=0.1, luck=luck) for luck in (0.0, 0.99))
    for sender in (early, late):
        sender.run_until(State.REFILL)
    assert late.now - early.now == pytest.approx(0.99, abs=0.15)


def test_probing_up_ends_when_the_rate_does_not_grow(make_sender: MakeSender) -> None:
    sender = make_sender(queue=1e6)
    sender.run_until(State.UP)
    began = sender.now
    sender.run_until(State.DOWN)
    assert 0.1 < sender.now - began < 0.5
    assert sender.lost == 0


def test_loss_while_probing_up_bounds_what_is_in_flight_in_the_long_term(make_sender: MakeSender) -> None:
    sender = make_sender(queue=1e6)
    sender.run_until(State.UP)
    sender.run(0.06)
    sender.path.is_lost = lambda number: number % 10 == 0
    in_flight = sender.controller.bytes_in_flight
    sender.run_until(State.DOWN, most=0.3)
    bound = sender.controller.cycle.inflight_longterm
    assert 0.7 * BDP <= bound <= 1.3 * in_flight
    sender.path.is_lost = lambda number: False
    sender.run_until(State.CRUISE)
    assert sender.controller.congestion_window <= bound - 0.1 * bound, "no headroom is left to others"


def test_the_round_trip_is_measured_anew_every_five_seconds(make_sender: MakeSender) -> None:
    sender = make_sender()
    sender.run(0.2)
    sender.path.rtt = 0.06
    sender.run(12.0)
    first, second = sender.entered(State.PROBE_RTT)
    assert first == pytest.approx(5.1, abs=0.1)
    assert second - first == pytest.approx(5.3, abs=0.3)
    after = next(at for at, state in sender.states if at > first)
    assert 0.2 <= after - first < 0.45
    assert sender.controller.min_rtt.value == pytest.approx(0.061, abs=0.001)


def test_half_the_window_while_the_round_trip_is_measured(make_sender: MakeSender) -> None:
    sender = make_sender()
    sender.run_until(State.PROBE_RTT)
    sender.run(0.1)
    assert sender.controller.bytes_in_flight <= 0.55 * BDP
    sender.run(0.5)
    assert sender.controller.congestion_window > BDP


def test_a_pause_is_as_good_as_a_measurement_of_the_round_trip(make_sender: MakeSender) -> None:
    sender = make_sender()
    sender.run(3.0)
    sender.has_data = False
    sender.run(6.0)
    assert sender.controller.bytes_in_flight == 0
    sender.has_data = True
    assert sender.run(1.0) > 0.85 * RATE
    assert sender.entered(State.PROBE_RTT) == []


def test_after_a_pause_it_goes_on_at_the_rate_it_had(make_sender: MakeSender) -> None:
    sender = make_sender()
    sender.run(3.0)
    sender.has_data = False
    sender.run(1.0)
    sender.has_data = True
    sender.run(0.001)
    assert sender.controller.pacing_rate == pytest.approx(RATE, rel=0.05)
    lost = sender.lost
    sender.run(0.5)
    assert sender.lost == lost


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_rate_that_changes_tenfold_is_found_again(make_sender: MakeSender, factor: float) -> None:
    sender = make_sender(queue=30_000)
    sender.run(4.0)
    sender.path.rate *= factor
    sender.run(6.0)
    assert sender.run(4.0) == pytest.approx(factor * RATE, rel=0.12)
    assert sender.controller.bandwidth == pytest.approx(factor * RATE, rel=0.12)


def test_a_queue_stays_short(make_sender: MakeSender) -> None:
    sender = make_sender(queue=1e6)
    sender.run(4.0)
    excess = []
    for _ in range(800):
        sender.run(0.005)
        excess.append(max(sender.controller.bytes_in_flight - BDP, 0) / RATE)
    assert sum(excess) / len(excess) < 0.012
    assert sender.lost == 0


def test_acknowledgements_in_clumps_do_not_stall_it(make_sender: MakeSender) -> None:
    sender = make_sender(aggregation=0.04)
    sender.run(3.0)
    assert sender.run(3.0) > 0.88 * RATE


def test_four_packets_are_always_allowed(make_sender: MakeSender) -> None:
    sender = make_sender(rate=24_000, rtt=0.01, queue=20_000)
    sender.run(8.0)
    assert sender.controller.congestion_window >= 4 * PACKET
    assert sender.run(4.0) > 0.85 * 24_000


def lossy(make_sender: MakeSender, share: float, **others: object) -> Sender:
    luck = Random(1)
    return make_sender(is_lost=lambda number: number > 100 and luck.random() < share, **others)


def test_one_percent_of_random_loss_is_borne(make_sender: MakeSender) -> None:
    sender = lossy(make_sender, 0.01, queue=30_000)
    sender.run(3.0)
    assert sender.run(10.0) > 0.7 * RATE


def test_the_tolerant_variant_bears_three_percent(make_sender: MakeSender) -> None:
    drafted, tolerant = (
        lossy(make_sender, 0.03, rate=4 * RATE, queue=120_000, constants=constants) for constants in (DRAFT, TOLERANT)
    )
    for sender in (drafted, tolerant):
        sender.run(5.0)
    assert drafted.run(10.0) < 0.6 * 4 * RATE
    assert tolerant.run(10.0) > 0.8 * 4 * RATE
    assert tolerant.controller.floor.value == pytest.approx(0.03, abs=0.005)


def test_the_tolerant_variant_takes_no_congestion_for_a_property_of_the_path(make_sender: MakeSender) -> None:
    sender = make_sender(constants=TOLERANT, queue=5_000)
    sender.run(15.0)
    assert sender.lost > 0
    assert sender.controller.floor.value < 0.005


def test_loss_that_was_none_is_taken_back(make_sender: MakeSender) -> None:
    sender = make_sender(queue=1e6)
    sender.run_until(State.CRUISE)
    controller = sender.controller
    window, rate = controller.congestion_window, controller.bandwidth
    now = sender.now
    snapshots = [controller.handle_sent(PACKET, now) for _ in range(10)]
    for number, snapshot in enumerate(snapshots[:5]):
        controller.handle_lost(snapshot, PACKET, sender.sent + number, now + 0.05)
    for snapshot in snapshots[5:]:
        controller.handle_acked(snapshot, PACKET, now + 0.05)
        controller.handle_ack_end(now + 0.05)
    reduced = controller.handle_sent(PACKET, now + 0.051)
    controller.handle_acked(reduced, PACKET, now + 0.101)
    controller.handle_ack_end(now + 0.101)
    assert controller.bandwidth < rate
    for snapshot in snapshots[:5]:
        controller.handle_late(snapshot, PACKET, now + 0.102)
    controller.handle_spurious()
    after = controller.handle_sent(PACKET, now + 0.103)
    controller.handle_acked(after, PACKET, now + 0.153)
    controller.handle_ack_end(now + 0.153)
    assert controller.bandwidth == pytest.approx(rate)
    assert controller.congestion_window >= window - 2 * PACKET


def test_a_probe_that_ended_for_a_loss_that_was_none_begins_again(make_sender: MakeSender) -> None:
    sender = make_sender(queue=1e6)
    sender.run_until(State.UP)
    sender.run(0.06)
    sender.path.is_lost = lambda number: number % 10 == 0
    sender.run_until(State.DOWN, most=0.3)
    sender.controller.handle_spurious()
    assert sender.controller.state is State.REFILL
    assert sender.controller.cycle.inflight_longterm == NO_BOUND


def test_startup_that_ended_for_a_loss_that_was_none_goes_on(make_sender: MakeSender) -> None:
    luck = Random(1)
    sender = make_sender(rate=1e7, is_lost=lambda number: number > 100 and luck.random() < 0.1)
    while len(sender.states) == 1:
        sender.run(0.0001)
    assert not sender.controller.pipe.now, "it ended for another reason"
    sender.controller.handle_spurious()
    assert sender.controller.state is State.STARTUP
    assert not sender.controller.pipe.reached


def test_persistent_congestion_leaves_one_packet_more_than_is_in_flight() -> None:
    controller = Bbr(datagram_bytes=PACKET, luck=float)
    for _ in range(3):
        controller.handle_sent(PACKET, 0.0)
    controller.handle_persistent_congestion()
    assert controller.congestion_window == 4 * PACKET


def test_a_packet_given_up_by_a_timeout_says_nothing_about_the_path() -> None:
    controller = Bbr(datagram_bytes=PACKET, luck=float)
    controller.handle_sent(PACKET, 0.0)
    controller.handle_expired(PACKET)
    assert (controller.bytes_in_flight, controller.congestion_window) == (0, 10 * PACKET)


def test_before_the_first_round_trip_nothing_is_paced_and_then_2_77_windows_per_round_trip() -> None:
    controller = Bbr(datagram_bytes=PACKET, luck=float)
    assert controller.pacing_rate == 0
    snapshot = controller.handle_sent(PACKET, 0.0)
    controller.handle_acked(snapshot, PACKET, 0.1)
    controller.handle_ack_end(0.1)
    assert controller.pacing_rate >= 2.77 * PACKET / 0.1 * 0.99
    assert controller.round_trip == pytest.approx(0.1)


def test_larger_datagrams_raise_the_least_window_and_quantum() -> None:
    controller = Bbr(datagram_bytes=PACKET, luck=float)
    controller.set_datagram_bytes(9000)
    assert controller.congestion_window == 36_000
    assert controller.send_quantum == 18_000
