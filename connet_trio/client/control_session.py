"""The client's session with control: dial, authenticate, hold, and again (protocol sections 4.1 and 4.5)."""

import logging
from collections.abc import Callable
from random import Random

import trio

from connet_trio.client.settings import ClientSettings
from connet_trio.concurrency import Backoff, Outage, Watched, keep_session
from connet_trio.endpoints import ControlLink
from connet_trio.errors import ConnetError, DialFailed, Refused, RemoteProtocolError
from connet_trio.identity import OperatorTrust
from connet_trio.quic import CLIENT_TO_CONTROL, Connection, Dialing, Surroundings, Transport, dial_first, introduce
from connet_trio.records import control as records
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort
from connet_trio.records.status import Status
from connet_trio.version import BUILD_VERSION
from connet_trio.wire import ConnectionKind, protocol_names, wire_version

logger = logging.getLogger(__name__)

AUTHENTICATION_SECONDS = 5.0
GOODBYE_SPREAD_SECONDS = 15.0
"""Over which the clients of a control server that stops come back: it may start again at once, and a handshake costs it
milliseconds. Nothing that runs waits for control, and what was announced is still listed (section 4.4)."""
CLOSED = (ErrorCode.UNKNOWN, "connection closed")


class ControlSession:
    """Keeps the client logged in. Endpoints follow `link`, which is None while there is no session."""

    def __init__(
        self,
        settings: ClientSettings,
        transport: Transport,
        surroundings: Surroundings,
        roots: tuple[bytes, ...],
        handle_public: Callable[[AddressPort], None],
    ) -> None:
        """Prepare.

        Args:
          handle_public: told our address as control sees it, at each login.
        """
        self.link: Watched[ControlLink | None] = Watched(None)
        self._settings = settings
        self._transport = transport
        self._surroundings = surroundings
        self._trust = OperatorTrust(roots, settings.server_name)
        self._reconnect_token = b""
        self._handle_public = handle_public
        self._ever_up = False
        self._renewing = False
        self._outage = Outage(logger, f"control server {settings.server}")

    @property
    def status(self) -> Status:
        """How we stand with control, in the words of the status page."""
        if self.link.value is not None:
            return Status.CONNECTED
        return Status.RECONNECTING if self._ever_up else Status.NOT_CONNECTED

    @property
    def last_error(self) -> str:
        """Why there is no session, empty while there is one."""
        return self._outage.last_error

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the session, for ever. Started once authenticated.

        Raises:
          DialFailed, Refused: the very first attempt failed; later ones are repeated.
        """

        async def run_session(up: Callable[[], None]) -> None:
            def established() -> None:
                up()
                self._outage.handle_recovery()
                if not self._ever_up:
                    self._ever_up = True
                    task_status.started()

            await self._run_session(established)

        def report(error: ConnetError, delay: float) -> None:
            if not self._ever_up:
                raise error
            if self._renewing:
                self._renewing = False
            else:
                self._outage.handle_trouble(error)

        luck = Random(self._surroundings.luck.random())
        await keep_session(run_session, Backoff(luck, goodbye_spread=GOODBYE_SPREAD_SECONDS), report)

    def renew(self, reason: str) -> None:
        """Log in anew at once, since control should look at our address again; `reason` is for people."""
        link = self.link.value
        if link is not None and not link.connection.is_closed:
            logger.info("logging in to control anew, which tells us our public address: %s", reason)
            self._renewing = True
            link.connection.close(*CLOSED)

    async def _run_session(self, up: Callable[[], None]) -> None:
        connection = await self._dial()
        link, public = await self._authenticate(connection)
        try:
            up()
            self._handle_public(public)
            logger.info("connected to control server %s, seen from there as %s", self._settings.server, public)
            self.link.set(link)
            raise await connection.wait_closed()
        finally:
            self.link.set(None)
            connection.close(*CLOSED)

    async def _dial(self) -> Connection:
        """Resolve anew and try every address.

        Raises:
          DialFailed: none worked; the text names each.
        """
        settings = self._settings
        dialing = Dialing(
            alpns=protocol_names(ConnectionKind.CLIENT_TO_CONTROL),
            trust=self._trust,
            server_name=settings.server_name,
            handshake_idle_seconds=settings.handshake_idle_timeout,
        )
        try:
            return await dial_first(self._transport, self._surroundings, (settings.server,), dialing)
        except DialFailed as exc:
            raise DialFailed(f"cannot reach the control server {settings.server}: {exc}") from exc

    async def _authenticate(self, connection: Connection) -> tuple[ControlLink, AddressPort]:
        settings = self._settings
        request = records.Authenticate(
            token=settings.token,
            reconnect_token=self._reconnect_token,
            build_version=BUILD_VERSION,
            metadata=settings.metadata,
        )
        try:
            reply = await introduce(connection, CLIENT_TO_CONTROL, request, seconds=AUTHENTICATION_SECONDS)
        except Refused as refusal:
            where = f"control server {settings.server} refused this client"
            raise Refused(refusal.code, f"{where}: {refusal.message}") from refusal
        if reply.public is None:
            connection.close(*CLIENT_TO_CONTROL.failure)
            raise RemoteProtocolError(f"control server {settings.server} does not say how it sees us")
        self._reconnect_token = reply.reconnect_token
        version = wire_version(ConnectionKind.CLIENT_TO_CONTROL, connection.alpn)
        return ControlLink(connection=connection, version=version), reply.public.unmapped
