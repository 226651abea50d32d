import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.errors import ConnetError, PathLost, RemoteProtocolError
from connet_trio.http import Request, Response, request_http, serve_http
from connet_trio.http.client import MAX_HEAD_BYTES

GET = Request(method="GET", target="/", headers=((b"host", b"localhost"),))


async def answered(*chunks: bytes, max_body_bytes: int = 1000) -> Response:
    """What the client makes of bytes that end after the last one."""
    client, server = trio.testing.memory_stream_pair()

    async def serve() -> None:
        for chunk in chunks:
            await server.send_all(chunk)
        await server.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        return await request_http(client, GET, max_body_bytes=max_body_bytes)
    raise AssertionError("unreachable")


async def test_our_own_server_is_understood() -> None:
    client, server = trio.testing.memory_stream_pair()
    asked: list[Request] = []

    async def handle(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        asked.append(request)
        return Response(status=202, headers=((b"content-type", b"text/plain"),), body=b"x" * 100_000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, server, handle)
        response = await request_http(client, GET, max_body_bytes=100_000)
    assert (response.status, response.body) == (202, b"x" * 100_000)
    assert [(request.method, request.target) for request in asked] == [("GET", "/")]
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"more")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nbody",
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody",
    ],
    ids=["length", "chunks", "until-the-end", "informational"],
)
async def test_a_body_is_read_however_it_is_framed(answer: bytes) -> None:
    response = await answered(*(answer[i : i + 1] for i in range(len(answer))))
    assert (response.status, response.body) == (200, b"body")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "no HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo", "no HTTP, or stopped halfway"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * MAX_HEAD_BYTES, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, "more than 1000 bytes"),
        (b"HTTP/1.1 101 Sure\r\nUpgrade: x\r\n\r\n", "no HTTP"),
    ],
    ids=["nothing", "ssh", "half", "long-head", "long-body", "upgrade"],
)
async def test_what_is_not_a_whole_answer_is_an_error(answer: bytes, why: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(RemoteProtocolError, match=why), allow_unwrapped=True):
        await answered(answer)


async def test_a_reset_connection_is_an_error() -> None:
    client, server = trio.testing.memory_stream_pair()
    server.receive_stream.close()
    with pytest.raises(PathLost, match="was reset"):
        await request_http(client, GET, max_body_bytes=10)


@given(st.binary(max_size=200), st.booleans())
def test_no_answer_makes_it_raise_anything_else(answer: bytes, begins_well: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" if begins_well else b""

    async def ask() -> None:
        try:
            await answered(head + answer)
        except* ConnetError:
            pass

    trio.run(ask)
