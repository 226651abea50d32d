"""Client: at which addresses others may reach us, and at which of theirs to try them (protocol section 7.1).

What is announced is whatever might help somebody. What is dialled is put in order: every entry of a peer's list is that
peer's claim, most cannot be reached from here, and the one that works should not have to wait for those that cannot.
"""

import enum
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import islice

import attrs

from connet_trio.records.model import AddressPort

MAX_HOST_ADDRESSES = 32
"""Of our own addresses: more than a machine's real networks, fewer than its containers may add."""

MAX_CANDIDATES = 64
"""Of one remote peer: nobody makes us send to more places at its word."""

MAX_ZONES = 4
"""Interfaces on which one link-local address is tried."""

_PRIVATE_NETWORKS = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # carriers inside their NAT (RFC 6598), and overlay networks
        "fc00::/7",  # RFC 4193
    )
)
"""Not `ipaddress.is_private`: the documentation networks are what simulated and namespaced internets are made of."""

_BROADCAST = IPv4Address("255.255.255.255")
_EVERY_ADDRESS = IPv6Address("::")


@attrs.frozen(kw_only=True)
class InterfaceAddress:
    """One address of one interface of this machine."""

    address: IPv4Address | IPv6Address
    prefix_bits: int
    """How many leading bits name the network it is in."""
    interface: str
    """The interface's name."""
    index: int = 0
    """The interface's number: the zone of its link-local IPv6 addresses; 0 when unknown."""


@attrs.frozen
class Candidate:
    """Somewhere a peer may be reached (RFC 8445's candidate, as the other side sees it)."""

    address: AddressPort
    zone: int = 0
    """Through which interface, by number: a link-local IPv6 address means nothing without; 0 for all others."""

    def __str__(self) -> str:
        if not self.zone:
            return str(self.address)
        return f"[{self.address.address}%{self.zone}]:{self.address.port}"


def host_addresses(
    interfaces: Iterable[InterfaceAddress], port: int, bound: IPv4Address | IPv6Address | None
) -> tuple[AddressPort, ...]:
    """Our own addresses as they are announced, at most `MAX_HOST_ADDRESSES`: public, then private, then link-local.

    The order does not depend on that of `interfaces`, so that an operating system that lists them differently each
    time is no reason to announce anew. Within a kind it is that of the interfaces' numbers, since containers and
    bridges come after the cards.

    Args:
      port: the one the socket is really bound to.
      bound: what the socket is bound to: one address is all that is announced then (nothing, when it is a loopback
        one), `0.0.0.0` means every IPv4 address, `::` and None mean all.
    """
    bound = _unmapped(bound)
    if bound is not None and not bound.is_unspecified:
        return () if _reaches_nobody(bound) else (AddressPort(bound, port),)
    interfaces = tuple(interfaces)
    loopbacks = _loopback_interfaces(interfaces)
    announced = [
        interface
        for interface in interfaces
        if not _reaches_nobody(interface.address)
        and _sends_from(bound, interface.address)
        and not (interface.address.is_link_local and interface.interface in loopbacks)  # macOS: fe80::1 on lo0
    ]
    announced.sort(key=_announcement_order)
    places = dict.fromkeys(AddressPort(interface.address, port) for interface in announced)
    return tuple(islice(places, MAX_HOST_ADDRESSES))


def network_addresses(
    interfaces: Iterable[InterfaceAddress], bound: IPv4Address | IPv6Address | None
) -> frozenset[IPv4Address | IPv6Address]:
    """Our addresses that mean something beyond one link, of the families a socket bound to `bound` sends in.

    When they change, whoever knows our address from outside probably knows an old one: also when the socket is bound to
    one address and another came, since that may have brought another route.
    """
    bound = _unmapped(bound)
    addresses = (interface.address for interface in interfaces)
    return frozenset(
        address
        for address in addresses
        if not _reaches_nobody(address) and not address.is_link_local and _sends_from(bound, address)
    )


def announced_addresses(
    public: AddressPort | None, mapped: Iterable[AddressPort], host: Iterable[AddressPort]
) -> tuple[AddressPort, ...]:
    """Everything others are told, in the order of section 7.1, each place once and in its own family (trap T15).

    Args:
      public: our address as control saw it, None before it has.
      mapped: what the gateway forwards to us.
      host: `host_addresses`.
    """
    observed = () if public is None else (public,)
    return tuple(dict.fromkeys(place.unmapped for place in (*observed, *mapped, *host)))


def dial_order(
    directs: Iterable[AddressPort], interfaces: Iterable[InterfaceAddress], public: AddressPort | None
) -> tuple[Candidate, ...]:
    """Where to try a remote peer, best first, each place once, at most `MAX_CANDIDATES`.

    1. Networks we have an interface in, and loopback where it is allowed (below): nothing is nearer. An address that is
       ours too does not count as such, since another machine's bridges are often numbered as ours are.
    2. Public ones: what an open or a punched path uses.
    3. Private ones of networks we are not in: a route may lead there. When the peer is behind our NAT (it has the
       address of our `public`) they go before the public ones, which only few NATs turn back inside.
    4. Link-local IPv6, which says too little to be tried early: it comes without its zone, so that each of our
       links is a guess. At most `MAX_ZONES` of them.

    Those of a family in which we have no address follow after all others, in the same order: what a list of interfaces
    says is no proof. Left out is what no peer can be at (port 0; unspecified, multicast and broadcast addresses), IPv4
    link-local addresses when we have none, and loopback, unless control sees us at a loopback address: then it is on
    this machine, and so may be the peer.

    Args:
      directs: as the peer announced them.
      interfaces: ours.
      public: our address as control saw it, None before it has.
    """
    here = _Standpoint.of(tuple(interfaces), None if public is None else public.unmapped)
    places = dict.fromkeys(place.unmapped for place in directs)
    is_behind_our_nat = any(place.address == here.public for place in places)
    ranked = sorted(
        (place for place in places if place.port and here.can_try(place.address)),
        key=lambda place: here.rank(place.address, is_behind_our_nat=is_behind_our_nat),
    )
    candidates = (candidate for place in ranked for candidate in here.candidates(place))
    return tuple(islice(candidates, MAX_CANDIDATES))


