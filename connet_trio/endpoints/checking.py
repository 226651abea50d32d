"""The check of a direct connection: the dialer asks, the listener answers, both empty (protocol section 7.4).

With TLS 1.3 the dialer's handshake is complete before the listener has judged its certificate: only an answer proves
that the connection works.
"""

import trio

from connet_trio.errors import DialFailed, RemoteProtocolError
from connet_trio.quic import Connection, RecordStream, let_finish
from connet_trio.records.peer import Check
from connet_trio.wire import ConnectionKind, WireVersion, codecs, wire_version

CHECK_SECONDS = 5.0
MAX_CHECK_BYTES = 1 << 12
"""Empty today; a later release may say something in it."""


async def ask_check(connection: Connection) -> None:
    """Ask on a connection just dialled.

    Raises:
      DialFailed: no answer in time.
      PathLost: the listener does not expect us, or the connection is over.
      Refused, RemoteProtocolError: the answer is no answer.
    """
    try:
        with trio.fail_after(CHECK_SECONDS):  # opening the stream as well: a listener may allow none
            stream = await connection.open_stream()
            try:
                records = RecordStream(stream, _version(connection), max_frame_bytes=MAX_CHECK_BYTES)
                await records.send(codecs.PEER_REQUEST, Check())
                answer = await records.receive(codecs.PEER_RESPONSE)
            finally:
                stream.close()
    except trio.TooSlowError:
        text = f"{connection.remote_address}: connected, and no answer to the check within {CHECK_SECONDS:g} s"
        raise DialFailed(text) from None
    if not isinstance(answer, Check):
        raise RemoteProtocolError("the check of a direct connection was answered with something else")


async def answer_check(connection: Connection) -> None:
    """Answer on a connection just accepted.

    Raises:
      DialFailed: the dialer did not ask in time: it has found a better way.
      PathLost: the connection is over.
      RemoteProtocolError: it asked for something else.
    """
    try:
        with trio.fail_after(CHECK_SECONDS):
            stream = await connection.accept_stream()
            records = RecordStream(stream, _version(connection), max_frame_bytes=MAX_CHECK_BYTES)
            request = await records.receive(codecs.PEER_REQUEST)
            if not isinstance(request, Check):
                raise RemoteProtocolError("a direct connection begins with its check")
            await records.send(codecs.PEER_RESPONSE, Check())
    except trio.TooSlowError:
        raise DialFailed(f"{connection.remote_address}: connected, and did not ask for the check") from None
    stream.finish()
    await let_finish(stream)


def _version(connection: Connection) -> WireVersion:
    return wire_version(ConnectionKind.PEER_TO_PEER, connection.alpn)
