"""Simulated UDP on the clock of trio: a seed decides what the network does to each datagram.

A host is an IP address; between any two of them is a `Link` with a delay, a bottleneck and some bad luck. A datagram is
judged when it is sent (`Fate`) and, if it travels, again on arrival: the cable may be cut by then, the port given back.

Luck is drawn per flow (from one address and port to another) out of `Random(f"{seed}{source}{destination}")`, the same
number of draws for every datagram, so that the nth datagram of a flow has one fate whatever order tasks ran in and
whatever else was sent. One task delivers, woken by the deadline of the first arrival; nothing polls. Every hop takes
at least `MIN_DELAY`, so that two hosts answering each other cannot stop virtual time.
"""

import enum
import heapq
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import inf
from random import Random
from typing import NamedTuple

import attrs
import trio

from connet_trio.errors import BindFailed, DialFailed
from connet_trio.quic.network_path import Datagram, NetworkPath, SocketAddress
from connet_trio.records.model import AddressPort

MIN_DELAY = 1e-6
"""Seconds one way even on a link without delay."""

REORDERING_DELAY = 0.005
"""Seconds, at most, by which a reordered datagram or a second copy is late; at least a fifth of it."""

INBOX_DATAGRAMS = 1024
"""What a socket holds unread; past that it drops what arrives, as a full kernel buffer does."""

RECEIVE_DATAGRAMS = 64
"""What one `receive_batch` takes."""

FIRST_EPHEMERAL_PORT = 49_152

Host = str | IPv4Address | IPv6Address
"""An address without a port."""

_fraction = [attrs.validators.ge(0.0), attrs.validators.le(1.0)]


@attrs.frozen(kw_only=True)
class Link:
    """One direction between two hosts."""

    delay: float = attrs.field(default=0.02, validator=attrs.validators.ge(0.0))
    """Seconds one way."""
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    """At most this many seconds more, evenly distributed; on its own it never changes the order of a flow."""
    loss: float = attrs.field(default=0.0, validator=_fraction)
    """Fraction of datagrams that never arrive."""
    duplication: float = attrs.field(default=0.0, validator=_fraction)
    """Fraction that arrives twice."""
    reordering: float = attrs.field(default=0.0, validator=_fraction)
    """Fraction that is late by up to `REORDERING_DELAY`, so that later ones overtake."""
    mtu: int = 1500
    """Bytes of an IP packet; larger ones vanish, as nobody may fragment them."""
    rate: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0.0)))
    """Bytes per second, IP headers included, of the bottleneck that all flows from one host to the other share."""
    queue_bytes: int = 256 * 1024
    """What waits before the bottleneck; a packet that finds no room is dropped."""


DEFAULT_LINK = Link()


class Fate(enum.Enum):
    """What became of a datagram, or of its copy."""

    DELIVERED = "delivered"
    LOST = "lost"
    TOO_BIG = "larger than the MTU"
    QUEUE_FULL = "no room before the bottleneck"
    CUT = "cut off"
    NOBODY = "nothing listens there"
    INBOX_FULL = "the receiver does not read"


class Sighting(NamedTuple):
    """One line of the trace: what was decided at `time` (seconds) about `size` bytes."""

    time: float
    source: AddressPort
    destination: AddressPort
    size: int
    fate: Fate


@attrs.define
class _Flow:
    source: AddressPort
    destination: AddressPort
    hosts: tuple[str, str]
    luck: Random
    latest_arrival: float = -inf


