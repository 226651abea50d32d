"""Local TCP at one end of a stream: real connections on loopback, and a stream of memory in place of QUIC."""

import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from connet_trio.concurrency import AbortableStream, StreamBroken, Told, Workload, ignore_code
from connet_trio.errors import BindFailed, ConnetError, EndpointClosed, NoActivePeers, PeersUnreachable
from connet_trio.forward import (
    OpenFiles,
    TcpStream,
    Traffic,
    open_files,
    open_tcp_listeners,
    serve_destination_stream,
    serve_source,
)
from connet_trio.forward import tcp as tcp_module
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.proxy import ClientAddresses

LOOPBACK = "127.0.0.1"
BOUND_SECONDS = 10.0
"""A test on loopback that takes longer has failed."""


class MemoryStream(AbortableStream):
    """The stream to a peer. What the peer does is said by the test, and what it is told can be asked."""

    def __init__(self) -> None:
        self._said, self._incoming = trio.testing.memory_stream_one_way_pair()
        self._outgoing, self._heard = trio.testing.memory_stream_one_way_pair()
        self._reset_by_peer: int | None = None
        self._stopped = trio.Event()
        self._stop_by_peer = 0
        self._tell_stopped: Told = ignore_code
        self._at_end = False
        self.ended = False
        self.reset_code: int | None = None
        self.stop_code: int | None = None
        self.abandoned = trio.Event()

    # the peer

    async def peer_sends(self, data: bytes) -> None:
        await self._said.send_all(data)

    def peer_ends(self) -> None:
        self._said.close()

    def peer_resets(self, code: int) -> None:
        self._reset_by_peer = code
        self._said.close()

    def peer_stops(self, code: int) -> None:
        self._stop_by_peer = code
        self._stopped.set()
        self._tell_stopped(code)

    async def peer_receives(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += await self._heard.receive_some(count - len(data))
        return data

    async def peer_receives_all(self) -> bytes:
        return b"".join([chunk async for chunk in self._heard])

    # the stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._stopped.is_set():
            await trio.lowlevel.checkpoint()
            raise StreamBroken("stopped", code=self._stop_by_peer)
        await self._outgoing.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ended = True
        self._outgoing.close()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._incoming.receive_some(max_bytes))
        if not data and self._reset_by_peer is not None:
            raise StreamBroken("reset", code=self._reset_by_peer)
        if not data:
            self._at_end = True
        return data

    def reset(self, code: int = 0) -> None:
        if not self.ended and self.reset_code is None:
            self.reset_code = code
            self._outgoing.close()
            self.abandoned.set()

    def stop(self, code: int = 0) -> None:
        if not self._at_end and self._reset_by_peer is None and self.stop_code is None:
            self.stop_code = code
            self._incoming.close()

    def on_stopped(self, tell: Told) -> None:
        self._tell_stopped = tell
        if self._stopped.is_set():
            tell(self._stop_by_peer)

    async def aclose(self) -> None:
        if self.reset_code is None:
            await self.send_eof()
        self.stop()

    @property
    def told(self) -> tuple[bool, int | None, int | None]:
        """Whether the peer was told of an end, and with which codes of a reset and a stop."""
        return self.ended, self.reset_code, self.stop_code


WHOLE = (True, None, None)
CUT_SHORT = (False, 0, 0)


@attrs.define
class Site:
    """A source listening on loopback."""

    port: int
    remote: MemoryStream
    """The stream that the next dial gives."""
    streams: trio.Nursery
    accepting: trio.CancelScope
    traffic: Traffic = attrs.field(factory=Traffic)
    workload: Workload = attrs.field(factory=Workload)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(LOOPBACK, self.port)


Dial = Callable[[ClientAddresses | None], Awaitable[AbortableStream]]


