"""The kinds of access to the internet that a lab can build, and what two of them allow (RFC 4787)."""

import enum
from collections.abc import Mapping

import attrs

from connet_trio.testing.nat import (
    ADDRESS_RESTRICTED,
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    OPEN,
    PORT_RESTRICTED,
    SYMMETRIC,
    Dependence,
    NatBehavior,
    PortAllocation,
)


class NatKind(enum.Enum):
    """What is between a client and the internet."""

    OPEN = "open"
    """Nothing."""
    FULL = "full"
    """Full cone: one mapping for every destination, which lets everybody in."""
    ADDRESS = "addr"
    """One mapping, which lets in the addresses that were written to."""
    PORT = "port"
    """One mapping, which lets in the addresses and ports that were written to: the usual home router."""
    SYMMETRIC = "sym"
    """A mapping with a port of chance for each destination, which lets in that one alone."""
    DOUBLE = "double"
    """A home router behind a carrier's NAT, both as `PORT`."""
    BLOCKED = "blocked"
    """No UDP at all, not even to control."""
    REMAP = "remap"
    """As `PORT`, with an outside port of chance."""
    ADDRESS_SYMMETRIC = "adm"
    """A mapping for each destination address; otherwise as `SYMMETRIC`."""
    FIREWALL = "fw"
    """A public address behind a filter as that of `PORT`."""
    NAIVE = "naive"
    """A Linux router without a word about input: it takes what comes too early for its own, and then has to give the
    inside another port than the one announced."""


USUAL = (
    NatKind.OPEN,
    NatKind.FULL,
    NatKind.ADDRESS,
    NatKind.PORT,
    NatKind.SYMMETRIC,
    NatKind.DOUBLE,
    NatKind.BLOCKED,
)
"""Those of the pictures."""

BEHAVIORS: Mapping[NatKind, NatBehavior | None] = {
    NatKind.OPEN: OPEN,
    NatKind.FULL: FULL_CONE,
    NatKind.ADDRESS: ADDRESS_RESTRICTED,
    NatKind.PORT: PORT_RESTRICTED,
    NatKind.SYMMETRIC: SYMMETRIC,
    NatKind.DOUBLE: PORT_RESTRICTED,
    NatKind.BLOCKED: PORT_RESTRICTED,
    NatKind.REMAP: attrs.evolve(PORT_RESTRICTED, ports=PortAllocation.RANDOM),
    NatKind.ADDRESS_SYMMETRIC: ADDRESS_SYMMETRIC,
    NatKind.FIREWALL: FIREWALL,
    NatKind.NAIVE: PORT_RESTRICTED,
}
"""What each does to a datagram; of `DOUBLE`, each of the two."""

LABELS: Mapping[NatKind, str] = {
    NatKind.OPEN: "open",
    NatKind.FULL: "full cone",
    NatKind.ADDRESS: "address-\nrestricted",
    NatKind.PORT: "port-\nrestricted",
    NatKind.SYMMETRIC: "symmetric",
    NatKind.DOUBLE: "double NAT",
    NatKind.BLOCKED: "UDP blocked",
    NatKind.REMAP: "random port",
    NatKind.ADDRESS_SYMMETRIC: "symmetric\nby address",
    NatKind.FIREWALL: "firewall",
    NatKind.NAIVE: "naive Linux",
}
"""For pictures."""


class Way(enum.Enum):
    """How two clients are connected."""

    DIRECT = "direct"
    RELAY = "relay"
    FAILED = "failed"


class Neighbours(enum.Enum):
    """Two clients behind something they share."""

    ONE_NAT = "one NAT"
    """A home router that does not let its inside reach itself by the outside address."""
    ONE_SYMMETRIC_NAT = "one symmetric NAT"
    ONE_CARRIER = "one carrier"
    """Each at a home of its own, behind one carrier's NAT without hairpinning."""
    ONE_HAIRPINNING_CARRIER = "one carrier, hairpinning"

    @property
    def possible(self) -> Way:
        """The best that is possible."""
        return Way.RELAY if self is Neighbours.ONE_CARRIER else Way.DIRECT


Pair = tuple[NatKind, NatKind] | Neighbours


def possible(one: NatKind, other: NatKind) -> Way:
    """The best that two kinds allow without guessing ports.

    Direct, unless one side's mapping depends on the destination while the other lets in only the ports it has written
    to: then neither ever learns where to write to.
    """
    if NatKind.BLOCKED in (one, other):
        return Way.FAILED
    hopeless = (_varies(one) and _filters_ports(other)) or (_varies(other) and _filters_ports(one))
    return Way.RELAY if hopeless else Way.DIRECT


def _varies(kind: NatKind) -> bool:
    behavior = BEHAVIORS[kind]
    return behavior is not None and behavior.mapping is not Dependence.ENDPOINT_INDEPENDENT


def _filters_ports(kind: NatKind) -> bool:
    behavior = BEHAVIORS[kind]
    return behavior is not None and behavior.filtering is Dependence.ADDRESS_AND_PORT_DEPENDENT