class _Arrival(NamedTuple):
    time: float
    number: int  # equal times keep their order, and nothing behind it is compared
    flow: _Flow
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
        self._link = link
        self._links: dict[tuple[str, str], Link] = {}
        self._cuts: set[tuple[str, str]] = set()  # only asked, never iterated: no order
        self._free_at: dict[tuple[str, str], float] = {}  # when the bottleneck has sent what it holds
        self._flows: dict[tuple[AddressPort, AddressPort], _Flow] = {}
        self._sockets: dict[AddressPort, SimulatedSocket] = {}
        self._travelling: list[_Arrival] = []
        self._number = 0
        self._nap = trio.CancelScope()
        self.fates: Counter[Fate] = Counter()
        self.trace: deque[Sighting] = deque(maxlen=trace_limit)
        """The last `trace_limit` decisions, oldest first."""

    def socket(self, address: AddressPort | str) -> "SimulatedSocket":
        """A socket bound to `address` (`192.0.2.1:4000`, `[2001:db8::1]:4000`); port 0 is the next free one.

        Raises:
          BindFailed: the address is in use.
        """
        wanted = _parse(address) if isinstance(address, str) else address.unmapped
        if wanted.port == 0:
            wanted = self._with_free_port(wanted)
        if wanted in self._sockets:
            raise BindFailed(f"cannot listen on UDP {wanted}: address already in use", in_use=True)
        bound = self._sockets[wanted] = SimulatedSocket(self, wanted)
        return bound

    def set_link(self, a: Host, b: Host, link: Link, *, back: Link | None = None) -> None:
        """Put `link` between two hosts from now on, for both directions unless `back` is the one from `b` to `a`."""
        self._links[_host(a), _host(b)] = link
        self._links[_host(b), _host(a)] = link if back is None else back

    def cut(self, a: Host, b: Host) -> None:
        """Let nothing pass between two hosts, what is under way included, until `heal`."""
        self._cuts |= {(_host(a), _host(b)), (_host(b), _host(a))}

    def heal(self, a: Host, b: Host) -> None:
        """Undo `cut`."""
        self._cuts -= {(_host(a), _host(b)), (_host(b), _host(a))}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver what arrives. Never returns."""
        task_status.started()
        while True:
            deadline = self._travelling[0].time if self._travelling else inf
            with trio.CancelScope(deadline=deadline) as self._nap:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._travelling and self._travelling[0].time <= now:
                _, _, flow, data = heapq.heappop(self._travelling)
                self._arrive(flow, data, now)

    def carry(self, source: AddressPort, destination: AddressPort, data: bytes) -> None:
        """Take a datagram from `source`, bound or not, and decide its fate."""
        now = trio.current_time()
        flow = self._flow(source, destination)
        # all of them for every datagram, so that a changed link changes no later draw
        loss, duplication, reordering, jitter, lateness = (flow.luck.random() for _ in range(5))
        link = self._links.get(flow.hosts, self._link)
        packet_bytes = len(data) + (28 if isinstance(destination.address, IPv4Address) else 48)
        if flow.hosts in self._cuts:
            return self._record(now, flow, data, Fate.CUT)
        if packet_bytes > link.mtu:
            return self._record(now, flow, data, Fate.TOO_BIG)
        departure = self._pass_bottleneck(flow.hosts, link, packet_bytes, now)
        if departure is None:
            return self._record(now, flow, data, Fate.QUEUE_FULL)
        if loss < link.loss:
            return self._record(now, flow, data, Fate.LOST)
        arrival = max(departure + max(link.delay + link.jitter * jitter, MIN_DELAY), flow.latest_arrival)
        late = arrival + REORDERING_DELAY * (0.2 + 0.8 * lateness)
        if reordering < link.reordering:
            self._send(late, flow, data)
        else:
            flow.latest_arrival = arrival
            self._send(arrival, flow, data)
        if duplication < link.duplication:
            self._send(late, flow, data)
        return None

    def release(self, closed: "SimulatedSocket") -> None:
        """Forget a socket that was closed."""
        if self._sockets.get(closed.local_address) is closed:
            del self._sockets[closed.local_address]

    def _pass_bottleneck(self, hosts: tuple[str, str], link: Link, packet_bytes: int, now: float) -> float | None:
        """When the packet leaves the bottleneck; None when its queue has no room."""
        if link.rate is None:
            return now
        free_at = max(now, self._free_at.get(hosts, now))
        if round((free_at - now) * link.rate) + packet_bytes > link.queue_bytes:
            return None
        departure = self._free_at[hosts] = free_at + packet_bytes / link.rate
        return departure

    def _send(self, time: float, flow: _Flow, data: bytes) -> None:
        self._number += 1
        heapq.heappush(self._travelling, _Arrival(time, self._number, flow, data))
        if time < self._nap.deadline:
            self._nap.deadline = time

    def _arrive(self, flow: _Flow, data: bytes, now: float) -> None:
        receiver = self._sockets.get(flow.destination)
        if flow.hosts in self._cuts:
            fate = Fate.CUT
        elif receiver is None:
            fate = Fate.NOBODY
        else:
            fate = Fate.DELIVERED if receiver.put(data, flow.source) else Fate.INBOX_FULL
        self._record(now, flow, data, fate)

    def _record(self, now: float, flow: _Flow, data: bytes, fate: Fate) -> None:
        self.fates[fate] += 1
        if self.trace.maxlen:
            self.trace.append(Sighting(now, flow.source, flow.destination, len(data), fate))

    def _flow(self, source: AddressPort, destination: AddressPort) -> _Flow:
        flow = self._flows.get((source, destination))
        if flow is None:
            hosts = str(source.address), str(destination.address)
            luck = Random(f"{self._seed}{source}{destination}")
            flow = self._flows[source, destination] = _Flow(source, destination, hosts, luck)
        return flow

    def _with_free_port(self, wanted: AddressPort) -> AddressPort:
        for port in range(FIRST_EPHEMERAL_PORT, 65_536):
            candidate = AddressPort(wanted.address, port)
            if candidate not in self._sockets:
                return candidate
        raise BindFailed(f"cannot listen on UDP {wanted}: no free port", in_use=True)


class SimulatedSocket:
    """A `DatagramSocket` of a `SimulatedNetwork`; it reaches the address family it is bound to."""

    def __init__(self, network: SimulatedNetwork, local_address: AddressPort) -> None:
        self._network = network
        self._local_address = local_address
        self._inbox: deque[Datagram] = deque()
        self._waiters = trio.lowlevel.ParkingLot()
        self._paths: dict[AddressPort, NetworkPath] = {}
        self._closed = False

    @property
    def local_address(self) -> AddressPort:
        """The address and port it is bound to."""
        return self._local_address

    async def wait_readable(self) -> None:
        """Return when `receive_batch` has something, or at once after `close`."""
        if self._inbox or self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await self._waiters.park()

    def receive_batch(self) -> list[Datagram]:
        """Take what has arrived, at most `RECEIVE_DATAGRAMS`."""
        return [self._inbox.popleft() for _ in range(min(len(self._inbox), RECEIVE_DATAGRAMS))]

    def send_batch(self, datagrams: Sequence[Datagram]) -> None:
        """Hand datagrams to the network; after `close` they are lost."""
        if not self._closed:
            for data, path in datagrams:
                self._network.carry(self._local_address, path.remote_address, data)

    def path_to(self, remote: AddressPort) -> NetworkPath:
        """The path on which this socket reaches `remote`.

        Raises:
          DialFailed: `remote` is of the other address family.
        """
        remote = remote.unmapped
        if type(remote.address) is not type(self._local_address.address):
            family = "IPv4" if isinstance(remote.address, IPv4Address) else "IPv6"
            raise DialFailed(f"cannot reach {remote}: the UDP socket on {self._local_address} has no {family}")
        return self._path(remote)

    def close(self) -> None:
        """Give the port back, and let a waiter return. Idempotent."""
        self._closed = True
        self._inbox.clear()
        self._network.release(self)
        self._waiters.unpark_all()

    def put(self, data: bytes, source: AddressPort) -> bool:
        """Take a datagram from the network; False when the inbox is full. An empty one is dropped, as elsewhere."""
        if not data:
            return True
        if len(self._inbox) >= INBOX_DATAGRAMS:
            return False
        self._inbox.append((data, self._path(source)))
        self._waiters.unpark_all()
        return True

    def _path(self, remote: AddressPort) -> NetworkPath:
        path = self._paths.get(remote)
        if path is None:
            host = str(remote.address)
            written: SocketAddress = (host, remote.port)
            if isinstance(remote.address, IPv6Address):
                written = (host, remote.port, 0, 0)
            path = self._paths[remote] = NetworkPath(written)
        return path


def _host(host: Host) -> str:
    return str(ip_address(host))


def _parse(text: str) -> AddressPort:
    host, _, port = text.rpartition(":")
    return AddressPort(ip_address(host.removeprefix("[").removesuffix("]")), int(port)).unmapped
