"""Punching: one peer, from its registration to a hole that is open both ways (netpunch protocol section 5).

    discovering ──introduction, report──→ pinging ──pong──→ closing ──→ lingering ──→ done     towards netpunch
         ↑                                 │   └──ping──→ ponging ──close──→ done
         │                                 ├──pong──→ confirming ──close──→ done               towards our own
         │                                 └──close──→ lingering ──→ done
         └──── sleeping ←──── when the tries of discovering, pinging or ponging have run out

Each mode sends its messages a number of times with a gap between them (`PACES`). What comes in is answered at once.

With netpunch on the other side there is one address to ping: where the partner was last seen, or where its datagrams
really come from. Who gets a pong closes, who gets a close is done.

When both peers are ours (each has told control, or the other, its session) there may be several addresses, so one side
picks: `PunchName.chooses`. Both ping all of them and answer every ping. The one that picks closes on the first pong;
the other never does, but takes the path on which a close comes, and answers that, so that both know. Pongs and closes
name the sessions they are about; leftovers of an earlier run count for nothing.

Always: a close counts only if it names our session or comes from where we sent something, never before a partner is
known; a datagram that is not the partner's or control's changes nothing and is not answered; the mode never goes
backwards while a hole is closing.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from math import inf

import attrs

from connet_trio.engine.punch_diagnosis import Diagnosis, Evidence, diagnose
from connet_trio.engine.punch_modes import PACES, Mode
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import (
    Close,
    Enrolment,
    Introduction,
    NatMapping,
    Partner,
    Ping,
    Pong,
    PunchMessage,
    PunchName,
    Registration,
    Report,
    StrangerAnswer,
    StrangerQuestion,
    ToPeer,
)

MAX_TARGETS = 16
"""Addresses that are pinged, of one partner."""

LINGER_LIMIT_SECONDS = 2.0
"""How long, at most, a partner that goes on asking keeps us from ending."""

_SETTLED = (Mode.CLOSING, Mode.CONFIRMING, Mode.LINGERING)


@attrs.frozen
class Send:
    """A message to send."""

    message: PunchMessage
    to: AddressPort


@attrs.frozen
class Hole:
    """It is open: this is where the partner is reached from the port that was used."""

    remote: AddressPort


@attrs.frozen
class GivenUp:
    """The time limit has passed."""

    diagnosis: Diagnosis


class Puncher:
    """One peer. Times are seconds, monotonic; every method returns what to send, in this order."""

    def __init__(
        self,
        *,
        name: PunchName,
        control: AddressPort,
        session: str,
        candidates: Sequence[AddressPort] = (),
        now: float,
        time_limit: float | None = None,
    ) -> None:
        """
        Args:
          session: 16 random hexadecimal digits.
          candidates: our own addresses, with the port that is used.
          time_limit: seconds after which to give up; None tries for ever.
        """
        self._name = name
        self._control = control
        self._session = session
        self._enrolment = Enrolment(name=name, session=session, candidates=tuple(candidates))
        self._give_up_at = inf if time_limit is None else now + time_limit
        self._evidence = Evidence(name=name, control=control)
        self._mode = Mode.DISCOVERING
        self._tries = 0
        self._due = now
        self._settled_at = inf
        self._second: AddressPort | None = None
        self._partner_session = ""
        self._targets: dict[AddressPort, None] = {}
        self._hole: AddressPort | None = None
        self.failed_rounds = 0
        """How often the tries have run out without a hole."""

    # --- what has become of it

    @property
    def mode(self) -> Mode:
        """What it is doing."""
        return self._mode

    def outcome(self, now: float) -> Hole | GivenUp | None:
        """None as long as it goes on."""
        if self._mode is Mode.DONE:
            assert self._hole is not None
            return Hole(self._hole)
        if now >= self._give_up_at and self._mode not in _SETTLED:
            return GivenUp(self.diagnosis(now))
        return None

    def diagnosis(self, now: float) -> Diagnosis:
        """The likeliest reason why there is no hole yet."""
        return diagnose(self._evidence, now)

    def next_deadline(self) -> float:
        """When `handle_timer` or `outcome` has something new."""
        return self._due if self._mode in _SETTLED else min(self._due, self._give_up_at)

    # --- events

    def handle_timer(self, now: float) -> Sequence[Send]:
        """Time has passed."""
        if now < self._due or self._mode is Mode.DONE:
            return ()
        pace = PACES[self._mode]
        if self._tries < pace.tries:
            return self._act(now)
        asked: Sequence[Send] = ()
        if pace.next_mode is Mode.SLEEPING:
            self.failed_rounds += 1
            if self._mode is Mode.DISCOVERING and self._evidence.answered_at == -inf:
                asked = (Send(StrangerQuestion(), self._control),)
        return (*asked, *self._enter(pace.next_mode, now))

    def handle_wrong_signature(self, source: AddressPort) -> None:
        """A datagram has come that somebody with another secret, or nobody, has signed. It is never answered."""
        if source == self._control or source in self._targets:
            self._evidence.wrong_signatures += 1

    def handle_stranger_answer(self, source: AddressPort) -> None:
        """Control says that it is there, which it says to everybody."""
        if source == self._control:
            self._evidence.stranger_answered = True

    def handle_message(self, message: ToPeer, source: AddressPort, now: float) -> Sequence[Send]:
        """Something signed has come from `source`."""
        if self._mode is Mode.DONE:
            return ()
        match message:
            case StrangerAnswer():
                return ()  # signed with the secret it tells nothing
            case Introduction():
                return self._handle_introduction(message, now)
            case Report():
                return self._handle_report(message, now)
            case Ping():
                return self._handle_ping(message, source, now)
            case Pong():
                return self._handle_pong(message, source, now)
            case Close():
                return self._handle_close(message, source, now)

    # --- control

    def _handle_introduction(self, message: Introduction, now: float) -> Sequence[Send]:
        if message.letter != self._name.partner.letter or self._name.room or self._evidence.has_report:
            return ()
        self._evidence.answered_at = now
        self._evidence.partner = Partner(address=message.address)
        if self._mode is Mode.PONGING or self._mode in _SETTLED:
            return ()
        if message.address not in self._targets:
            self._targets = {message.address: None}
        elif self._mode is Mode.PINGING:
            return ()
        return self._enter(Mode.PINGING, now)

    def _handle_report(self, message: Report, now: float) -> Sequence[Send]:
        if message.session != self._session:
            return ()
        evidence = self._evidence
        evidence.has_report, evidence.answered_at = True, now
        evidence.observed, evidence.mapping, evidence.partner = message.observed, message.mapping, message.partner
        sends = self._learn_second(message.second)
        if self._mode in _SETTLED:
            return sends
        if message.partner is not None:
            return (*sends, *self._meet(message.partner, now))
        if self._mode is Mode.DISCOVERING and (message.second is None or message.mapping is not NatMapping.UNKNOWN):
            self.failed_rounds += 1
            return (*sends, *self._enter(Mode.SLEEPING, now))  # it will tell when the partner comes
        return sends

    def _learn_second(self, second: HostPort | None) -> Sequence[Send]:
        """Enrol at control's second address as soon as it is known, so that control sees what our NAT makes of us."""
        if second is None or self._second is not None:
            return ()
        self._second = _place(second, self._control)
        return (Send(self._enrolment, self._second),)

    def _meet(self, partner: Partner, now: float) -> Sequence[Send]:
        """The partner as control knows it now."""
        if partner.session != self._partner_session or not partner.session:
            if self._mode is Mode.PONGING and not partner.session:
                return ()
            if partner.session != self._partner_session:
                self._evidence.heard, self._evidence.wrong_signatures = False, 0
            self._partner_session = partner.session
            self._targets = {target: None for target in self._targets if target == partner.address}
        # own addresses first: where a NAT also lets its inside reach itself from outside, the short way answers first
        new = self._add_targets((*partner.candidates, partner.address))
        return self._ping(new) if self._mode is Mode.PINGING else self._enter(Mode.PINGING, now)

    # --- partner

    def _handle_ping(self, message: Ping, source: AddressPort, now: float) -> Sequence[Send]:
        if not self._is_partner(message.sender):
            return self._ask_again(now)
        self._evidence.heard = True
        if self._mode in _SETTLED:
            return self._close_again(source, now)
        if not self._partner_session:
            self._targets = {source: None}
            return self._enter(Mode.PONGING, now)
        new = self._add_targets((source,))
        pong = Send(Pong(self._session, self._partner_session), source)
        if self._mode is Mode.PINGING:
            return (pong, *self._ping(new))
        # a partner that goes on, and does not hear us, must not keep us from being known to control
        return (pong, Send(self._enrolment, self._control), *self._enter(Mode.PINGING, now))

    def _handle_pong(self, message: Pong, source: AddressPort, now: float) -> Sequence[Send]:
        if not self._targets or not self._is_answer(message.sender, message.receiver):
            return ()
        self._evidence.heard = True
        if self._mode in _SETTLED:
            return () if self._partner_session else self._close_again(source, now)
        if self._partner_session and not self._name.chooses:
            return ()
        self._settle(source, now)
        return self._enter(Mode.CONFIRMING if self._partner_session else Mode.CLOSING, now)

    def _handle_close(self, message: Close, source: AddressPort, now: float) -> Sequence[Send]:
        is_expected = bool(message.receiver) or source in self._targets
        if not is_expected or not self._is_answer(message.sender, message.receiver):
            return ()
        has_chosen = self._name.chooses and self._hole is not None
        if not self._partner_session or has_chosen:
            self._hole = self._hole or source
            self._mode = Mode.DONE
            return ()
        self._settle(source, now)
        return (self._close(), *self._linger(now))

    def _is_partner(self, sender: str) -> bool:
        """Whether a ping is of our partner's present run; one of our own makes itself known by its session."""
        if sender and not self._partner_session:
            self._partner_session = sender
        return not sender or sender == self._partner_session

    def _is_answer(self, sender: str, receiver: str) -> bool:
        """Whether a pong or close answers this run."""
        if sender and not self._partner_session and receiver == self._session:
            self._partner_session = sender
        return (sender, receiver) == ((self._partner_session, self._session) if self._partner_session else ("", ""))

    # --- acting

    def _enter(self, mode: Mode, now: float) -> Sequence[Send]:
        self._mode = mode
        self._tries = 0
        if mode is Mode.DONE:
            return ()
        return self._act(now)

    def _act(self, now: float) -> Sequence[Send]:
        """Send what the mode sends, once more."""
        self._tries += 1
        self._due = now + PACES[self._mode].gap_seconds
        match self._mode:
            case Mode.DISCOVERING:
                return self._register()
            case Mode.PINGING:
                return self._ping(self._targets)
            case Mode.PONGING:
                return tuple(Send(Pong(), target) for target in self._targets)
            case Mode.CLOSING | Mode.CONFIRMING:
                return (self._close(),)
            case _:
                return ()

    def _register(self) -> Sequence[Send]:
        sends = [Send(self._enrolment, self._control)]
        if not self._name.room and not self._evidence.has_report:
            sends.append(Send(Registration(self._name.letter), self._control))
        if self._second is not None:
            sends.append(Send(self._enrolment, self._second))
        return sends

    def _ask_again(self, now: float) -> Sequence[Send]:
        """Somebody else's ping, or the partner has started anew: control knows."""
        return self._enter(Mode.DISCOVERING, now) if self._mode is Mode.SLEEPING else ()

    def _ping(self, targets: Iterable[AddressPort]) -> Sequence[Send]:
        return tuple(Send(Ping(self._session if self._partner_session else ""), target) for target in targets)

    def _close(self) -> Send:
        assert self._hole is not None
        receiver = self._partner_session
        return Send(Close(self._session if receiver else "", receiver), self._hole)

    def _close_again(self, source: AddressPort, now: float) -> Sequence[Send]:
        """The partner goes on asking, so our closes were lost."""
        if source != self._hole:
            return ()
        if self._mode is Mode.LINGERING:
            return (self._close(), *self._linger(now))
        return (self._close(),)

    def _linger(self, now: float) -> Sequence[Send]:
        limit = self._settled_at + LINGER_LIMIT_SECONDS
        sends = self._enter(Mode.LINGERING, now)
        self._due = min(self._due, limit)
        return sends

    def _settle(self, hole: AddressPort, now: float) -> None:
        """The path is chosen."""
        if self._settled_at == inf:
            self._settled_at = now
        self._hole = hole
        self._targets[hole] = None

    def _add_targets(self, addresses: Iterable[AddressPort]) -> Sequence[AddressPort]:
        """Ping these too; returns those that are new."""
        new = [address for address in dict.fromkeys(addresses) if address not in self._targets]
        new = new[: MAX_TARGETS - len(self._targets)]
        self._targets.update(dict.fromkeys(new))
        return new


def _place(second: HostPort, control: AddressPort) -> AddressPort:
    """Where control's second address is, for somebody who knows the first."""
    if not second.host:
        return attrs.evolve(control, port=second.port)
    return AddressPort(ip_address(second.host), second.port)
