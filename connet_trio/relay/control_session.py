"""The relay's standing with control (protocol section 5): let in once, then a connection that shows that both live.

Control answers the relay's fresh X25519 key with one of its own; the key both compute opens the tokens of clients. It
is replaced each time control lets the relay in anew, and outlives the connection: a relay without control goes on
serving those who come with tokens it has sealed before.

A relay with a new certificate has to be let in anew, as nothing else tells control. It joins by a second connection
before it leaves the first: off the list of relays for a moment, it would be left by every client.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NoReturn

import attrs
import trio

from connet_trio.concurrency import Backoff, Outage, Watched, keep_session
from connet_trio.errors import ConnetError, DialFailed, PathLost, Refused, RemoteProtocolError, StoreError
from connet_trio.identity import OperatorTrust, new_key_pair, shared_key
from connet_trio.quic import RELAY_TO_CONTROL, Connection, Dialing, Surroundings, Transport, dial_first, introduce
from connet_trio.records.control_relay import Authenticate, Authenticated
from connet_trio.records.model import HostPort
from connet_trio.records.status import Status
from connet_trio.records.text import printable
from connet_trio.relay.settings import RelaySettings
from connet_trio.store import RelayIdentity
from connet_trio.version import BUILD_VERSION
from connet_trio.wire import ConnectionKind, protocol_names

logger = logging.getLogger(__name__)

SESSION_OVER = (0, "connection closed")
OVERLAP_SECONDS = 3.0
"""For which the old connection stays after a newer one: control may take one second until it lists that."""


@attrs.frozen(kw_only=True)
class Presence:
    """How clients find this relay, which control tells them."""

    hostports: tuple[HostPort, ...]
    server_certificate: bytes
    """The leaf (DER) the relay presents to clients."""


class ControlSession:
    """Keeps this relay known to control."""

    def __init__(
        self,
        settings: RelaySettings,
        presence: Presence,
        *,
        transports: Sequence[Transport],
        roots: Callable[[], tuple[bytes, ...]],
        identity: RelayIdentity,
        store_place: str,
        surroundings: Surroundings,
    ) -> None:
        self.unseal_key: bytes | None = None
        """Opens the tokens of clients; None until control has let this relay in."""
        self.status = Status.NOT_CONNECTED
        self.scope = trio.CancelScope()
        """Cancel it to leave control for good."""
        self._settings = settings
        self._presence = Watched(presence)
        self._told: Presence | None = None
        self._transports = transports
        self._identity = identity
        self._store_place = store_place
        self._surroundings = surroundings
        self._roots = roots
        self._rejoins = True
        self._outage = Outage(logger, f"control {printable(str(settings.control))}")

    @property
    def control_id(self) -> str:
        """Which control server this relay belongs to, empty before one has let it in."""
        return self._identity.control_id or ""

    @property
    def last_error(self) -> str:
        """Why control is away, empty while it is there."""
        return self._outage.last_error

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Join control, and again whenever it is lost. Returns when `scope` is cancelled.

        Raises:
          DialFailed, Refused, PathLost, RemoteProtocolError: the first attempt failed, over every socket and to every
            address. Later failures are logged and retried.
        """
        with self.scope:
            try:
                await keep_session(partial(self._run_session, task_status), self._backoff(), self._report)
            finally:
                self.status = Status.DISCONNECTED

    def present(self, server_certificate: bytes) -> None:
        """Tell control of another leaf (DER), now or when it is there again."""
        self._presence.set(attrs.evolve(self._presence.value, server_certificate=server_certificate))

    def let_go(self) -> None:
        """Join control no more, once it is lost; a session that stands lasts until `scope` is cancelled."""
        self._rejoins = False
        if self.status is Status.RECONNECTING:
            self.scope.cancel()

    def _report(self, error: ConnetError, delay: float) -> None:
        if self.status is Status.NOT_CONNECTED:
            raise error
        if self._rejoins:
            self._outage.handle_trouble(error)
        else:
            self.scope.cancel()

    async def _run_session(self, task_status: trio.TaskStatus[None], up: Callable[[], None]) -> None:
        connection = await self._join()
        try:
            up()
            self._outage.handle_recovery()
            if self.status is Status.NOT_CONNECTED:
                logger.info("control %s lets this relay in", printable(str(self._settings.control)))
                task_status.started()
            self.status = Status.CONNECTED
            while True:
                await self._wait_outdated(connection)
                newer = await self._join_anew(connection)
                connection.close(*SESSION_OVER)
                connection = newer
        finally:
            self.status = Status.RECONNECTING
            connection.close(*SESSION_OVER)

    async def _wait_outdated(self, connection: Connection) -> None:
        """Wait until control should be told of another leaf.

        Raises:
          PathLost: the connection is over.
        """

        async def raise_lost() -> NoReturn:
            raise await connection.wait_closed()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_lost)
            await self._presence.wait_value(lambda presence: presence != self._told)
            nursery.cancel_scope.cancel()

    async def _join_anew(self, standing: Connection) -> Connection:
        """A second session, once control had time to list it; tried again for as long as `standing` lasts.

        Raises:
          DialFailed, Refused, PathLost, RemoteProtocolError: both attempt and `standing` failed.
        """
        backoff = self._backoff()
        while True:
            try:
                newer = await self._join()
                break
            except (DialFailed, PathLost, Refused, RemoteProtocolError) as exc:
                if standing.is_closed:
                    raise
                self._outage.handle_trouble(exc)
                await trio.sleep(backoff.longest if isinstance(exc, Refused) else backoff.next_delay(0.0))
        self._outage.handle_recovery()
        try:
            await trio.sleep(OVERLAP_SECONDS)
        except trio.Cancelled:
            newer.close(*SESSION_OVER)
            raise
        return newer

    def _backoff(self) -> Backoff:
        return Backoff(Random(self._surroundings.luck.random()))

    async def _join(self) -> Connection:
        """A connection on which control has let this relay in, by the first socket and address that lead to one."""
        failures: list[ConnetError] = []
        for transport in self._transports:
            try:
                return await self._join_over(transport)
            except (DialFailed, PathLost, Refused, RemoteProtocolError) as exc:
                failures.append(exc)
        raise _most_telling(failures)

    async def _join_over(self, transport: Transport) -> Connection:
        place, name = self._settings.control, self._settings.control_name
        dialing = Dialing(
            alpns=protocol_names(ConnectionKind.RELAY_TO_CONTROL),
            trust=OperatorTrust(self._roots(), name),
            server_name=name,
            handshake_idle_seconds=self._settings.handshake_idle_timeout,
        )
        try:
            connection = await dial_first(transport, self._surroundings, (place,), dialing)
        except DialFailed as exc:
            raise DialFailed(f"cannot reach the control server {place}: {exc}") from exc
        try:
            await self._authenticate(connection)
        except Refused as exc:
            raise Refused(exc.code, f"control server {place} refused this relay: {exc.message}") from exc
        except BaseException:
            connection.close(*SESSION_OVER)  # cancelled after control let us in; else it is closed already
            raise
        return connection

    async def _authenticate(self, connection: Connection) -> None:
        pair = new_key_pair(self._surroundings.entropy)  # fresh for each attempt
        presence = self._presence.value
        request = Authenticate(
            token=self._settings.token,
            reconnect_token=self._identity.reconnect_token,
            build_version=BUILD_VERSION,
            addresses=presence.hostports,
            metadata=self._settings.metadata,
            server_certificate=presence.server_certificate,
            relay_authentication_key=pair.public,
        )
        seconds = 2 * self._settings.handshake_idle_timeout  # as long as the handshake may take
        answer = await introduce(connection, RELAY_TO_CONTROL, request, seconds=seconds)
        try:
            self._check_control(answer.control_id)
            key = shared_key(answer.control_authentication_key, pair.secret)
        except ConnetError:
            connection.close(*RELAY_TO_CONTROL.failure)
            raise
        # before the store, which takes its time: clients are told of this relay already, with tokens for the new key
        self.unseal_key, self._told = key, presence
        await self._remember(answer)

    def _check_control(self, control_id: str) -> None:
        if not control_id:
            raise RemoteProtocolError("control did not say who it is")
        known = self._identity.control_id
        if known is not None and known != control_id:
            raise DialFailed(
                f"{self._settings.control} is not the control server this relay belongs to: its id is "
                f"{printable(control_id)}, and {self._store_place} says {printable(known)}; point the relay to the "
                "right control server, or delete its store to let it join this one"
            )

    async def _remember(self, answer: Authenticated) -> None:
        try:
            await self._identity.save_control(answer.control_id, answer.reconnect_token)
        except StoreError as exc:
            logger.warning("control will not know this relay again after its next start: %s", exc)


def _most_telling(failures: Sequence[ConnetError]) -> ConnetError:
    """The one to show: an answer of control before sockets and addresses that lead nowhere."""
    refusals = [failure for failure in failures if isinstance(failure, Refused)]
    if refusals or len(failures) == 1:
        return [*refusals, *failures][0]
    texts = dict.fromkeys(str(failure) for failure in failures)
    return DialFailed("; ".join(texts) or "control cannot be dialled: the relay has no ingress, so no socket")
