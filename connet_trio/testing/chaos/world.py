"""The world of a chaos run: everybody a plan names, as real services on the simulated network."""

import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import attrs
import trio

from connet_trio.client import Client, ClientSettings, open_client
from connet_trio.control import ControlServer, ControlSettings, IngressSettings, open_control
from connet_trio.endpoints import Source
from connet_trio.engine import Restriction
from connet_trio.identity import issue_server_credential
from connet_trio.quic import QuicEngine, Stream
from connet_trio.records.model import HostPort
from connet_trio.relay import RelayIngressSettings, RelayServer, RelaySettings, open_relay
from connet_trio.testing.chaos.machines import Machine
from connet_trio.testing.chaos.plan import CONTROL, ClientPlan, Plan, SitePlan
from connet_trio.testing.chaos.processes import Process, Up
from connet_trio.testing.deployment import (
    CLIENT_PORT,
    CLIENTS_PORT,
    CONTROL_HOST,
    FIRST_CLIENT,
    FIRST_PRIVATE,
    FIRST_PUBLIC,
    FIRST_SITE,
    RELAY_PORT,
    RELAY_TOKEN,
    RELAYS_PORT,
    START,
    TOKEN,
)
from connet_trio.testing.nat import FIREWALL, NatBehavior
from connet_trio.testing.network import Router, SimulatedNetwork
from connet_trio.testing.trace import Note

ServeStream = Callable[[str, Stream], Awaitable[None]]
"""Serves a stream that a destination of the client of that name accepted."""
AnyProcess = Process[ControlServer] | Process[RelayServer] | Process["RunningClient"]


@attrs.frozen
class RunningClient:
    """A client that works, with its endpoints."""

    client: Client
    sources: Mapping[str, Source]

    async def drain(self) -> None:
        """See `Client.drain`."""
        await self.client.drain()


