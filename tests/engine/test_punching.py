"""One peer, driven by hand: what it sends when, towards netpunch and towards its own kind."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import pairwise

import pytest

from connet_trio.engine.punch_diagnosis import Cause
from connet_trio.engine.punch_modes import Mode
from connet_trio.engine.punching import GivenUp, Hole, Puncher, Send
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import (
    Close,
    Enrolment,
    Introduction,
    NatMapping,
    Partner,
    Ping,
    Pong,
    PunchName,
    Registration,
    Report,
    StrangerQuestion,
    ToPeer,
)

CONTROL = AddressPort(IPv4Address("198.51.100.1"), 7777)
PARTNER = AddressPort(IPv4Address("203.0.113.8"), 5001)
ELSEWHERE = AddressPort(IPv4Address("203.0.113.8"), 61_001)
OWN = AddressPort(IPv4Address("203.0.113.4"), 5000)
LOCAL = AddressPort(IPv4Address("10.0.0.3"), 5001)
US, THEM, OLD = "00000000000000aa", "00000000000000bb", "00000000000000cc"


def make(name: str = "a", time_limit: float | None = None) -> Puncher:
    """A peer that starts at 100 s."""
    return Puncher(name=PunchName.parse(name), control=CONTROL, session=US, now=100.0, time_limit=time_limit)


def introduced(name: str = "a") -> Puncher:
    """One that control has told of its partner, and that has pinged it at 100 s."""
    peer = make(name)
    peer.handle_timer(100.0)
    partner = PunchName.parse(name).partner.letter
    assert peer.handle_message(Introduction(partner, PARTNER), CONTROL, 100.0) == (Send(Ping(), PARTNER),)
    return peer


def report(*, partner: Partner | None = None, mapping: NatMapping = NatMapping.UNKNOWN, session: str = US) -> Report:
    return Report(session=session, observed=OWN, mapping=mapping, partner=partner)


def met(name: str = "a", *candidates: AddressPort) -> Puncher:
    """One of ours that control has told of a partner of ours, and that has pinged it at 100 s."""
    peer = make(name)
    peer.handle_timer(100.0)
    partner = Partner(address=PARTNER, session=THEM, candidates=candidates)
    pings = peer.handle_message(report(partner=partner), CONTROL, 100.0)
    assert pings == tuple(Send(Ping(US), place) for place in (*candidates, PARTNER))
    return peer


def run(peer: Puncher, until: float) -> list[tuple[int, Send]]:
    """What it sends by itself until then, and when (in hundredths of a second after 100 s)."""
    sent = []
    while peer.mode is not Mode.DONE and (now := peer.next_deadline()) < until:
        sent += [(round((now - 100) * 100), send) for send in peer.handle_timer(now)]
        if peer.outcome(now) is not None:
            break
    return sent


def letters(sends: Sequence[tuple[int, Send]]) -> list[int]:
    return [time for time, send in sends if send.message == Registration("a")]


# --- towards netpunch


def test_it_registers_five_times_in_half_a_second_and_again_after_ten() -> None:
    sent = run(make(), until=112.0)
    assert letters(sent) == [0, 10, 20, 30, 40, 1050, 1060, 1070, 1080, 1090]
    assert {send.to for _, send in sent} == {CONTROL}
    assert {type(send.message) for _, send in sent} == {Enrolment, Registration, StrangerQuestion}


def test_an_introduction_is_followed_by_pings_and_then_by_sleep() -> None:
    peer = introduced()
    assert [send.message for _, send in run(peer, until=102.0)] == [Ping()] * 19
    run(peer, until=102.05)
    assert (peer.mode, peer.failed_rounds) == (Mode.SLEEPING, 1)


def test_a_pong_is_followed_by_five_closes_and_the_hole() -> None:
    peer = introduced()
    sends = peer.handle_message(Pong(), PARTNER, 100.05)
    assert sends == (Send(Close(), PARTNER),)
    assert run(peer, until=101.0) == [(time, Send(Close(), PARTNER)) for time in (7, 9, 11, 13)]
    assert peer.outcome(101.0) == Hole(PARTNER)


def test_a_ping_is_ponged_to_where_it_came_from_even_before_control_has_said_anything() -> None:
    peer = make()
    peer.handle_timer(100.0)
    assert peer.handle_message(Ping(), ELSEWHERE, 100.05) == (Send(Pong(), ELSEWHERE),)
    assert {send for _, send in run(peer, until=101.0)} == {Send(Pong(), ELSEWHERE)}
    assert peer.handle_message(Close(), ELSEWHERE, 101.0) == ()
    assert peer.outcome(101.0) == Hole(ELSEWHERE)


def test_a_partner_whose_nat_gives_another_port_is_followed() -> None:
    peer = introduced()
    assert peer.handle_message(Ping(), ELSEWHERE, 100.05) == (Send(Pong(), ELSEWHERE),)
    peer.handle_message(Introduction("b", PARTNER), CONTROL, 100.06)  # late, and no reason to step back
    assert peer.handle_message(Pong(), ELSEWHERE, 100.1) == (Send(Close(), ELSEWHERE),)


def test_a_close_before_a_partner_is_known_is_nothing() -> None:
    peer = make()
    peer.handle_timer(100.0)
    assert peer.handle_message(Close(), PARTNER, 100.01) == ()
    assert peer.handle_message(Pong(), PARTNER, 100.02) == ()
    assert peer.outcome(100.02) is None
    assert peer.mode is Mode.DISCOVERING


def test_a_close_from_where_nothing_was_sent_is_nothing() -> None:
    peer = introduced()
    assert peer.handle_message(Close(), ELSEWHERE, 100.01) == ()
    assert peer.outcome(100.01) is None


def test_a_partner_that_lost_all_closes_is_answered_for_as_long_as_it_asks() -> None:
    peer = introduced()
    peer.handle_message(Pong(), PARTNER, 100.0)
    run(peer, until=100.2)
    assert peer.mode is Mode.LINGERING
    for tenth in range(2, 20):
        assert peer.handle_message(Pong(), PARTNER, 100 + tenth / 10) == (Send(Close(), PARTNER),)
    assert peer.next_deadline() == 102.0  # but not for ever
    peer.handle_timer(102.0)
    assert peer.outcome(102.0) == Hole(PARTNER)


def test_a_partner_that_still_pings_is_closed_and_nobody_else_is_while_closing() -> None:
    peer = introduced()
    peer.handle_message(Pong(), PARTNER, 100.0)
    assert peer.handle_message(Ping(), PARTNER, 100.01) == (Send(Close(), PARTNER),)
    assert peer.handle_message(Ping(), ELSEWHERE, 100.01) == ()
    assert peer.handle_message(Introduction("b", ELSEWHERE), CONTROL, 100.01) == ()
    assert peer.mode is Mode.CLOSING


@pytest.mark.parametrize("letter", ["a", "c", "bb", ""])
def test_an_introduction_to_another_letter_is_nothing(letter: str) -> None:
    peer = make()
    peer.handle_timer(100.0)
    assert peer.handle_message(Introduction(letter, PARTNER), CONTROL, 100.0) == ()
    assert peer.mode is Mode.DISCOVERING


def test_wrong_signatures_are_neither_answered_nor_do_they_keep_a_peer_awake() -> None:
    peer, calm = introduced(), introduced()
    for _ in range(100):
        peer.handle_wrong_signature(PARTNER)
    assert run(peer, until=120.0) == run(calm, until=120.0)


def test_repeated_introductions_do_not_make_it_ping_faster() -> None:
    peer = introduced()
    assert [peer.handle_message(Introduction("b", PARTNER), CONTROL, 100.01) for _ in range(4)] == [()] * 4
    assert peer.handle_message(Introduction("b", ELSEWHERE), CONTROL, 100.02) == (Send(Ping(), ELSEWHERE),)


def test_a_ping_wakes_a_sleeper() -> None:
    peer = introduced()
    run(peer, until=103.0)
    assert peer.mode is Mode.SLEEPING
    assert peer.handle_message(Ping(), PARTNER, 105.0) == (Send(Pong(), PARTNER),)


# --- towards its own kind


def test_all_addresses_are_pinged_and_the_first_that_answers_is_chosen() -> None:
    peer = met("a", LOCAL)
    assert peer.handle_message(Pong(THEM, US), LOCAL, 100.01) == (Send(Close(US, THEM), LOCAL),)
    assert peer.handle_message(Pong(THEM, US), PARTNER, 100.02) == ()
    assert peer.handle_message(Close(THEM, US), LOCAL, 100.03) == ()
    assert peer.outcome(100.03) == Hole(LOCAL)


def test_the_other_side_waits_for_the_choice_and_confirms_it() -> None:
    peer = met("b", LOCAL)
    assert peer.handle_message(Pong(THEM, US), PARTNER, 100.01) == ()
    assert peer.mode is Mode.PINGING
    assert peer.handle_message(Close(THEM, US), LOCAL, 100.02) == (Send(Close(US, THEM), LOCAL),)
    assert peer.outcome(100.02) is None  # the confirmation may get lost
    assert peer.handle_message(Close(THEM, US), LOCAL, 100.07) == (Send(Close(US, THEM), LOCAL),)
    run(peer, until=101.0)
    assert peer.outcome(101.0) == Hole(LOCAL)


def test_a_choice_that_nobody_confirms_is_repeated_for_a_second() -> None:
    peer = met("a")
    peer.handle_message(Pong(THEM, US), PARTNER, 100.0)
    assert run(peer, until=102.0) == [(time, Send(Close(US, THEM), PARTNER)) for time in range(5, 100, 5)]
    assert peer.outcome(102.0) == Hole(PARTNER)


@pytest.mark.parametrize(
    "message", [Pong(OLD, US), Pong(THEM, OLD), Close(THEM, OLD), Close(OLD, US), Pong(), Close()], ids=str
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_leftovers_of_an_earlier_run_are_nothing(name: str, message: ToPeer) -> None:
    peer = met(name)
    assert peer.handle_message(message, PARTNER, 100.01) == ()
    assert (peer.mode, peer.outcome(100.01)) == (Mode.PINGING, None)


def test_a_ping_of_somebody_elses_session_is_not_answered() -> None:
    assert met().handle_message(Ping(OLD), ELSEWHERE, 100.01) == ()


def test_a_partner_that_has_started_anew_is_asked_for_at_once() -> None:
    peer = met()
    run(peer, until=103.0)
    assert peer.mode is Mode.SLEEPING
    assert [send.to for send in peer.handle_message(Ping(OLD), PARTNER, 103.0)] == [CONTROL]
    again = Partner(address=PARTNER, session=OLD)
    assert peer.handle_message(report(partner=again), CONTROL, 103.1) == (Send(Ping(US), PARTNER),)
    assert peer.handle_message(Ping(OLD), PARTNER, 103.2) == (Send(Pong(US, OLD), PARTNER),)


def test_a_partner_of_ours_is_recognized_by_its_ping_when_control_is_netpunch() -> None:
    peer = introduced("b")
    assert peer.handle_message(Ping(THEM), PARTNER, 100.01) == (Send(Pong(US, THEM), PARTNER),)
    assert peer.handle_message(Pong(), PARTNER, 100.02) == ()  # it answered a ping that named no session
    assert peer.handle_message(Close(THEM, US), PARTNER, 100.03) == (Send(Close(US, THEM), PARTNER),)


def test_where_a_ping_of_ours_came_from_is_pinged_too() -> None:
    peer = met()
    assert peer.handle_message(Ping(THEM), ELSEWHERE, 100.01) == (
        Send(Pong(US, THEM), ELSEWHERE),
        Send(Ping(US), ELSEWHERE),
    )


def test_a_partner_that_does_not_hear_us_does_not_keep_us_from_control() -> None:
    peer = met("b")
    enrolled = []
    for tenth in range(300):
        now = 100 + tenth / 10
        sends = [*peer.handle_timer(now), *peer.handle_message(Ping(THEM), PARTNER, now)]
        enrolled += [now for send in sends if send.to == CONTROL]
    assert max(after - before for before, after in pairwise([100.0, *enrolled, 130.0])) < 12.5
    assert peer.failed_rounds > 2
    assert peer.diagnosis(130.0).cause is Cause.UNREACHABLE


def test_a_partner_that_was_taken_for_netpunch_is_pinged_as_one_of_ours_once_control_says_so() -> None:
    peer = make("b")
    peer.handle_timer(100.0)
    assert peer.handle_message(Ping(), PARTNER, 100.01) == (Send(Pong(), PARTNER),)
    told = report(partner=Partner(address=PARTNER, session=THEM))
    assert peer.handle_message(told, CONTROL, 100.02) == (Send(Ping(US), PARTNER),)


@pytest.mark.parametrize(("name", "hole"), [("a", PARTNER), ("b", ELSEWHERE)])
def test_when_both_have_chosen_the_choice_of_the_first_letter_counts(name: str, hole: AddressPort) -> None:
    peer = introduced(name)
    peer.handle_message(Pong(), PARTNER, 100.01)  # each still takes the other for netpunch
    peer.handle_message(Ping(THEM), ELSEWHERE, 100.02)
    peer.handle_message(Ping(THEM), PARTNER, 100.02)
    peer.handle_message(Close(THEM, US), ELSEWHERE if name == "b" else PARTNER, 100.03)
    run(peer, until=103.0)
    assert peer.outcome(103.0) == Hole(hole)


def test_nobody_makes_it_send_to_more_than_a_few_places() -> None:
    peer = met()
    for port in range(1, 100):
        peer.handle_message(Ping(THEM), AddressPort(IPv4Address("203.0.113.8"), port), 100.01)
    assert len(peer.handle_timer(peer.next_deadline())) == 16


def test_a_report_to_somebody_else_is_nothing() -> None:
    peer = make()
    peer.handle_timer(100.0)
    assert peer.handle_message(report(partner=Partner(address=PARTNER), session=THEM), CONTROL, 100.0) == ()
    assert peer.mode is Mode.DISCOVERING


def test_a_report_without_a_partner_ends_the_asking_until_control_speaks_or_ten_seconds_later() -> None:
    peer = make()
    peer.handle_timer(100.0)
    assert peer.handle_message(report(), CONTROL, 100.01) == ()
    assert (peer.mode, peer.next_deadline()) == (Mode.SLEEPING, 110.01)
    partner = Partner(address=PARTNER, session=THEM)
    assert peer.handle_message(report(partner=partner), CONTROL, 105.0) == (Send(Ping(US), PARTNER),)


def test_what_netpunch_would_send_is_not_sent_to_a_control_node_of_ours() -> None:
    peer = make()
    peer.handle_timer(100.0)
    peer.handle_message(report(), CONTROL, 100.01)
    assert letters(run(peer, until=140.0)) == []


def test_the_second_address_of_control_is_told_where_we_are_as_well() -> None:
    peer = make()
    peer.handle_timer(100.0)
    second = AddressPort(CONTROL.address, 7778)
    told = Report(session=US, observed=OWN, second=HostPort("", 7778))
    assert [send.to for send in peer.handle_message(told, CONTROL, 100.01)] == [second]
    assert [send.to for send in peer.handle_timer(100.1)] == [CONTROL, second]


def test_a_name_with_a_room_says_nothing_that_netpunch_understands() -> None:
    sent = run(make("office/a"), until=101.0)
    assert {type(send.message) for _, send in sent} == {Enrolment, StrangerQuestion}


# --- giving up


def test_the_time_limit_ends_it_with_a_diagnosis() -> None:
    peer = make(time_limit=3.0)
    run(peer, until=200.0)
    outcome = peer.outcome(103.0)
    assert isinstance(outcome, GivenUp)
    assert outcome.diagnosis.cause is Cause.NO_CONTROL


def test_no_time_limit_takes_away_a_hole_that_is_closing() -> None:
    peer = make(time_limit=0.05)
    peer.handle_timer(100.0)
    peer.handle_message(Introduction("b", PARTNER), CONTROL, 100.0)
    peer.handle_message(Pong(), PARTNER, 100.04)
    run(peer, until=101.0)
    assert peer.outcome(101.0) == Hole(PARTNER)


def test_control_is_asked_without_a_secret_only_when_it_has_not_answered() -> None:
    silent, answered = make(), make()
    answered.handle_timer(100.0)
    answered.handle_message(report(), CONTROL, 100.01)
    asked = [send for _, send in run(silent, until=105.0) if isinstance(send.message, StrangerQuestion)]
    assert asked == [Send(StrangerQuestion(), CONTROL)]
    assert not [send for _, send in run(answered, until=130.0) if isinstance(send.message, StrangerQuestion)]
