"""The client of the target service: what is sent into an entrance, and how long the answer takes."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.records.model import HostPort
from connet_trio.testing.bench.plan import REQUEST_BYTES, WORKERS
from connet_trio.testing.bench.target import PAYLOAD, discard, receive_exactly, request_line, send_payload

REQUEST = request_line("echo", REQUEST_BYTES) + PAYLOAD[:REQUEST_BYTES]
REQUEST_SECONDS = 20.0
"""In which a small request is answered."""

MAX_ACKNOWLEDGEMENT_BYTES = 20
ENDLESS_BYTES = 1 << 50
WARM_BYTES = 1 << 22
"""After which a download counts as under way."""


class WrongAnswer(Exception):
    """What came back is not what the target service answers; the text says how it differs."""


@attrs.frozen
class Place:
    """A resolved TCP address: names are looked up once, and not while something is measured."""

    family: int
    address: Any
    """As the socket module has it for `family`."""


Transfer = Callable[[Place, int], Awaitable[None]]
"""Carries so many bytes through an entrance."""


async def resolve(place: HostPort) -> list[Place]:
    """Every address of a host.

    Raises:
      OSError: it has none.
    """
    found = await trio.socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return [Place(family, address) for family, _, _, _, address in found]


async def connect(place: Place) -> trio.SocketStream:
    """A connection to an entrance.

    Raises:
      OSError: nobody accepts one there.
    """
    connecting = trio.socket.socket(place.family, socket.SOCK_STREAM)
    try:
        await connecting.connect(place.address)
    except BaseException:
        connecting.close()
        raise
    return trio.SocketStream(connecting)


async def download(place: Place, count: int) -> None:
    """Have `count` bytes sent, over one connection.

    Raises:
      WrongAnswer, OSError, trio.BrokenResourceError: fewer came, or more.
    """
    async with await connect(place) as stream:
        await stream.send_all(request_line("send", count))
        received = await discard(stream, count + 1)
    if received != count:
        raise WrongAnswer(f"{received} bytes came back, expected {count}")


async def upload(place: Place, count: int) -> None:
    """Send `count` bytes over one connection, and wait until the target has all of them.

    Raises:
      WrongAnswer, OSError, trio.BrokenResourceError: they did not arrive.
    """
    async with await connect(place) as stream:
        await stream.send_all(request_line("receive", count))
        await send_payload(stream, count)
        answer = await receive_exactly(stream, MAX_ACKNOWLEDGEMENT_BYTES)
    if answer != b"%d" % count:
        raise WrongAnswer(f"the target says {answer!r} about {count} bytes")


async def abandon(place: Place, count: int) -> None:
    """Have `count` bytes sent, read half of them and close the connection on the rest.

    Raises:
      WrongAnswer, OSError, trio.BrokenResourceError: not even these came.
    """
    async with await connect(place) as stream:
        await stream.send_all(request_line("send", count))
        received = await discard(stream, count // 2)
    if received != count // 2:
        raise WrongAnswer(f"{received} bytes came back, expected {count // 2}")


@asynccontextmanager
async def open_bulk(place: Place, warm_bytes: int = WARM_BYTES) -> AsyncIterator[None]:
    """An endless download for the length of a block, which begins when `warm_bytes` of it are here.

    Raises:
      WrongAnswer, OSError, trio.BrokenResourceError: it ended.
    """

    async def go_on(stream: trio.SocketStream) -> None:
        received = await discard(stream, ENDLESS_BYTES)
        raise WrongAnswer(f"a download ended after {warm_bytes + received} bytes")

    async with await connect(place) as stream:
        await stream.send_all(request_line("send", ENDLESS_BYTES))
        if await discard(stream, warm_bytes) < warm_bytes:
            raise WrongAnswer("a download ended as soon as it had begun")
        with single_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(go_on, stream)
                yield
                nursery.cancel_scope.cancel()


async def request(place: Place) -> float:
    """One small request on a new connection; returns the seconds until its answer was here.

    Raises:
      WrongAnswer, OSError, trio.BrokenResourceError, trio.TooSlowError: it was not answered.
    """
    with trio.fail_after(REQUEST_SECONDS):
        begin = trio.current_time()
        async with await connect(place) as stream:
            await stream.send_all(REQUEST)
            answer = await receive_exactly(stream, REQUEST_BYTES)
            seconds = trio.current_time() - begin
            if answer != PAYLOAD[:REQUEST_BYTES] or await stream.receive_some():
                raise WrongAnswer(f"{REQUEST_BYTES} bytes came back changed")
    return seconds


async def at_once(transfer: Transfer, place: Place, count: int, streams: int) -> None:
    """Transfer `count` bytes, over several connections where `streams` is not 1; what they raise comes as a group."""
    share, rest = divmod(count, streams)
    async with trio.open_nursery() as nursery:
        for number in range(streams):
            nursery.start_soon(transfer, place, share + (number < rest))


async def count_requests(place: Place, window_seconds: float) -> int:
    """How many small requests are answered in that time, `WORKERS` at once; what they raise comes as a group."""
    end = trio.current_time() + window_seconds
    answered = 0

    async def work() -> None:
        nonlocal answered
        while trio.current_time() < end:
            await request(place)
            answered += trio.current_time() <= end

    async with trio.open_nursery() as nursery:
        for _ in range(WORKERS):
            nursery.start_soon(work)
    return answered


async def echo_payload(place: Place) -> None:
    """Send a megabyte there and back, and compare.

    Raises:
      WrongAnswer, OSError, trio.BrokenResourceError: it is not the same.
    """
    async with await connect(place) as stream:
        await stream.send_all(request_line("echo", len(PAYLOAD)))
        await send_payload(stream, len(PAYLOAD))
        if await receive_exactly(stream, len(PAYLOAD)) != PAYLOAD:
            raise WrongAnswer(f"{len(PAYLOAD)} bytes came back changed")