@asynccontextmanager
async def open_site(dial: Dial | None = None, *, files: OpenFiles | None = None) -> AsyncIterator[Site]:
    files = files or OpenFiles()
    remote, traffic, workload = MemoryStream(), Traffic(), Workload()

    async def dial_remote(addresses: ClientAddresses | None) -> AbortableStream:
        await trio.lowlevel.checkpoint()
        return remote

    async def accept(accepting: trio.CancelScope, task_status: trio.TaskStatus[Any]) -> None:
        with accepting:
            await serve_source(
                listeners,
                "db\x1b[2J",
                dial or dial_remote,
                traffic=traffic,
                streams=streams,
                workload=workload,
                files=files,
                task_status=task_status,
            )

    with trio.fail_after(BOUND_SECONDS):
        async with trio.open_nursery() as streams:
            accepting = trio.CancelScope()
            listeners = await open_tcp_listeners(HostPort(LOOPBACK, 0))
            await streams.start(partial(accept, accepting))
            port = listeners[0].socket.getsockname()[1]
            yield Site(port, remote, streams, accepting, traffic, workload)
            streams.cancel_scope.cancel()


@asynccontextmanager
async def open_service(handler: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[HostPort]:
    """A TCP service on loopback."""
    with trio.fail_after(BOUND_SECONDS):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host=LOOPBACK))
            yield HostPort(LOOPBACK, listeners[0].socket.getsockname()[1])
            nursery.cancel_scope.cancel()


async def receive_all(stream: trio.SocketStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def expect_reset(stream: trio.SocketStream) -> None:
    with pytest.raises(trio.BrokenResourceError) as broken:
        await receive_all(stream)
    assert isinstance(broken.value.__cause__, ConnectionResetError)


def abort(stream: trio.SocketStream) -> None:
    """Close with RST."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def unused_port() -> int:
    (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


class NoResolver(trio.abc.HostnameResolver):
    """Never answers, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked = trio.Event()
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, *question: object, **others: object) -> Any:
        self.asked.set()
        if self.error is not None:
            await trio.lowlevel.checkpoint()
            raise self.error
        await trio.sleep_forever()

    async def getnameinfo(self, *question: object) -> Any:
        raise NotImplementedError


carry = partial(serve_destination_stream, files=OpenFiles())

# --- a source


async def test_the_local_side_may_end_first() -> None:
    async with open_site() as site, await site.connect() as local:
        await local.send_all(b"question")
        await local.send_eof()
        assert await site.remote.peer_receives_all() == b"question"
        await site.remote.peer_sends(b"the answer")
        site.remote.peer_ends()
        assert await receive_all(local) == b"the answer"
        await site.workload.wait_idle()
        assert site.remote.told == WHOLE
        assert (site.traffic.sent, site.traffic.received) == (8, 10)
        assert site.workload.finished == 1


async def test_the_peer_may_end_first() -> None:
    async with open_site() as site, await site.connect() as local:
        await site.remote.peer_sends(b"welcome")
        site.remote.peer_ends()
        assert await receive_all(local) == b"welcome"
        await local.send_all(b"still here")
        assert await site.remote.peer_receives(10) == b"still here"
        await local.send_eof()
        assert await site.remote.peer_receives_all() == b""
        await site.workload.wait_idle()
        assert site.remote.told == WHOLE


async def test_a_megabyte_each_way_arrives_and_is_counted() -> None:
    data = bytes(range(256)) * 4096
    received: list[bytes] = []
    async with open_site() as site, await site.connect() as local:

        async def peer_answers() -> None:
            received.append(await site.remote.peer_receives_all())
            await site.remote.peer_sends(received[0])
            site.remote.peer_ends()

        site.streams.start_soon(peer_answers)
        await local.send_all(data)
        await local.send_eof()
        assert await receive_all(local) == data
        assert received == [data]
        await site.workload.wait_idle()
        assert (site.traffic.sent, site.traffic.received) == (len(data), len(data))


async def test_a_stream_that_the_peer_resets_is_no_clean_end_for_the_local_side() -> None:
    async with open_site() as site, await site.connect() as local:
        await site.remote.peer_sends(b"half of")
        assert await local.receive_some() == b"half of"
        site.remote.peer_resets(7)
        await expect_reset(local)
        await site.workload.wait_idle()
        assert site.remote.told == (False, 0, None)


