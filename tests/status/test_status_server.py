import http.client
import json
import logging
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trio
import trio.testing

from connet_trio.errors import BindFailed
from connet_trio.records.model import HostPort
from connet_trio.records.status import ClientStatus, Status, to_json
from connet_trio.status import serve_status
from connet_trio.status.server import MAX_CONNECTIONS

LOOPBACK = HostPort("127.0.0.1", 0)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

Dial = Callable[[], trio.abc.HalfCloseableStream]


def page() -> Mapping[str, Any]:
    return to_json(ClientStatus(status=Status.CONNECTED, metadata="caf\u00e9"))


async def start(nursery: trio.Nursery, where: HostPort = LOOPBACK, **options: Any) -> int:
    """Serve `page` in `nursery`; returns the port."""
    listeners = await nursery.start(lambda task_status: serve_status(where, page, task_status=task_status, **options))
    port: int = listeners[0].socket.getsockname()[1]
    return port


def ask(port: int, method: str, target: str) -> tuple[int, str | None, bytes]:
    """What a client of the standard library gets: status, content type, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.getheader("content-type"), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("GET", "/any/path?query"), ("POST", "/"), ("DELETE", "/x"), ("OPTIONS", "*")]
)
async def test_any_path_and_method_is_answered_with_the_page(method: str, target: str) -> None:
    async with trio.open_nursery() as nursery:
        port = await start(nursery)
        status, content_type, body = await trio.to_thread.run_sync(ask, port, method, target)
        nursery.cancel_scope.cancel()
    assert (status, content_type) == (200, "application/json")
    assert json.loads(body) == page()


async def test_head_is_answered_without_a_body() -> None:
    async with trio.open_nursery() as nursery:
        port = await start(nursery)
        assert await trio.to_thread.run_sync(ask, port, "HEAD", "/") == (200, "application/json", b"")
        nursery.cancel_scope.cancel()


async def test_an_empty_host_listens_on_every_address() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            lambda task_status: serve_status(HostPort("", 0), page, task_status=task_status)
        )
        hosts = {listener.socket.getsockname()[0] for listener in listeners}
        nursery.cancel_scope.cancel()
    assert "0.0.0.0" in hosts


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_in_use_is_an_error_in_words(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BindFailed) as caught:
            await serve_status(HostPort(host, port), page)
    assert str(caught.value) == f"cannot listen on TCP {host}:{port}: address already in use"
    assert caught.value.in_use


@pytest.mark.parametrize(("host", "reason"), [("192.0.2.1", "cannot assign requested address"), ("a" * 70, "")])
async def test_an_address_that_is_not_ours_is_an_error_in_words(host: str, reason: str) -> None:
    with pytest.raises(BindFailed) as caught:
        await serve_status(HostPort(host, 19182), page)
    assert str(caught.value).startswith(f"cannot listen on TCP {host}:19182: {reason}")
    assert not caught.value.in_use


async def receive_rest(client: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in client])


class BrokenPage:
    """A page that fails until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.errors = 0

    def snapshot(self) -> Mapping[str, Any]:
        return {"fit for json": True} if self.mended else {"not fit for json": object()}

    def count_error(self) -> None:
        self.errors += 1


async def test_a_failing_page_is_answered_500_logged_and_counted_and_the_next_one_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = BrokenPage()
    listener, dial = memory_listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_status(listener, broken.snapshot, count_error=broken.count_error))
        for expected in (b"HTTP/1.1 500 ", b"HTTP/1.1 200 "):
            client = await dial()
            await client.send_all(GET)
            await client.send_eof()
            assert (await receive_rest(client)).startswith(expected)
            broken.mended = True
        nursery.cancel_scope.cancel()
    assert broken.errors == 1
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "status page failed" in caplog.text


def memory_listener() -> tuple[trio.abc.Listener[trio.abc.Stream], Any]:
    """A listener, and a function that dials it."""
    send, receive = trio.open_memory_channel[trio.abc.Stream](0)

    class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
        async def accept(self) -> trio.abc.Stream:
            return await receive.receive()

        async def aclose(self) -> None:
            receive.close()
            await trio.lowlevel.checkpoint()

    async def dial() -> Any:
        client, server = trio.testing.memory_stream_pair()
        await send.send(server)
        return client

    return MemoryListener(), dial


async def test_connections_beyond_the_limit_are_closed_until_others_end() -> None:
    listener, dial = memory_listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve_status(listener, page))
        clients = [await dial() for _ in range(MAX_CONNECTIONS)]
        await trio.testing.wait_all_tasks_blocked()

        refused = await dial()
        assert await refused.receive_some() == b""

        await clients[0].aclose()
        await trio.testing.wait_all_tasks_blocked()
        accepted = await dial()
        for client in (clients[-1], accepted):
            await client.send_all(GET)
            assert (await client.receive_some()).startswith(b"HTTP/1.1 200 OK")
        nursery.cancel_scope.cancel()


async def test_clients_that_reset_leave_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="connet_trio")
    errors: list[None] = []
    async with trio.open_nursery() as nursery:
        port = await start(nursery, count_error=lambda: errors.append(None))
        for sent in (b"", b"GET", GET):
            client = await trio.open_tcp_stream("127.0.0.1", port)
            await client.send_all(sent)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.close()
        assert (await trio.to_thread.run_sync(ask, port, "GET", "/"))[0] == 200
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert errors == caplog.records == []
