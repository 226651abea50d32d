"""One HTTP/1.1 request over any stream. What the server sends is bounded; deadlines belong to callers."""

import h11
import trio

from connet_trio.errors import PathLost, RemoteProtocolError
from connet_trio.http.messages import Request, Response
from connet_trio.records.text import printable

MAX_HEAD_BYTES = 16 * 1024
"""A longer head of a response is an error."""

READ_BYTES = 64 * 1024


async def request_http(stream: trio.abc.Stream, request: Request, *, max_body_bytes: int) -> Response:
    """The answer to a request without a body, the last one on `stream`, which is closed.

    Raises:
      RemoteProtocolError: what came is not HTTP, not whole, or too long.
      PathLost: the server reset the connection.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    headers = [*request.headers, (b"connection", b"close")]
    head = connection.send(h11.Request(method=request.method, target=request.target, headers=headers)) or b""
    head += connection.send(h11.EndOfMessage()) or b""
    async with stream:
        try:
            await stream.send_all(head)
            return await _receive(connection, stream, max_body_bytes)
        except trio.BrokenResourceError as exc:
            raise PathLost("the connection was reset") from exc
        except h11.RemoteProtocolError as exc:
            raise RemoteProtocolError(
                f"what answers speaks no HTTP, or stopped halfway: {printable(str(exc))}"
            ) from exc


async def _receive(connection: h11.Connection, stream: trio.abc.Stream, max_body_bytes: int) -> Response:
    status = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body = bytearray()
    while True:
        match connection.next_event():
            case h11.Response() as response:
                status, headers = response.status_code, tuple(response.headers)
            case h11.Data() as data:
                body += data.data
                if len(body) > max_body_bytes:
                    raise RemoteProtocolError(f"the answer has more than {max_body_bytes} bytes")
            case h11.EndOfMessage() | h11.ConnectionClosed():
                return Response(status=status, headers=headers, body=bytes(body))
            case h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(READ_BYTES)))
            case h11.PAUSED:  # it wants to speak something else than HTTP after an upgrade nobody asked for
                raise RemoteProtocolError("what answers speaks no HTTP: it changed to another protocol")
