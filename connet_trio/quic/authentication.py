"""The first exchange of a connection: who are you, and the answer (protocol sections 4.1, 5.1 and 6.1).

One side dials and introduces itself, the other listens and judges. Whoever is refused is told twice: by an error record
and by the close of the connection, which carries the same code and text (trap T1).
"""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
import trio

from connet_trio.errors import DialFailed, PathLost, Refused, RemoteProtocolError
from connet_trio.quic.connection import Connection
from connet_trio.quic.record_stream import RecordStream
from connet_trio.quic.stream import Stream
from connet_trio.records import control, control_relay, relay
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.records.text import printable
from connet_trio.wire import Codec, ConnectionKind, WireVersion, codecs, wire_version

logger = logging.getLogger(__name__)

Q = TypeVar("Q")
A = TypeVar("A")
W = TypeVar("W")

AUTHENTICATION_SECONDS = 5.0
"""From the handshake to the request, all of it."""
GOODBYE_SECONDS = 1.0
"""What the other side gets to take our last word, or to end its side of a stream."""
MAX_FRAME_BYTES = 1 << 16
MAX_METADATA_BYTES = 4096
"""Metadata is repeated in every list and status page."""
MAX_CLOSE_CODE = (1 << 62) - 1
NOT_AUTHENTICATED = (ErrorCode.AUTHENTICATION_FAILED, "Error while authenticating")


@attrs.frozen(kw_only=True)
class Exchange(Generic[Q, A]):
    """How one kind of connection says who it is, and how that is answered."""

    kind: ConnectionKind
    request: Codec[Q]
    reply: Codec[A | Error]
    failure: tuple[int, str] = (ErrorCode.AUTHENTICATION_FAILED, "authentication failed")
    """What a dialer closes with when the exchange fails otherwise than by a refusal (section 3.8)."""


CLIENT_TO_CONTROL: Exchange[control.Authenticate, control.Authenticated] = Exchange(
    kind=ConnectionKind.CLIENT_TO_CONTROL,
    request=codecs.CONTROL_AUTHENTICATE,
    reply=codecs.CONTROL_AUTHENTICATE_REPLY,
)
RELAY_TO_CONTROL: Exchange[control_relay.Authenticate, control_relay.Authenticated] = Exchange(
    kind=ConnectionKind.RELAY_TO_CONTROL,
    request=codecs.RELAY_CONTROL_AUTHENTICATE,
    reply=codecs.RELAY_CONTROL_AUTHENTICATE_REPLY,
)
CLIENT_TO_RELAY: Exchange[relay.Authenticate, relay.Authenticated] = Exchange(
    kind=ConnectionKind.CLIENT_TO_RELAY,
    request=codecs.RELAY_AUTHENTICATE,
    reply=codecs.RELAY_AUTHENTICATE_REPLY,
    failure=(ErrorCode.CONNECTION_CHECK_FAILED, "connection check failed"),
)


# --- the dialer


async def introduce(connection: Connection, exchange: Exchange[Q, A], request: Q, *, seconds: float) -> A:
    """Say who we are on a connection just dialled, and return the answer; a connection that fails it is closed.

    Raises:
      Refused: the other side said no.
      DialFailed: no answer within `seconds`.
      PathLost, RemoteProtocolError: the connection is over, or the answer makes no sense.
    """
    try:
        with trio.move_on_after(seconds):
            return await _ask(connection, exchange, request)
    except Refused as refusal:
        code = refusal.code if 0 <= refusal.code <= MAX_CLOSE_CODE else exchange.failure[0]
        connection.close(code, refusal.message)
        raise
    except BaseException:
        connection.close(*exchange.failure)
        raise
    connection.close(*exchange.failure)
    raise DialFailed(f"{connection.remote_address}: no answer to authentication within {seconds:g} s")


async def _ask(connection: Connection, exchange: Exchange[Q, A], request: Q) -> A:
    stream = await connection.open_stream()
    version = wire_version(exchange.kind, connection.alpn)
    records = RecordStream(stream, version, max_frame_bytes=MAX_FRAME_BYTES)
    await records.send(exchange.request, request)
    answer = await records.receive(exchange.reply)
    stream.close()
    if isinstance(answer, Error):
        raise Refused(answer.code, printable(answer.message))
    return answer


# --- the listener


@attrs.frozen
class Admitted(Generic[W]):
    """Somebody who has authenticated. The exchange is answered and our side of its stream ended."""

    who: W
    version: WireVersion
    stream: Stream


async def authenticate(
    connection: Connection, exchange: Exchange[Q, A], judge: Callable[[Q], tuple[W, A]]
) -> Admitted[W] | None:
    """Let the other side say who it is; None after it was refused, told why, and its connection closed.

    Args:
      judge: who that is, and the answer; raises `Refused` with the code and text for the other side.

    Raises:
      PathLost, Refused: the other side ended the connection meanwhile.
    """
    version = wire_version(exchange.kind, connection.alpn)
    records: RecordStream | None = None
    try:
        with trio.fail_after(AUTHENTICATION_SECONDS):
            stream = await connection.accept_stream()
            records = RecordStream(stream, version, max_frame_bytes=MAX_FRAME_BYTES)
            who, reply = judge(await records.receive(exchange.request))
            await records.send(exchange.reply, reply)
    except trio.TooSlowError:
        _turn_away(connection, exchange.kind, f"nothing said within {AUTHENTICATION_SECONDS:g} s")
        return None
    except RemoteProtocolError as exc:
        _turn_away(connection, exchange.kind, f"unreadable request: {exc}")
        return None
    except Refused as refusal:
        if connection.is_closed:
            raise  # in the words of the other side
        assert records is not None
        reason = printable(refusal.message)
        logger.warning("%s refused, from %s: %s", exchange.kind.value, connection.remote_address, reason)
        await _refuse(records, exchange.reply, Error(refusal.code, refusal.message))
        return None
    stream.finish()
    return Admitted(who, version, stream)


async def let_finish(stream: Stream) -> None:
    """Wait a little for the other side to end its direction too, else ask it to, so that credit returns (trap T6)."""
    with trio.move_on_after(GOODBYE_SECONDS):
        try:
            await stream.receive_some(1)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
    stream.stop()


def check_metadata(metadata: str) -> None:
    """Bound what others will be shown.

    Raises:
      Refused: it is too long.
    """
    size = len(metadata.encode())
    if size > MAX_METADATA_BYTES:
        raise Refused(ErrorCode.AUTHENTICATION_FAILED, f"metadata of {size} bytes, at most {MAX_METADATA_BYTES}")


def _turn_away(connection: Connection, kind: ConnectionKind, reason: str) -> None:
    logger.warning("%s refused, from %s: %s", kind.value, connection.remote_address, reason)
    connection.close(*NOT_AUTHENTICATED)


async def _refuse(records: RecordStream, reply: Codec[A | Error], error: Error) -> None:
    """Answer with `error`, and close with the same code and text once that has arrived (trap T1)."""
    try:
        with trio.move_on_after(GOODBYE_SECONDS):
            await records.send(reply, error)
            records.stream.finish()
            await records.stream.wait_delivered()
    except (PathLost, Refused):
        return
    finally:
        records.stream.connection.close(error.code, error.message)
