import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.http import Handler, Request, Response, serve_http
from connet_trio.http.server import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_LINGER_BYTES,
    SEND_SECONDS,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

ClientStream = trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]


async def echo(request: Request) -> Response:
    return Response(headers=((b"content-type", b"text/plain"),), body=f"{request.method} {request.target}".encode())


@asynccontextmanager
async def served(handler: Handler = echo) -> AsyncIterator[ClientStream]:
    """The client's end of a connection being served; leaving the block waits for the server to be done."""
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, server, handler)
        yield client  # type: ignore[misc]


async def receive_rest(client: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in client])


async def exchange(data: bytes, handler: Handler = echo) -> list[tuple[int, bytes]]:
    """Status and body of each answer to `data`, after which the client says nothing more."""
    async with served(handler) as client:
        await client.send_all(data)
        await client.send_eof()
        return parse(await receive_rest(client), data)


def parse(answers: bytes, requests: bytes = b"GET") -> list[tuple[int, bytes]]:
    parsed = []
    while answers:
        connection = h11.Connection(h11.CLIENT)
        method = b"HEAD" if requests.startswith(b"HEAD") else b"GET"
        connection.send(h11.Request(method=method, target="/", headers=[("host", "localhost")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(answers)
        connection.receive_data(b"")
        status, body = 0, b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            match event:
                case h11.Response():
                    status = event.status_code
                case h11.Data():
                    body += event.data
        parsed.append((status, body))
        answers = connection.trailing_data[0]
    return parsed


async def test_a_request_is_answered_by_the_handler() -> None:
    asked: list[Request] = []

    async def handler(request: Request) -> Response:
        asked.append(request)
        return Response(status=404, headers=((b"content-type", b"text/plain"),), body=b"gone")

    async with served(handler) as client:
        await client.send_all(b"POST /a?b=c HTTP/1.1\r\nHost: localhost\r\nX-One: 1\r\nContent-Length: 3\r\n\r\nabc")
        await client.send_eof()
        answer = await receive_rest(client)
    assert answer == b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\ngone"
    headers = ((b"host", b"localhost"), (b"x-one", b"1"), (b"content-length", b"3"))
    assert asked == [Request(method="POST", target="/a?b=c", headers=headers)]


async def test_requests_of_one_connection_are_answered_in_order() -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number for number in range(1000))
    assert await exchange(requests) == [(200, b"GET /%d" % number) for number in range(1000)]


@given(cuts=st.lists(st.integers(1, 40), max_size=8))
def test_a_request_may_come_in_any_pieces(cuts: list[int]) -> None:
    rest = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    pieces = []
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]

    async def scenario() -> None:
        async with served() as client:
            for piece in [*pieces, rest]:
                await client.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            await client.send_eof()
            assert parse(await receive_rest(client)) == [(200, b"PUT /x")]

    trio.run(scenario)


async def test_the_answer_to_head_has_the_length_but_no_body() -> None:
    async with served() as client:
        await client.send_all(GET.replace(b"GET", b"HEAD") + GET)
        await client.send_eof()
        head, _, rest = (await receive_rest(client)).partition(b"\r\n\r\n")
    assert head.endswith(b"content-length: 6")
    assert parse(rest) == [(200, b"GET /")]


async def test_the_answer_to_connect_has_no_body_and_ends_the_connection() -> None:
    async with served() as client:
        await client.send_all(b"CONNECT host:1 HTTP/1.1\r\nHost: host:1\r\n\r\ntunnelled")
        assert await receive_rest(client) == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"


async def test_an_upgrade_is_answered_as_if_it_were_not_asked_for() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert await exchange(request + GET) == [(200, b"GET /"), (200, b"GET /")]


async def test_an_old_client_gets_one_answer_and_the_end() -> None:
    async with served() as client:
        await client.send_all(b"GET / HTTP/1.0\r\n\r\n")
        assert parse(await receive_rest(client)) == [(200, b"GET /")]


async def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on() -> None:
    async with served() as client:
        await client.send_all(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await client.receive_some() == b"HTTP/1.1 100 \r\n\r\n"
        await client.send_all(b"abc")
        await client.send_eof()
        assert parse(await receive_rest(client)) == [(200, b"PUT /")]


def head_of(size: int) -> bytes:
    start, end = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ", b"\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


async def test_a_head_of_the_greatest_length_is_read() -> None:
    assert await exchange(head_of(MAX_HEAD_BYTES) + GET) == [(200, b"GET /"), (200, b"GET /")]


CHUNKED = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "a head that is a byte too long": (head_of(MAX_HEAD_BYTES + 1), 431),
    "a head without end": (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
    "a request line without end": (b"GET /" + b"x" * 100_000, 431),
    "a body announced too long": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413),
    "a body announced absurdly long": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 20 + b"\r\n\r\n", 413),
    "a chunked body too long": (CHUNKED + (b"1000\r\n" + bytes(4096) + b"\r\n") * 16 + b"1\r\nx\r\n0\r\n\r\n", 413),
    "noise": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a header without colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "a chunk without length": (CHUNKED + b"xyz\r\n", 400),
    "a strange transfer encoding": (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "a head cut short": (b"GET / HTTP/1.1\r\nHost: a\r\n", 400),
    "a body cut short": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", 400),
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED)
async def test_what_breaks_the_rules_is_refused_and_the_connection_closed(request_bytes: bytes, status: int) -> None:
    assert [answer[0] for answer in await exchange(GET + request_bytes)] == [200, status]


async def test_a_refusal_is_text_that_says_what_happened() -> None:
    async with served() as client:
        await client.send_all(b"nonsense\r\n\r\n")
        await client.send_eof()
        answer = await receive_rest(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"Bad Request\n"
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 400 Bad Request"
    assert set(head.lower().split(b"\r\n")[1:]) == {
        b"content-type: text/plain; charset=utf-8",
        b"content-length: 12",
        b"connection: close",
    }


async def test_a_stream_that_cannot_half_close_is_refused_all_the_same() -> None:
    client, server = trio.testing.memory_stream_pair()

    class WholeStream(trio.abc.Stream):
        send_all = server.send_all
        wait_send_all_might_not_block = server.wait_send_all_might_not_block
        receive_some = server.receive_some
        aclose = server.aclose

    await client.send_all(b"nonsense\r\n\r\n")
    await serve_http(WholeStream(), echo)
    assert parse(await receive_rest(client)) == [(400, b"Bad Request\n")]


async def test_a_status_nobody_has_registered_is_sent_without_a_phrase() -> None:
    async def strange(_: Request) -> Response:
        return Response(status=599)

    assert await exchange(GET, strange) == [(599, b"")]


async def test_a_body_of_the_greatest_length_is_discarded() -> None:
    request = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES
    assert await exchange(request + bytes(MAX_BODY_BYTES) + GET) == [(200, b"PUT /"), (200, b"GET /")]


@pytest.mark.reliability(line=33)
@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda tail: GET[:-2] + tail)))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    trio.run(exchange_and_ignore, data)