async def test_a_local_side_that_breaks_is_no_clean_end_for_the_peer() -> None:
    async with open_site() as site:
        local = await site.connect()
        await local.send_all(b"half of")
        assert await site.remote.peer_receives(7) == b"half of"
        abort(local)
        await site.remote.abandoned.wait()
        await site.workload.wait_idle()
        assert site.remote.told == CUT_SHORT


async def test_a_peer_that_stops_reading_still_sends() -> None:
    async with open_site() as site, await site.connect() as local:
        await local.send_all(b"x")
        await site.remote.peer_receives(1)
        site.remote.peer_stops(9)
        await site.remote.peer_sends(b"goes on")
        assert await local.receive_some() == b"goes on"
        site.remote.peer_ends()
        await site.workload.wait_idle()
        assert await receive_all(local) == b""


async def test_who_connected_is_told_to_the_one_who_dials() -> None:
    told: list[ClientAddresses | None] = []
    dialled = trio.Event()

    async def dial(addresses: ClientAddresses | None) -> AbortableStream:
        told.append(addresses)
        dialled.set()
        return await trio.sleep_forever()

    async with open_site(dial) as site, await site.connect() as client:
        await dialled.wait()
        places = [
            AddressPort(ip_address(host), port) for host, port in (client.socket.getsockname(), (LOOPBACK, site.port))
        ]
        assert told == [ClientAddresses(*places)]


