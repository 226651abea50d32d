"""The hosts of a simulated network: each with the addresses it has at the moment, and sockets that outlive them."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

from connet_trio.engine import InterfaceAddress
from connet_trio.errors import BindFailed
from connet_trio.quic.network_path import NetworkPath
from connet_trio.records.model import AddressPort
from connet_trio.testing.routers import Address, Realm, Router
from connet_trio.testing.sockets import SimulatedSocket

ANY = IPv6Address("::")
UPLINK = "eth0"
"""The interface that leads into the realm. Addresses on any other are the host's own and lead nowhere, as those of
container bridges and idle tunnels do."""
FIRST_INDEX = 2
"""Interface number of the uplink; 1 is the loopback's."""
FIRST_EPHEMERAL_PORT = 49_152
LOOPBACK = (
    InterfaceAddress(address=IPv4Address("127.0.0.1"), prefix_bits=8, interface="lo", index=1),
    InterfaceAddress(address=IPv6Address("::1"), prefix_bits=128, interface="lo", index=1),
)
"""Listed like on every machine, also one that is off the network; nothing is reached there."""


class Carrier(Protocol):
    """The network, as a host sees it."""

    def carry(self, host: "Host", source: AddressPort, destination: AddressPort, data: bytes) -> None:
        """Take a datagram and decide its fate."""


class Host:
    """A machine with any number of addresses and sockets; made by `SimulatedNetwork.host`.

    Addresses are written `192.0.2.1/24`, `2001:db8::1/64`, `172.17.0.1/16%docker0`, or given as `InterfaceAddress`.
    Without a prefix length it is 24 or 64, without an interface it is `UPLINK`.
    """

    def __init__(self, name: str, realm: Realm, addresses: Sequence[str | InterfaceAddress], network: Carrier) -> None:
        self.name = name
        """What it is called in messages, and by what its luck is told from others'."""
        self.own = Realm()
        """What the host reaches without leaving itself: all its addresses."""
        self._realm = realm
        self._network = network
        self._addresses: tuple[InterfaceAddress, ...] = ()
        self._leading_out: frozenset[Address] = frozenset()
        self._ports: dict[int, list[SimulatedSocket]] = {}
        self.set_addresses(*addresses)

    def __repr__(self) -> str:
        return f"<host {self.name}>"

    @property
    def realm(self) -> Realm:
        """Where it is now."""
        return self._realm

    @property
    def router(self) -> Router | None:
        """What it is behind now; None on the internet."""
        return self._realm.router

    def interfaces(self) -> tuple[InterfaceAddress, ...]:
        """What the operating system would list: `LOOPBACK`, then its addresses in the order given."""
        return LOOPBACK + self._addresses

    def index_of(self, address: Address) -> int:
        """The number of the interface with this address of its own; 0 if there is none."""
        return next((own.index for own in self._addresses if own.address == address), 0)

    def leads_out(self, source: Address) -> bool:
        """Whether what is sent from this address of its own may leave the host."""
        return source in self._leading_out

    def set_addresses(self, *addresses: str | InterfaceAddress) -> None:
        """Have these addresses from now on; none for a host that is off the network. Sockets stay.

        What is bound to an address that went is silent until it comes back.

        Raises:
          ValueError: one is no address or there twice, or somebody else has it; nothing is changed then.
        """
        self._move(self._realm, parse_interfaces(addresses))

    def change_uplink(self, behind: Router | None, *addresses: str | InterfaceAddress) -> None:
        """Be behind another router, or on the internet, with these addresses from now on. Otherwise `set_addresses`."""
        self._move(_internet_of(self._realm) if behind is None else behind.inside, parse_interfaces(addresses))

    def socket(self, port: int = 0, address: str | Address = ANY) -> SimulatedSocket:
        """A UDP socket on one of its addresses, or on all (`::`; `0.0.0.0` for every IPv4 one).

        Args:
          port: 0 is the next free one.

        Raises:
          BindFailed: the port is in use, or the address is not one of this host.
        """
        wanted = ip_address(address)
        if not wanted.is_unspecified and wanted not in self.own.members:
            place = AddressPort(wanted, port)
            raise BindFailed(f"cannot listen on UDP {place}: cannot assign requested address")
        if port == 0:
            port = self._free_port(wanted)
        bound = AddressPort(wanted, port)
        if not self._is_free(bound):
            raise BindFailed(f"cannot listen on UDP {bound}: address already in use", in_use=True)
        made = SimulatedSocket(self, bound)
        self._ports.setdefault(port, []).append(made)
        return made

    @property
    def sockets(self) -> tuple[SimulatedSocket, ...]:
        """Those that are open, ordered by port."""
        return tuple(opened for _, row in sorted(self._ports.items()) for opened in row)

    def kill(self) -> None:
        """Let the processes on this host be killed: nothing that their sockets still send is heard, ports are free.

        Their tasks are to be cancelled by whoever runs them.
        """
        for opened in self.sockets:
            opened.abandon()

    def listener(self, destination: AddressPort) -> SimulatedSocket | None:
        """Who takes what arrives at one of its addresses."""
        for candidate in self._ports.get(destination.port, ()):
            if _covers(candidate.local_address.address, destination.address):
                return candidate
        return None

    # --- SocketHost, for sockets

    def source_of(self, bound: AddressPort, path: NetworkPath) -> AddressPort:
        """The source of what a socket bound to `bound` sends on `path`.

        On a wildcard: the address the path says if it is still there, else the one in the network of the remote, else
        the first of the family on the uplink; `bound` itself where there is none.
        """
        if not bound.address.is_unspecified:
            return bound
        for own in self._addresses:
            if own.address.packed == path.local:
                return AddressPort(own.address, bound.port)
        remote = path.remote_address.address
        zone = path.remote[3] if len(path.remote) == 4 else 0
        suitable = [own for own in self._addresses if _suits(own, remote, zone)]
        near = [own for own in suitable if remote in ip_network((own.address, own.prefix_bits), strict=False)]
        far = [own for own in suitable if own.interface == UPLINK]
        chosen = next(iter(near + far), None)
        return bound if chosen is None else AddressPort(chosen.address, bound.port)

    def send(self, source: AddressPort, destination: AddressPort, data: bytes) -> None:
        """Hand a datagram to the network."""
        self._network.carry(self, source, destination, data)

    def release(self, closed: SimulatedSocket) -> None:
        """Take the port of a closed socket back. Idempotent."""
        port = closed.local_address.port
        left = [other for other in self._ports.get(port, ()) if other is not closed]
        if left:
            self._ports[port] = left
        else:
            self._ports.pop(port, None)

    def _move(self, realm: Realm, addresses: tuple[InterfaceAddress, ...]) -> None:
        uplink = [entry.address for entry in addresses if entry.interface == UPLINK]
        for address in uplink:
            holder = realm.holder(address)
            if holder not in (None, self):
                raise ValueError(f"{address} is in use by {holder}")
        for old in self._addresses:
            self.own.remove(old.address)
            if self.leads_out(old.address):
                self._realm.remove(old.address)
        self._realm, self._addresses, self._leading_out = realm, addresses, frozenset(uplink)
        for new in addresses:
            self.own.add(new.address, self)
            if self.leads_out(new.address):
                realm.add(new.address, self)
        for sockets in self._ports.values():
            for each in sockets:
                each.handle_addresses_changed()

    def _is_free(self, bound: AddressPort) -> bool:
        others = [other.local_address.address for other in self._ports.get(bound.port, ())]
        return not any(_covers(other, bound.address) or _covers(bound.address, other) for other in others)

    def _free_port(self, address: Address) -> int:
        for port in range(FIRST_EPHEMERAL_PORT, 65_536):
            if self._is_free(AddressPort(address, port)):
                return port
        raise BindFailed(f"cannot listen on UDP {AddressPort(address, 0)}: no free port", in_use=True)


