"""One HTTP/1.1 connection, served: requests in, responses out, over any stream.

Everything a client can hold on to is bounded, in bytes and in time: what exceeds a bound is refused with its status
and the connection closed. What the client sends reaches the log only as escaped text, since its control characters
could forge lines or drive a terminal.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TypeVar

import h11
import trio

from connet_trio.http.messages import Handler, Request, Response

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_HEAD_BYTES = 16 * 1024
"""Request line and headers; a longer head is refused with 431."""

MAX_BODY_BYTES = 64 * 1024
"""A body is read and discarded up to here; a longer one is refused with 413."""

HEAD_SECONDS = 10.0
"""How long each may take: the first byte of a connection, a head from its first byte, a body."""

IDLE_SECONDS = 120.0
"""How long a connection is kept for another request."""

SEND_SECONDS = 30.0
"""How long a client may take to read a response."""

LINGER_SECONDS = 2.0
MAX_LINGER_BYTES = 1024 * 1024
"""How long, and how much, a refused client may go on sending, so that a reset does not overtake the refusal."""

READ_BYTES = 4096


class _ConnectionGone(Exception):
    """The client reset the connection, or does not read."""


class _Refusal(Exception):
    """The connection ends with an answer of `status`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def serve_http(stream: trio.abc.Stream, handler: Handler) -> None:
    """Answer the requests on `stream` with `handler` until the client has no more; closes `stream`.

    A client that breaks the protocol, the limits or the connection is no error here.

    Raises:
      Exception: what `handler` raised, after the client was answered 500.
    """
    async with stream:
        connection = _Connection(stream)
        with suppress(_ConnectionGone):
            try:
                while (request := await connection.receive_request()) is not None:
                    await connection.send_response(await _answer(connection, handler, request))
                    if not connection.start_next_cycle():
                        return
            except _Refusal as refusal:
                logger.debug("HTTP request refused with %d: %a", refusal.status, str(refusal))
                await connection.refuse(refusal.status)


async def _answer(connection: "_Connection", handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except Exception:
        with suppress(_ConnectionGone):
            await connection.refuse(500)
        raise


class _Connection:
    """h11 and a stream: the parser bounded, the stream's errors named."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        # h11 refuses a head that is incomplete beyond this; _receive never buffers more than MAX_HEAD_BYTES
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES - 1)
        self._patience = HEAD_SECONDS
        self._method = b""

    async def receive_request(self) -> Request | None:
        """The next request, its body discarded; None when the client has no more, or lets it wait too long.

        Raises:
          _Refusal: what it sends is not HTTP, too long or too slow.
          _ConnectionGone: it has reset the connection.
        """
        self._method = b""
        if not self._h11.trailing_data[0]:
            with trio.move_on_after(self._patience) as scope:
                await self._receive()
            if scope.cancelled_caught:
                return None
        self._patience = IDLE_SECONDS
        event = await self._in_time(self._receive_event, "head")
        if not isinstance(event, h11.Request):
            return None
        self._method = event.method
        _check_length(event)
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        await self._in_time(self._discard_body, "body")
        return Request(
            method=event.method.decode("ascii"), target=event.target.decode("ascii"), headers=tuple(event.headers)
        )

    async def send_response(self, response: Response) -> None:
        """Send `response` whole.

        Raises:
          _ConnectionGone: the client has reset the connection, or does not read.
        """
        reason = _phrase(response.status)
        if self._method == b"CONNECT" and response.status < 300:
            # what follows the head would belong to the tunnel: there is none, and the connection ends
            await self._send(h11.Response(status_code=response.status, headers=[*response.headers], reason=reason))
            return
        headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
        events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers, reason=reason)]
        if response.body and self._method != b"HEAD":
            events.append(h11.Data(data=response.body))
        await self._send(*events, h11.EndOfMessage())

    def start_next_cycle(self) -> bool:
        """Get ready for another request; False if this was the last one."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def refuse(self, status: int) -> None:
        """Answer with `status` and its phrase, and end the conversation.

        Raises:
          _ConnectionGone: the client has reset the connection, or does not read.
        """
        headers = ((b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"))
        await self.send_response(Response(status=status, headers=headers, body=_phrase(status) + b"\n"))
        await self._linger()

    async def _linger(self) -> None:
        if not isinstance(self._stream, trio.abc.HalfCloseableStream):
            return
        received = 0
        with trio.move_on_after(LINGER_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._stream.send_eof()
            while received < MAX_LINGER_BYTES and (data := await self._stream.receive_some(READ_BYTES)):
                received += len(data)

    async def _discard_body(self) -> None:
        received = 0
        while isinstance(event := await self._receive_event(), h11.Data):
            received += len(event.data)
            if received > MAX_BODY_BYTES:
                raise _Refusal(413, f"body of more than {MAX_BODY_BYTES} bytes")

    async def _in_time(self, receive: Callable[[], Awaitable[T]], what: str) -> T:
        with trio.move_on_after(HEAD_SECONDS):
            return await receive()
        raise _Refusal(408, f"{what} not received within {HEAD_SECONDS:g} s")

    async def _receive_event(self) -> h11.Event:
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as exc:
                raise _Refusal(exc.error_status_hint, str(exc)) from exc
            if isinstance(event, h11.Event):
                return event
            await self._receive()  # never PAUSED: nothing is asked for after a request until its answer is sent

    async def _receive(self) -> None:
        room = MAX_HEAD_BYTES - len(self._h11.trailing_data[0])
        try:
            data = await self._stream.receive_some(min(room, READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise _ConnectionGone from exc
        self._h11.receive_data(bytes(data))

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._h11.send(event) or b"" for event in events)
        try:
            with trio.fail_after(SEND_SECONDS):
                await self._stream.send_all(data)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise _ConnectionGone from exc


def _check_length(request: h11.Request) -> None:
    """Refuse an announced body that is too long before any of it is read; h11 has checked that it is a number."""
    for name, value in request.headers:
        if name == b"content-length" and int(value) > MAX_BODY_BYTES:
            raise _Refusal(413, f"body of {int(value)} bytes, at most {MAX_BODY_BYTES}")


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:  # a number nobody has registered
        return b""
