"""A client: one UDP socket, one session with control, any number of sources and destinations.

client ─┬─ transport: receives for every connection, and drives each one
        ├─ control session: dial, authenticate, hold, back off, again
        ├─ upkeep: interfaces, clock, certificates
        ├─ direct port: accept ── whoever expects the peer
        ├─ endpoint ─┬─ attendance: announce stream, relay stream
        │            ├─ relay links, direct links
        │            └─ for those with a local side: listener, or acceptor
        └─ streams: everything spliced now, which a stop lets run for the drain timeout
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import trio

from connet_trio.client.control_session import ControlSession
from connet_trio.client.endpoint_names import check_endpoint_name, endpoint_name_warnings
from connet_trio.client.reachability import Reachability
from connet_trio.client.reset_key import load_reset_key
from connet_trio.client.settings import ClientSettings, DestinationSettings, SourceSettings
from connet_trio.client.upkeep import Upkeep
from connet_trio.concurrency import AbortableStream, Workload, outlasting, single_error
from connet_trio.endpoints import ClientContext, Destination, DirectContext, DirectPort, Endpoint, Source
from connet_trio.engine import NO_BALANCING, Balancing
from connet_trio.errors import BindFailed, ConfigError, EndpointClosed
from connet_trio.forward import OpenFiles, open_tcp_listeners, serve_destination_stream, serve_source
from connet_trio.nat import read_interfaces
from connet_trio.quic import (
    DatagramSocket,
    Faults,
    Surroundings,
    Transport,
    load_system_roots,
    open_transport,
    serve_connections,
)
from connet_trio.records.model import HostPort, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption
from connet_trio.records.status import ClientStatus, EndpointStatus
from connet_trio.version import BUILD_VERSION

logger = logging.getLogger(__name__)

DEFAULT_DIRECT_ADDRESS = HostPort("", 19_192)


@asynccontextmanager
async def open_client(settings: ClientSettings, *, surroundings: Surroundings | None = None) -> AsyncIterator["Client"]:
    """Run a client for the length of a block; it is logged in and its endpoints are announced when the block begins.

    Leaving the block withdraws every endpoint and ends what is still running; `Client.drain` before that lets it end
    by itself.

    Raises:
      BindFailed: a port is taken.
      DialFailed: control cannot be reached, or its certificate is not trusted.
      Refused: control refused the token, or an endpoint.
      PathLost, RemoteProtocolError: the first session broke before it stood.
    """
    surroundings = surroundings or Surroundings()
    roots = settings.server_roots
    if roots is None:
        roots = await trio.to_thread.run_sync(load_system_roots)
    socket, warnings = await _open_socket(settings, surroundings)
    reset_key = _reset_key(settings, socket, surroundings, warnings)
    reachability = Reachability(
        socket.local_address, surroundings.interfaces or read_interfaces, Random(surroundings.luck.random())
    )
    reachability.read_now()
    port = DirectPort()
    with single_error():
        async with open_transport(
            socket,
            wall_clock=surroundings.wall_clock,
            reset_key=reset_key,
            listening=port.listening,
            entropy=surroundings.entropy,
            congestion_control=settings.congestion_control,
            quic_engine=settings.quic_engine,
            max_packet_size=settings.max_packet_size,
        ) as transport:
            session = ControlSession(settings, transport, surroundings, roots, reachability.handle_public)
            async with outlasting(session.run), trio.open_nursery() as tasks:
                client = Client(settings, transport, session, reachability, port, tasks, surroundings, tuple(warnings))
                await tasks.start(client.run)
                try:
                    for destination in settings.destinations:
                        await client.serve_destination(destination)
                    for source in settings.sources:
                        await client.serve_source(source)
                    yield client
                finally:
                    client.handle_leaving()
                tasks.cancel_scope.cancel()


async def run_client(
    settings: ClientSettings,
    *,
    surroundings: Surroundings | None = None,
    task_status: trio.TaskStatus["Client"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`open_client` as a task for the nursery of a program that embeds one. Returns only when cancelled."""
    async with open_client(settings, surroundings=surroundings) as client:
        task_status.started(client)
        await trio.sleep_forever()


