"""When a packet is taken for lost, and what is remembered of it."""

import pytest

from connet_trio.quic.congestion import LossLog, ReorderingTolerance
from connet_trio.quic.congestion.loss_log import LOG_PACKETS
from connet_trio.quic.congestion.reordering import CLEAN_RECOVERIES


def test_the_packet_threshold_grows_beyond_what_was_seen() -> None:
    tolerance = ReorderingTolerance()
    assert (tolerance.packets, tolerance.round_trips) == (3, 9 / 8)
    tolerance.handle_late(distance=10, round_trips=0.5)
    assert (tolerance.packets, tolerance.round_trips) == (20, 9 / 8)
    tolerance.handle_late(distance=12, round_trips=0.5)
    assert tolerance.packets == 20


def test_the_age_grows_step_by_step_to_two_round_trips() -> None:
    tolerance, seen = ReorderingTolerance(), []
    for _ in range(5):
        tolerance.handle_late(distance=1, round_trips=9.0)
        seen.append(tolerance.round_trips)
    assert seen == [1.375, 1.625, 1.875, 2.0, 2.0]
    gently = ReorderingTolerance()
    gently.handle_late(distance=1, round_trips=1.2)
    assert gently.round_trips == pytest.approx(1.26)


def test_sixteen_recoveries_without_a_late_packet_bring_the_narrow_start_back() -> None:
    tolerance = ReorderingTolerance()
    tolerance.handle_late(distance=10, round_trips=1.3)
    for _ in range(CLEAN_RECOVERIES):
        tolerance.handle_recovery()
        assert tolerance.packets == 20
    tolerance.handle_recovery()
    assert (tolerance.packets, tolerance.round_trips) == (3, 9 / 8)


def test_a_late_packet_keeps_the_tolerance_for_another_sixteen() -> None:
    tolerance = ReorderingTolerance()
    for _ in range(5):
        tolerance.handle_late(distance=10, round_trips=0.5)
        for _ in range(CLEAN_RECOVERIES):
            tolerance.handle_recovery()
    assert tolerance.packets == 20


def test_an_episode_is_spurious_when_all_it_gave_up_has_arrived() -> None:
    log: LossLog[str] = LossLog()
    assert log.note_lost(5, "five", sent_at=1.0, now=1.2)
    assert not log.note_lost(6, "six", sent_at=1.1, now=1.3)
    assert [(number, given_up.packet) for number, given_up in log.take_late([range(6)])] == [(5, "five")]
    assert not log.take_spurious()
    assert len(log.take_late([range(4), range(6, 9)])) == 1
    assert log.take_spurious()
    assert not log.take_spurious()
    assert len(log) == 0


def test_a_packet_sent_after_an_episode_began_begins_another() -> None:
    log: LossLog[None] = LossLog()
    assert log.note_lost(5, None, sent_at=1.0, now=1.2)
    assert log.note_lost(9, None, sent_at=1.21, now=1.4)
    assert len(log.take_late([range(5, 6)])) == 1
    assert not log.take_spurious(), "an earlier episode is not the one that counts"
    assert len(log.take_late([range(9, 10)])) == 1
    assert log.take_spurious()


def test_packet_numbers_outside_of_the_ranges_are_not_late() -> None:
    log: LossLog[None] = LossLog()
    for number in (3, 10, 20, 30):
        log.note_lost(number, None, sent_at=1.0, now=1.2)
    assert [number for number, _ in log.take_late([range(5, 10), range(20, 21), range(25, 30)])] == [20]


def test_what_a_timeout_gave_up_belongs_to_no_episode() -> None:
    log: LossLog[None] = LossLog()
    log.note_expired(5, None, sent_at=1.0)
    ((_, given_up),) = log.take_late([range(5, 6)])
    assert given_up.episode is None
    assert not log.take_spurious()


def test_old_packets_are_forgotten_and_their_episode_was_none_of_reordering() -> None:
    log: LossLog[None] = LossLog()
    log.note_lost(5, None, sent_at=1.0, now=1.2)
    log.note_lost(6, None, sent_at=1.1, now=1.2)
    log.forget_before(1.05)
    assert len(log) == 1
    log.take_late([range(5, 7)])
    assert not log.take_spurious()


def test_the_log_is_bounded() -> None:
    log: LossLog[None] = LossLog()
    for number in range(LOG_PACKETS + 100):
        log.note_lost(number, None, sent_at=1.0, now=1.2)
    assert len(log) == LOG_PACKETS
