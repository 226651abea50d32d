"""A NAT in the words of RFC 4787: what it makes of a datagram's addresses, as a function of what passed before.

A mapping joins an inside address and port to an outside one; what it is made for beside those (`mapping`) decides
whether two destinations see the same. It also holds whom the inside has contacted through it, which decides
(`filtering`) who may send in. Both lapse `lifetime` seconds after their last use. A stateful firewall is the same
table without translation, so both are here. Put in series (a carrier's NAT around a home's) by calling one with what
the other returned.

No socket, no clock. A port of chance is drawn from the seed, the mapping's key and how many mappings that key has had,
so it does not depend on what else passed.
"""

import enum
from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from math import inf
from random import Random

import attrs

from connet_trio.records.model import AddressPort

FIRST_PORT, LAST_PORT = 1024, 65_535
"""The outside ports that chance may give."""


class Dependence(enum.Enum):
    """How much of the other side's address makes a difference (RFC 4787 sections 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class PortAllocation(enum.Enum):
    """Which outside port a mapping gets (RFC 4787 section 4.2)."""

    PRESERVED = "the inside port, another one only while that is taken"
    RANDOM = "random"


@attrs.frozen(kw_only=True)
class NatBehavior:
    """How a NAT behaves; by default as Linux does, and with it most home routers."""

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    """What a new mapping is made for, beside the inside address and port."""
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    """Who may send in: anybody, those at a contacted address, those at a contacted address and port."""
    ports: PortAllocation = PortAllocation.PRESERVED
    hairpinning: bool = False
    """Whether the inside can reach itself by outside addresses; the filter applies as it does to strangers."""
    lifetime: float = attrs.field(default=120.0, validator=attrs.validators.gt(0.0))
    """Seconds without use after which a mapping, or a contact of it, is gone."""
    inbound_refreshes: bool = True
    """Whether what comes in counts as use (RFC 4787 REQ-6); what goes out always does."""
    translates: bool = True
    """Whether it has an outside address of its own; a firewall only filters."""
    blocks: bool = False
    """Whether its router drops all UDP, either way, as many guest networks do."""


OPEN: NatBehavior | None = None
"""No NAT at all."""
FULL_CONE = NatBehavior(filtering=Dependence.ENDPOINT_INDEPENDENT)
ADDRESS_RESTRICTED = NatBehavior(filtering=Dependence.ADDRESS_DEPENDENT)
PORT_RESTRICTED = NatBehavior()
ADDRESS_SYMMETRIC = NatBehavior(mapping=Dependence.ADDRESS_DEPENDENT, ports=PortAllocation.RANDOM)
"""One port for each destination address."""
SYMMETRIC = NatBehavior(mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT, ports=PortAllocation.RANDOM)
"""One port for each destination address and port."""
FIREWALL = NatBehavior(translates=False)
"""Public addresses behind a stateful filter."""
UDP_BLOCKED = NatBehavior(translates=False, blocks=True)
"""Nothing gets through."""

_Part = IPv4Address | IPv6Address | AddressPort | None
_Key = tuple[AddressPort, _Part]


@attrs.define
class _Mapping:
    key: _Key
    outside: AddressPort
    expires: float = -inf
    contacts: dict[_Part, float] = attrs.field(factory=dict)
    """What of a contacted address the filter looks at, and until when it lets that in."""


class Nat:
    """One NAT, or one stateful firewall. Times are seconds on a clock of the caller's that never goes back."""

    def __init__(self, behavior: NatBehavior, luck: Random, address: IPv4Address | None = None) -> None:
        """
        Args:
          address: the outside address, needed by a behavior that translates.

        Raises:
          ValueError: it has none.
        """
        if behavior.translates and address is None:
            raise ValueError("a NAT that translates needs an outside address")
        self.behavior = behavior
        self._address = address
        self._seed = luck.getrandbits(64)
        self._by_key: dict[_Key, _Mapping] = {}
        self._by_outside: dict[AddressPort, _Mapping] = {}
        self._made: Counter[_Key] = Counter()

    @property
    def address(self) -> IPv4Address | None:
        """The outside address; None for a firewall without one."""
        return self._address

    def outbound(self, source: AddressPort, destination: AddressPort, now: float) -> AddressPort:
        """Pass a datagram from inside; makes or refreshes its mapping. Returns the source the outside sees.

        Raises:
          ValueError: an IPv6 source, which a NAT that translates has no outside address for.
        """
        if not self.behavior.translates:
            key: _Key = source, None
        elif isinstance(source.address, IPv6Address):
            raise ValueError(f"cannot translate {source}: only IPv4 is")
        else:
            key = source, _part(destination, self.behavior.mapping)
        mapping = self._by_key.get(key)
        if mapping is None or mapping.expires <= now:
            mapping = self._add(key, now)
        mapping.expires = now + self.behavior.lifetime
        mapping.contacts[_part(destination, self.behavior.filtering)] = mapping.expires
        return mapping.outside

    def inbound(self, destination: AddressPort, source: AddressPort, now: float) -> AddressPort | None:
        """Pass a datagram from outside.

        Args:
          destination: where the outside sent it, an outside address and port.

        Returns:
          Where it goes inside; None when no mapping lets it in.
        """
        mapping = self._by_outside.get(destination)
        contact = _part(source, self.behavior.filtering)
        if mapping is None or mapping.contacts.get(contact, -inf) <= now:  # no contact outlives its mapping
            return None
        if self.behavior.inbound_refreshes:
            mapping.expires = mapping.contacts[contact] = now + self.behavior.lifetime
        return mapping.key[0]

    def inside_of(self, outside: AddressPort, now: float) -> AddressPort | None:
        """The inside address and port behind an outside one, whoever asks; passes nothing and refreshes nothing."""
        if not self.behavior.translates:
            return outside
        mapping = self._by_outside.get(outside)
        return None if mapping is None or mapping.expires <= now else mapping.key[0]

    def forget(self) -> None:
        """Drop every mapping, as a reboot does; ports of chance are drawn anew."""
        self._by_key.clear()
        self._by_outside.clear()

    def change_address(self, address: IPv4Address) -> None:
        """Take another outside address, as from a new lease; what was mapped to the old one is dropped."""
        self.forget()
        self._address = address

    def _add(self, key: _Key, now: float) -> _Mapping:
        for mapping in [mapping for mapping in self._by_key.values() if mapping.expires <= now]:
            del self._by_key[mapping.key], self._by_outside[mapping.outside]
        number = self._made[key]
        self._made[key] += 1
        added = _Mapping(key, self._choose_outside(key, number))
        self._by_key[key] = self._by_outside[added.outside] = added
        return added

    def _choose_outside(self, key: _Key, number: int) -> AddressPort:
        inside = key[0]
        if not self.behavior.translates:
            return inside
        assert self._address is not None
        preserved = AddressPort(self._address, inside.port)
        if self.behavior.ports is PortAllocation.PRESERVED and preserved not in self._by_outside:
            return preserved
        luck = Random(f"{self._seed}{inside}{key[1]}{number}")
        for _ in range(LAST_PORT - FIRST_PORT):
            outside = AddressPort(self._address, luck.randint(FIRST_PORT, LAST_PORT))
            if outside not in self._by_outside:
                return outside
        raise RuntimeError(f"{self._address} has no outside port left for {inside}")


def _part(other: AddressPort, dependence: Dependence) -> _Part:
    match dependence:
        case Dependence.ENDPOINT_INDEPENDENT:
            return None
        case Dependence.ADDRESS_DEPENDENT:
            return other.address
        case Dependence.ADDRESS_AND_PORT_DEPENDENT:
            return other
