"""The connect exchange: a stream becomes a byte stream between source and destination (protocol section 8.1).

Through a relay the source offers encryption schemes (`relay_encryption`). On a direct connection, which is encrypted
end to end, it asks with an empty record, and what a peer says about schemes there is ignored.
"""

from collections.abc import Awaitable, Callable

import attrs
import trio

from connet_trio.concurrency import AbortableStream
from connet_trio.endpoints.relay_encryption import Encrypt, Offer, plain_answer
from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection, RecordStream, Stream, explain
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.records.peer import Check, Connect, Connected, ProxyVersion
from connet_trio.records.text import printable
from connet_trio.wire import ConnectionKind, WireVersion, codecs, detect_version, wire_version

MAX_CONNECT_BYTES = 1 << 16
"""A Connect or its answer with every field used takes under a kilobyte."""
ANSWER_SECONDS = 5.0
"""How long either side waits for the other's record. A path that does not answer is suspect (design decision 10)."""


@attrs.frozen
class Dialled:
    """A destination has accepted."""

    stream: AbortableStream
    """What carries payload."""
    carrier: Stream
    """The stream below it, or the same."""
    proxy: ProxyVersion
    """The header that the destination wants first."""


async def connect_through_relay(connection: Connection, version: WireVersion, offer: Offer) -> Dialled:
    """Open a stream on a relay connection and have a destination accept it; otherwise as `connect_directly`."""
    return await _connect(connection, version, offer)


async def connect_directly(connection: Connection) -> Dialled:
    """Open a stream on a direct connection and have the destination accept it. The caller bounds the wait.

    Raises:
      Refused: relay or destination said no.
      PathLost: the connection or the stream is over.
      RemoteProtocolError: the answer makes no sense, or asks for what was not offered.
    """
    version = wire_version(ConnectionKind.PEER_TO_PEER, connection.alpn)
    return await _connect(connection, version, Offer(Connect(), _leave_as_it_is))


async def _leave_as_it_is(answer: Connected, stream: AbortableStream) -> AbortableStream:
    return stream


async def _connect(connection: Connection, version: WireVersion, offer: Offer) -> Dialled:
    stream = connection.open_stream_nowait() or await connection.open_stream()
    try:
        records = RecordStream(stream, version, max_frame_bytes=MAX_CONNECT_BYTES)
        await records.send(codecs.PEER_REQUEST, offer.request)
        answer = _check_answer(await records.receive(codecs.PEER_RESPONSE))
        proxy = _check_version(answer.proxy_proto)
        return Dialled(await offer.encrypt(answer, stream), stream, proxy)
    except trio.BrokenResourceError as exc:
        stream.abort()
        raise explain(exc, stream) from exc
    except BaseException:
        stream.abort()
        raise


def _check_answer(answer: Error | Connected | Check) -> Connected:
    match answer:
        case Error():
            raise Refused(answer.code, printable(answer.message))
        case Check():
            raise RemoteProtocolError("the answer to a connect request says neither yes nor no")
        case Connected():
            return answer


def _check_version(proxy: ProxyVersion | int) -> ProxyVersion:
    if not isinstance(proxy, ProxyVersion):
        raise RemoteProtocolError(f"the destination wants a PROXY header of version {int(proxy)}, and there are two")
    return proxy


AnswerConnect = Callable[[Connect], Awaitable[tuple[Connected, Encrypt]]]
"""Decides about a request; raises RemoteProtocolError with a text for the source."""


async def accept_from_relay(
    stream: Stream,
    *,
    refusal: Error | None = None,
    answer: AnswerConnect = plain_answer,
    proxy: ProxyVersion = ProxyVersion.NONE,
) -> AbortableStream | None:
    """Answer the connect request on a stream of a relay connection; returns the stream that carries payload, if any.

    Args:
      refusal: what to answer instead of yes, so that the relay asks somebody else.
      answer: how to keep the stream from the relay.
      proxy: the header that the source is to write first.

    The version is read off the stream: the original's relay frames a request as its source did (trap T2).
    Bounded by `ANSWER_SECONDS`; whatever goes wrong ends the stream.
    """
    return await _accept(stream, _detect_records, answer, refusal, proxy)


async def accept_directly(
    stream: Stream, *, refusal: Error | None = None, proxy: ProxyVersion = ProxyVersion.NONE
) -> AbortableStream | None:
    """Answer the connect request on a stream of a direct connection; otherwise as `accept_from_relay`."""
    return await _accept(stream, _direct_records, _answer_directly, refusal, proxy)


async def _answer_directly(request: Connect) -> tuple[Connected, Encrypt]:
    return await plain_answer(Connect())  # whatever it says of encryption


async def _accept(
    stream: Stream,
    open_records: Callable[[Stream], Awaitable[RecordStream]],
    answer: AnswerConnect,
    refusal: Error | None,
    proxy: ProxyVersion,
) -> AbortableStream | None:
    try:
        with trio.fail_after(ANSWER_SECONDS):
            records = await open_records(stream)
            outcome = refusal or await _decide(await records.receive(codecs.PEER_REQUEST), answer)
            if not isinstance(outcome, Error):
                answered, encrypt = outcome
                await records.send(codecs.PEER_RESPONSE, attrs.evolve(answered, proxy_proto=proxy))
                return await encrypt(stream)
            await records.send(codecs.PEER_RESPONSE, outcome)
    except (RemoteProtocolError, PathLost, Refused, trio.TooSlowError, trio.BrokenResourceError):
        stream.abort()
        return None
    stream.close()
    return None


async def _decide(request: Connect | Check, answer: AnswerConnect) -> Error | tuple[Connected, Encrypt]:
    if isinstance(request, Check):
        return Error(ErrorCode.REQUEST_UNKNOWN, "unknown request: no connect in it")
    try:
        return await answer(request)
    except RemoteProtocolError as exc:
        return Error(ErrorCode.DESTINATION_RELAY_ENCRYPTION_ERROR, str(exc))


async def _direct_records(stream: Stream) -> RecordStream:
    version = wire_version(ConnectionKind.PEER_TO_PEER, stream.connection.alpn)
    return RecordStream(stream, version, max_frame_bytes=MAX_CONNECT_BYTES)


async def _detect_records(stream: Stream) -> RecordStream:
    first = b""
    while (version := detect_version(first)) is None:
        data = await stream.receive_some(WireVersion.V2.prefix_bytes - len(first))
        if not data:
            raise RemoteProtocolError("the stream ended where a connect request was expected")
        first += data
    return RecordStream(stream, version, max_frame_bytes=MAX_CONNECT_BYTES, received=first)