async def exchange_and_ignore(data: bytes) -> None:
    async with served() as client:
        await client.send_all(data)
        await client.send_eof()
        await receive_rest(client)


async def test_a_failing_handler_is_answered_500_and_its_error_passed_on() -> None:
    async def broken(_: Request) -> Response:
        raise LookupError("secret detail")

    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve() -> None:
            with pytest.raises(LookupError):
                await serve_http(server, broken)

        await client.send_all(GET)
        await client.send_eof()
        assert parse(await receive_rest(client)) == [(500, b"Internal Server Error\n")]


async def test_the_error_of_a_handler_is_not_taken_for_one_of_the_client() -> None:
    async def broken(_: Request) -> Response:
        raise trio.BrokenResourceError("a backend of the handler")

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(GET)
    await client.aclose()
    with pytest.raises(trio.BrokenResourceError, match="backend"):
        await serve_http(server, broken)


async def elapsed(wait: Callable[[], Awaitable[bytes]]) -> tuple[float, bytes]:
    start = trio.current_time()
    received = await wait()
    return trio.current_time() - start, received


async def test_a_silent_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as client:
        seconds, answers = await elapsed(lambda: receive_rest(client))
    assert seconds == pytest.approx(HEAD_SECONDS)
    assert answers == b""


async def test_an_idle_connection_is_kept_longer_and_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as client:
        await client.send_all(GET)
        await trio.sleep(IDLE_SECONDS - 1)
        await client.send_all(GET)
        seconds, answers = await elapsed(lambda: receive_rest(client))
    assert seconds == pytest.approx(IDLE_SECONDS)
    assert parse(answers) == [(200, b"GET /"), (200, b"GET /")]