def parse_interfaces(addresses: Sequence[str | InterfaceAddress]) -> tuple[InterfaceAddress, ...]:
    """Addresses as `Host` takes them, interfaces numbered in the order of their names.

    Raises:
      ValueError: one is no address, or is there twice.
    """
    indexes = {UPLINK: FIRST_INDEX}
    parsed = []
    for entry in addresses:
        if isinstance(entry, str):
            written, _, interface = entry.partition("%")
            host, _, bits = written.partition("/")
            address = ip_address(host)
            index = indexes.setdefault(interface or UPLINK, FIRST_INDEX + len(indexes))
            prefix_bits = int(bits or (24 if isinstance(address, IPv4Address) else 64))
            entry = InterfaceAddress(
                address=address, prefix_bits=prefix_bits, interface=interface or UPLINK, index=index
            )
        parsed.append(entry)
    if len({entry.address for entry in parsed}) < len(parsed):
        raise ValueError("a host has each address once")
    return tuple(parsed)


def _internet_of(realm: Realm) -> Realm:
    while realm.router is not None:
        realm = realm.router.realm
    return realm


def _covers(bound: Address, address: Address) -> bool:
    """Whether a socket bound to one address gets what is sent to another; a wildcard one covers a narrower one."""
    if not bound.is_unspecified:
        return bound == address
    return isinstance(bound, IPv6Address) or isinstance(address, IPv4Address)


def _suits(own: InterfaceAddress, remote: Address, zone: int) -> bool:
    """Whether `remote` can be written to from this address, by the interface `zone` if it is link-local IPv6."""
    if own.address.version != remote.version:
        return False
    if isinstance(remote, IPv6Address) and remote.is_link_local:
        return own.address.is_link_local and own.index == zone
    return isinstance(remote, IPv4Address) or not own.address.is_link_local
