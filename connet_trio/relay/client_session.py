"""One connection of a client to the relay: it says who it is, then its streams are served (protocol section 6.1).

    STRANGER ─┬─ says nothing, or nothing readable, within 5 s ─→ closed 100
              ├─ its token is refused: error record ─→ closed with the same code and text
              └─ let in ─┬─ as a source: each stream it opens is forwarded
                         ├─ as a destination: it is offered to sources, and opens no streams itself
                         └─ as neither ─→ closed 0

Name and role of an endpoint are those in the token, which control has sealed; they are never taken from elsewhere.
"""

import logging
from collections.abc import Callable
from typing import NoReturn

import attrs
import trio

from connet_trio.errors import Refused, RemoteProtocolError
from connet_trio.identity import certificate_key, open_client_authentication
from connet_trio.quic import Connection, RecordStream
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role
from connet_trio.records.relay import Authenticated
from connet_trio.records.text import printable
from connet_trio.relay.forwarding import Exchange, forward_stream
from connet_trio.wire import ConnectionKind, codecs, wire_version

logger = logging.getLogger(__name__)

AUTHENTICATION_SECONDS = 5.0
"""From the handshake until the request is here, all of it."""
GOODBYE_SECONDS = 1.0
"""What a client gets to take the error record before its connection closes."""
MAX_STRANGER_FRAME_BYTES = 1 << 16
NOT_AUTHENTICATED = (ErrorCode.AUTHENTICATION_FAILED, "Error while authenticating")


@attrs.frozen(kw_only=True)
class Admission:
    """What a client may be on this relay."""

    endpoint: str
    role: Role
    certificate_key: str
    metadata: str = ""


def judge_token(token: bytes, leaf: bytes, unseal_key: bytes | None) -> Admission:
    """What `token` entitles the holder of the certificate `leaf` (DER) to.

    Args:
      unseal_key: the key K of section 5.1; None before control has let this relay in.

    Raises:
      Refused: with the code and the very text the client is to be told.
    """
    if unseal_key is None:
        raise _refusal("authentication failed: no control verification key")
    try:
        payload = open_client_authentication(token, unseal_key)
    except RemoteProtocolError as exc:
        raise _refusal(str(exc)) from exc
    try:
        claim = codecs.CLIENT_AUTHENTICATION.decode(payload)
    except RemoteProtocolError as exc:
        raise _refusal("invalid authentication data") from exc
    if claim.endpoint is None:
        raise _refusal("invalid authentication data")  # ends the original (trap T12)
    if claim.certificate_key != certificate_key(leaf):
        raise _refusal("invalid certificate")
    return Admission(endpoint=claim.endpoint.name, role=claim.role, certificate_key=claim.certificate_key)


async def serve_client(connection: Connection, exchange: Exchange, unseal_key: Callable[[], bytes | None]) -> None:
    """Let a client in and serve its streams. The caller closes the connection when this returns.

    Args:
      unseal_key: the key that opens tokens now; it changes whenever control lets the relay in anew.

    Raises:
      PathLost, Refused: the client ended the connection, or it broke.
    """
    admission = await _admit(connection, unseal_key) if exchange.is_open else None
    if admission is None or admission.role is Role.UNKNOWN:
        return
    connection.raise_windows()
    registration = exchange.switchboard.handle_register(
        admission.endpoint, admission.role, admission.certificate_key, connection, admission.metadata
    )
    try:
        if admission.role is Role.SOURCE:
            await _serve_source(connection, admission.endpoint, exchange)
        else:
            await _serve_destination(connection)
    finally:
        exchange.switchboard.handle_remove(registration)


async def _admit(connection: Connection, unseal_key: Callable[[], bytes | None]) -> Admission | None:
    """Who the client is; None after it was turned away."""
    version = wire_version(ConnectionKind.CLIENT_TO_RELAY, connection.alpn)
    try:
        with trio.fail_after(AUTHENTICATION_SECONDS):
            stream = await connection.accept_stream()
            records = RecordStream(stream, version, max_frame_bytes=MAX_STRANGER_FRAME_BYTES)
            request = await records.receive(codecs.RELAY_AUTHENTICATE)
    except (trio.TooSlowError, RemoteProtocolError) as exc:
        reason = printable(str(exc)) or f"nothing said within {AUTHENTICATION_SECONDS:g} s"
        logger.info("client at %s turned away: %s", connection.remote_address, reason)
        connection.close(*NOT_AUTHENTICATED)
        return None
    try:
        admission = judge_token(request.authentication, connection.peer_certificate or b"", unseal_key())
    except Refused as refusal:
        logger.info("client at %s refused: %s", connection.remote_address, refusal.message)
        await _refuse(records, refusal)
        return None
    await records.send(codecs.RELAY_AUTHENTICATE_REPLY, Authenticated())
    stream.close()
    return attrs.evolve(admission, metadata=request.metadata)


async def _refuse(records: RecordStream, refusal: Refused) -> None:
    """Say no in a record, and again in the close: the record arrives, unlike the original's (trap T1)."""
    connection = records.stream.connection
    try:
        with trio.move_on_after(GOODBYE_SECONDS):
            await records.send(codecs.RELAY_AUTHENTICATE_REPLY, Error(refusal.code, refusal.message))
            records.stream.close()
            await records.stream.wait_delivered()
    finally:
        connection.close(refusal.code, refusal.message)


async def _serve_source(connection: Connection, endpoint: str, exchange: Exchange) -> NoReturn:
    async with trio.open_nursery() as nursery:
        while True:
            stream = await connection.accept_stream()
            if exchange.is_open:
                nursery.start_soon(forward_stream, stream, endpoint, exchange)
            else:
                stream.abort()


async def _serve_destination(connection: Connection) -> NoReturn:
    while True:
        stream = await connection.accept_stream()
        stream.abort()  # destinations are only asked; left alone, it would hold their credit for good


def _refusal(text: str) -> Refused:
    return Refused(ErrorCode.AUTHENTICATION_FAILED, text)
