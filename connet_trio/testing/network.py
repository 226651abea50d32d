"""Simulated UDP on the clock of trio: a seed decides what the network does to each datagram.

Hosts are on the internet or behind routers, which translate, filter or both (`nat`), also in series. Between any two
ends is a `Link` with a delay, a bottleneck and some bad luck, once, however many routers are on the way. A datagram
leaves through the routers of its sender at once; it is then judged (`Fate`) and, if it travels, again on arrival: the
cable may be cut by then, the port given back, or no mapping of the receiver's routers let it in.

What links and cuts are about may be named more or less narrowly: a host is all its addresses at any time, an address
is whoever has it (10.0.0.2 may be two of them, at two sites), a router or its outside address is everybody behind. Of
several links the one between the narrowest names counts, the sender's first; any cut does.

Luck is drawn per flow (from one host's address and port to another address and port, as the host knows both) out of
`Random(f"{seed}{source}{destination}")`, the same number of draws for every datagram, so that the nth datagram of a
flow has one fate whatever order tasks ran in and whatever else was sent. Behind a router the host's name is part of
it; the outside port it is given there is not. One task delivers, woken by the deadline of the first arrival; nothing
polls. Every hop takes at least `MIN_DELAY`, so that two hosts answering each other cannot stop virtual time.
"""

import enum
import heapq
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address
from math import inf
from random import Random
from typing import NamedTuple

import attrs
import trio

from connet_trio.engine import InterfaceAddress
from connet_trio.records.model import AddressPort
from connet_trio.testing.hosts import UPLINK, Host, parse_interfaces
from connet_trio.testing.journeys import Departure, Entrance, depart, enter
from connet_trio.testing.links import DEFAULT_LINK, Link, LinkTable, Place
from connet_trio.testing.nat import FIREWALL, Nat, NatBehavior
from connet_trio.testing.routers import Realm, Router
from connet_trio.testing.sockets import INBOX_DATAGRAMS, SimulatedSocket

__all__ = [
    "DEFAULT_LINK",
    "INBOX_DATAGRAMS",
    "MIN_DELAY",
    "Fate",
    "Host",
    "Link",
    "Router",
    "Sighting",
    "SimulatedNetwork",
    "SimulatedSocket",
    "open_network",
]

MIN_DELAY = 1e-6
"""Seconds one way even on a link without delay."""

REORDERING_DELAY = 0.005
"""Seconds, at most, by which a reordered datagram or a second copy is late; at least a fifth of it."""


_LONG_HEADERS = ("Initial", "0-RTT", "Handshake", "Retry")


class Fate(enum.Enum):
    """What became of a datagram, or of its copy."""

    DELIVERED = "delivered"
    LOST = "lost"
    TOO_BIG = "larger than the MTU"
    QUEUE_FULL = "no room before the bottleneck"
    CUT = "cut off"
    FILTERED = "no mapping lets it in"
    NO_ROUTE = "the host has no address to send it from"
    NOBODY = "nothing listens there"
    INBOX_FULL = "the receiver does not read"


class Sighting(NamedTuple):
    """One line of the trace: what was decided at `time` (seconds) about `size` bytes."""

    time: float
    source: AddressPort
    """As seen outside of the sender's routers."""
    destination: AddressPort
    """As the sender wrote it."""
    size: int
    fate: Fate
    sender: str
    """The name of the host it is from."""
    kind: str
    """What it begins with, see `packet_kind`."""


@attrs.define
class _Flow:
    luck: Random
    latest_arrival: float = -inf


class _Travelling(NamedTuple):
    arrival: float
    number: int  # equal times keep their order, and nothing behind it is compared
    departure: Departure
    destination: AddressPort
    data: bytes


@asynccontextmanager
async def open_network(
    seed: int | str, *, link: Link = DEFAULT_LINK, trace_limit: int = 0
) -> AsyncIterator["SimulatedNetwork"]:
    """A network that delivers for the length of the block. An exception of the block comes out as itself."""
    network = SimulatedNetwork(seed, link=link, trace_limit=trace_limit)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(network.run)
            yield network
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__


