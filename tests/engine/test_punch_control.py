"""The control node, driven by hand: who is told what."""

from ipaddress import IPv4Address

import pytest

from connet_trio.engine.punch_control import FRESH_SECONDS, MAX_RECORDS, Entrance, PunchControl, Reply
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import (
    Enrolment,
    Introduction,
    NatMapping,
    PunchName,
    Registration,
    Report,
    StrangerAnswer,
    StrangerQuestion,
    ToControl,
)

A = AddressPort(IPv4Address("203.0.113.4"), 5000)
B = AddressPort(IPv4Address("203.0.113.8"), 5001)
C = AddressPort(IPv4Address("203.0.113.12"), 5002)
NEIGHBOR = AddressPort(IPv4Address("203.0.113.4"), 5001)
INSIDE = AddressPort(IPv4Address("10.0.0.2"), 5000)
S, T = "00000000000000aa", "00000000000000bb"


def tell(
    control: PunchControl,
    message: ToControl,
    source: AddressPort,
    now: float = 0.0,
    entrance: Entrance = Entrance.FIRST,
) -> list[Reply]:
    return list(control.handle_message(message, source, now, entrance))


def enrolment(name: str, session: str = S, *candidates: AddressPort) -> Enrolment:
    return Enrolment(name=PunchName.parse(name), session=session, candidates=candidates)


def report_to(replies: list[Reply], place: AddressPort) -> Report:
    [message] = [reply.message for reply in replies if reply.to == place]
    assert isinstance(message, Report)
    return message


# --- netpunch's peers


def test_the_second_of_a_pair_is_told_of_the_first_and_the_first_of_the_second() -> None:
    control = PunchControl()
    assert tell(control, Registration("a"), A) == []
    assert tell(control, Registration("b"), B) == [Reply(Introduction("a", A), B), Reply(Introduction("b", B), A)]
    assert tell(control, Registration("b"), B, now=0.1) == [Reply(Introduction("a", A), B)]  # netpunch's own answer
    assert tell(control, Registration("a"), A, now=0.2) == [Reply(Introduction("b", B), A)]


def test_pairs_know_nothing_of_each_other() -> None:
    control = PunchControl()
    tell(control, Registration("a"), A)
    assert tell(control, Registration("c"), C) == []
    assert tell(control, Registration("d"), B)[0] == Reply(Introduction("c", C), B)


def test_a_new_address_replaces_the_old_one_at_once() -> None:
    control = PunchControl()
    tell(control, Registration("a"), A)
    tell(control, Registration("a"), C)
    assert tell(control, Registration("b"), B)[0] == Reply(Introduction("a", C), B)


def test_who_has_not_been_heard_of_for_long_is_gone() -> None:
    control = PunchControl()
    tell(control, Registration("a"), A)
    assert tell(control, Registration("b"), B, now=FRESH_SECONDS) != []
    assert tell(control, Registration("b"), B, now=FRESH_SECONDS + 0.1) == []


@pytest.mark.parametrize("message", [Registration("b"), StrangerQuestion()])
def test_netpunch_is_served_at_the_first_entrance_only(message: ToControl) -> None:
    control = PunchControl(second=HostPort("", 7778))
    tell(control, Registration("a"), A)
    assert tell(control, message, B, entrance=Entrance.SECOND) == []


# --- our own


def test_an_enrolment_is_always_answered() -> None:
    control = PunchControl()
    assert tell(control, enrolment("a"), A) == [Reply(Report(session=S, observed=A), A)]


def test_the_first_is_told_when_the_second_comes_and_when_it_moves_and_not_each_time() -> None:
    control = PunchControl()
    tell(control, enrolment("a"), A)
    assert [reply.to for reply in tell(control, enrolment("b", T), B)] == [B, A]
    assert [reply.to for reply in tell(control, enrolment("b", T), B)] == [B]
    moved = tell(control, enrolment("b", T), C)
    assert [reply.to for reply in moved] == [C, A]
    partner = report_to(moved, A).partner
    assert partner is not None
    assert (partner.address, partner.session) == (C, T)


def test_rooms_keep_equal_letters_apart() -> None:
    control = PunchControl()
    tell(control, enrolment("office/a"), A)
    assert report_to(tell(control, enrolment("home/b", T), B), B).partner is None
    assert report_to(tell(control, enrolment("b", T), B), B).partner is None
    assert report_to(tell(control, enrolment("office/b", T), B), B).partner is not None