@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
async def test_a_head_that_trickles_is_refused_in_time(autojump_clock: trio.testing.MockClock, later: bool) -> None:
    async with served() as client:
        if later:
            await client.send_all(GET)
            await trio.sleep(60)
        for _ in range(11):
            await client.send_all(b"G")
            await trio.sleep(0.999)
        await client.send_eof()
        seconds, answers = await elapsed(lambda: receive_rest(client))
    assert seconds < 0.1
    assert [status for status, _ in parse(answers)] == [200, 408][not later :]


async def test_a_body_that_does_not_come_is_refused_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as client:
        await client.send_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
        await trio.sleep(HEAD_SECONDS + 0.1)
        await client.send_eof()
        assert [status for status, _ in parse(await receive_rest(client))] == [408]


async def test_a_client_that_does_not_read_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, GET)
        start = trio.current_time()
        await serve_http(server, echo)
    assert trio.current_time() - start == pytest.approx(SEND_SECONDS)


async def test_a_refused_client_that_goes_on_sending_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with served() as client:
        await client.send_all(b"nonsense\r\n\r\n")
        await trio.sleep(LINGER_SECONDS - 0.1)
        await client.send_all(b"more")
        await trio.sleep(0.2)
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"more")


async def test_a_refused_client_that_sends_without_end_is_given_up() -> None:
    async with served() as client:
        await client.send_all(b"nonsense\r\n\r\n")
        await client.send_all(bytes(MAX_LINGER_BYTES + MAX_HEAD_BYTES))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"more")


@pytest.mark.reliability(line=32)
async def test_control_characters_reach_the_log_escaped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="connet_trio")
    for data in (
        b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
        b"\x1b]0;title\x07\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \x1b[2J\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x1b[2J\r\n\r\n",
        CHUNKED + b"\x1b[2J\r\n",
    ):
        assert next(status for status, _ in await exchange(data)) >= 400
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 5
    assert all(message.isprintable() for message in messages)


@asynccontextmanager
async def served_over_tcp(handler: Handler = echo) -> AsyncIterator[trio.SocketStream]:
    """A real connection to a server, of which only one connection is served; leaving waits for it to end."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        host, port = listener.socket.getsockname()
        client = await trio.open_tcp_stream(host, port)
        nursery.start_soon(serve_http, await listener.accept(), handler)
        async with client:
            yield client


async def test_a_refusal_arrives_even_if_the_client_goes_on_sending() -> None:
    body = b"x" * 300_000
    async with served_over_tcp() as client:
        await client.send_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert parse(await receive_rest(client)) == [(413, b"Request Entity Too Large\n")]


async def test_a_client_that_half_closes_gets_its_answer() -> None:
    async with served_over_tcp() as client:
        await client.send_all(GET)
        await client.send_eof()
        assert parse(await receive_rest(client)) == [(200, b"GET /")]


@pytest.mark.parametrize("sent", [b"", GET[:9], GET, GET + b"nonsense\r\n\r\n"])
async def test_a_client_that_resets_is_no_error(sent: bytes) -> None:
    resets = trio.Event()

    async def slow(request: Request) -> Response:
        await resets.wait()
        return Response(body=bytes(10_000_000))

    async with served_over_tcp(slow) as client:
        await client.send_all(sent)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
        resets.set()
