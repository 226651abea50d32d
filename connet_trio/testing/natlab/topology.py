"""An internet of namespaces: a router in the middle, a server on it, and sites behind NATs.

    host ── lan [router] wan ──┐
                             core ── srv
    host ────────── eth0 ──────┘

Every link to `core` is a /30 of its own, plain or a `Wire`. `lan` is a bridge in the router. A NAT in series is a
router whose `wan` is in the LAN of another. IPv4 only, for IPv6 would lead around every NAT; hosts have link-local
addresses as real ones do. Sockets of this process can be made on any host, so one process can be both ends.
"""

import os
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network

import attrs
import trio

from connet_trio.testing.links import Link
from connet_trio.testing.namespaces import Namespaces, namespaces_permitted, open_namespaces
from connet_trio.testing.natlab.kinds import NatKind
from connet_trio.testing.natlab.rules import SERVERS, router_rules
from connet_trio.testing.natlab.wire import Wire, lay_wire

CORE, SERVER = "core", "srv"
SERVER_ADDRESSES = SERVERS
INTERNET = IPv4Network("198.18.0.0/15")
"""Of benchmarks (RFC 2544), and as good as public to the product: links to core are /30s of it."""
HOMES, CARRIERS, FIREWALLED = IPv4Address("10.0.0.0"), IPv4Address("100.64.0.0"), IPv4Address("203.0.113.0")
"""What LANs are counted from, each a /24; of those behind a firewall, a /28, as they are public."""

NETLINK_NETFILTER, DELETE_CONNTRACK, REQUEST, ACKNOWLEDGE = 12, 0x0102, 1, 4
"""linux/netlink.h, linux/netfilter/nfnetlink.h; without attributes, all connections of the namespace are deleted."""

FORWARDING = {
    "net/ipv4/conf/all/forwarding": "1",
    # where the kernel has it, neighbours in a LAN would meet the NAT rules
    "net/bridge/bridge-nf-call-iptables": "0",
}
NO_DETECTION = {"net/ipv6/conf/default/accept_dad": "0"}
"""Addresses are good at once, not after a second."""


