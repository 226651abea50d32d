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
from connet_trio.quic import Connection, Dialing, RecordStream, Surroundings, Transport
from connet_trio.records import control as records
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Error
from connet_trio.records.status import Status
from connet_trio.records.text import printable
from connet_trio.version import BUILD_VERSION
from connet_trio.wire import ConnectionKind, codecs, protocol_names, wire_version

logger = logging.getLogger(__name__)

AUTHENTICATION_SECONDS = 5.0
REFUSED = (ErrorCode.AUTHENTICATION_FAILED, "authentication failed")
CLOSED = (ErrorCode.UNKNOWN, "connection closed")


class ControlSession:
    """Keeps the client logged in. Endpoints follow `link`, which is None while there is no session."""

    def __init__(
        self, settings: ClientSettings, transport: Transport, surroundings: Surroundings, roots: tuple[bytes, ...]
    ) -> None:
        self.link: Watched[ControlLink | None] = Watched(None)
        self.public: AddressPort | None = None
        """Our address as control saw it last."""
        self._settings = settings
        self._transport = transport
        self._surroundings = surroundings
        self._trust = OperatorTrust(roots, settings.server_name)
        self._reconnect_token = b""
        self._ever_up = False
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
            self._outage.handle_trouble(error)

        await keep_session(run_session, Backoff(Random(self._surroundings.luck.random())), report)

    async def _run_session(self, up: Callable[[], None]) -> None:
        connection = await self._dial()
        try:
            link = await self._authenticate(connection)
        except Refused as refusal:
            connection.close(*REFUSED)
            where = f"control server {self._settings.server} refused this client"
            raise Refused(refusal.code, f"{where}: {printable(refusal.message)}") from refusal
        except BaseException:
            connection.close(*REFUSED)
            raise
        try:
            up()
            logger.info("connected to control server %s, seen from there as %s", self._settings.server, self.public)
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
        failures: list[str] = []
        try:
            for address in await self._surroundings.resolve(settings.server):
                try:
                    return await self._transport.dial(address, dialing)
                except DialFailed as exc:
                    failures.append(str(exc))
        except DialFailed as exc:
            failures.append(str(exc))
        raise DialFailed(f"cannot reach the control server {settings.server}: {'; '.join(failures)}")

    async def _authenticate(self, connection: Connection) -> ControlLink:
        version = wire_version(ConnectionKind.CLIENT_TO_CONTROL, connection.alpn)
        with trio.move_on_after(AUTHENTICATION_SECONDS):
            stream = await connection.open_stream()
            session = RecordStream(stream, version)
            request = records.Authenticate(
                token=self._settings.token,
                reconnect_token=self._reconnect_token,
                build_version=BUILD_VERSION,
                metadata=self._settings.metadata,
            )
            await session.send(codecs.CONTROL_AUTHENTICATE, request)
            reply = await session.receive(codecs.CONTROL_AUTHENTICATE_REPLY)
            stream.close()
            if isinstance(reply, Error):
                raise Refused(reply.code, reply.message)
            if reply.public is None:
                raise RemoteProtocolError("the control server does not say how it sees us")
            self.public, self._reconnect_token = reply.public.unmapped, reply.reconnect_token
            return ControlLink(connection=connection, version=version)
        raise DialFailed(
            f"control server {self._settings.server}: no answer to authentication in {AUTHENTICATION_SECONDS:g} s"
        )
