"""A deployment on a simulated network: control, relays and clients as real code, in virtual time, from one seed."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, ip_address
from typing import TypeVar

import attrs
import trio

from connet_trio.client import Client, ClientSettings, open_client
from connet_trio.concurrency import AbortableStream, single_error
from connet_trio.control import ControlServer, ControlSettings, IngressSettings, open_control
from connet_trio.endpoints import Destination, Source
from connet_trio.engine import Restriction
from connet_trio.errors import DialFailed
from connet_trio.identity import Credential, issue_server_credential
from connet_trio.quic import DEFAULT_QUIC_ENGINE, DatagramSocket, QuicEngine, Surroundings
from connet_trio.records.model import AddressPort, HostPort, Route
from connet_trio.records.peer import RelayEncryption
from connet_trio.records.status import PathStyle
from connet_trio.relay import RelayIngressSettings, RelayServer, RelaySettings, open_relay
from connet_trio.store import run_inline
from connet_trio.testing.hosts import ANY
from connet_trio.testing.nat import FIREWALL, OPEN, UDP_BLOCKED, NatBehavior
from connet_trio.testing.network import DEFAULT_LINK, Host, Link, Router, SimulatedNetwork, open_network

T = TypeVar("T")

START = 1_800_000_000.0
"""Unix seconds at virtual time 0."""
CONTROL_HOST = "192.0.2.1"
CLIENTS_PORT, RELAYS_PORT, RELAY_PORT, CLIENT_PORT = 19_190, 19_189, 19_191, 19_192
TOKEN, RELAY_TOKEN = "simulated client token", "simulated relay token"
CHUNK_BYTES = 1 << 16
FIRST_CLIENT, FIRST_SITE = IPv4Address("203.0.113.0"), IPv4Address("198.18.0.0")
"""What clients on the internet, and routers there, are counted from."""
FIRST_PRIVATE, FIRST_PUBLIC = IPv4Address("10.0.0.0"), IPv4Address("198.19.0.0")
"""What networks behind a router that translates, and behind a firewall, are counted from; each is a /24."""


def simulated_surroundings(network: SimulatedNetwork, host: Host | str, seed: int | str) -> Surroundings:
    """What a service on `host` takes from outside; nothing of it is real.

    Args:
      host: or the address of one on the internet, made if there is none.
    """
    machine = network.host(host) if isinstance(host, str) else host

    async def open_udp_socket(place: HostPort) -> DatagramSocket:
        await trio.lowlevel.checkpoint()
        return machine.socket(place.port, place.host or ANY)

    return Surroundings(
        wall_clock=lambda: START + trio.current_time(),
        luck=random.Random(f"{seed}{machine.name}luck"),
        entropy=random.Random(f"{seed}{machine.name}entropy").randbytes,
        open_udp_socket=open_udp_socket,
        resolve=resolve_literal,
        interfaces=machine.interfaces,
        store_runner=run_inline,
    )


async def resolve_literal(place: HostPort) -> tuple[AddressPort, ...]:
    """The simulated network has addresses and no names."""
    await trio.lowlevel.checkpoint()
    try:
        return (AddressPort(ip_address(place.host), place.port),)
    except ValueError:
        raise DialFailed(f"cannot resolve {place.host}: no names on a simulated network") from None


@asynccontextmanager
async def simulated_deployment(
    *,
    seed: int | str = 0,
    link: Link = DEFAULT_LINK,
    relays: int = 1,
    trace_limit: int = 0,
    quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE,
) -> AsyncIterator["Deployment"]:
    """A control server and `relays` relays, each on a host of its own; clients are added by the block.

    Args:
      quic_engine: that of every service.
    """
    with single_error():
        async with open_network(seed, link=link, trace_limit=trace_limit) as network, trio.open_nursery() as tasks:
            deployment = Deployment(network, seed, tasks, quic_engine)
            await deployment.start_control()
            for number in range(1, relays + 1):
                await deployment.add_relay(number)
            yield deployment
            await deployment.stop()


class Deployment:
    """Made by `simulated_deployment`; everything in it ends with the block."""

    def __init__(
        self,
        network: SimulatedNetwork,
        seed: int | str,
        tasks: trio.Nursery,
        quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE,
    ) -> None:
        self.network = network
        self.seed = seed
        self.quic_engine = quic_engine
        self.control: ControlServer
        self.relays: dict[int, RelayServer] = {}
        self.credential: Credential = issue_server_credential(
            [], [IPv4Address(CONTROL_HOST)], wall_now=START, entropy=random.Random(f"{seed}control").randbytes
        )
        self._tasks = tasks
        self._running: list[tuple[trio.Event, trio.Event]] = []  # to be told to leave, and heard to have left
        self._clients = 0
        self._sites = 0
        self._inside: dict[Router, IPv4Address] = {}  # the last address given to a client of each site
        self._hosts: dict[Client, Host] = {}

    async def start_control(self) -> None:
        """Start the control server; once per deployment."""
        ingress = partial(IngressSettings, credential=self.credential)
        settings = ControlSettings(
            client_ingresses=(ingress(address=HostPort("", CLIENTS_PORT)),),
            client_tokens=((TOKEN, Restriction()),),
            relay_ingresses=(ingress(address=HostPort("", RELAYS_PORT)),),
            relay_tokens=((RELAY_TOKEN, Restriction()),),
            quic_engine=self.quic_engine,
        )
        surroundings = simulated_surroundings(self.network, CONTROL_HOST, self.seed)
        self.control = await self._start(open_control(settings, surroundings=surroundings))

    async def add_relay(self, number: int) -> RelayServer:
        """Start relay `number` (1 to 254) on 198.51.100.`number`."""
        host = f"198.51.100.{number}"
        settings = RelaySettings(
            token=RELAY_TOKEN,
            metadata=f"relay{number}",
            control=HostPort(CONTROL_HOST, RELAYS_PORT),
            control_roots=(self.credential.der,),
            ingresses=(
                RelayIngressSettings(address=HostPort("", RELAY_PORT), hostports=(HostPort(host, RELAY_PORT),)),
            ),
            quic_engine=self.quic_engine,
        )
        surroundings = simulated_surroundings(self.network, host, self.seed)
        relay = await self._start(open_relay(settings, surroundings=surroundings))
        self.relays[number] = relay
        return relay

    def add_site(self, behavior: NatBehavior | None, *, behind: Router | None = None) -> Router:
        """A router for clients to be behind, itself on the internet or behind another one."""
        outside: IPv4Address | None = None
        if behavior is not None and behavior.translates:
            self._sites += 1
            outside = FIRST_SITE + self._sites if behind is None else self._next_inside(behind)
        ipv6 = UDP_BLOCKED if behavior is not None and behavior.blocks else FIREWALL
        return self.network.add_router(behavior, None if outside is None else str(outside), ipv6=ipv6, behind=behind)

    async def add_client(
        self,
        host: Host | str | None = None,
        *,
        behind: NatBehavior | Router | None = OPEN,
        metadata: str = "",
        token: str = TOKEN,
    ) -> Client:
        """Start a client for the length of the deployment.

        Args:
          host: an address on the internet, or any host; by default one of its own.
          behind: where that one is: on the internet, behind a router, or behind a new one that behaves so.

        Raises:
          ValueError: both are given.
        """
        return await self._start(self.open_client(host, behind=behind, metadata=metadata, token=token))

    @asynccontextmanager
    async def open_client(
        self,
        host: Host | str | None = None,
        *,
        behind: NatBehavior | Router | None = OPEN,
        metadata: str = "",
        token: str = TOKEN,
    ) -> AsyncIterator[Client]:
        """As `add_client`, for the length of a block."""
        self._clients += 1
        machine = self._host_for_client(host, behind)
        settings = ClientSettings(
            token=token,
            metadata=metadata,
            server=HostPort(CONTROL_HOST, CLIENTS_PORT),
            server_roots=(self.credential.der,),
            direct_address=HostPort("", CLIENT_PORT),
            quic_engine=self.quic_engine,
        )
        surroundings = simulated_surroundings(self.network, machine, f"{self.seed}/{self._clients}")
        async with open_client(settings, surroundings=surroundings) as client:
            self._hosts[client] = machine
            try:
                yield client
            finally:
                del self._hosts[client]

    @property
    def clients(self) -> tuple[Client, ...]:
        """Those running, in the order they were started; the destination's comes first after `add_pair`."""
        return tuple(self._hosts)

    def host_of(self, client: Client) -> Host:
        """Where a running client is; its router, if any, is `host.router`."""
        return self._hosts[client]

    async def add_pair(
        self,
        name: str = "echo",
        route: Route = Route.RELAY,
        *,
        destination_behind: NatBehavior | Router | None = OPEN,
        source_behind: NatBehavior | Router | None = OPEN,
        relay_encryptions: Sequence[RelayEncryption] | None = None,
    ) -> tuple[Destination, Source]:
        """A destination and a source of `name`, on new clients, with a path between them."""
        offering = await self.add_client(behind=destination_behind, metadata="destination")
        destination = await offering.add_destination(name, route=route, relay_encryptions=relay_encryptions)
        using = await self.add_client(behind=source_behind, metadata="source")
        source = await using.add_source(name, route=route, relay_encryptions=relay_encryptions)
        await source.wait_reachable()
        return destination, source

    async def echo(self, data: bytes, name: str = "echo", route: Route = Route.RELAY) -> bytes:
        """Send `data` from a new source to a new destination that sends it back; returns what came back."""
        destination, source = await self.add_pair(name, route)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            answer = await exchange(await source.dial(), data)
            nursery.cancel_scope.cancel()
        return answer

    async def stop(self) -> None:
        """End every service, the latest first."""
        while self._running:
            leave, left = self._running.pop()
            leave.set()
            await left.wait()

    async def _start(self, service: AbstractAsyncContextManager[T]) -> T:
        """Run a service until `stop`, in a task of its own: who asks for it may be in a nursery that ends before."""
        leave, left = trio.Event(), trio.Event()
        started: T = await self._tasks.start(_run, service, leave, left)
        self._running.append((leave, left))
        return started

    def _host_for_client(self, host: Host | str | None, behind: NatBehavior | Router | None) -> Host:
        if host is not None:
            if behind is not None:
                raise ValueError("a host that is given is where it is")
            return self.network.host(host) if isinstance(host, str) else host
        if behind is None:
            return self.network.host(f"{FIRST_CLIENT + self._clients}/32")
        router = behind if isinstance(behind, Router) else self.add_site(behind)
        return self.network.host(f"{self._next_inside(router)}/24", behind=router)

    def _next_inside(self, router: Router) -> IPv4Address:
        """The next address behind a router: `.2` of a network of its own, then `.3` and so on."""
        if router not in self._inside:
            first = FIRST_PRIVATE if router.translates(FIRST_PRIVATE) else FIRST_PUBLIC
            self._inside[router] = first + 256 * (len(self._inside) + 1) + 1
        self._inside[router] += 1
        return self._inside[router]


