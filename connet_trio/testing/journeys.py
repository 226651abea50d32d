"""The way of a datagram through routers: out of the realms it starts in, then into those it is sent to."""

from collections.abc import Callable

import attrs

from connet_trio.records.model import AddressPort
from connet_trio.testing.hosts import Host
from connet_trio.testing.links import Place
from connet_trio.testing.routers import Realm, Router

Admit = Callable[[Router, AddressPort], AddressPort | None]
"""Where a router lets a datagram through to; None keeps it out."""


@attrs.frozen
class Departure:
    """A datagram in the realm where its destination is, or in the outermost one it got to."""

    host: Host
    source: AddressPort
    """As it is seen there."""
    realm: Realm
    places: tuple[Place, ...]
    """What the sending end is called by links and cuts: host, its address, then router and outside address of each."""


@attrs.frozen
class Entrance:
    """Where a datagram ended after its departure: at a host, at nobody's address, or before a router."""

    host: Host | None
    destination: AddressPort
    """As seen there."""
    places: tuple[Place, ...]
    """As those of a departure, the innermost first again."""
    filtered: bool = False


def depart(host: Host, source: AddressPort, destination: AddressPort, now: float) -> Departure | None:
    """Take a datagram out as far as needed, through the routers on the way; None when one drops it.

    What is link-local, or sent from an address that leads nowhere, stays where it is.
    """
    places: list[Place] = [host, source.address]
    if destination.address in host.own.members or not host.leads_out(source.address):
        return Departure(host, source, host.own, tuple(places))
    realm = host.realm
    while destination.address not in realm.members and not destination.address.is_link_local:
        router = realm.router
        if router is None:
            break
        seen = router.outbound(source, destination, now)
        if seen is None:
            return None
        places.append(router)
        if seen.address != source.address:
            places.append(seen.address)
        source, realm = seen, router.realm
    return Departure(host, source, realm, tuple(places))


def enter(realm: Realm, destination: AddressPort, admit: Admit) -> Entrance:
    """Take a datagram from a realm to a host, through every router on the way that admits it."""
    places: list[Place] = [destination.address]
    member = realm.members.get(destination.address)
    while isinstance(member, Router):
        places.append(member)
        inside = admit(member, destination)
        if inside is None:
            return Entrance(None, destination, tuple(reversed(places)), filtered=True)
        if inside.address != destination.address:
            places.append(inside.address)
        destination, member = inside, member.inside.members.get(inside.address)
    if not isinstance(member, Host):
        return Entrance(None, destination, tuple(reversed(places)))
    return Entrance(member, destination, (member, *reversed(places)))
