"""The connect exchange: a stream becomes a byte stream between source and destination (protocol section 8.1).

Through a relay the source offers encryption schemes; on a direct connection, which is encrypted end to end, it asks
with an empty record, and what a peer says about schemes there is ignored.
"""

from collections.abc import Awaitable, Callable

import trio

from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection, RecordStream, Stream
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.records.peer import Check, Connect, Connected, ProxyVersion, RelayEncryption
from connet_trio.records.text import printable
from connet_trio.wire import ConnectionKind, WireVersion, codecs, detect_version, wire_version

MAX_CONNECT_BYTES = 1 << 16
"""A Connect or its answer with every field used takes under a kilobyte."""
ANSWER_SECONDS = 5.0
"""How long either side waits for the other's record. A path that does not answer is suspect (design decision 10)."""


async def connect_through_relay(connection: Connection, version: WireVersion) -> Stream:
    """Open a stream on a relay connection and have a destination accept it; otherwise as `connect_directly`."""
    return await _connect(connection, version, Connect(source_encryption=(RelayEncryption.NONE,)))


async def connect_directly(connection: Connection) -> Stream:
    """Open a stream on a direct connection and have the destination accept it. The caller bounds the wait.

    Raises:
      Refused: relay or destination said no.
      PathLost: the connection or the stream is over.
      RemoteProtocolError: the answer makes no sense, or asks for what was not offered.
    """
    return await _connect(connection, wire_version(ConnectionKind.PEER_TO_PEER, connection.alpn), Connect())


async def _connect(connection: Connection, version: WireVersion, request: Connect) -> Stream:
    stream = connection.open_stream_nowait() or await connection.open_stream()
    try:
        records = RecordStream(stream, version, max_frame_bytes=MAX_CONNECT_BYTES)
        await records.send(codecs.PEER_REQUEST, request)
        answer = await records.receive(codecs.PEER_RESPONSE)
        _check_answer(answer, relayed=bool(request.source_encryption))
    except BaseException:
        stream.abort()
        raise
    return stream


def _check_answer(answer: Error | Connected | Check, *, relayed: bool) -> None:
    match answer:
        case Error():
            raise Refused(answer.code, printable(answer.message))
        case Check():
            raise RemoteProtocolError("the answer to a connect request says neither yes nor no")
        case Connected():
            if relayed and answer.destination_encryption != RelayEncryption.NONE:
                raise RemoteProtocolError(
                    f"destination chose encryption {answer.destination_encryption!r}, not offered"
                )
            if answer.proxy_proto != ProxyVersion.NONE:
                raise RemoteProtocolError("destination wants a PROXY header, which this release does not write")


async def accept_from_relay(stream: Stream, *, refusal: Error | None = None) -> bool:
    """Answer the connect request on a stream of a relay connection; True when payload follows.

    Args:
      refusal: what to answer instead of yes, so that the relay asks somebody else.

    The version is read off the stream: the original's relay frames a request as its source did (trap T2).
    Bounded by `ANSWER_SECONDS`; whatever goes wrong ends the stream.
    """
    return await _accept(stream, _detect_records, _refuse_relayed, refusal)


async def accept_directly(stream: Stream, *, refusal: Error | None = None) -> bool:
    """Answer the connect request on a stream of a direct connection; otherwise as `accept_from_relay`."""
    return await _accept(stream, _direct_records, _refuse_direct, refusal)


async def _accept(
    stream: Stream,
    open_records: Callable[[Stream], Awaitable[RecordStream]],
    judge: Callable[[Connect | Check], Error | None],
    refusal: Error | None,
) -> bool:
    try:
        with trio.fail_after(ANSWER_SECONDS):
            records = await open_records(stream)
            request = await records.receive(codecs.PEER_REQUEST)
            refusal = refusal or judge(request)
            await records.send(codecs.PEER_RESPONSE, refusal or Connected())
    except (RemoteProtocolError, PathLost, Refused, trio.TooSlowError, trio.BrokenResourceError):
        stream.abort()
        return False
    if refusal is not None:
        stream.close()
        return False
    return True


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


def _refuse_direct(request: Connect | Check) -> Error | None:
    if isinstance(request, Check):
        return Error(ErrorCode.REQUEST_UNKNOWN, "unknown request: no connect in it")
    return None


def _refuse_relayed(request: Connect | Check) -> Error | None:
    if isinstance(request, Check):
        return _refuse_direct(request)
    known = {scheme for scheme in request.source_encryption if isinstance(scheme, RelayEncryption)}
    if len(known) < len(set(request.source_encryption)):
        return Error(ErrorCode.DESTINATION_RELAY_ENCRYPTION_ERROR, "unknown relay encryption scheme")
    if request.source_encryption and RelayEncryption.NONE not in known:
        text = "select encryption scheme: no shared encryption schemes"
        return Error(ErrorCode.DESTINATION_RELAY_ENCRYPTION_ERROR, text)
    return None
