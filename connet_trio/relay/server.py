"""The relay server's root.

relay ─┬─ transports, one for each ingress: opened first and closed last
       ├─ ingresses: accept ── client session for each connection ── forwarding for each stream of a source
       ├─ control session: join over one of the transports, hold, back off, join again
       └─ leaf: issued again before it ends, and when the clock has moved out of it; control is told of the new one
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.identity import Credential
from connet_trio.quic import (
    UNAUTHENTICATED_WINDOWS,
    Answer,
    Connection,
    Faults,
    Listening,
    Surroundings,
    Transport,
    any_client,
    load_system_roots,
    open_transport,
    serve_connections,
)
from connet_trio.records.model import AddressPort, HostPort, Role
from connet_trio.records.status import RelayClientStatus, RelayEndpointStatus, RelayStatus
from connet_trio.relay.client_session import serve_client
from connet_trio.relay.control_session import SESSION_OVER, ControlSession, Presence
from connet_trio.relay.forwarding import Crossing
from connet_trio.relay.leaf import RelayLeaf
from connet_trio.relay.settings import RelayIngressSettings, RelaySettings
from connet_trio.store import Store, open_store, relay_identity
from connet_trio.version import BUILD_VERSION
from connet_trio.wire import ConnectionKind, protocol_names


@asynccontextmanager
async def open_relay(
    settings: RelaySettings,
    *,
    surroundings: Surroundings | None = None,
    control_roots: Callable[[], tuple[bytes, ...]] | None = None,
) -> AsyncIterator["RelayServer"]:
    """Run a relay for the length of a block, which begins when control has let it in.

    Leaving the block ends it at once, streams in progress included; `RelayServer.drain` before that gives them time.

    Args:
      surroundings: sockets, names, clocks, luck and entropy; the real ones unless given.
      control_roots: asked before each attempt to join, in place of `settings.control_roots`; for a control server whose
        certificate changes while the relay runs.

    Raises:
      BindFailed: an ingress cannot be listened on.
      DialFailed, Refused, PathLost, RemoteProtocolError: control was not reached at the first attempt, or said no.
      StoreError: the store directory cannot be used.
    """
    surroundings = surroundings or Surroundings()
    with single_error():
        async with AsyncExitStack() as opened:
            store = await opened.enter_async_context(
                open_store(settings.store_directory, run_sync=surroundings.store_runner)
            )
            control_roots = control_roots or await _fixed_roots(settings, surroundings)
            relay = await _open_sockets(settings, store, surroundings, control_roots, opened)
            async with trio.open_nursery() as nursery:
                await nursery.start(relay.run)
                yield relay
                nursery.cancel_scope.cancel()


async def run_relay(
    settings: RelaySettings,
    *,
    surroundings: Surroundings | None = None,
    task_status: trio.TaskStatus["RelayServer"] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run a relay until cancelled; reports started, with the relay, once it works. Raises as `open_relay`."""
    async with open_relay(settings, surroundings=surroundings) as relay:
        task_status.started(relay)
        await trio.sleep_forever()