class World:
    """Everybody, not yet started."""

    def __init__(
        self, plan: Plan, engine: QuicEngine, network: SimulatedNetwork, directory: Path, tasks: trio.Nursery
    ) -> None:
        self.plan = plan
        self.network = network
        self.notes: list[Note] = []
        """What has happened, in order."""
        self.names: dict[str, str] = {}
        """What hosts and addresses are called."""
        self.retired: set[str] = set()
        """Relays that are gone for good."""
        self._engine = engine
        self._directory = directory
        self._tasks = tasks
        self._routers: dict[str, Router] = {}
        self._networks = 0
        self._outside = 0
        self._serve_stream: ServeStream
        self._credential = issue_server_credential(
            [], [IPv4Address(CONTROL_HOST)], wall_now=START, entropy=random.Random(f"{plan.seed}control").randbytes
        )
        for site in plan.sites:
            self._add_site(site)
        self.control = Process(self._machine(CONTROL, CONTROL_HOST, None), self._serve_control, tasks, self.note)
        self.relays = {name: self._make_relay(name) for name in plan.relays}
        self.clients = {client.name: self._make_client(client) for client in plan.clients}

    def note(self, text: str) -> None:
        """Remember that something has happened."""
        self.notes.append((trio.current_time(), text))

    def process(self, name: str) -> AnyProcess:
        """By the name it has in plans."""
        if name == CONTROL:
            return self.control
        return self.relays[name] if name in self.relays else self.clients[name]

    @property
    def parties(self) -> tuple[str, ...]:
        """Everybody's name."""
        return (CONTROL, *self.relays, *self.clients)

    def router(self, site: str) -> Router:
        """The router of a site."""
        return self._routers[site]

    def start(self, serve_stream: ServeStream) -> None:
        """Start everybody."""
        self._serve_stream = serve_stream
        for name in self.parties:
            self.process(name).start()

    def add_relay(self, name: str) -> Process[RelayServer]:
        """A relay that has not been there."""
        self.relays[name] = self._make_relay(name)
        return self.relays[name]

    def add_router(self, nat: NatBehavior, *, behind: Router | None = None, name: str = "") -> Router:
        """One with an outside address of its own, if it translates."""
        outside = None
        if nat.translates:
            outside = str(self.next_outside()) if behind is None else self._next_network(behind) + ".2"
        router = self.network.add_router(nat, outside, ipv6=nat if nat.blocks else FIREWALL, behind=behind)
        if outside is not None and name:
            self.names[outside] = name
        return router

    def next_outside(self) -> IPv4Address:
        """An address for a router on the internet."""
        self._outside += 1
        return FIRST_SITE + self._outside

    def addresses_behind(self, router: Router | None, *, ipv6: bool) -> tuple[str, ...]:
        """Addresses for one more host in a network of its own there."""
        self._networks += 1
        six = (f"2001:db8:{self._networks:x}::2/64",) if ipv6 else ()
        if router is None:
            return (f"{FIRST_CLIENT + self._networks}/32", *six)
        return (f"{self._next_network(router)}.2/24", *six)

    def _next_network(self, router: Router) -> str:
        self._networks += 1
        first = FIRST_PRIVATE if router.translates(FIRST_PRIVATE) else FIRST_PUBLIC
        return str(first + 256 * self._networks).rpartition(".")[0]

    # --- making

    def _add_site(self, site: SitePlan) -> None:
        carrier = None if site.carrier is None else self.add_router(site.carrier, name=f"carrier of {site.name}")
        self._routers[site.name] = self.add_router(site.nat, behind=carrier, name=site.name)

    def _machine(self, name: str, address: str, router: Router | None) -> Machine:
        host = self.network.host(address, behind=router)
        self.names[host.name] = self.names[address.partition("/")[0]] = name
        directory = self._directory / name
        directory.mkdir()
        return Machine(name, self.network, host, directory, self.plan.seed)

    def _make_relay(self, name: str) -> Process[RelayServer]:
        machine = self._machine(name, f"198.51.100.{name.removeprefix('relay')}", None)
        return Process(machine, self._serve_relay, self._tasks, self.note)

    def _make_client(self, plan: ClientPlan) -> Process[RunningClient]:
        router = None if plan.site is None else self._routers[plan.site]
        first, *more = self.addresses_behind(router, ipv6=plan.ipv6)
        machine = self._machine(plan.name, first, router)
        machine.host.set_addresses(first, *more)
        self.names |= {address.partition("/")[0]: plan.name for address in more}
        return Process(machine, self._serve_client, self._tasks, self.note)

    # --- serving

    async def _serve_control(self, machine: Machine, up: Up[ControlServer]) -> None:
        ingress = partial(IngressSettings, credential=self._credential)
        settings = ControlSettings(
            client_ingresses=(ingress(address=HostPort("", CLIENTS_PORT)),),
            client_tokens=((TOKEN, Restriction()),),
            relay_ingresses=(ingress(address=HostPort("", RELAYS_PORT)),),
            relay_tokens=((RELAY_TOKEN, Restriction()),),
            quic_engine=self._engine,
            store_directory=machine.disk.directory,
        )
        async with open_control(settings, surroundings=machine.surroundings()) as control:
            await up(control)

    async def _serve_relay(self, machine: Machine, up: Up[RelayServer]) -> None:
        address = HostPort(machine.host.name, RELAY_PORT)
        settings = RelaySettings(
            token=RELAY_TOKEN,
            metadata=machine.name,
            control=HostPort(CONTROL_HOST, RELAYS_PORT),
            control_roots=(self._credential.der,),
            ingresses=(RelayIngressSettings(address=HostPort("", RELAY_PORT), hostports=(address,)),),
            quic_engine=self._engine,
            store_directory=machine.disk.directory,
        )
        async with open_relay(settings, surroundings=machine.surroundings()) as relay:
            await up(relay)

    async def _serve_client(self, machine: Machine, up: Up[RunningClient]) -> None:
        settings = ClientSettings(
            token=TOKEN,
            metadata=machine.name,
            server=HostPort(CONTROL_HOST, CLIENTS_PORT),
            server_roots=(self._credential.der,),
            direct_address=HostPort("", CLIENT_PORT),
            stateless_reset_key=machine.reset_key(),
            quic_engine=self._engine,
        )
        world = machine.surroundings()
        async with open_client(settings, surroundings=world) as client, trio.open_nursery() as serving:
            sources = {}
            for service in self.plan.services:
                if machine.name in service.destinations:
                    destination = await client.add_destination(service.name, route=service.route)
                    serve = partial(self._serve_stream, machine.name)
                    serving.start_soon(partial(trio.serve_listeners, serve, [destination]))
                if machine.name in service.sources:
                    sources[service.name] = await client.add_source(service.name, route=service.route)
            await up(RunningClient(client, sources))
            serving.cancel_scope.cancel()