def why_no_natlab() -> str:
    """What this machine lacks for a lab; empty if nothing."""
    missing = [program for program in ("ip", "nft") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not found (Debian: apt-get install iproute2 nftables)"
    if not namespaces_permitted():
        return "network namespaces are for root"
    return "" if os.path.exists("/dev/net/tun") else "there is no /dev/net/tun"


@attrs.frozen(kw_only=True)
class Router:
    """A router, and what is behind it."""

    name: str
    outside: IPv4Address
    lan: IPv4Network


class NatLab:
    """Made by `open_natlab`. Names of hosts and routers have at most 8 letters."""

    def __init__(self, namespaces: Namespaces, link: Link | None, seed: int | str) -> None:
        self._namespaces = namespaces
        self._link = link
        self._seed = seed
        self._links = 0
        self._lans = 0
        self._in_lan: dict[str, int] = {}
        self._wires: list[Wire] = []
        self.addresses: dict[str, IPv4Address] = {}
        """What each host knows as its own."""

    async def run(self) -> None:
        """Carry what passes the wires. Never returns if there are any."""
        async with trio.open_nursery() as nursery:
            for wire in self._wires:
                nursery.start_soon(wire.run)

    # --- who is there

    def add_site(self, name: str, kind: NatKind, *, hairpinning: bool = False) -> None:
        """A host with an access of some kind; its routers, if any, are called after it."""
        match kind:
            case NatKind.OPEN:
                self._namespaces.add(name)
                self._settle(name)
                self.addresses[name] = self._attach(name, "eth0")
            case NatKind.DOUBLE:
                carrier = self.add_router(f"{name}-c", NatKind.PORT, hairpinning=hairpinning, first=CARRIERS)
                self.add_host(name, self.add_router(f"{name}-r", NatKind.PORT, behind=carrier))
            case _:
                self.add_host(name, self.add_router(f"{name}-r", kind, hairpinning=hairpinning))

    def add_router(
        self,
        name: str,
        kind: NatKind,
        *,
        behind: Router | None = None,
        hairpinning: bool = False,
        first: IPv4Address = HOMES,
    ) -> Router:
        """A router at the internet, or in the LAN of another one, with nobody inside yet."""
        self._namespaces.add(name)
        self._settle(name, forwards=True)
        outside = self._attach(name, "wan") if behind is None else self._plug(name, "wan", behind)
        lan = self._next_lan(kind, first)
        router = Router(name=name, outside=outside, lan=lan)
        address = f"address add {lan[1]}/{lan.prefixlen} dev lan"
        self._namespaces.ip(name, "link add lan type bridge", address, "link set lan up")
        if kind is NatKind.FIREWALL:
            self._namespaces.ip(CORE, f"route add {lan} via {outside}")
        rules = router_rules(kind, str(outside), hairpinning=hairpinning)
        self._namespaces.run(name, "nft", "-f", "-", lines=rules.splitlines())
        return router

    def add_host(self, name: str, router: Router) -> None:
        """A host in the LAN of a router."""
        self._namespaces.add(name)
        self._settle(name)
        self.addresses[name] = self._plug(name, "eth0", router)

    # --- what can be done there

    def command(self, host: str, arguments: list[str]) -> list[str]:
        """The command line that runs `arguments` on a host."""
        return self._namespaces.command(host, arguments)

    def socket(self, host: str, kind: socket.SocketKind) -> socket.socket:
        """An IPv4 socket of this process on a host, not yet bound."""
        return self._namespaces.socket(host, kind)

    async def connect(self, host: str, address: str, port: int) -> trio.SocketStream:
        """A TCP connection from a host.

        Raises:
          OSError: there is nobody.
        """
        made = trio.socket.from_stdlib_socket(self.socket(host, socket.SOCK_STREAM))
        try:
            await made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return trio.SocketStream(made)

    def listen(self, host: str, address: str, port: int) -> trio.SocketListener:
        """A TCP listener on a host."""
        made = self.socket(host, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen()
        return trio.SocketListener(trio.socket.from_stdlib_socket(made))

    def reboot(self, router: str) -> None:
        """Have a router forget every mapping, as one that has lost its power; its rules are as they were.

        What the cones have learned stays, so reboot others.
        """
        with self._namespaces.inside(router):
            kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        with kernel:
            kernel.send(struct.pack("=IHHIIBBH", 20, DELETE_CONNTRACK, REQUEST | ACKNOWLEDGE, 1, 0, 0, 0, 0))
            (error,) = struct.unpack_from("=i", kernel.recv(4096), 16)
        if error:
            raise OSError(-error, os.strerror(-error))

    # --- helpers

    def open_internet(self) -> None:
        """The middle, and the server; once, before all else."""
        self._namespaces.add(CORE, SERVER)
        self._settle(CORE, forwards=True)
        address = self._attach(SERVER, "eth0", plain=True)
        self._namespaces.ip(SERVER, *(f"address add {own}/32 dev lo" for own in SERVER_ADDRESSES))
        self._namespaces.ip(CORE, *(f"route add {own}/32 via {address}" for own in SERVER_ADDRESSES))

    def close(self) -> None:
        """Let go of the wires; the rest goes with the namespaces."""
        for wire in self._wires:
            wire.close()

    def _settle(self, node: str, *, forwards: bool = False) -> None:
        wanted = NO_DETECTION | (FORWARDING if forwards else {})
        self._namespaces.set_sysctl(node, {path: value for path, value in wanted.items() if self._has(node, path)})

    def _has(self, node: str, path: str) -> bool:
        with self._namespaces.inside(node):
            return os.path.exists(f"/proc/sys/{path}")

    def _attach(self, node: str, interface: str, *, plain: bool = False) -> IPv4Address:
        """Join a node to core by a link of its own; returns its address."""
        network = IPv4Network((INTERNET[4 * self._links], 30))
        device = f"c{self._links}"
        self._links += 1
        if self._link is None or plain:
            self._namespaces.join(node, interface, CORE, device)
        else:
            ends = (node, interface), (CORE, device)
            self._wires.append(lay_wire(self._namespaces, *ends, self._link, self._seed))
        self._namespaces.ip(CORE, f"address add {network[1]}/30 dev {device}")
        self._namespaces.ip(node, f"address add {network[2]}/30 dev {interface}", f"route add default via {network[1]}")
        return network[2]

    def _plug(self, node: str, interface: str, router: Router) -> IPv4Address:
        """Plug a node into the LAN of a router; returns its address."""
        number = self._in_lan[router.name] = self._in_lan.get(router.name, 1) + 1
        self._namespaces.join(node, interface, router.name, f"p{number}")
        self._namespaces.ip(router.name, f"link set p{number} master lan")
        address = router.lan[number]
        self._namespaces.ip(
            node,
            f"address add {address}/{router.lan.prefixlen} dev {interface}",
            f"route add default via {router.lan[1]}",
        )
        return address

    def _next_lan(self, kind: NatKind, first: IPv4Address) -> IPv4Network:
        self._lans += 1
        if kind is NatKind.FIREWALL:
            return IPv4Network((FIREWALLED + 16 * (self._lans % 16), 28))
        return IPv4Network((first + 256 * self._lans, 24))


@contextmanager
def open_natlab(link: Link | None = None, *, seed: int | str = 0) -> Iterator[NatLab]:
    """A server at the internet for the length of a block, which adds the sites.

    Args:
      link: what every access to the internet but the server's is like, each way; plain cables by default. With one,
        the block has to run `NatLab.run`.

    Raises:
      RuntimeError: the system refuses something; `why_no_natlab` says what is missing.
    """
    with open_namespaces() as namespaces:
        lab = NatLab(namespaces, link, seed)
        try:
            lab.open_internet()
            yield lab
        finally:
            lab.close()