class Client:
    """A running client; made by `open_client`."""

    def __init__(
        self,
        settings: ClientSettings,
        transport: Transport,
        session: ControlSession,
        reachability: Reachability,
        port: DirectPort,
        tasks: trio.Nursery,
        surroundings: Surroundings,
        warnings: tuple[str, ...],
    ) -> None:
        self.warnings = warnings
        """What the user should know about this start, a sentence each."""
        self._settings = settings
        self._transport = transport
        self._session = session
        self._reachability = reachability
        self._port = port
        self._faults = Faults()
        self._tasks = tasks
        self._context = ClientContext(
            transport=transport,
            surroundings=surroundings,
            metadata=settings.metadata,
            handshake_idle_timeout=settings.handshake_idle_timeout,
            direct=DirectContext(
                transport=transport,
                surroundings=surroundings,
                port=port,
                candidates=reachability.candidates,
                handshake_idle_timeout=settings.handshake_idle_timeout,
                handle_silence=lambda was_there: self._upkeep.handle_silence(was_there),
            ),
            directs=reachability.directs,
        )
        self._upkeep = Upkeep(transport, session, reachability, surroundings, self._handle_clock)
        self._destinations: dict[str, Destination] = {}
        self._sources: dict[str, Source] = {}
        self._workload = Workload()
        self._files = OpenFiles()
        self._accepting_scopes: list[trio.CancelScope] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """What the client does by itself, beside its endpoints. Never returns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upkeep.run)
            await nursery.start(serve_connections, self._transport, self._port.serve, self._faults)
            task_status.started()

    async def add_destination(
        self,
        name: str,
        *,
        route: Route = Route.ANY,
        relay_encryptions: Sequence[RelayEncryption] | None = None,
        proxy_version: ProxyVersion = ProxyVersion.NONE,
    ) -> Destination:
        """Offer a service: a `trio.abc.Listener` of streams, announced when this returns.

        Args:
          relay_encryptions: how streams may be kept from a relay; those of the client unless said.
          proxy_version: the PROXY header with which sources are to begin their streams.

        Raises:
          ConfigError: this client has a destination of that name.
          Refused: control does not allow it.
        """
        encryptions = self._relay_encryptions(relay_encryptions)
        destination = Destination(
            name, route, self._context, relay_encryptions=encryptions, proxy_version=proxy_version
        )
        await self._start(destination, self._destinations)
        return destination

    async def add_source(
        self,
        name: str,
        *,
        route: Route = Route.ANY,
        dial_timeout: float | None = None,
        relay_encryptions: Sequence[RelayEncryption] | None = None,
        balancing: Balancing = NO_BALANCING,
    ) -> Source:
        """Consume a service: `Source.dial` gives streams to it. Announced when this returns; otherwise as above."""
        encryptions = self._relay_encryptions(relay_encryptions)
        source = Source(name, route, dial_timeout, self._context, relay_encryptions=encryptions, balancing=balancing)
        await self._start(source, self._sources)
        return source

    async def serve_destination(self, settings: DestinationSettings) -> Destination:
        """A destination whose streams go to a TCP service; raises as `add_destination`."""
        destination = await self.add_destination(
            settings.name,
            route=settings.route,
            relay_encryptions=settings.relay_encryptions,
            proxy_version=settings.proxy_version,
        )
        self._tasks.start_soon(self._serve_destination, destination, settings, self._new_accepting_scope())
        return destination

    async def serve_source(self, settings: SourceSettings) -> Source:
        """A source whose streams come from a TCP port; raises as `add_source`, and BindFailed."""
        listeners = await open_tcp_listeners(settings.listen)
        try:
            source = await self.add_source(
                settings.name,
                route=settings.route,
                dial_timeout=settings.dial_timeout,
                relay_encryptions=settings.relay_encryptions,
                balancing=settings.balancing,
            )
        except BaseException:
            for listener in listeners:
                listener.socket.close()
            raise
        # from here on without a wait, at which this could be cancelled and leave an endpoint that nobody serves
        self._tasks.start_soon(self._serve_source, source, listeners, self._new_accepting_scope())
        places = ", ".join(str(HostPort(*listener.socket.getsockname()[:2])) for listener in listeners)
        logger.info("%s: listening on %s", source.label, places)
        return source

    async def drain(self) -> None:
        """Accept nothing new, and give what runs the drain timeout to end by itself."""
        for scope in self._accepting_scopes:
            scope.cancel()
        for destination in self._destinations.values():
            destination.stop_accepting()
        with trio.move_on_after(self._settings.drain_timeout):
            await self._workload.wait_idle()

    def handle_leaving(self) -> None:
        """The block of `open_client` is over."""
        for endpoint in (*self._destinations.values(), *self._sources.values()):
            endpoint.handle_leaving()

    def status(self) -> ClientStatus:
        """The status page (protocol section 13)."""
        public = self._reachability.public
        return ClientStatus(
            status=self._session.status,
            metadata=self._settings.metadata,
            build_version=BUILD_VERSION,
            server_address=str(self._settings.server),
            direct_address=str(self._transport.local_address),
            local_addresses=self._reachability.host_addresses,
            stun_addresses=() if public is None else (public,),
            destinations=_statuses(self._destinations),
            sources=_statuses(self._sources),
            last_error=self._session.last_error,
            handler_errors=self._faults.count,
        )

    def _handle_clock(self, wall_now: float) -> None:
        for endpoint in (*self._destinations.values(), *self._sources.values()):
            endpoint.handle_clock(wall_now)

    async def _start(self, endpoint: Endpoint, endpoints: "dict[str, Source] | dict[str, Destination]") -> None:
        try:
            check_endpoint_name(endpoint.name)
        except ValueError as exc:
            raise ConfigError(f"{endpoint.label}: {exc}") from exc
        for warning in endpoint_name_warnings(endpoint.name):
            logger.warning("%s: %s", endpoint.label, warning)
        if endpoint.name in endpoints:
            raise ConfigError(f"this client already has a {endpoint.known.role.name.lower()} {endpoint.label}")
        endpoints[endpoint.name] = endpoint  # type: ignore[assignment]  # each caller passes the dict of its kind
        try:
            with single_error():
                await self._tasks.start(endpoint.run, self._session.link)
        except BaseException:
            del endpoints[endpoint.name]
            raise

    def _relay_encryptions(self, own: Sequence[RelayEncryption] | None) -> tuple[RelayEncryption, ...]:
        """Those of an endpoint, or else of the client."""
        encryptions = self._settings.relay_encryptions if own is None else tuple(own)
        if not encryptions:
            raise ConfigError("no relay encryption is allowed, expected at least one")
        return encryptions

    def _new_accepting_scope(self) -> trio.CancelScope:
        """For a task that accepts until this client drains, though it may not have begun by then."""
        scope = trio.CancelScope()
        self._accepting_scopes.append(scope)
        return scope

    async def _serve_destination(
        self, destination: Destination, settings: DestinationSettings, accepting: trio.CancelScope
    ) -> None:
        with accepting:
            while True:
                try:
                    stream = await destination.accept()
                except EndpointClosed:
                    return
                self._tasks.start_soon(self._carry, destination, settings, stream)

    async def _carry(self, destination: Destination, settings: DestinationSettings, stream: AbortableStream) -> None:
        with self._workload.job():
            await serve_destination_stream(
                stream,
                settings.name,
                settings.target,
                settings.dial_timeout,
                traffic=destination.known.traffic,
                files=self._files,
            )

    async def _serve_source(
        self, source: Source, listeners: list[trio.SocketListener], accepting: trio.CancelScope
    ) -> None:
        with accepting:
            await serve_source(
                listeners,
                source.name,
                source.dial,
                traffic=source.known.traffic,
                streams=self._tasks,
                workload=self._workload,
                files=self._files,
            )


def _statuses(endpoints: "dict[str, Source] | dict[str, Destination]") -> dict[str, EndpointStatus]:
    return {name: endpoint.log.status() for name, endpoint in endpoints.items()}


async def _open_socket(settings: ClientSettings, surroundings: Surroundings) -> tuple[DatagramSocket, list[str]]:
    if settings.direct_address is not None:
        return await surroundings.open_udp_socket(settings.direct_address), []
    try:
        return await surroundings.open_udp_socket(DEFAULT_DIRECT_ADDRESS), []
    except BindFailed as exc:
        if not exc.in_use:
            raise
        socket = await surroundings.open_udp_socket(HostPort("", 0))
        taken = f"UDP port {DEFAULT_DIRECT_ADDRESS.port} is taken (another client here?), using {socket.local_address}"
        return socket, [f"{taken}; set direct-addr to choose one"]


def _reset_key(
    settings: ClientSettings, socket: DatagramSocket, surroundings: Surroundings, warnings: list[str]
) -> bytes | None:
    if settings.stateless_reset_key is not None or settings.stateless_reset_key_directory is None:
        return settings.stateless_reset_key
    address = settings.direct_address or DEFAULT_DIRECT_ADDRESS
    if settings.direct_address is None and socket.local_address.port != address.port:
        return None  # a port of chance: a key kept for it would never be found again
    try:
        return load_reset_key(settings.stateless_reset_key_directory, address, surroundings.entropy)
    except OSError as exc:
        warnings.append(
            f"no stateless reset key in {settings.stateless_reset_key_directory} ({exc.strerror}); "
            "peers will notice a restart of this client only after their idle timeout"
        )
        return None