async def _run(
    service: AbstractAsyncContextManager[T],
    leave: trio.Event,
    left: trio.Event,
    *,
    task_status: trio.TaskStatus[T],
) -> None:
    try:
        async with service as started:
            task_status.started(started)
            await leave.wait()
    finally:
        left.set()


async def echo_stream(stream: AbortableStream) -> None:
    """Send back what arrives, then end; a stream that breaks is the other side's business."""
    try:
        async for chunk in stream:
            await stream.send_all(chunk)
        await stream.send_eof()
    except trio.BrokenResourceError:
        stream.abort()


async def exchange(stream: AbortableStream, data: bytes) -> bytes:
    """Send `data` and FIN while reading the answer to its end."""
    answer = bytearray()

    async def send() -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            await stream.send_all(data[start : start + CHUNK_BYTES])
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for chunk in stream:
            answer += chunk
    return bytes(answer)


def relay_bytes(deployment: Deployment) -> Mapping[int, int]:
    """Payload bytes each relay has forwarded, by number."""
    return {number: relay.status().bytes_forwarded for number, relay in deployment.relays.items()}


@attrs.frozen(kw_only=True)
class EndpointPaths:
    """How an endpoint reaches its peers."""

    selected: Mapping[str, PathStyle | None]
    """The kind of path in use, by client id of the peer; None while there is none."""
    bytes_in: Mapping[PathStyle, int]
    """Stream bytes received by connections that stand now, over each kind of path that stands."""
    bytes_out: Mapping[PathStyle, int]
    """Stream bytes sent, likewise."""

    @property
    def is_direct(self) -> bool:
        """Whether there are peers and each is reached without a relay."""
        return bool(self.selected) and not {None, PathStyle.RELAY} & set(self.selected.values())


def paths_of(client: Client, name: str) -> EndpointPaths:
    """What the status page of `client` says of its source `name`, or of its destination if it has no such source.

    Raises:
      KeyError: it has neither.
    """
    status = client.status()
    endpoint = status.sources[name] if name in status.sources else status.destinations[name]
    received, sent = Counter[PathStyle](), Counter[PathStyle]()
    for peer in endpoint.peers.values():
        for path in peer.connections:
            received[path.style] += path.bytes_in
            sent[path.style] += path.bytes_out
    selected = {id_: peer.path for id_, peer in endpoint.peers.items()}
    return EndpointPaths(selected=selected, bytes_in=received, bytes_out=sent)
