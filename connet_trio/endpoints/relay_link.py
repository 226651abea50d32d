"""One connection to one relay, for one endpoint (protocol sections 6.1 and 7.6).

A relay of the original loses stream credit (trap T6): a connection to one through which nothing was answered is
replaced, and what runs on it goes on.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import trio

from connet_trio.concurrency import Backoff, Outage, keep_session
from connet_trio.endpoints.connecting import Dialled, connect_through_relay
from connet_trio.endpoints.older_relay_path import OLDER_NAMES, OlderRelayPath, connect_either_way
from connet_trio.endpoints.relay_encryption import Offer, plain_offer
from connet_trio.endpoints.retiring import retire
from connet_trio.errors import CertificateRejected, DialFailed, PathLost
from connet_trio.identity import Credential, PinnedServer, server_name
from connet_trio.quic import (
    CLIENT_TO_RELAY,
    Connection,
    Dialing,
    Stream,
    Surroundings,
    Transport,
    dial_first,
    introduce,
)
from connet_trio.records import relay as relay_records
from connet_trio.records.control import Relay
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.text import printable, short_id
from connet_trio.version import BUILD_VERSION
from connet_trio.wire import ConnectionKind, WireVersion, protocol_names, wire_version

logger = logging.getLogger(__name__)

AUTHENTICATION_SECONDS = 5.0
WITHDRAWN = (ErrorCode.RELAY_KEEPALIVE_CLOSED, "keepalive closed")


class RelayLink:
    """Keeps one relay connected while control offers it; `offer` may be replaced, which the next dial uses."""

    def __init__(
        self,
        offer: Relay,
        *,
        label: str,
        transport: Transport,
        surroundings: Surroundings,
        credential: Credential,
        handshake_idle_timeout: float,
        metadata: str,
        holding: trio.Nursery,
        on_change: Callable[["RelayLink"], None],
        handle_stream: Callable[[Stream], Awaitable[None]],
        make_offer: Callable[[], Offer] = plain_offer,
    ) -> None:
        """Prepare; nothing is dialled yet.

        Args:
          holding: where a connection that was replaced waits for its streams to end.
          make_offer: how streams of a source are kept from the relay.
        """
        self.offer = offer
        self.connection: Connection | None = None
        self.scope = trio.CancelScope()
        """Cancelled by the endpoint when control no longer offers the relay."""
        self._transport = transport
        self._surroundings = surroundings
        self._credential = credential
        self._handshake_idle_timeout = handshake_idle_timeout
        self._metadata = metadata
        self._holding = holding
        self._on_change = on_change
        self._handle_stream = handle_stream
        self._make_offer = make_offer
        self._outage = Outage(logger, f"{label}: relay {self.label}", refusals_last=False)
        self._older = self._make_older(preferred=False)
        self._replaced = trio.Event()

    @property
    def label(self) -> str:
        """How people know the relay: by what it says of itself, or by its id."""
        return printable(self.offer.metadata) or short_id(self.offer.id)

    @property
    def last_error(self) -> str:
        """Why the relay is not connected, empty when it is."""
        return self._outage.last_error

    @property
    def smoothed_rtt(self) -> float:
        """Seconds; `inf` while not connected."""
        return float("inf") if self.connection is None else self.connection.smoothed_rtt

    async def connect(self, connection: Connection) -> Dialled:
        """A stream over `connection`, ours, that a destination has accepted; raises as `connect_through_relay`."""
        version = wire_version(ConnectionKind.CLIENT_TO_RELAY, connection.alpn)
        if version is WireVersion.V2 and _is_original(connection):
            return await connect_either_way(connection, self._older)
        return await connect_through_relay(connection, version, self._make_offer())

    def handle_offer(self, offer: Relay) -> None:
        """Control offers the relay anew; another certificate means that it has restarted, and may have forgotten us."""
        restarted = offer.server_certificate != self.offer.server_certificate
        self.offer = offer
        if restarted and self.connection is not None:
            self.connection.probe()

    def handle_no_answer(self) -> None:
        """Nothing came back through the relay in time; if it is the original's, perhaps for lack of stream credit."""
        if self.connection is not None and _is_original(self.connection):
            self._replaced.set()

    async def run(self) -> None:
        """Dial, authenticate, hold; again whenever it is lost. Returns when `scope` is cancelled."""
        backoff = Backoff(Random(self._surroundings.luck.random()))
        with self.scope:
            await keep_session(
                self._run_session,
                backoff,
                lambda error, delay: self._outage.handle_trouble(error),
                refusals_last=False,  # a token dies when the relay is let in anew, and the next list has another
            )

    async def _run_session(self, up: Callable[[], None]) -> None:
        connection = await self._make_connection(protocol_names(ConnectionKind.CLIENT_TO_RELAY))
        self._older = self._make_older(preferred=self._older.preferred)
        self._replaced = trio.Event()
        try:
            self.connection = connection
            up()
            self._outage.handle_recovery()
            self._on_change(self)
            await self._serve(connection)
        except BaseException:
            connection.close(*WITHDRAWN)
            self._older.close(WITHDRAWN)
            raise
        finally:
            self.connection = None
            self._on_change(self)
        self._holding.start_soon(retire, connection, WITHDRAWN)
        self._holding.start_soon(self._older.retire, WITHDRAWN)
        raise PathLost("nothing was answered through it, connecting anew")

    def _make_older(self, *, preferred: bool) -> OlderRelayPath:
        dial = partial(self._make_connection, OLDER_NAMES)
        return OlderRelayPath(dial, make_offer=self._make_offer, preferred=preferred)

    async def _make_connection(self, alpns: tuple[str, ...]) -> Connection:
        name = _announced_name(self.offer)
        dialing = Dialing(
            alpns=alpns,
            trust=PinnedServer(self.offer.server_certificate, name),
            server_name=name,
            credential=self._credential,
            handshake_idle_seconds=self._handshake_idle_timeout,
        )
        connection = await dial_first(self._transport, self._surroundings, self.offer.addresses, dialing)
        request = relay_records.Authenticate(
            authentication=self.offer.authentication, metadata=self._metadata, build_version=BUILD_VERSION
        )
        answer = await introduce(connection, CLIENT_TO_RELAY, request, seconds=AUTHENTICATION_SECONDS)
        connection.ends_are_whole = bool(answer.passes_on_resets)
        return connection

    async def _serve(self, connection: Connection) -> None:
        """Take the relay's streams until the connection is lost, which raises, or is to be replaced."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._accept_streams, connection, nursery)
            nursery.start_soon(self._watch_replaced, nursery.cancel_scope)
            raise await connection.wait_closed()

    async def _watch_replaced(self, scope: trio.CancelScope) -> None:
        await self._replaced.wait()
        scope.cancel()

    async def _accept_streams(self, connection: Connection, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await connection.accept_stream()
            except PathLost:
                return
            nursery.start_soon(self._handle_stream, stream)


def _is_original(connection: Connection) -> bool:
    """Whether the relay is not one of ours: those say that they pass on resets."""
    return not connection.ends_are_whole


def _announced_name(offer: Relay) -> str:
    try:
        return server_name(offer.server_certificate)
    except CertificateRejected as exc:
        # costs this relay alone (trap T12)
        raise DialFailed(f"control sent an unusable certificate for the relay: {exc}") from exc
