"""A deployment on a simulated network: control, relays and clients as real code, in virtual time, from one seed."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, ip_address

import trio

from connet_trio.client import Client, ClientSettings, open_client
from connet_trio.concurrency import AbortableStream, single_error
from connet_trio.control import ControlServer, ControlSettings, IngressSettings, open_control
from connet_trio.endpoints import Destination, Source
from connet_trio.engine import Restriction
from connet_trio.errors import DialFailed
from connet_trio.identity import Credential, issue_server_credential
from connet_trio.quic import DatagramSocket, Stream, Surroundings
from connet_trio.records.model import AddressPort, HostPort, Route
from connet_trio.relay import RelayIngressSettings, RelayServer, RelaySettings, open_relay
from connet_trio.store import run_inline
from connet_trio.testing.network import DEFAULT_LINK, Link, SimulatedNetwork, open_network

START = 1_800_000_000.0
"""Unix seconds at virtual time 0."""
CONTROL_HOST = "192.0.2.1"
CLIENTS_PORT, RELAYS_PORT, RELAY_PORT, CLIENT_PORT = 19_190, 19_189, 19_191, 19_192
TOKEN, RELAY_TOKEN = "simulated client token", "simulated relay token"
CHUNK_BYTES = 1 << 16


def simulated_surroundings(network: SimulatedNetwork, host: str, seed: int | str) -> Surroundings:
    """What a service on `host` (an IP address) takes from outside; nothing of it is real."""
    address = ip_address(host)

    async def open_udp_socket(place: HostPort) -> DatagramSocket:
        await trio.lowlevel.checkpoint()
        return network.socket(AddressPort(address, place.port))

    return Surroundings(
        wall_clock=lambda: START + trio.current_time(),
        luck=random.Random(f"{seed}{host}luck"),
        entropy=random.Random(f"{seed}{host}entropy").randbytes,
        open_udp_socket=open_udp_socket,
        resolve=resolve_literal,
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
    *, seed: int | str = 0, link: Link = DEFAULT_LINK, relays: int = 1, trace_limit: int = 0
) -> AsyncIterator["Deployment"]:
    """A control server and `relays` relays, each on a host of its own; clients are added by the block."""
    with single_error():
        async with open_network(seed, link=link, trace_limit=trace_limit) as network, AsyncExitStack() as stack:
            deployment = Deployment(network, seed, stack)
            await deployment.start_control()
            for number in range(1, relays + 1):
                await deployment.add_relay(number)
            yield deployment


class Deployment:
    """Made by `simulated_deployment`; everything in it ends with the block."""

    def __init__(self, network: SimulatedNetwork, seed: int | str, stack: AsyncExitStack) -> None:
        self.network = network
        self.seed = seed
        self.control: ControlServer
        self.relays: dict[int, RelayServer] = {}
        self.credential: Credential = issue_server_credential(
            [], [IPv4Address(CONTROL_HOST)], wall_now=START, entropy=random.Random(f"{seed}control").randbytes
        )
        self._stack = stack
        self._clients = 0

    async def start_control(self) -> None:
        """Start the control server; once per deployment."""
        ingress = partial(IngressSettings, credential=self.credential)
        settings = ControlSettings(
            client_ingresses=(ingress(address=HostPort("", CLIENTS_PORT)),),
            client_tokens=((TOKEN, Restriction()),),
            relay_ingresses=(ingress(address=HostPort("", RELAYS_PORT)),),
            relay_tokens=((RELAY_TOKEN, Restriction()),),
        )
        surroundings = simulated_surroundings(self.network, CONTROL_HOST, self.seed)
        self.control = await self._stack.enter_async_context(open_control(settings, surroundings=surroundings))

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
        )
        surroundings = simulated_surroundings(self.network, host, self.seed)
        relay = await self._stack.enter_async_context(open_relay(settings, surroundings=surroundings))
        self.relays[number] = relay
        return relay

    async def add_client(self, host: str | None = None, *, metadata: str = "", token: str = TOKEN) -> Client:
        """Start a client, on a host of its own unless `host` (an IP address) is given."""
        return await self._stack.enter_async_context(self.open_client(host, metadata=metadata, token=token))

    @asynccontextmanager
    async def open_client(
        self, host: str | None = None, *, metadata: str = "", token: str = TOKEN
    ) -> AsyncIterator[Client]:
        """As `add_client`, for the length of a block."""
        self._clients += 1
        where = host or f"203.0.113.{self._clients}"
        settings = ClientSettings(
            token=token,
            metadata=metadata,
            server=HostPort(CONTROL_HOST, CLIENTS_PORT),
            server_roots=(self.credential.der,),
            direct_address=HostPort("", CLIENT_PORT),
        )
        surroundings = simulated_surroundings(self.network, where, f"{self.seed}/{self._clients}")
        async with open_client(settings, surroundings=surroundings) as client:
            yield client

    async def add_pair(self, name: str = "echo", route: Route = Route.RELAY) -> tuple[Destination, Source]:
        """A destination and a source of `name`, on new clients, with a path between them."""
        destination = await (await self.add_client(metadata="destination")).add_destination(name, route=route)
        source = await (await self.add_client(metadata="source")).add_source(name, route=route)
        await source.wait_reachable()
        return destination, source

    async def echo(self, data: bytes, name: str = "echo") -> bytes:
        """Send `data` from a new source to a new destination that sends it back; returns what came back."""
        destination, source = await self.add_pair(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            answer = await exchange(await source.dial(), data)
            nursery.cancel_scope.cancel()
        return answer


async def echo_stream(stream: Stream) -> None:
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
