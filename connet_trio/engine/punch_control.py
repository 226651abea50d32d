"""Punching: the control node (netpunch protocol section 4).

It remembers where each name was last seen, tells that to the partner, and with peers of our own compares what it sees
of them through two of its addresses.

netpunch never forgets and never speaks unasked. Here a record counts for `FRESH_SECONDS`, so that nobody is sent to
somebody who has left; and a peer is told at once when its partner comes or moves, so that both begin
together. Two peers at one address outside are behind one NAT, and are told each other's own addresses.

Always: at most `MAX_RECORDS`; the one seen longest ago gives way.
"""

import enum
from collections.abc import Sequence
from math import inf

import attrs

from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import (
    Enrolment,
    Introduction,
    NatMapping,
    Partner,
    PunchName,
    Registration,
    Report,
    StrangerAnswer,
    StrangerQuestion,
    ToControl,
    ToPeer,
)

FRESH_SECONDS = 90.0
"""How long a record counts: three rounds of netpunch, which registers every 30.5 s while it waits."""

ENROLLED_SECONDS = 2.0
"""Of a peer of our own, registrations that netpunch would send too come this close to its enrolments; a later one is
from another program at the same address."""

MAX_RECORDS = 4096

STRANGERS_AT_ONCE, STRANGERS_PER_SECOND = 20, 5.0
"""How many strangers get an answer; it is no longer than their question."""


class Entrance(enum.Enum):
    """One of the two UDP addresses of a control node."""

    FIRST = "first"
    SECOND = "second"


@attrs.frozen
class Reply:
    """A message to send from an entrance."""

    message: ToPeer
    to: AddressPort
    entrance: Entrance = Entrance.FIRST


@attrs.define(kw_only=True)
class _Record:
    address: AddressPort
    seen_at: float
    session: str = ""
    candidates: tuple[AddressPort, ...] = ()
    enrolled_at: float = -inf
    second_address: AddressPort | None = None


class PunchControl:
    """Who is where. Times are seconds, monotonic."""

    def __init__(self, *, second: HostPort | None = None, answers_strangers: bool = True) -> None:
        """
        Args:
          second: the second entrance as peers are to be told; an empty host is that of the first. None without.
          answers_strangers: whether those with another secret are told that there is somebody.
        """
        self._second = second
        self._answers_strangers = answers_strangers
        self._records: dict[PunchName, _Record] = {}  # in the order of last sight
        self._stranger_credit = float(STRANGERS_AT_ONCE)
        self._credited_at = 0.0

    def handle_message(
        self, message: ToControl, source: AddressPort, now: float, entrance: Entrance
    ) -> Sequence[Reply]:
        """Something signed has come from `source`; returns what to send, in this order."""
        match message:
            case StrangerQuestion():
                return ()  # strangers sign with another key
            case Registration(letter):
                return self._handle_registration(PunchName(letter), source, now) if entrance is Entrance.FIRST else ()
            case Enrolment():
                if entrance is Entrance.FIRST:
                    return self._handle_enrolment(message, source, now)
                return self._handle_second_sight(message, source, now)

    def handle_stranger(self, source: AddressPort, now: float) -> Sequence[Reply]:
        """Somebody without the secret asks whether there is anybody."""
        earned = (now - self._credited_at) * STRANGERS_PER_SECOND
        self._stranger_credit = min(self._stranger_credit + earned, STRANGERS_AT_ONCE)
        self._credited_at = now
        if not self._answers_strangers or self._stranger_credit < 1:
            return ()
        self._stranger_credit -= 1
        return (Reply(StrangerAnswer(), source),)

    def _handle_registration(self, name: PunchName, source: AddressPort, now: float) -> Sequence[Reply]:
        """Netpunch's exchange: an introduction, if the partner is there, and nothing else."""
        known = self._records.get(name)
        if known is not None and known.address == source and now - known.enrolled_at <= ENROLLED_SECONDS:
            record, changed = attrs.evolve(known, seen_at=now), False
        else:
            changed = known is None or known.address != source or bool(known.session)
            record = _Record(address=source, seen_at=now)
        self._remember(name, record)
        partner = self._fresh(name.partner, now)
        if partner is None:
            return ()
        introduction = Reply(Introduction(name.partner.letter, partner.address), source)
        return (introduction, *self._tell_partner(name, now)) if changed else (introduction,)

    def _handle_enrolment(self, message: Enrolment, source: AddressPort, now: float) -> Sequence[Reply]:
        known = self._records.get(message.name)
        changed = known is None or (known.address, known.session) != (source, message.session)
        self._remember(
            message.name,
            _Record(
                address=source,
                seen_at=now,
                session=message.session,
                candidates=message.candidates,
                enrolled_at=now,
                second_address=None if known is None or changed else known.second_address,
            ),
        )
        reports = (Reply(self._report(message.name, now), source),)
        return (*reports, *self._tell_partner(message.name, now)) if changed else reports

    def _handle_second_sight(self, message: Enrolment, source: AddressPort, now: float) -> Sequence[Reply]:
        """The same peer, as seen from the second entrance."""
        record = self._records.get(message.name)
        if record is None or record.session != message.session:
            return ()
        changed = record.second_address != source
        record.second_address = source
        reports = (Reply(self._report(message.name, now), source, Entrance.SECOND),)
        partner = self._fresh(message.name.partner, now)
        if changed and partner is not None and partner.session:  # nothing that netpunch would be told
            return (*reports, *self._tell_partner(message.name, now))
        return reports

    def _tell_partner(self, name: PunchName, now: float) -> Sequence[Reply]:
        """What has changed, to the partner. Netpunch would otherwise sleep on for up to 30 s."""
        partner = self._fresh(name.partner, now)
        if partner is None:
            return ()
        if partner.session:
            return (Reply(self._report(name.partner, now), partner.address),)
        return (Reply(Introduction(name.letter, self._records[name].address), partner.address),)

    def _report(self, name: PunchName, now: float) -> Report:
        record, other = self._records[name], self._fresh(name.partner, now)
        partner = None
        if other is not None:
            partner = Partner(
                address=other.address,
                session=other.session,
                mapping=self._mapping(other),
                candidates=other.candidates if _behind_one_nat(record, other) else (),
            )
        return Report(
            session=record.session,
            observed=record.address,
            mapping=self._mapping(record),
            second=self._second,
            partner=partner,
        )

    def _mapping(self, record: _Record) -> NatMapping:
        if record.address in record.candidates:
            return NatMapping.NONE
        if record.second_address is None:
            return NatMapping.UNKNOWN
        if record.second_address != record.address:
            return NatMapping.VARIES
        assert self._second is not None
        return NatMapping.STABLE if self._second.host else NatMapping.STABLE_FOR_PORTS

    def _fresh(self, name: PunchName, now: float) -> _Record | None:
        record = self._records.get(name)
        return record if record is not None and now - record.seen_at <= FRESH_SECONDS else None

    def _remember(self, name: PunchName, record: _Record) -> None:
        self._records.pop(name, None)
        while len(self._records) >= MAX_RECORDS:
            del self._records[next(iter(self._records))]
        self._records[name] = record


def _behind_one_nat(one: _Record, other: _Record) -> bool:
    return one.address.address == other.address.address and not one.address.address.is_loopback
