"""Punching: the modes of a peer, and how long it stays in each (netpunch protocol section 5.1)."""

import enum
from collections.abc import Mapping
from types import MappingProxyType

import attrs


class Mode(enum.Enum):
    """What a peer is doing."""

    DISCOVERING = "discovering"
    PINGING = "pinging"
    PONGING = "ponging"
    CLOSING = "closing"
    CONFIRMING = "confirming"
    """Closing towards one of our own, which answers."""
    LINGERING = "lingering"
    """Done, and there for a partner whose closes, or ours, were lost."""
    SLEEPING = "sleeping"
    DONE = "done"


@attrs.frozen
class Pace:
    """How often a mode sends, and how long it waits after each time."""

    tries: int
    gap_seconds: float
    next_mode: Mode


PACES: Mapping[Mode, Pace] = MappingProxyType(
    {
        Mode.DISCOVERING: Pace(5, 0.1, Mode.SLEEPING),
        Mode.PINGING: Pace(20, 0.1, Mode.SLEEPING),  # as netpunch has it, and once more: a satellite is far
        Mode.PONGING: Pace(10, 0.1, Mode.SLEEPING),
        Mode.CLOSING: Pace(5, 0.02, Mode.LINGERING),
        Mode.CONFIRMING: Pace(20, 0.05, Mode.DONE),
        Mode.LINGERING: Pace(1, 0.3, Mode.DONE),  # three pongs of netpunch
        Mode.SLEEPING: Pace(1, 10.0, Mode.DISCOVERING),  # netpunch's 30 s outlive many a NAT's mapping
    }
)