class _Kind(enum.Enum):
    NEAR = enum.auto()
    PUBLIC = enum.auto()
    PRIVATE = enum.auto()
    LINK_LOCAL = enum.auto()


_USUAL_ORDER = (_Kind.NEAR, _Kind.PUBLIC, _Kind.PRIVATE, _Kind.LINK_LOCAL)
_ORDER_BEHIND_ONE_NAT = (_Kind.NEAR, _Kind.PRIVATE, _Kind.PUBLIC, _Kind.LINK_LOCAL)


@attrs.frozen(kw_only=True)
class _Standpoint:
    """From where we dial."""

    own: frozenset[IPv4Address | IPv6Address]
    networks: tuple[IPv4Network | IPv6Network, ...]
    """Those of our interfaces, without link-local IPv6, which is the same on every link."""
    zones: tuple[int, ...]
    """Numbers of the interfaces on which link-local IPv6 may reach somebody."""
    families: frozenset[int]
    """IP versions in which we have an address that is good beyond a link."""
    public: IPv4Address | IPv6Address | None

    @classmethod
    def of(cls, interfaces: tuple[InterfaceAddress, ...], public: AddressPort | None) -> "_Standpoint":
        address = None if public is None else public.address
        reaching = network_addresses(interfaces, None) | (set() if address is None else {address})
        return cls(
            own=frozenset(interface.address for interface in interfaces),
            networks=tuple(dict.fromkeys(network for each in interfaces for network in _network(each))),
            zones=_zones(interfaces),
            families=frozenset(reached.version for reached in reaching),
            public=address,
        )

    def can_try(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether a peer may be at `address`."""
        if address.is_loopback:
            return self.public is not None and self.public.is_loopback
        if isinstance(address, IPv4Address) and address.is_link_local:
            return any(own.version == 4 and own.is_link_local for own in self.own)
        return not _reaches_nobody(address)

    def rank(self, address: IPv4Address | IPv6Address, *, is_behind_our_nat: bool) -> tuple[bool, int]:
        """Smaller is tried sooner."""
        kind = self._kind(address)
        order = _ORDER_BEHIND_ONE_NAT if is_behind_our_nat else _USUAL_ORDER
        # what is near or on a link has been let in because we have an address there
        is_family_missing = kind in (_Kind.PUBLIC, _Kind.PRIVATE) and address.version not in self.families
        return is_family_missing, order.index(kind)

    def candidates(self, place: AddressPort) -> tuple[Candidate, ...]:
        """`place`, once for each link it may be on."""
        if isinstance(place.address, IPv6Address) and place.address.is_link_local:
            return tuple(Candidate(place, zone) for zone in self.zones)
        return (Candidate(place),)

    def _kind(self, address: IPv4Address | IPv6Address) -> _Kind:
        if address.is_loopback:
            return _Kind.NEAR
        if address not in self.own and any(address in network for network in self.networks):
            return _Kind.NEAR
        if address.is_link_local:
            return _Kind.LINK_LOCAL
        return _Kind.PRIVATE if _is_private(address) else _Kind.PUBLIC


def _network(interface: InterfaceAddress) -> tuple[IPv4Network | IPv6Network, ...]:
    """The network an interface is in; none when that says nothing about who is near."""
    address, bits = interface.address, interface.prefix_bits
    if address.version == 6 and address.is_link_local:
        return ()
    if not 0 < bits <= address.max_prefixlen:  # 0 is how a missing netmask reads, and everything would be near
        return ()
    return (ip_network((address.packed, bits), strict=False),)


def _zones(interfaces: tuple[InterfaceAddress, ...]) -> tuple[int, ...]:
    loopbacks = _loopback_interfaces(interfaces)
    numbered = {
        interface.index
        for interface in interfaces
        if interface.address.version == 6
        and interface.address.is_link_local
        and interface.index > 0
        and interface.interface not in loopbacks
    }
    # the host's end of a container has a link-local address and no other
    networked = {interface.index for interface in interfaces if not interface.address.is_link_local}
    return tuple(sorted(numbered, key=lambda index: (index not in networked, index))[:MAX_ZONES])


def _loopback_interfaces(interfaces: tuple[InterfaceAddress, ...]) -> frozenset[str]:
    return frozenset(interface.interface for interface in interfaces if interface.address.is_loopback)


def _announcement_order(interface: InterfaceAddress) -> tuple[int, int, int, bytes]:
    address = interface.address
    kind = 2 if address.is_link_local else 1 if _is_private(address) else 0
    return kind, interface.index, address.version, address.packed


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE_NETWORKS)


def _reaches_nobody(address: IPv4Address | IPv6Address) -> bool:
    """Whether no other machine can be at `address`."""
    return address.is_loopback or address.is_unspecified or address.is_multicast or address == _BROADCAST


def _sends_from(bound: IPv4Address | IPv6Address | None, address: IPv4Address | IPv6Address) -> bool:
    """Whether a socket bound to `bound` sends in the family of `address`; `::` is taken to be of both."""
    return bound is None or bound == _EVERY_ADDRESS or bound.version == address.version


def _unmapped(bound: IPv4Address | IPv6Address | None) -> IPv4Address | IPv6Address | None:
    return None if bound is None else AddressPort(bound, 0).unmapped.address
