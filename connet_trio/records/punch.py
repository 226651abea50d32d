"""What is said to open a hole between two hosts behind NATs: netpunch's messages, and what our own nodes add.

The additions are such that netpunch ignores them: a message that begins with a letter it does not know, or that goes on
behind the one letter it looks at.
"""

import enum

import attrs

from connet_trio.records.model import AddressPort, HostPort

_LETTER = attrs.validators.matches_re("[a-z]")
_ROOM = attrs.validators.matches_re("[A-Za-z0-9._-]{0,64}")
_SESSION = attrs.validators.matches_re("[0-9a-f]{16}")
_SESSION_OR_NONE = attrs.validators.matches_re("([0-9a-f]{16})?")


@attrs.frozen
class PunchName:
    """One side of a pair: `a`, or with our own control node also `office/a`, a letter in a room.

    Letters are paired by their number's lowest bit, in each room: a-b, c-d, … y-z.
    """

    letter: str = attrs.field(validator=_LETTER)
    room: str = attrs.field(default="", validator=_ROOM)

    @classmethod
    def parse(cls, text: str) -> "PunchName":
        """The name written `LETTER` or `ROOM/LETTER`.

        Raises:
          ValueError: it is neither.
        """
        room, slash, letter = text.rpartition("/")
        if slash and not room:
            raise ValueError("the room has no name")
        return cls(letter, room)

    @property
    def partner(self) -> "PunchName":
        """The other side of the pair."""
        return attrs.evolve(self, letter=chr(ord("a") + ((ord(self.letter) - ord("a")) ^ 1)))

    @property
    def chooses(self) -> bool:
        """Whether this side picks the path when both are ours: a, c, e, … do."""
        return self.letter < self.partner.letter

    def __str__(self) -> str:
        return f"{self.room}/{self.letter}" if self.room else self.letter


class NatMapping(enum.Enum):
    """What control has seen of the way a NAT gives out ports (RFC 4787 section 4.1)."""

    UNKNOWN = "unknown"
    """Seen through one of control's addresses only."""
    NONE = "none"
    """There is no NAT: the address seen is one of the host's own."""
    STABLE_FOR_PORTS = "stable-for-ports"
    """One port for two ports of one address of control; towards another address it may still be another."""
    STABLE = "stable"
    """One port for two addresses of control, so that the partner will see it too."""
    VARIES = "varies"
    """Another port towards each: a symmetric NAT."""


# --- netpunch's own messages


@attrs.frozen
class Registration:
    """Peer to control: this address is `letter`'s."""

    letter: str = attrs.field(validator=_LETTER)


@attrs.frozen
class Introduction:
    """Control to peer: the partner's letter, and where it was last seen."""

    letter: str
    address: AddressPort


@attrs.frozen
class Ping:
    """Peer to peer, the first of three. `sender` is a session of ours, empty from netpunch and towards it."""

    sender: str = attrs.field(default="", validator=_SESSION_OR_NONE)


@attrs.frozen
class Pong:
    """The answer to a ping; `receiver` is the session it answers."""

    sender: str = attrs.field(default="", validator=_SESSION_OR_NONE)
    receiver: str = attrs.field(default="", validator=_SESSION_OR_NONE)


@attrs.frozen
class Close:
    """The answer to a pong: the hole is open both ways. Between our own, the chosen path, and the answer to that."""

    sender: str = attrs.field(default="", validator=_SESSION_OR_NONE)
    receiver: str = attrs.field(default="", validator=_SESSION_OR_NONE)


# --- what our own nodes add


@attrs.frozen(kw_only=True)
class Enrolment:
    """Peer to control: a registration that is always answered, with a report."""

    name: PunchName
    session: str = attrs.field(validator=_SESSION)
    """Drawn anew by each run, so that nothing of an earlier run counts."""
    candidates: tuple[AddressPort, ...] = ()
    """Addresses of the peer's own interfaces."""


@attrs.frozen(kw_only=True)
class Partner:
    """The other side as control knows it."""

    address: AddressPort
    session: str = attrs.field(default="", validator=_SESSION_OR_NONE)
    """Empty for a peer that speaks netpunch only."""
    mapping: NatMapping = NatMapping.UNKNOWN
    candidates: tuple[AddressPort, ...] = ()
    """Its own addresses, told only to who is behind the same NAT."""


@attrs.frozen(kw_only=True)
class Report:
    """Control to peer: all it knows; also sent unasked when something of it has changed."""

    session: str = attrs.field(validator=_SESSION)
    """The receiver's."""
    observed: AddressPort
    """Where the receiver is seen."""
    mapping: NatMapping = NatMapping.UNKNOWN
    """What its NAT was seen to do."""
    second: HostPort | None = None
    """Another UDP address of control, to enrol at as well; an empty host is the one already known."""
    partner: Partner | None = None
    """None while it is absent."""


@attrs.frozen
class StrangerQuestion:
    """Peer to control, signed with a key that everybody knows: is there anybody, though our secret may be wrong?"""


@attrs.frozen
class StrangerAnswer:
    """There is. Nothing else is told to strangers."""


ToControl = Registration | Enrolment | StrangerQuestion
ToPeer = Introduction | Ping | Pong | Close | Report | StrangerAnswer
PunchMessage = ToControl | ToPeer
