"""The first exchange of a connection: who are you, and the answer (protocol sections 4.1, 5.1 and 6.1).

One side dials and introduces itself, the other listens and judges. Whoever is refused is told twice: by an error record
and by the close of the connection, which carries the same code and text (trap T1). Silence, a request that cannot be
read and a stream that breaks are answered by the close alone, with `NOT_AUTHENTICATED`.
"""

import logging
import math
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
MAX_FRAME_BYTES = 1 << 15
"""Of a request and its answer. Strangers choose what we decode, so no more than the largest honest request: a relay's,
with a certificate of up to 16 KiB, its metadata and its addresses. Everything else takes a kilobyte or two."""
MAX_METADATA_BYTES = 4096
"""Metadata is repeated in every list and status page."""
MAX_CLOSE_CODE = (1 << 62) - 1
REFUSALS_WARNED = 10
REFUSALS_SECONDS = 60.0
NOT_AUTHENTICATED = (ErrorCode.AUTHENTICATION_FAILED, "Error while authenticating")


@attrs.frozen(kw_only=True)
class Exchange(Generic[Q, A]):
    """How one kind of connection says who it is, and how that is answered."""

    kind: ConnectionKind
    request: Codec[Q]
    reply: Codec[A | Error]
    failure: tuple[int, str] = (ErrorCode.AUTHENTICATION_FAILED, "authentication failed")
    """What a dialer closes with when the exchange fails otherwise than by a refusal (section 3.8)."""
    echoes_refusals: bool = True
    """Whether a dialer that is refused closes with the code and text it was told; else with `failure`."""


CLIENT_TO_CONTROL: Exchange[control.Authenticate, control.Authenticated] = Exchange(
    kind=ConnectionKind.CLIENT_TO_CONTROL,
    request=codecs.CONTROL_AUTHENTICATE,
    reply=codecs.CONTROL_AUTHENTICATE_REPLY,
    echoes_refusals=False,
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
        connection.close(*_answer_to(refusal, exchange))
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


def _answer_to(refusal: Refused, exchange: Exchange[Q, A]) -> tuple[int, str]:
    """Code and text of the close by which a dialer takes note of `refusal`."""
    if not exchange.echoes_refusals:
        return exchange.failure
    code = refusal.code if 0 <= refusal.code <= MAX_CLOSE_CODE else exchange.failure[0]
    return code, refusal.message


# --- the listener


@attrs.frozen
class Admitted(Generic[W]):
    """Somebody who has authenticated. The exchange is answered and our side of its stream ended."""

    who: W
    version: WireVersion
    stream: Stream


class RefusalLog:
    """The log lines of one listener about those it turned away.

    Strangers can earn as many as they like, so only the first `REFUSALS_WARNED` of `REFUSALS_SECONDS` are warnings,
    with one more to say so; the rest is debug.
    """

    def __init__(self) -> None:
        self._since = -math.inf
        self._count = 0

    def add(self, connection: Connection, kind: ConnectionKind, reason: str) -> None:
        """Somebody on `connection` was turned away."""
        now = trio.current_time()
        if now - self._since >= REFUSALS_SECONDS:
            self._since, self._count = now, 0
        self._count += 1
        level = logging.WARNING if self._count <= REFUSALS_WARNED else logging.DEBUG
        logger.log(level, "%s refused, from %s: %s", kind.value, connection.remote_address, reason)
        if self._count == REFUSALS_WARNED:
            logger.warning("more refusals within %g s of the first are logged at level debug", REFUSALS_SECONDS)


async def authenticate(
    connection: Connection,
    exchange: Exchange[Q, A],
    judge: Callable[[Q], tuple[W, A]],
    refusals: RefusalLog,
) -> Admitted[W] | None:
    """Let the other side say who it is; None after it was refused, told why, and its connection closed.

    Args:
      judge: who that is, and the answer; raises `Refused` with the code and text for the other side.
      refusals: the log of the service, one for all its connections; without it every refusal is a warning.

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
        reason = f"nothing said within {AUTHENTICATION_SECONDS:g} s"
    except RemoteProtocolError as exc:
        reason = f"unreadable request: {exc}"
    except PathLost as exc:
        if connection.is_closed:
            raise
        reason = f"the stream broke: {exc}"
    except Refused as refusal:
        if connection.is_closed:
            raise  # in the words of the other side
        assert records is not None
        refusals.add(connection, exchange.kind, printable(refusal.message))
        await _refuse(records, exchange.reply, Error(refusal.code, refusal.message))
        return None
    else:
        stream.finish()
        return Admitted(who, version, stream)
    refusals.add(connection, exchange.kind, reason)
    connection.close(*NOT_AUTHENTICATED)
    return None


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
