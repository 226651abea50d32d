"""A control server: admits clients and relays, introduces them to each other, and carries no payload.

control ─┬─ transport for each ingress: receives for every connection, and drives each one
         ├─ directory: takes off what has expired
         ├─ snapshot keeper: saves what a restart should not forget
         ├─ client ingress: one task for each client ── one task for each of its streams
         └─ relay ingress: one task for each relay
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.control.client_session import ClientSessions
from connet_trio.control.directory import Directory
from connet_trio.control.identities import Identities
from connet_trio.control.relay_session import RelaySessions
from connet_trio.control.settings import ControlSettings, IngressSettings
from connet_trio.control.snapshot import SnapshotKeeper, load_snapshot
from connet_trio.control.status import client_statuses, endpoint_statuses, ingress_status, relay_statuses
from connet_trio.engine import Restriction, TokenTable
from connet_trio.identity import Credential
from connet_trio.quic import (
    Answer,
    Faults,
    Listening,
    Surroundings,
    Transport,
    open_transport,
    serve_connections,
)
from connet_trio.records.model import AddressPort
from connet_trio.records.status import ControlStatus, IngressStatus
from connet_trio.store import ControlIdentity, Store, control_identity, open_store
from connet_trio.version import BUILD_VERSION
from connet_trio.wire import ConnectionKind, protocol_names

CLOSED = (0, "connection closed")
GOODBYE_SECONDS = 5.0
"""What the last save gets, however control ends: as long as the store waits for another process."""


@asynccontextmanager
async def open_control(
    settings: ControlSettings, *, surroundings: Surroundings | None = None
) -> AsyncIterator["ControlServer"]:
    """Run a control server for the length of a block; leaving it closes every session.

    Args:
      surroundings: the real world unless given.

    Raises:
      BindFailed: an ingress cannot be listened on.
      StoreError: the store cannot be used.
    """
    world = Surroundings() if surroundings is None else surroundings
    with single_error():
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(settings.store_directory, run_sync=world.store_runner))
            identity = await control_identity(store, world.entropy)
            directory = Directory(expiry_seconds=settings.endpoint_expiry)
            directory.restore(await load_snapshot(store))
            bind = partial(_bind, stack, world, settings)
            server = ControlServer(
                settings,
                world,
                store=store,
                identity=identity,
                directory=directory,
                client_ingresses=await bind(
                    settings.client_ingresses, ConnectionKind.CLIENT_TO_CONTROL, identity.client_reset_key
                ),
                relay_ingresses=await bind(
                    settings.relay_ingresses, ConnectionKind.RELAY_TO_CONTROL, identity.relay_reset_key
                ),
            )
            nursery = await stack.enter_async_context(trio.open_nursery())
            await nursery.start(server.run)
            try:
                yield server
            finally:
                with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await server.drain()
                nursery.cancel_scope.cancel()


async def run_control(
    settings: ControlSettings,
    *,
    surroundings: Surroundings | None = None,
    task_status: trio.TaskStatus["ControlServer"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a control server in somebody's nursery until cancelled; reports started, with the server, once it listens.

    Raises:
      BindFailed, StoreError: as `open_control`.
    """
    async with open_control(settings, surroundings=surroundings) as server:
        task_status.started(server)
        await trio.sleep_forever()


@attrs.frozen
class Ingress:
    """A socket, and how it was asked for."""

    settings: IngressSettings
    transport: Transport