class RelayServer:
    """A running relay; made by `open_relay`."""

    def __init__(
        self,
        settings: RelaySettings,
        control: ControlSession,
        leaf: RelayLeaf,
        *,
        transports: tuple[Transport, ...],
        hostports: tuple[HostPort, ...],
        warnings: tuple[str, ...],
        crossing: Crossing,
    ) -> None:
        self._settings = settings
        self._control = control
        self._leaf = leaf
        self._transports = transports
        self._crossing = crossing
        self._faults = Faults()
        self.hostports = hostports
        """What clients are told to dial."""
        self.warnings = warnings
        """What the operator should know, a sentence each."""

    @property
    def addresses(self) -> tuple[AddressPort, ...]:
        """Where each ingress listens, in the order of the settings."""
        return tuple(transport.local_address for transport in self._transports)

    def status(self) -> RelayStatus:
        """What the relay does now."""
        workload = self._crossing.workload
        return RelayStatus(
            status=self._control.status,
            build_version=BUILD_VERSION,
            hostports=self.hostports,
            server_address=str(self._settings.control),
            control_id=self._control.control_id,
            endpoints=self._endpoints(),
            bytes_forwarded=self._crossing.bytes_forwarded,
            streams=workload.running,
            streams_total=workload.running + workload.finished,
            last_error=self._control.last_error,
            handler_errors=self._faults.count,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve clients and stay joined to control. Never returns; reports started once control has let it in."""
        async with trio.open_nursery() as nursery:
            for transport in self._transports:
                await nursery.start(serve_connections, transport, self._serve, self._faults)
            nursery.start_soon(self._leaf.run, self._handle_leaf)
            await nursery.start(self._control.run)
            task_status.started()

    async def drain(self) -> None:
        """Stop in good order: nothing new from now on, `drain_timeout` for streams in progress, then all is closed.

        Returns when every connection is closed; the block of `open_relay` is then to be left.
        """
        self._crossing.close()
        self._control.let_go()
        for transport in self._transports:
            if transport.listening is not None:
                transport.listening = attrs.evolve(transport.listening, admits=lambda address: False)
        with trio.move_on_after(self._settings.drain_timeout):
            await self._crossing.workload.wait_idle()
        # control last: once it takes this relay off its list, clients leave it, streams in progress or not
        self._control.scope.cancel()
        for transport in self._transports:
            transport.close_all(*SESSION_OVER)

    def _handle_leaf(self, leaf: Credential) -> None:
        """Clients that dial from now on see the new leaf, and hear from control that they should; others stay."""
        if not self._crossing.is_open:
            return
        for transport in self._transports:
            if transport.listening is not None:
                transport.listening = attrs.evolve(transport.listening, choose=_choose(leaf))
        self._control.present(leaf.der)

    async def _serve(self, connection: Connection) -> None:
        await serve_client(connection, self._crossing, lambda: self._control.unseal_key)

    def _endpoints(self) -> dict[str, RelayEndpointStatus]:
        names: dict[str, dict[Role, dict[str, RelayClientStatus]]] = {}
        for entry in self._crossing.switchboard.entries():
            roles = names.setdefault(entry.endpoint, {Role.DESTINATION: {}, Role.SOURCE: {}})
            client = RelayClientStatus(key=entry.certificate_key, metadata=entry.metadata)
            roles[entry.role][entry.certificate_key] = client
        return {
            name: RelayEndpointStatus(endpoint=name, destinations=roles[Role.DESTINATION], sources=roles[Role.SOURCE])
            for name, roles in names.items()
        }


async def _open_sockets(
    settings: RelaySettings,
    store: Store,
    surroundings: Surroundings,
    control_roots: Callable[[], tuple[bytes, ...]],
    opened: AsyncExitStack,
) -> RelayServer:
    """Bind every ingress and put the relay together; its sockets are closed with `opened`."""
    identity = await relay_identity(store, surroundings.entropy)
    leaf = RelayLeaf(surroundings)
    transports = []
    for ingress in settings.ingresses:
        transport = open_transport(
            await surroundings.open_udp_socket(ingress.address),
            wall_clock=surroundings.wall_clock,
            reset_key=identity.reset_key,
            listening=_listening(ingress, leaf.credential),
            entropy=surroundings.entropy,
            congestion_control=settings.congestion_control,
            quic_engine=settings.quic_engine,
            max_packet_size=settings.max_packet_size,
        )
        transports.append(await opened.enter_async_context(transport))
    hostports = _advertised(settings, transports)
    control = ControlSession(
        settings,
        Presence(hostports=hostports, server_certificate=leaf.credential.der),
        transports=transports,
        roots=control_roots,
        identity=identity,
        store_place=store.place,
        surroundings=surroundings,
    )
    return RelayServer(
        settings,
        control,
        leaf,
        transports=tuple(transports),
        hostports=hostports,
        warnings=store.warnings,
        crossing=Crossing(),
    )


def _choose(leaf: Credential) -> Callable[[str | None], Answer]:
    alpns = protocol_names(ConnectionKind.CLIENT_TO_RELAY)
    answer = Answer(credential=leaf, alpns=alpns, client_trust=any_client)
    return lambda name: answer  # whatever name was asked for (section 2.3)


def _listening(ingress: RelayIngressSettings, leaf: Credential) -> Listening:
    return Listening(
        choose=_choose(leaf),
        admits=lambda remote: ingress.networks.admits(remote.address),
        windows=UNAUTHENTICATED_WINDOWS,
    )


def _advertised(settings: RelaySettings, transports: list[Transport]) -> tuple[HostPort, ...]:
    advertised: dict[HostPort, None] = {}
    for ingress, transport in zip(settings.ingresses, transports, strict=True):
        for place in ingress.hostports:
            advertised[HostPort(place.host, place.port or transport.local_address.port)] = None
    return tuple(advertised)


async def _fixed_roots(settings: RelaySettings, surroundings: Surroundings) -> Callable[[], tuple[bytes, ...]]:
    roots = settings.control_roots
    if roots is None:
        run_sync = surroundings.store_runner or trio.to_thread.run_sync  # hundreds of files to read
        roots = await run_sync(load_system_roots)
    found: tuple[bytes, ...] = roots
    return lambda: found
