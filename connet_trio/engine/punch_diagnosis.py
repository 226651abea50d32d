"""Punching: why there is no hole, from what a peer has seen.

Two hosts can be joined unless the mapping of one NAT depends on the destination and the other side filters by port: the
one side is then never where the other expects it. Control sees a mapping that varies when a peer writes to two of its
addresses. What was seen on neither side is a suspicion by elimination, and says so.
"""

import enum
from math import inf

import attrs

from connet_trio.records.model import AddressPort
from connet_trio.records.punch import NatMapping, Partner, PunchName

CONTROL_LOST_SECONDS = 30.0
"""Silence after which control is given up for gone: more than two rounds of a peer that gets no hole."""


class Cause(enum.Enum):
    """What stands in the way."""

    NO_CONTROL = "no-control"
    WRONG_SECRET = "wrong-secret"
    PARTNER_ABSENT = "partner-absent"
    SYMMETRIC_NAT = "symmetric-nat"
    UNREACHABLE = "unreachable"
    """Nothing of the above: something on the way drops UDP, or the partner has gone."""


class Side(enum.Enum):
    """Whose NAT it is."""

    OURS = "ours"
    PARTNERS = "partners"
    BOTH = "both"
    UNKNOWN = "unknown"
    """One of them, and control cannot tell which."""


@attrs.frozen
class Diagnosis:
    """Why there is no hole."""

    cause: Cause
    text: str
    """For people: what was seen, and what to do."""
    side: Side | None = None
    """With a symmetric NAT."""


@attrs.define(kw_only=True)
class Evidence:
    """What one peer has seen so far. Times are seconds, monotonic."""

    name: PunchName
    control: AddressPort
    answered_at: float = -inf
    """When control last answered."""
    has_report: bool = False
    """Whether control is one of ours."""
    stranger_answered: bool = False
    """Whether control is there, but has answered only to what needs no secret."""
    observed: AddressPort | None = None
    mapping: NatMapping = NatMapping.UNKNOWN
    partner: Partner | None = None
    wrong_signatures: int = 0
    """Datagrams of control or of the partner whose signature is not ours."""
    heard: bool = False
    """Whether the partner's datagrams arrive."""


def diagnose(evidence: Evidence, now: float) -> Diagnosis:
    """The likeliest cause, at `now` (seconds, monotonic), if there has been no hole so far."""
    if now - evidence.answered_at > CONTROL_LOST_SECONDS:
        return _without_control(evidence)
    if evidence.partner is None:
        partner = evidence.name.partner
        return Diagnosis(Cause.PARTNER_ABSENT, f"the partner {partner} is absent: control has not heard from it lately")
    if evidence.heard:
        text = f"datagrams of {evidence.partner.address} arrive here, and ours do not arrive there"
        return Diagnosis(Cause.UNREACHABLE, text)
    if evidence.wrong_signatures:
        return Diagnosis(
            Cause.WRONG_SECRET, f"what comes from {evidence.partner.address} is signed with another secret"
        )
    return _without_path(evidence, evidence.partner)


def _without_control(evidence: Evidence) -> Diagnosis:
    control = evidence.control
    if evidence.stranger_answered or (evidence.wrong_signatures and evidence.answered_at == -inf):
        text = f"the control node at {control} is there and does not know our signature: its secret is another"
        return Diagnosis(Cause.WRONG_SECRET, text)
    if evidence.answered_at > -inf:
        return Diagnosis(Cause.NO_CONTROL, f"the control node at {control} does not answer any more")
    silent = "netpunch's own is silent until the partner has come, too, and towards another secret"
    if evidence.name.room:
        silent = "netpunch's own is silent towards longer names, ours when it is hidden and the secret is another"
    return Diagnosis(Cause.NO_CONTROL, f"no answer from a control node at {control}: nothing there ({silent})")


def _without_path(evidence: Evidence, partner: Partner) -> Diagnosis:
    here = "here" if evidence.observed is None else f"here (seen at {evidence.observed})"
    there = f"at the partner's (seen at {partner.address})"
    sides = {Side.OURS: (evidence.mapping, here), Side.PARTNERS: (partner.mapping, there)}
    varying = {side: place for side, (mapping, place) in sides.items() if mapping is NatMapping.VARIES}
    if varying:
        places = " and ".join(varying.values())
        text = f"symmetric NAT {places}: another port towards each destination, which the other side does not let in"
        return Diagnosis(Cause.SYMMETRIC_NAT, text, _one_of(tuple(varying)))
    doubtful = {
        side: place
        for side, (mapping, place) in sides.items()
        if mapping in (NatMapping.UNKNOWN, NatMapping.STABLE_FOR_PORTS)
    }
    if not doubtful:
        text = f"nothing comes through from {partner.address}, though neither NAT changes ports: a firewall on the way?"
        return Diagnosis(Cause.UNREACHABLE, text)
    text = (
        f"a symmetric NAT is suspected {' or '.join(doubtful.values())}, as nothing comes through; {_doubt(evidence)}"
    )
    return Diagnosis(Cause.SYMMETRIC_NAT, text, _only(tuple(doubtful)))


def _doubt(evidence: Evidence) -> str:
    if evidence.has_report:
        return "a control node with a second IP address could tell"
    return "netpunch's control node cannot tell, nor that the partner has left"


def _one_of(sides: tuple[Side, ...]) -> Side:
    return sides[0] if len(sides) == 1 else Side.BOTH


def _only(sides: tuple[Side, ...]) -> Side:
    return sides[0] if len(sides) == 1 else Side.UNKNOWN
