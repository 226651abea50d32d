"""The sites of a lab on a simulated network: the twin of `topology`, for one pair."""

from collections.abc import Sequence
from ipaddress import IPv4Address

import attrs

from connet_trio.testing.hosts import Host
from connet_trio.testing.links import Link
from connet_trio.testing.nat import PORT_RESTRICTED, SYMMETRIC, NatBehavior
from connet_trio.testing.natlab.kinds import BEHAVIORS, NatKind, Neighbours, Pair
from connet_trio.testing.network import SimulatedNetwork
from connet_trio.testing.routers import Router

LAN = Link(delay=0.0001)
OUTSIDES, CARRIED = IPv4Address("198.18.0.0"), IPv4Address("100.64.0.0")
"""What outside addresses are counted from: at the internet, and in the network of a carrier."""


def check_simulated(kinds: Sequence[NatKind]) -> None:
    """See that kinds can be simulated.

    Raises:
      ValueError: one exists in the kernel only.
    """
    if NatKind.NAIVE in kinds:
        raise ValueError(f"{NatKind.NAIVE.value} is a trait of the kernel, and is not simulated")


@attrs.define
class SimulatedSites:
    """Adds hosts that are one access away from the servers, on a network where any two are two accesses apart."""

    _network: SimulatedNetwork
    _link: Link
    """What each access is like, each way."""
    _servers: Sequence[str]
    """Their addresses."""
    _hosts: int = 0
    _routers: int = 0

    def add_pair(self, pair: Pair) -> tuple[Host, Host]:
        """The hosts of a pair."""
        if isinstance(pair, Neighbours):
            return self._add_neighbours(pair)
        return self._add_site(pair[0]), self._add_site(pair[1])

    def _add_site(self, kind: NatKind) -> Host:
        behavior = BEHAVIORS[kind]
        if behavior is None:
            return self._add_host(None)
        carrier = self._add_router(PORT_RESTRICTED) if kind is NatKind.DOUBLE else None
        host = self._add_host(self._add_router(behavior, carrier))
        if kind is NatKind.BLOCKED:
            for server in self._servers:
                self._network.cut(host, server)
        return host

    def _add_neighbours(self, neighbours: Neighbours) -> tuple[Host, Host]:
        match neighbours:
            case Neighbours.ONE_NAT | Neighbours.ONE_SYMMETRIC_NAT:
                shared = self._add_router(PORT_RESTRICTED if neighbours is Neighbours.ONE_NAT else SYMMETRIC)
                hosts = self._add_host(shared), self._add_host(shared)
                self._network.set_link(*hosts, LAN)
            case Neighbours.ONE_CARRIER | Neighbours.ONE_HAIRPINNING_CARRIER:
                hairpinning = neighbours is Neighbours.ONE_HAIRPINNING_CARRIER
                carrier = self._add_router(attrs.evolve(PORT_RESTRICTED, hairpinning=hairpinning))
                homes = [self._add_router(PORT_RESTRICTED, carrier) for _ in range(2)]
                hosts = self._add_host(homes[0]), self._add_host(homes[1])
        return hosts

    def _add_router(self, behavior: NatBehavior, behind: Router | None = None) -> Router:
        self._routers += 1
        if not behavior.translates:
            return self._network.add_router(behavior)
        outside = (OUTSIDES if behind is None else CARRIED) + self._routers
        return self._network.add_router(behavior, str(outside), behind=behind)

    def _add_host(self, behind: Router | None) -> Host:
        self._hosts += 1
        is_private = behind is not None and behind.address is not None
        address = f"10.0.0.{1 + self._hosts}/24" if is_private else f"203.0.113.{16 * self._hosts + 1}/28"
        host = self._network.host(address, behind=behind)
        for server in self._servers:
            self._network.set_link(host, server, self._link)
        return host
