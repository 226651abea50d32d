"""Which cause is named for what was seen."""

from ipaddress import IPv4Address

import attrs
import pytest

from connet_trio.engine.punch_diagnosis import Cause, Evidence, Side, diagnose
from connet_trio.records.model import AddressPort
from connet_trio.records.punch import NatMapping, Partner, PunchName

CONTROL = AddressPort(IPv4Address("198.51.100.1"), 7777)
OWN = AddressPort(IPv4Address("203.0.113.4"), 5000)
THEIRS = AddressPort(IPv4Address("203.0.113.8"), 5001)
UNKNOWN, NONE, PORTS, STABLE, VARIES = NatMapping


def evidence(ours: NatMapping = STABLE, theirs: NatMapping = STABLE) -> Evidence:
    """Control answered at 100 s, and knows the partner."""
    return Evidence(
        name=PunchName("a"),
        control=CONTROL,
        answered_at=100.0,
        has_report=True,
        observed=OWN,
        mapping=ours,
        partner=Partner(address=THEIRS, mapping=theirs),
    )


def without_control() -> Evidence:
    return Evidence(name=PunchName("a"), control=CONTROL)


def test_silence_is_no_control() -> None:
    found = diagnose(without_control(), 100.0)
    assert found.cause is Cause.NO_CONTROL
    assert str(CONTROL) in found.text


def test_control_that_answers_strangers_only_has_another_secret() -> None:
    seen = attrs.evolve(without_control(), stranger_answered=True)
    assert diagnose(seen, 100.0).cause is Cause.WRONG_SECRET


def test_wrongly_signed_datagrams_and_nothing_else_mean_another_secret() -> None:
    seen = attrs.evolve(without_control(), wrong_signatures=1)
    assert diagnose(seen, 100.0).cause is Cause.WRONG_SECRET


def test_control_that_stopped_answering_is_gone_after_a_while() -> None:
    assert diagnose(evidence(), 130.0).cause is not Cause.NO_CONTROL
    found = diagnose(evidence(), 130.1)
    assert (found.cause, "any more" in found.text) == (Cause.NO_CONTROL, True)


def test_an_absent_partner_is_named() -> None:
    found = diagnose(attrs.evolve(evidence(), partner=None), 100.0)
    assert (found.cause, "partner b" in found.text) == (Cause.PARTNER_ABSENT, True)


@pytest.mark.parametrize(
    ("ours", "theirs", "side"),
    [
        (VARIES, STABLE, Side.OURS),
        (VARIES, UNKNOWN, Side.OURS),
        (NONE, VARIES, Side.PARTNERS),
        (VARIES, VARIES, Side.BOTH),
        (UNKNOWN, STABLE, Side.OURS),
        (STABLE, PORTS, Side.PARTNERS),
        (PORTS, PORTS, Side.UNKNOWN),
        (UNKNOWN, UNKNOWN, Side.UNKNOWN),
    ],
)
def test_a_symmetric_nat_is_where_it_was_seen_or_where_it_was_not_ruled_out(
    ours: NatMapping, theirs: NatMapping, side: Side
) -> None:
    found = diagnose(evidence(ours, theirs), 100.0)
    assert (found.cause, found.side) == (Cause.SYMMETRIC_NAT, side)
    assert ("suspected" in found.text) is (VARIES not in (ours, theirs))
    assert (str(OWN) in found.text) is (side is not Side.PARTNERS)
    assert (str(THEIRS) in found.text) is (side is not Side.OURS)


@pytest.mark.parametrize("ours", [NONE, STABLE])
@pytest.mark.parametrize("theirs", [NONE, STABLE])
def test_where_no_nat_changes_ports_something_else_is_in_the_way(ours: NatMapping, theirs: NatMapping) -> None:
    found = diagnose(evidence(ours, theirs), 100.0)
    assert (found.cause, found.side) == (Cause.UNREACHABLE, None)


def test_a_partner_that_is_heard_is_reached_one_way() -> None:
    found = diagnose(attrs.evolve(evidence(VARIES, VARIES), heard=True), 100.0)
    assert (found.cause, "do not arrive there" in found.text) == (Cause.UNREACHABLE, True)


def test_a_partner_with_another_secret_is_named() -> None:
    found = diagnose(attrs.evolve(evidence(), wrong_signatures=3), 100.0)
    assert (found.cause, str(THEIRS) in found.text) == (Cause.WRONG_SECRET, True)
