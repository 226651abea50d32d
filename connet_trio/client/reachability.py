"""What a client announces as its addresses, and from what it dials; followed while the machine moves (section 7.1)."""

import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from random import Random

import trio

from connet_trio.concurrency import Watched
from connet_trio.engine import (
    Candidate,
    InterfaceAddress,
    announced_addresses,
    dial_order,
    host_addresses,
    network_addresses,
)
from connet_trio.records.model import AddressPort

logger = logging.getLogger(__name__)

READ_INTERVAL_SECONDS = 5.0
"""Between two looks at the interfaces, give or take a quarter. Each costs a fraction of a millisecond, and until the
next one a laptop that has moved is unreachable at every address its peers know (the original: 30 s)."""


class Reachability:
    """Three sources make what is announced: what control sees, what the gateway maps, and our own interfaces.

    Even a machine cut off from all networks has its loopback interface, so a list of interfaces with nothing in it
    means that they could not be read (no file descriptor left, say), and what was read before stands.
    """

    def __init__(self, local: AddressPort, read: Callable[[], tuple[InterfaceAddress, ...]], luck: Random) -> None:
        """Nothing is read yet.

        Args:
          local: what the UDP socket is bound to.
          read: the addresses of our interfaces now; must not block.
          luck: for jitter.
        """
        self.directs: Watched[tuple[AddressPort, ...]] = Watched(())
        """What peers are told, best known first."""
        self.moved: Watched[int] = Watched(0)
        """How often the addresses from which we reach other networks have changed since the first read: each time,
        what control and our peers know of us has probably become wrong."""
        self._local = local
        self._read = read
        self._luck = luck
        self._interfaces: tuple[InterfaceAddress, ...] = ()
        self._public: AddressPort | None = None
        self._mapped: tuple[AddressPort, ...] = ()
        self._host: tuple[AddressPort, ...] = ()
        self._announce()

    @property
    def interfaces(self) -> tuple[InterfaceAddress, ...]:
        """Those of the last read."""
        return self._interfaces

    @property
    def public(self) -> AddressPort | None:
        """Our address as control saw it last, None before it has."""
        return self._public

    @property
    def host_addresses(self) -> tuple[AddressPort, ...]:
        """Our own addresses, with the port others reach us at."""
        return self._host

    def candidates(self, directs: Iterable[AddressPort]) -> tuple[Candidate, ...]:
        """Where to try a peer that has announced `directs`, best first, as seen from where we are now."""
        return dial_order(directs, self._interfaces, self._public)

    def handle_public(self, public: AddressPort) -> None:
        """Control has told how it sees us."""
        self._public = public.unmapped
        self._announce()

    def handle_mapped(self, mapped: Iterable[AddressPort]) -> None:
        """The gateway forwards `mapped` to us, and nothing else any more."""
        self._mapped = tuple(mapped)
        self._announce()

    def read_now(self) -> None:
        """Look at the interfaces, and take over what has changed."""
        interfaces = self._read()
        if not interfaces:
            return
        is_first = not self._interfaces
        before, self._interfaces = self._network_addresses(), interfaces
        after = self._network_addresses()
        self._announce()
        if not is_first and after != before:
            logger.info("network addresses of this machine changed: %s", _difference(before, after))
            self.moved.set(self.moved.value + 1)

    async def run(self) -> None:
        """Look at the interfaces now and then, for ever."""
        while True:
            self.read_now()
            await trio.sleep(READ_INTERVAL_SECONDS * self._luck.uniform(0.75, 1.25))

    def _announce(self) -> None:
        self._host = host_addresses(self._interfaces, self._local.port, self._local.address)
        self.directs.set(announced_addresses(self._public, self._mapped, self._host))

    def _network_addresses(self) -> frozenset[IPv4Address | IPv6Address]:
        return network_addresses(self._interfaces, self._local.address)


def _difference(before: frozenset[IPv4Address | IPv6Address], after: frozenset[IPv4Address | IPv6Address]) -> str:
    came, went = _listed(after - before), _listed(before - after)
    return "; ".join([*([f"{came} came"] if came else []), *([f"{went} went"] if went else [])])


def _listed(addresses: frozenset[IPv4Address | IPv6Address]) -> str:
    return ", ".join(str(address) for address in sorted(addresses, key=lambda each: (each.version, each.packed)))