@pytest.mark.parametrize(
    "error",
    [
        NoActivePeers("no active destinations found for db\x1b[2J"),
        PeersUnreachable("cannot dial active destinations of db: no\r\nlines", ()),
        EndpointClosed("source db is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_connection_that_nobody_takes_ends_and_the_next_is_served(
    error: ConnetError, caplog: pytest.LogCaptureFixture
) -> None:
    remote, outcomes = MemoryStream(), [error]

    async def dial(addresses: ClientAddresses | None) -> AbortableStream:
        await trio.lowlevel.checkpoint()
        if outcomes:
            raise outcomes.pop()
        return remote

    async with open_site(dial) as site:
        async with await site.connect() as refused:
            assert await receive_all(refused) == b""
        async with await site.connect() as local:
            await local.send_all(b"served")
            assert await remote.peer_receives(6) == b"served"
    (record,) = (record for record in caplog.records if record.name == tcp_module.__name__)
    assert record.levelno == logging.WARNING
    assert r"db\x1b[2J: connection from here not carried: " in record.getMessage()
    assert record.getMessage().isprintable()


async def test_a_listener_that_is_cancelled_leaves_running_streams_alone() -> None:
    async with open_site() as site, await site.connect() as local:
        await local.send_all(b"before")
        await site.remote.peer_receives(6)
        site.accepting.cancel()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="all attempts to connect"):
            await site.connect()
        await local.send_all(b"after")
        assert await site.remote.peer_receives(5) == b"after"
        assert (site.workload.running, site.workload.finished) == (1, 0)


async def test_streams_that_are_cancelled_are_cut_short_on_both_sides() -> None:
    async with open_site() as site:
        local = await site.connect()
        await local.send_all(b"half of")
        await site.remote.peer_receives(7)
        site.streams.cancel_scope.cancel()
    with trio.fail_after(BOUND_SECONDS):
        async with local:
            await expect_reset(local)
    assert site.remote.told == CUT_SHORT
    assert (site.workload.running, site.workload.finished) == (0, 1)


# --- listening


async def test_a_port_that_is_taken_is_named() -> None:
    (taken,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    async with taken:
        port = taken.socket.getsockname()[1]
        with pytest.raises(BindFailed) as failed:
            await open_tcp_listeners(HostPort(LOOPBACK, port))
    assert str(failed.value) == f"cannot listen on TCP {LOOPBACK}:{port}: address already in use"
    assert failed.value.in_use


async def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(BindFailed) as failed:
        await open_tcp_listeners(HostPort("192.0.2.1", 0))
    assert str(failed.value) == "cannot listen on TCP 192.0.2.1:0: cannot assign requested address"
    assert not failed.value.in_use


@pytest.mark.parametrize(
    ("host", "error", "reason"),
    [
        (
            "nowhere.example",
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "Name or service not known",
        ),
        ("a..b", UnicodeError("label empty or too long"), "not a host name"),
    ],
)
async def test_a_host_that_does_not_resolve_is_named(host: str, error: Exception, reason: str) -> None:
    NoResolver(error)
    with pytest.raises(BindFailed) as failed:
        await open_tcp_listeners(HostPort(host, 5432))
    assert str(failed.value) == f"cannot listen on TCP {host}:5432: {reason}"


async def test_an_empty_host_means_every_address() -> None:
    listeners = await open_tcp_listeners(HostPort("", 0))
    hosts = {listener.socket.getsockname()[0] for listener in listeners}
    for listener in listeners:
        await listener.aclose()
    assert "0.0.0.0" in hosts


# --- a destination


async def test_a_destination_carries_streams_to_its_service() -> None:
    async def reverse(stream: trio.SocketStream) -> None:
        await stream.send_all((await receive_all(stream))[::-1])
        await stream.send_eof()

    remote, traffic = MemoryStream(), Traffic()
    async with open_service(reverse) as target, trio.open_nursery() as nursery:
        nursery.start_soon(partial(carry, remote, "db", target, None, traffic=traffic))
        await remote.peer_sends(b"drawer")
        remote.peer_ends()
        assert await remote.peer_receives_all() == b"reward"
    assert remote.told == WHOLE
    assert (traffic.received, traffic.sent) == (6, 6)


async def test_a_service_that_breaks_is_no_clean_end_for_the_peer() -> None:
    async def break_off(stream: trio.SocketStream) -> None:
        await stream.send_all(await stream.receive_some())
        await remote.peer_receives(5)
        abort(stream)

    remote = MemoryStream()
    async with open_service(break_off) as target, trio.open_nursery() as nursery:
        nursery.start_soon(partial(carry, remote, "db", target, 5.0, traffic=Traffic()))
        await remote.peer_sends(b"hello")
    assert remote.told == CUT_SHORT


async def test_a_stream_that_the_peer_resets_is_no_clean_end_for_the_service() -> None:
    ends: list[BaseException | None] = []

    async def note(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        remote.peer_resets(7)
        try:
            await receive_all(stream)
        except trio.BrokenResourceError as exc:
            ends.append(exc.__cause__)
        seen.set()

    remote, seen = MemoryStream(), trio.Event()
    async with open_service(note) as target, trio.open_nursery() as nursery:
        nursery.start_soon(partial(carry, remote, "db", target, 5.0, traffic=Traffic()))
        await remote.peer_sends(b"hello")
        await seen.wait()
    assert [type(end) for end in ends] == [ConnectionResetError]


async def test_a_service_that_is_down_resets_the_stream_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    remote, target = MemoryStream(), HostPort(LOOPBACK, await unused_port())
    with trio.fail_after(BOUND_SECONDS):
        await carry(remote, "db\x1b[2J", target, 5.0, traffic=Traffic())
    assert remote.told == CUT_SHORT
    (record,) = (record for record in caplog.records if record.name == tcp_module.__name__)
    where = f"the service at {LOOPBACK}:{target.port} cannot be reached"
    assert record.getMessage() == rf"db\x1b[2J: {where}: connection refused"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "no answer within 5 s"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label empty or too long"), "not a host name"),
    ],
)
async def test_a_service_that_cannot_be_found_resets_the_stream_and_is_named(
    error: Exception | None, reason: str, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    NoResolver(error)
    remote = MemoryStream()
    await carry(remote, "db", HostPort("db.example", 5432), 5.0, traffic=Traffic(), files=OpenFiles())
    assert remote.told == CUT_SHORT
    assert trio.current_time() == (5.0 if error is None else 0.0)
    (record,) = (record for record in caplog.records if record.name == tcp_module.__name__)
    assert record.getMessage() == f"db: the service at db.example:5432 cannot be reached: {reason}"


async def test_a_destination_cancelled_while_it_dials_its_service_leaves_no_stream_open() -> None:
    resolver, remote = NoResolver(), MemoryStream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                serve_destination_stream,
                remote,
                "db",
                HostPort("db.example", 1),
                None,
                traffic=Traffic(),
                files=OpenFiles(),
            )
        )
        await resolver.asked.wait()
        nursery.cancel_scope.cancel()
    assert remote.told == CUT_SHORT


