"""Realms of a simulated network, and the routers between them.

A realm is a network whose members reach each other directly: the internet, or the inside of a router. An address is
unique in its realm only; what a router does not translate is also known outside.
"""

from ipaddress import IPv4Address, IPv6Address

import attrs

from connet_trio.records.model import AddressPort
from connet_trio.testing.nat import Nat

Address = IPv4Address | IPv6Address


@attrs.define(eq=False)
class Realm:
    """A network in which addresses are unique."""

    router: "Router | None" = None
    """The way out; the internet has none."""
    members: dict[Address, object] = attrs.field(factory=dict)
    """Hosts, and routers for themselves and for what is known through them."""

    def add(self, address: Address, member: object) -> None:
        """Give `address` to `member`, and through every router that does not translate it make that known outside.

        Raises:
          ValueError: somebody has it.
        """
        holder = self.holder(address)
        if holder is not None:
            raise ValueError(f"{address} is in use by {holder}")
        outer = self._outer(address)
        if outer is not None:
            outer.realm.add(address, outer)
        self.members[address] = member

    def holder(self, address: Address) -> object | None:
        """Who has `address`, here or where it would be known as well."""
        outer = self._outer(address)
        return self.members.get(address) or (None if outer is None else outer.realm.holder(address))

    def remove(self, address: Address) -> None:
        """Undo `add`."""
        del self.members[address]
        outer = self._outer(address)
        if outer is not None:
            outer.realm.remove(address)

    def _outer(self, address: Address) -> "Router | None":
        """The router through which an address of this realm is known in the one around it."""
        if self.router is None or address.is_link_local or self.router.translates(address):
            return None
        return self.router


class Router:
    """Joins a realm inside to the one around it; made by `SimulatedNetwork.add_router`."""

    def __init__(self, name: str, realm: Realm, ipv4: Nat | None, ipv6: Nat | None) -> None:
        self.name = name
        self.realm = realm
        """The realm around."""
        self.inside = Realm(self)
        self.ipv4 = ipv4
        """The NAT or firewall for IPv4; None lets everything pass."""
        self.ipv6 = ipv6
        """The firewall for IPv6; None lets everything pass."""
        if self.address is not None:
            realm.add(self.address, self)

    def __repr__(self) -> str:
        return f"<router {self.name}>"

    @property
    def address(self) -> IPv4Address | None:
        """The address its NAT has outside; None without one."""
        return None if self.ipv4 is None else self.ipv4.address

    def translates(self, address: Address) -> bool:
        """Whether an inside address like this one is unknown outside."""
        return isinstance(address, IPv4Address) and self.ipv4 is not None and self.ipv4.behavior.translates

    def forget(self) -> None:
        """Reboot: every mapping and every hole of the firewall is gone."""
        for nat in (self.ipv4, self.ipv6):
            if nat is not None:
                nat.forget()

    def change_address(self, address: str) -> None:
        """Take another address outside, as from a new lease; hosts notice only that their mappings are others.

        Raises:
          ValueError: the router has no NAT, or somebody outside has the address.
        """
        if self.ipv4 is None or self.ipv4.address is None:
            raise ValueError(f"{self} has no address to change")
        new, old = IPv4Address(address), self.ipv4.address
        self.realm.add(new, self)
        self.realm.remove(old)
        self.ipv4.change_address(new)

    def outbound(self, source: AddressPort, destination: AddressPort, now: float) -> AddressPort | None:
        """Pass a datagram out; returns its source as seen outside, None if it is dropped: UDP blocked, no hairpin."""
        nat = self._for(source)
        if nat is None:
            return source
        if nat.behavior.blocks:
            return None
        if destination.address == nat.address and not nat.behavior.hairpinning:
            return None
        return nat.outbound(source, destination, now)

    def inbound(self, destination: AddressPort, source: AddressPort, now: float) -> AddressPort | None:
        """Pass a datagram in; returns its destination inside, None if nothing lets it in."""
        nat = self._for(destination)
        return destination if nat is None else nat.inbound(destination, source, now)

    def inside_of(self, outside: AddressPort, now: float) -> AddressPort | None:
        """What is behind an outside address and port just now, passing nothing."""
        nat = self._for(outside)
        return outside if nat is None else nat.inside_of(outside, now)

    def _for(self, place: AddressPort) -> Nat | None:
        return self.ipv4 if isinstance(place.address, IPv4Address) else self.ipv6