class SimulatedNetwork:
    """Carries datagrams between its sockets while `run` runs."""

    def __init__(self, seed: int | str, *, link: Link = DEFAULT_LINK, trace_limit: int = 0) -> None:
        self._seed = seed
        self._internet = Realm()
        self._links = LinkTable(link)
        self._free_at: dict[tuple[Place, Place], float] = {}  # when the bottleneck has sent what it holds
        self._flows: dict[tuple[Host, AddressPort, AddressPort], _Flow] = {}
        self._travelling: list[_Travelling] = []
        self._number = 0
        self._firewalls = 0
        self._hosts: list[Host] = []
        self._nap = trio.CancelScope()
        self.fates: Counter[Fate] = Counter()
        self.trace: deque[Sighting] = deque(maxlen=trace_limit)
        """The last `trace_limit` decisions, oldest first."""

    # --- who is there

    def host(
        self, address: str | InterfaceAddress, *more: str | InterfaceAddress, behind: Router | None = None
    ) -> Host:
        """The host on the internet or behind a router that has the first of these addresses, made if there is none.

        `Host` says how addresses are written; the first is the first that is not on an interface of its own.

        Raises:
          ValueError: one is no address, somebody else has it, or the host that has the first does not have the others.
        """
        realm = self._internet if behind is None else behind.inside
        wanted = parse_interfaces((address, *more))
        first = next((entry for entry in wanted if entry.interface == UPLINK), wanted[0]).address
        found = realm.members.get(first)
        if isinstance(found, Host):
            missing = [entry.address for entry in wanted if entry.address not in found.own.members]
            if missing:
                raise ValueError(f"{found} does not have {missing[0]}")
            return found
        made = Host(str(first) if behind is None else f"{first} behind {behind.name}", realm, wanted, self)
        self._hosts.append(made)
        return made

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host there has ever been, in the order in which they were made."""
        return tuple(self._hosts)

    def add_router(
        self,
        behavior: NatBehavior | None,
        address: str | None = None,
        *,
        ipv6: NatBehavior | None = FIREWALL,
        behind: Router | None = None,
    ) -> Router:
        """A router, on the internet or behind another one, with nobody inside yet.

        Args:
          behavior: what it does to IPv4; None lets everything pass.
          address: outside, if `behavior` translates; it has none otherwise.
          ipv6: what it does to IPv6, which is never translated; None lets everything pass.

        Raises:
          ValueError: the address is missing, needless, or somebody else's; or `ipv6` translates.
        """
        translates = behavior is not None and behavior.translates
        if translates is not (address is not None):
            raise ValueError("a router has an address outside if it translates, and only then")
        if ipv6 is not None and ipv6.translates:
            raise ValueError("IPv6 is not translated")
        self._firewalls += not translates
        name = address or f"firewall {self._firewalls}"
        if behind is not None:
            name = f"{name} behind {behind.name}"
        luck = Random(f"{self._seed}router {name}")
        outside = None if address is None else IPv4Address(address)
        return Router(
            name,
            self._internet if behind is None else behind.inside,
            None if behavior is None else Nat(behavior, luck, outside),
            None if ipv6 is None else Nat(ipv6, luck),
        )

    def socket(self, address: AddressPort | str) -> SimulatedSocket:
        """A socket of a host on the internet, bound to `address` (`192.0.2.1:4000`, `[2001:db8::1]:4000`).

        The host is made if there is none; port 0 is the next free one of it.

        Raises:
          BindFailed: the address is in use.
        """
        wanted = _parse(address) if isinstance(address, str) else address.unmapped
        return self.host(str(wanted.address)).socket(wanted.port, wanted.address)

    # --- what is between them

    def set_link(self, a: Place, b: Place, link: Link, *, back: Link | None = None) -> None:
        """Put `link` between two ends from now on, for both directions unless `back` is the one from `b` to `a`.

        An end is a `Host`, a `Router`, or an address of either.
        """
        self._links.set_link(a, b, link, link if back is None else back)

    def cut(self, a: Place, b: Place) -> None:
        """Let nothing pass between two ends, what is under way included, until `heal`. What is cut is the cable between
        the routers: those of the sender see a datagram, those of the receiver do not.
        """
        self._links.cut(a, b)

    def heal(self, a: Place, b: Place) -> None:
        """Undo `cut` for the same names of the same ends."""
        self._links.heal(a, b)

    # --- what passes

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver what arrives. Never returns."""
        task_status.started()
        while True:
            deadline = self._travelling[0].arrival if self._travelling else inf
            with trio.CancelScope(deadline=deadline) as self._nap:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._travelling and self._travelling[0].arrival <= now:
                self._arrive(heapq.heappop(self._travelling), now)

    def carry(self, host: Host, source: AddressPort, destination: AddressPort, data: bytes) -> None:
        """Take a datagram of `host`, bound or not, and decide its fate."""
        now = trio.current_time()
        if source.address not in host.own.members:
            return self._record(now, host, source, destination, data, Fate.NO_ROUTE)
        flow = self._flow(host, source, destination)
        # all of them for every datagram, so that a changed link changes no later draw
        loss, duplication, reordering, jitter, lateness = (flow.luck.random() for _ in range(5))
        departure = depart(host, source, destination, now)
        if departure is None:
            return self._record(now, host, source, destination, data, Fate.FILTERED)
        receiving = _look_ahead(departure, destination, now).places
        link = self._links.between(departure.places, receiving)
        packet_bytes = len(data) + (28 if isinstance(destination.address, IPv4Address) else 48)
        if self._links.is_cut(departure.places, receiving):
            return self._record(now, host, departure.source, destination, data, Fate.CUT)
        if packet_bytes > link.mtu:
            return self._record(now, host, departure.source, destination, data, Fate.TOO_BIG)
        leaves = self._pass_bottleneck((host, receiving[0]), link, packet_bytes, now)
        if leaves is None:
            return self._record(now, host, departure.source, destination, data, Fate.QUEUE_FULL)
        if loss < link.loss:
            return self._record(now, host, departure.source, destination, data, Fate.LOST)
        arrival = max(leaves + max(link.delay + link.jitter * jitter, MIN_DELAY), flow.latest_arrival)
        late = arrival + REORDERING_DELAY * (0.2 + 0.8 * lateness)
        if reordering < link.reordering:
            self._send(late, departure, destination, data)
        else:
            flow.latest_arrival = arrival
            self._send(arrival, departure, destination, data)
        if duplication < link.duplication:
            self._send(late, departure, destination, data)
        return None

    def _pass_bottleneck(self, ends: tuple[Place, Place], link: Link, packet_bytes: int, now: float) -> float | None:
        """When the packet leaves the bottleneck; None when its queue has no room."""
        if link.rate is None:
            return now
        free_at = max(now, self._free_at.get(ends, now))
        if round((free_at - now) * link.rate) + packet_bytes > link.queue_bytes:
            return None
        leaves = self._free_at[ends] = free_at + packet_bytes / link.rate
        return leaves

    def _send(self, arrival: float, departure: Departure, destination: AddressPort, data: bytes) -> None:
        self._number += 1
        heapq.heappush(self._travelling, _Travelling(arrival, self._number, departure, destination, data))
        if arrival < self._nap.deadline:
            self._nap.deadline = arrival

    def _arrive(self, travelled: _Travelling, now: float) -> None:
        _, _, departure, destination, data = travelled
        fate = self._judge_arrival(departure, destination, data, now)
        self._record(now, departure.host, departure.source, destination, data, fate)

    def _judge_arrival(self, departure: Departure, destination: AddressPort, data: bytes, now: float) -> Fate:
        if self._links.has_cuts and self._links.is_cut(
            departure.places, _look_ahead(departure, destination, now).places
        ):
            return Fate.CUT  # before a router of the receiver could take it for a sign of life
        entrance = enter(departure.realm, destination, lambda router, at: router.inbound(at, departure.source, now))
        if entrance.filtered:
            return Fate.FILTERED
        receiver = None if entrance.host is None else entrance.host.listener(entrance.destination)
        if entrance.host is None or receiver is None:
            return Fate.NOBODY
        zone = entrance.host.index_of(entrance.destination.address)
        taken = receiver.put(data, departure.source, entrance.destination, zone)
        return Fate.DELIVERED if taken else Fate.INBOX_FULL

    def _record(
        self, now: float, host: Host, source: AddressPort, destination: AddressPort, data: bytes, fate: Fate
    ) -> None:
        self.fates[fate] += 1
        if self.trace.maxlen:
            self.trace.append(Sighting(now, source, destination, len(data), fate, host.name, packet_kind(data)))

    def _flow(self, host: Host, source: AddressPort, destination: AddressPort) -> _Flow:
        flow = self._flows.get((host, source, destination))
        if flow is None:
            sender = "" if host.router is None else f"{host.name} "
            luck = Random(f"{self._seed}{sender}{source}{destination}")
            flow = self._flows[host, source, destination] = _Flow(luck)
        return flow


def packet_kind(data: bytes) -> str:
    """What a datagram begins with, by the plain bits of its first byte (RFC 9000 section 17).

    A stateless reset passes for 1-RTT, as it should.
    """
    first = data[0] if data else 0
    if not first & 0x40:
        return "not QUIC"
    return _LONG_HEADERS[first >> 4 & 3] if first & 0x80 else "1-RTT"


def _look_ahead(departure: Departure, destination: AddressPort, now: float) -> Entrance:
    """Where a datagram would get to if every router knew its sender."""
    return enter(departure.realm, destination, lambda router, outside: router.inside_of(outside, now))


def _parse(text: str) -> AddressPort:
    host, _, port = text.rpartition(":")
    return AddressPort(ip_address(host.removeprefix("[").removesuffix("]")), int(port)).unmapped
