import json
from functools import partial
from typing import Any

import pytest
import trio

from connet_trio.errors import DialFailed, RemoteProtocolError
from connet_trio.http import Request, Response, serve_http
from connet_trio.records.model import HostPort
from connet_trio.records.status import ClientStatus, ControlStatus, RelayStatus, ServerStatus, Status, to_json
from connet_trio.status import read_status, serve_status
from connet_trio.status.client import parse_page

CONTROL, RELAY = ControlStatus(), RelayStatus(status=Status.CONNECTED)
PAGES = [ClientStatus(status=Status.CONNECTED), CONTROL, RELAY, ServerStatus(control=CONTROL, relay=RELAY)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: type(page).__name__)
async def test_the_page_of_each_service_is_read_as_it_is(page: Any) -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve_status, HostPort("127.0.0.1", 0), lambda: to_json(page))
        port = listener.socket.getsockname()[1]
        assert await read_status(HostPort("localhost", port)) == to_json(page)
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_an_error_that_says_where() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(DialFailed, match=rf"^TCP 127\.0\.0\.1:{port} cannot be reached: connection refused$"):
        await read_status(HostPort("127.0.0.1", port))


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (Response(status=404, body=b"{}"), "HTTP status 404"),
        (Response(body=b"<html>"), "something else than connet"),
        (Response(body=b'{"status": "ok"}'), "something else than connet"),
    ],
)
async def test_another_web_server_is_an_error_that_says_so(response: Response, why: str) -> None:
    async def answer(_: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return response

    async def serve(stream: trio.SocketStream) -> None:
        await serve_http(stream, answer)

    async with trio.open_nursery() as nursery:
        listener, *_ = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(RemoteProtocolError, match=f"^no status page at .*:{port}: .*{why}"):
            await read_status(HostPort("127.0.0.1", port))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"3", b'{"server-id": NaN}', b"[" * 100_000, b'{"relay": ', b"1" * 10_000],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_page_is_none(body: bytes) -> None:
    assert parse_page(body) is None


def test_a_page_of_the_original_is_one() -> None:
    page: dict[str, Any] = {"status": "connected", "destinations": {}, "sources": {}, "local-addresses": None}
    assert parse_page(json.dumps(page).encode()) == page
