"""One stream of a client: its first request decides what it is for (protocol sections 4.2 and 4.3).

On an announce stream the client says, again and again, how one endpoint of it is reached, and is told its peers. On a
relay stream it asks once, and is told the relays. Both live until one side ends them; a request that cannot be granted
is answered with an error, and ends the stream and what was announced on it.
"""

import enum
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar, assert_never

import attrs
import trio

from connet_trio.control.acceptance import accept_peer, check_certificate
from connet_trio.control.directory import Directory
from connet_trio.control.lists import encode_relays
from connet_trio.engine import AnnouncePace, ClientConnection, TokenGrant
from connet_trio.errors import CertificateRejected, PathLost, Refused, RemoteProtocolError
from connet_trio.identity import certificate_key
from connet_trio.quic import RecordStream, Stream, let_finish
from connet_trio.records.control import Announce, ControlRequest, Peer, SubscribeRelays
from connet_trio.records.control_relay import ClientAuthentication
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Endpoint, Error, Role, Unrecognized
from connet_trio.wire import WireVersion, codecs

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_REQUEST_BYTES = 1 << 18

UNKNOWN = Error(ErrorCode.REQUEST_UNKNOWN, "unknown request: neither an announce nor a relay request")
UNEXPECTED = Error(ErrorCode.REQUEST_UNKNOWN, "unexpected request")


class End(enum.Enum):
    """How a stream ended without a refusal."""

    FINISHED = "finished by the client"
    LOST = "lost, or abandoned by the client"


@attrs.frozen(kw_only=True)
class Client:
    """One connection of a client that has authenticated."""

    connection: ClientConnection
    address: AddressPort
    metadata: str
    grant: TokenGrant


class ClientStream:
    """Serves one stream."""

    def __init__(
        self,
        stream: Stream,
        *,
        version: WireVersion,
        client: Client,
        directory: Directory,
        announcing: dict[tuple[str, Role], "ClientStream"],
        pace: AnnouncePace,
        entropy: Callable[[int], bytes],
    ) -> None:
        """Serve nothing yet.

        Args:
          announcing: the stream that holds each announcement of this connection, shared by all its streams.
          pace: of the announcements of this connection, shared as well.
          entropy: for the nonces of sealed tokens.
        """
        self._stream = stream
        self._records = RecordStream(stream, version, max_frame_bytes=MAX_REQUEST_BYTES)
        self._client = client
        self._directory = directory
        self._announcing = announcing
        self._pace = pace
        self._entropy = entropy
        self._mid_record = False

    async def serve(self) -> None:
        """Serve the stream until it or the connection ends; raises nothing that the client could cause."""
        ending = await self._serve_first_request()
        if isinstance(ending, Error):
            client_id = self._client.connection.client_id
            logger.debug("client %.8s is refused a request: %r (%d)", client_id, ending.message, ending.code)
            await self._send_error(ending)
        self._stream.finish()
        await let_finish(self._stream)

    async def _serve_first_request(self) -> End | Error:
        first = await self._receive()
        match first:
            case Announce():
                return await self._serve_announce(first)
            case SubscribeRelays():
                return await self._serve_relays(first)
            case End() | Error():
                return first
            case Unrecognized():
                return UNKNOWN
            case _:
                assert_never(first)

    # --- announce

    async def _serve_announce(self, first: Announce) -> End | Error:
        name, role = _name(first.endpoint), first.role
        error = await self._announce(name, role, first.peer)
        if error is not None:
            return error
        with self._directory.watch_peers(name, role) as peers:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._push, peers.changes(), peers.encode)
                ending = await self._read_announcements(name, role)
                nursery.cancel_scope.cancel()
        if ending is not End.LOST or not self._stream.connection.is_closed:
            self._withdraw(name, role)
        return ending

    async def _read_announcements(self, name: str, role: Role) -> End | Error:
        while True:
            request = await self._receive()
            match request:
                case Announce():  # for the same endpoint, whatever it says
                    error = await self._announce(name, role, request.peer)
                    if error is not None:
                        return error
                case SubscribeRelays() | Unrecognized():
                    return UNEXPECTED
                case End() | Error():
                    return request
                case _:
                    assert_never(request)

    async def _announce(self, name: str, role: Role, peer: Peer | None) -> Error | None:
        # Backpressure: while this one waits for its turn, the client cannot send many more.
        await trio.sleep_until(self._pace.handle_announce(name, role, trio.current_time()))
        try:
            # each time, since a reload of the tokens binds those already connected
            self._client.grant.check_endpoint(name, role, ErrorCode.ANNOUNCE_VALIDATION_FAILED)
            accepted = accept_peer(name, peer)
        except Refused as refusal:
            return Error(refusal.code, refusal.message)
        # Streams overtake each other: what comes late on one that the client has replaced since is out of date.
        if self._announcing.setdefault((name, role), self)._stream.id > self._stream.id:
            return None
        self._announcing[name, role] = self
        self._directory.announce(self._client.connection, name, role, accepted, self._client.metadata)
        return None

    def _withdraw(self, name: str, role: Role) -> None:
        # for the same reason, the end of this one may come after a new one has announced the endpoint anew
        if self._announcing.get((name, role)) is self:
            del self._announcing[name, role]
            self._directory.withdraw(self._client.connection, name, role)

    # --- relays

    async def _serve_relays(self, request: SubscribeRelays) -> End | Error:
        name, role = _name(request.endpoint), request.role
        try:
            self._client.grant.check_endpoint(name, role, ErrorCode.RELAY_VALIDATION_FAILED)
            check_certificate(request.client_certificate)
        except Refused as refusal:
            return Error(refusal.code, refusal.message)
        except CertificateRejected as exc:
            return Error(ErrorCode.RELAY_INVALID_CERTIFICATE, f"invalid certificate: {exc}")
        authentication = codecs.CLIENT_AUTHENTICATION.encode(
            ClientAuthentication(
                endpoint=Endpoint(name), role=role, certificate_key=certificate_key(request.client_certificate)
            )
        )
        encode = partial(encode_relays, authentication=authentication, entropy=self._entropy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._push, self._directory.relays.changes(), encode)
            following = await self._receive()
            nursery.cancel_scope.cancel()
        if isinstance(following, End | Error):
            return following
        return UNEXPECTED

    # --- records

    async def _receive(self) -> ControlRequest | End | Error:
        try:
            request = await self._records.receive_or_end(codecs.CONTROL_REQUEST)
        except RemoteProtocolError as exc:
            return Error(ErrorCode.REQUEST_UNKNOWN, f"unreadable request: {exc}")
        except (PathLost, Refused):
            return End.LOST
        return End.FINISHED if request is None else request

    async def _push(self, changes: AsyncIterator[T], encode: Callable[[T], bytes]) -> None:
        try:
            async for value in changes:
                self._mid_record = True
                await self._records.send_payload(encode(value))
                self._mid_record = False
        except (PathLost, Refused):
            return  # whoever reads this stream sees how it ends

    async def _send_error(self, error: Error) -> None:
        if self._mid_record:
            self._stream.reset()  # the client would take the error for the rest of a list it was slow to read
            return
        try:
            await self._records.send(codecs.CONTROL_RESPONSE, error)
        except (PathLost, Refused):
            return


def _name(endpoint: Endpoint | None) -> str:
    return "" if endpoint is None else endpoint.name  # no name is refused like an empty one (trap T12)