class ControlServer:
    """A running control server; made by `open_control`."""

    def __init__(
        self,
        settings: ControlSettings,
        surroundings: Surroundings,
        *,
        store: Store,
        identity: ControlIdentity,
        directory: Directory,
        client_ingresses: tuple[Ingress, ...],
        relay_ingresses: tuple[Ingress, ...],
    ) -> None:
        self._identity = identity
        self._directory = directory
        self._keeper = SnapshotKeeper(store, directory.snapshot, directory.revision)
        self._faults = Faults()
        entropy, wall_clock = surroundings.entropy, surroundings.wall_clock
        self._client_tokens = TokenTable(settings.client_tokens, entropy)
        self._relay_tokens = TokenTable(settings.relay_tokens, entropy)
        self._clients = ClientSessions(
            tokens=self._client_tokens,
            identities=Identities(
                identity.client_secret,
                entropy=entropy,
                wall_clock=wall_clock,
                latest_connection_id=directory.latest_connection_id(),
            ),
            directory=directory,
            entropy=entropy,
        )
        self._relays = RelaySessions(
            control_id=identity.control_id,
            tokens=self._relay_tokens,
            identities=Identities(identity.relay_secret, entropy=entropy, wall_clock=wall_clock),
            directory=directory,
            entropy=entropy,
        )
        self._client_ingresses = client_ingresses
        self._relay_ingresses = relay_ingresses
        self.warnings: tuple[str, ...] = store.warnings
        """What the operator should know about the state directory, a sentence each."""

    @property
    def client_addresses(self) -> tuple[AddressPort, ...]:
        """Where clients are accepted, in the order of the settings."""
        return tuple(ingress.transport.local_address for ingress in self._client_ingresses)

    @property
    def relay_addresses(self) -> tuple[AddressPort, ...]:
        """Where relays are accepted, in the order of the settings."""
        return tuple(ingress.transport.local_address for ingress in self._relay_ingresses)

    def status(self) -> ControlStatus:
        """Everything it knows now, without secrets."""
        return ControlStatus(
            build_version=BUILD_VERSION,
            control_id=self._identity.control_id,
            client_ingresses=_ingress_statuses(self._client_ingresses),
            relay_ingresses=_ingress_statuses(self._relay_ingresses),
            clients=client_statuses(self._clients.live()),
            endpoints=endpoint_statuses(self._directory.announcements()),
            relays=relay_statuses(self._directory.relays.value),
            last_error=self._keeper.last_error,
            handler_errors=self._faults.count,
        )

    def reload_tokens(
        self,
        client_tokens: tuple[tuple[str, Restriction], ...],
        relay_tokens: tuple[tuple[str, Restriction], ...],
    ) -> None:
        """Replace all tokens; every request from now on is judged by the new ones, connections stay as they are."""
        self._client_tokens.handle_reload(client_tokens)
        self._relay_tokens.handle_reload(relay_tokens)

    def replace_relay_credential(self, credential: Credential) -> None:
        """Show another certificate to relays that connect from now on, on every ingress; those connected stay."""
        for ingress in self._relay_ingresses:
            if ingress.transport.listening is not None:
                choose = _choose(credential, ConnectionKind.RELAY_TO_CONTROL)
                ingress.transport.listening = attrs.evolve(ingress.transport.listening, choose=choose)

    async def drain(self) -> None:
        """Accept nobody any more and end every session. What was known is kept for the next start."""
        ingresses = (*self._client_ingresses, *self._relay_ingresses)
        for ingress in ingresses:
            if ingress.transport.listening is not None:
                ingress.transport.listening = attrs.evolve(ingress.transport.listening, admits=_nobody)
        await self._keeper.finish()
        for ingress in ingresses:
            ingress.transport.close_all(*CLOSED)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve everybody; `open_control` starts it. Never returns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._directory.run)
            nursery.start_soon(self._keeper.run)
            for ingress in self._client_ingresses:
                await nursery.start(serve_connections, ingress.transport, self._clients.serve, self._faults)
            for ingress in self._relay_ingresses:
                await nursery.start(serve_connections, ingress.transport, self._relays.serve, self._faults)
            task_status.started()


async def _bind(
    stack: AsyncExitStack,
    surroundings: Surroundings,
    settings: ControlSettings,
    ingresses: tuple[IngressSettings, ...],
    kind: ConnectionKind,
    reset_key: bytes,
) -> tuple[Ingress, ...]:
    """Open sockets for the life of `stack`; handshakes begin, nobody is served yet."""
    bound = []
    for ingress in ingresses:
        transport = open_transport(
            await surroundings.open_udp_socket(ingress.address),
            wall_clock=surroundings.wall_clock,
            reset_key=reset_key,
            listening=_listening(ingress, kind),
            entropy=surroundings.entropy,
            congestion_control=settings.congestion_control,
            quic_engine=settings.quic_engine,
            max_packet_size=settings.max_packet_size,
        )
        bound.append(Ingress(ingress, await stack.enter_async_context(transport)))
    return tuple(bound)


def _choose(credential: Credential, kind: ConnectionKind) -> Callable[[str | None], Answer]:
    answer = Answer(credential=credential, alpns=protocol_names(kind))
    return lambda name: answer


def _listening(ingress: IngressSettings, kind: ConnectionKind) -> Listening:
    networks = ingress.networks
    return Listening(choose=_choose(ingress.credential, kind), admits=lambda remote: networks.admits(remote.address))


def _nobody(_: AddressPort) -> bool:
    return False


def _ingress_statuses(ingresses: Iterable[Ingress]) -> tuple[IngressStatus, ...]:
    return tuple(ingress_status(ingress.transport.local_address, ingress.settings.networks) for ingress in ingresses)