def test_ours_and_netpunch_are_told_of_each_other_in_their_own_words() -> None:
    control = PunchControl()
    tell(control, enrolment("a"), A)
    introduction, report = tell(control, Registration("b"), B)
    assert introduction == Reply(Introduction("a", A), B)
    partner = report_to([report], A).partner
    assert partner is not None
    assert (partner.address, partner.session) == (B, "")


def test_a_registration_beside_an_enrolment_takes_nothing_away_and_a_later_one_is_another_programs() -> None:
    control = PunchControl()
    tell(control, enrolment("a"), A, now=10.0)
    tell(control, Registration("a"), A, now=10.1)
    partner = report_to(tell(control, enrolment("b", T), B, now=10.2), B).partner
    assert partner is not None
    assert partner.session == S
    tell(control, Registration("a"), A, now=13.0)
    partner = report_to(tell(control, enrolment("b", T), B, now=13.1), B).partner
    assert partner is not None
    assert partner.session == ""


def test_own_addresses_are_told_to_who_is_behind_the_same_nat_only() -> None:
    for place, told in ((NEIGHBOR, (INSIDE,)), (B, ())):
        control = PunchControl()
        tell(control, enrolment("a", S, INSIDE), A)
        partner = report_to(tell(control, enrolment("b", T), place), place).partner
        assert partner is not None
        assert partner.candidates == told


@pytest.mark.parametrize(
    ("second", "seen", "mapping"),
    [
        ("198.51.100.2", A, NatMapping.STABLE),
        ("", A, NatMapping.STABLE_FOR_PORTS),
        ("198.51.100.2", NEIGHBOR, NatMapping.VARIES),
        ("", NEIGHBOR, NatMapping.VARIES),
    ],
)
def test_two_entrances_see_what_a_nat_does(second: str, seen: AddressPort, mapping: NatMapping) -> None:
    control = PunchControl(second=HostPort(second, 7778))
    assert report_to(tell(control, enrolment("a"), A), A).second == HostPort(second, 7778)
    tell(control, enrolment("b", T), B)
    replies = tell(control, enrolment("a"), seen, entrance=Entrance.SECOND)
    assert replies[0].entrance is Entrance.SECOND  # where the peer's NAT expects it from
    assert report_to(replies, seen).mapping is mapping
    partner = report_to(replies, B).partner
    assert partner is not None
    assert partner.mapping is mapping
    assert tell(control, enrolment("a"), seen, entrance=Entrance.SECOND) == replies[:1]


def test_an_address_of_its_own_is_behind_no_nat() -> None:
    assert report_to(tell(PunchControl(), enrolment("a", S, INSIDE, A), A), A).mapping is NatMapping.NONE


def test_a_new_run_is_looked_at_anew() -> None:
    control = PunchControl(second=HostPort("", 7778))
    tell(control, enrolment("a"), A)
    tell(control, enrolment("a"), NEIGHBOR, entrance=Entrance.SECOND)
    assert report_to(tell(control, enrolment("a"), A), A).mapping is NatMapping.VARIES
    assert tell(control, enrolment("a", T), NEIGHBOR, entrance=Entrance.SECOND) == []
    assert report_to(tell(control, enrolment("a", T), A), A).mapping is NatMapping.UNKNOWN


def test_names_do_not_pile_up() -> None:
    control = PunchControl()
    tell(control, enrolment("a"), A)
    for number in range(MAX_RECORDS):
        tell(control, enrolment(f"{number}/a"), A)
    assert report_to(tell(control, enrolment("b", T), B), B).partner is None
    assert report_to(tell(control, enrolment(f"{MAX_RECORDS - 1}/b", T), B), B).partner is not None


# --- strangers


def test_strangers_get_an_answer_as_long_as_they_are_few() -> None:
    control = PunchControl()
    answered = [bool(control.handle_stranger(A, now=100.0)) for _ in range(30)]
    assert answered == [True] * 20 + [False] * 10
    assert control.handle_stranger(B, now=100.1) == ()
    assert control.handle_stranger(B, now=100.25) == (Reply(StrangerAnswer(), B),)


def test_a_hidden_control_node_answers_no_stranger() -> None:
    assert PunchControl(answers_strangers=False).handle_stranger(A, now=100.0) == ()