# --- files that may be open


def none_left() -> OpenFiles:
    """As if the next file were the last."""
    return OpenFiles(lambda: 1.0)


async def test_a_connection_that_would_take_the_last_file_is_reset_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_site(files=none_left()) as site:
        for _ in range(3):
            async with await site.connect() as local:
                await expect_reset(local)
    (record,) = (record for record in caplog.records if record.name == open_files.__name__)
    assert record.getMessage().startswith(r"db\x1b[2J: connections are refused: this process may have 1 files open")


async def test_a_stream_whose_service_would_take_the_last_file_is_reset(caplog: pytest.LogCaptureFixture) -> None:
    async def expect_end(stream: trio.SocketStream) -> None:
        assert await stream.receive_some() == b""
        closed.set()

    files, closed = none_left(), trio.Event()
    async with open_service(expect_end) as target:
        for _ in range(3):
            remote = MemoryStream()
            await carry(remote, "db", target, 5.0, traffic=Traffic(), files=files)
            assert remote.told == CUT_SHORT
        await closed.wait()
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.name == open_files.__name__


async def test_few_files_are_said_again_after_a_minute(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    files = none_left()
    for _ in range(121):
        files.tell("db")
        await trio.sleep(1)
    assert len(caplog.records) == 3


@pytest.mark.parametrize(("limit", "first_refused"), [(20_000.0, 19_968), (256.0, 224), (64.0, 56)])
async def test_the_last_files_are_left_to_others(limit: float, first_refused: int) -> None:
    class Opened:
        def __init__(self, number: int) -> None:
            self.fileno = lambda: number

    files = OpenFiles(lambda: limit)
    assert not files.refuses(Opened(first_refused - 1), "db")  # type: ignore[arg-type]
    assert files.refuses(Opened(first_refused), "db")  # type: ignore[arg-type]


def test_where_no_limit_is_known_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "resource", None)
    with socket.socket() as opened:
        assert not OpenFiles().refuses(opened, "db")


# --- the stream itself


async def test_our_tcp_streams_pass_the_checks_of_trio_for_streams() -> None:
    async def make_pair() -> tuple[TcpStream, TcpStream]:
        (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
        async with listener:
            near = await trio.open_tcp_stream(*listener.socket.getsockname())
            return TcpStream(near), TcpStream(await listener.accept())

    with trio.fail_after(BOUND_SECONDS):
        await trio.testing.check_half_closeable_stream(make_pair, None)


async def test_who_asks_to_be_told_of_a_stop_is_told_of_a_break() -> None:
    async with open_service(lambda stream: stream.aclose()) as target:
        local = TcpStream(await trio.open_tcp_stream(target.host, target.port))
        told: list[int] = []
        local.on_stopped(told.append)
        local.stop()
        assert told == []
        local.reset()
        assert told == [0]
        local.on_stopped(told.append)
        assert told == [0, 0]
        with pytest.raises(trio.ClosedResourceError):
            await local.send_all(b"x")
        await local.aclose()


async def test_sending_at_once_takes_what_the_system_has_room_for() -> None:
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        far = TcpStream(await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]))
        async with await listener.accept() as reader, far:
            data = bytes(1 << 24)
            sent = far.send_nowait(data)
            assert 0 < sent < len(data)
            assert far.send_nowait(data) < len(data), "there may be a little room again, but never for all of it"
            received = await reader.receive_some()
            assert set(received) == {0}


async def test_nothing_is_sent_at_once_on_a_connection_that_is_closed() -> None:
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        stream = TcpStream(await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]))
        await stream.aclose()
        assert stream.send_nowait(b"too late") == 0
