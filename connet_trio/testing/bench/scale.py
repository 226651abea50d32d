"""What many of them cost: idle streams, idle connections, handshakes.

Two processes on loopback, over the Stream API: a server that takes whatever comes, and this one, which loads it. CPU
seconds and memory are read from /proc for each by itself, so that what the load costs does not count for the server.
"""

import multiprocessing
import multiprocessing.connection
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.identity import EndpointIdentity, PinnedServer, Realm, check_client, issue_identity
from connet_trio.quic import (
    DEFAULT_QUIC_ENGINE,
    Answer,
    Connection,
    Dialing,
    Faults,
    Listening,
    QuicEngine,
    Stream,
    Transport,
    Windows,
    open_transport,
    open_udp_socket,
    serve_connections,
)
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.testing.bench.plan import BenchFailed
from connet_trio.testing.bench.process_figures import check_system, cpu_seconds, resident_bytes

ALPN = "connet-trio-scale/1"
WALL_NOW = 1_800_000_000.0
"""Unix seconds: both processes make the same certificates, so both need the same time."""
CHUNK = random.Random(0).randbytes(1 << 18)
STREAMS_ALLOWED = 1 << 14
"""More than anybody asks for; the usual 100 would be no load."""
DIALS_AT_ONCE = 16
"""The accept queue holds 32."""
KEEPALIVE_SECONDS = 10.0
WARM_CONNECTIONS = 32
"""Made and ended before anything is measured: what is allocated once is no connection's cost."""
SETTLE_SECONDS = 2.0
"""From the last handshake to the first look at memory."""
Use = Callable[[Connection], Awaitable[None]]
BULK_MEGABYTES = 40
BULK_ROUNDS = 3


@attrs.frozen(kw_only=True)
class BulkCost:
    """CPU seconds per GB (10^9 bytes) of a bulk transfer."""

    sender: float
    receiver: float

    def times(self, other: "BulkCost") -> float:
        """How many times `other` this is, both sides together."""
        return (self.sender + self.receiver) / (other.sender + other.receiver)


@attrs.frozen(kw_only=True)
class IdleStreams:
    """A bulk transfer on a connection of its own, and on one with idle streams; medians of interleaved rounds."""

    streams: int
    alone: BulkCost
    beside: BulkCost


@attrs.frozen(kw_only=True)
class IdleConnections:
    """A server whose connections have nothing to say but their keepalives."""

    connections: int
    seconds: float
    """For how long its CPU was watched."""
    bytes_each: float
    """Growth of its resident memory, for each."""
    core_share: float
    """CPU seconds per second."""


@attrs.frozen(kw_only=True)
class Handshakes:
    """Connections with certificates of both sides, dialled a few at a time and ended at once."""

    count: int
    server: float
    """CPU seconds of the server for each, the end of the connection included."""
    dialer: float

    @property
    def per_core(self) -> float:
        """How many a server's core could do in a second."""
        return 1 / self.server


@attrs.frozen(kw_only=True)
class ScaleFigures:
    """All of it, for one engine."""

    idle_streams: IdleStreams
    idle_connections: IdleConnections
    handshakes: Handshakes


async def run_scale(
    *,
    idle_connections: int = 1000,
    idle_streams: int = 1000,
    handshakes: int = 1000,
    seconds: float = 20.0,
    quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE,
) -> ScaleFigures:
    """Measure everything, each with a server process of its own.

    Args:
      seconds: how long idle connections are watched; keepalives come every 10 s.

    Raises:
      BenchFailed: this is not Linux, or the server process ended.
    """
    check_system()
    return ScaleFigures(
        idle_streams=await measure_idle_streams(idle_streams, quic_engine=quic_engine),
        idle_connections=await measure_idle_connections(idle_connections, seconds, quic_engine=quic_engine),
        handshakes=await measure_handshakes(handshakes, quic_engine=quic_engine),
    )


def format_scale(figures: ScaleFigures) -> str:
    """A few lines for each question."""
    streams, connections, handshakes = figures.idle_streams, figures.idle_connections, figures.handshakes
    alone, beside = streams.alone, streams.beside
    ratio = f"{beside.times(alone):.2f} times"
    tables: dict[str, dict[str, str]] = {
        "Bulk transfer, CPU seconds per GB of sender + receiver": {
            "on a connection of its own": f"{alone.sender:.2f} + {alone.receiver:.2f}",
            f"beside {streams.streams} idle streams": f"{beside.sender:.2f} + {beside.receiver:.2f}, {ratio}",
        },
        f"{connections.connections} idle connections, watched for {connections.seconds:g} s": {
            "memory of the server": f"{connections.bytes_each / 1024:.1f} KiB each",
            "CPU of the server": f"{100 * connections.core_share:.1f} % of a core",
        },
        f"{handshakes.count} handshakes with client certificates": {
            "CPU of server + dialer": f"{1000 * handshakes.server:.2f} + {1000 * handshakes.dialer:.2f} ms each",
            "a core of the server": f"{handshakes.per_core:.0f} a second",
        },
    }
    rows = ([title, *(f"  {label:<30}  {value}" for label, value in table.items())] for title, table in tables.items())
    return "\n".join(line for lines in rows for line in lines)


# --- the questions


async def measure_idle_streams(count: int, *, quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE) -> IdleStreams:
    """A bulk transfer with and without `count` idle streams beside it, on two connections, in turns."""
    async with _open_load(quic_engine=quic_engine) as load, AsyncExitStack() as idle:
        alone, crowded = await load.dial(), await load.dial()
        for _ in range(count):
            stream = await idle.enter_async_context(await crowded.open_stream())
            await stream.send_all(b"!")
        size = BULK_MEGABYTES * 1_000_000
        costs: dict[Connection, list[BulkCost]] = {alone: [], crowded: []}
        for number in range(1 + BULK_ROUNDS):
            for connection, found in costs.items():
                cost = await load.transfer(connection, size)
                if number:  # the first is for warming up
                    found.append(cost)
        return IdleStreams(streams=count, alone=_median(costs[alone]), beside=_median(costs[crowded]))


async def measure_idle_connections(
    count: int, seconds: float, *, quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE
) -> IdleConnections:
    """`count` connections, each of which has carried a request once; they fall silent one by one, as clients do."""
    async with _open_load(quic_engine=quic_engine) as load:
        await load.dial_many(WARM_CONNECTIONS, _end)
        before = load.server_bytes
        await load.dial_many(count, _request, within=KEEPALIVE_SECONDS)
        await trio.sleep(SETTLE_SECONDS)
        bytes_each = (load.server_bytes - before) / count
        began, used = time.perf_counter(), load.server_cpu
        await trio.sleep(seconds)
        return IdleConnections(
            connections=count,
            seconds=seconds,
            bytes_each=bytes_each,
            core_share=(load.server_cpu - used) / (time.perf_counter() - began),
        )


async def measure_handshakes(count: int, *, quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE) -> Handshakes:
    """`count` connections that come to nothing but their handshake."""
    async with _open_load(quic_engine=quic_engine) as load:
        await load.dial_many(WARM_CONNECTIONS, _end)
        server, dialer = load.server_cpu, load.own_cpu
        await load.dial_many(count, _end)
        return Handshakes(
            count=count, server=(load.server_cpu - server) / count, dialer=(load.own_cpu - dialer) / count
        )


# --- the load


class _Load:
    """A transport that dials the server, and how both processes are doing."""

    def __init__(self, transport: Transport, port: int, server_pid: int) -> None:
        sender, receiver = _identities()
        self._transport = transport
        self._address = AddressPort(transport.local_address.address, port)
        self._server_pid = server_pid
        self._dialing = Dialing(
            alpns=(ALPN,),
            trust=PinnedServer(receiver.server.der, receiver.name),
            server_name=receiver.name,
            credential=sender.client,
        )

    @property
    def server_cpu(self) -> float:
        return cpu_seconds(self._server_pid)

    @property
    def server_bytes(self) -> int:
        return resident_bytes(self._server_pid)

    @property
    def own_cpu(self) -> float:
        return cpu_seconds(os.getpid())

    async def dial(self) -> Connection:
        return await self._transport.dial(self._address, self._dialing)

    async def dial_many(self, count: int, use: Use, *, within: float = 0.0) -> None:
        """Dial `count` times, a few at once and spread over `within` seconds, and `use` each connection."""
        numbers = iter(range(count))
        began = trio.current_time()

        async def work() -> None:
            for number in numbers:
                await trio.sleep_until(began + number * within / count)
                await use(await self.dial())

        async with trio.open_nursery() as nursery:
            for _ in range(DIALS_AT_ONCE):
                nursery.start_soon(work)

    async def transfer(self, connection: Connection, size: int) -> BulkCost:
        """Send `size` bytes and wait until they were taken."""
        sender, receiver = self.own_cpu, self.server_cpu
        await _exchange(await connection.open_stream(), size)
        return BulkCost(sender=(self.own_cpu - sender) / size * 1e9, receiver=(self.server_cpu - receiver) / size * 1e9)


async def _end(connection: Connection) -> None:
    connection.probe()  # the answer says that the server has the whole handshake: ahead of it, dials would be refused
    await connection.wait_heard()
    connection.close(0, "done")


async def _request(connection: Connection) -> None:
    await _exchange(await connection.open_stream(), 1)


async def _exchange(stream: Stream, size: int) -> None:
    for start in range(0, size, len(CHUNK)):
        await stream.send_all(CHUNK[: size - start])
    await stream.send_eof()
    assert await stream.receive_some() == b""


@asynccontextmanager
async def _open_load(*, quic_engine: QuicEngine) -> AsyncIterator[_Load]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_server_process, args=(theirs, quic_engine), daemon=True)
    server.start()
    try:
        port = await trio.to_thread.run_sync(_receive_port, ours)
        socket = await open_udp_socket(HostPort("127.0.0.1", 0))
        async with open_transport(socket, wall_clock=wall_clock, quic_engine=quic_engine) as transport:
            assert server.pid is not None
            yield _Load(transport, port, server.pid)
    finally:
        server.terminate()
        server.join()


def _receive_port(pipe: Any) -> int:
    if not pipe.poll(60):
        raise BenchFailed("the server process does not start")
    try:
        return int(pipe.recv())
    except EOFError:
        raise BenchFailed("the server process ended as it started") from None


def _median(costs: Sequence[BulkCost]) -> BulkCost:
    return BulkCost(
        sender=statistics.median(cost.sender for cost in costs),
        receiver=statistics.median(cost.receiver for cost in costs),
    )


# --- the server


def _server_process(pipe: multiprocessing.connection.Connection, quic_engine: QuicEngine) -> None:
    trio.run(partial(_serve, pipe, quic_engine=quic_engine))


async def _serve(pipe: Any, *, quic_engine: QuicEngine) -> None:
    sender, receiver = _identities()
    expected = {sender.client.der}
    answer = Answer(
        credential=receiver.server,
        alpns=(ALPN,),
        client_trust=lambda leaf, wall_now: check_client(leaf, expected, wall_now),
    )
    listening = Listening(choose=lambda name: answer, windows=Windows(streams=STREAMS_ALLOWED))
    socket = await open_udp_socket(HostPort("127.0.0.1", 0))
    async with open_transport(socket, wall_clock=wall_clock, listening=listening, quic_engine=quic_engine) as transport:
        pipe.send(transport.local_address.port)
        await serve_connections(transport, _serve_connection, Faults())


async def _serve_connection(connection: Connection) -> None:
    """As a service does it: a nursery for each connection, a task for each stream."""
    with single_error():
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(_serve_stream, await connection.accept_stream())


async def _serve_stream(stream: Stream) -> None:
    async with stream:
        while await stream.receive_some():
            pass
        await stream.send_eof()


def _identities() -> tuple[EndpointIdentity, EndpointIdentity]:
    issue = partial(issue_identity, Realm.PEER, wall_now=WALL_NOW)
    return issue(entropy=random.Random("sender").randbytes), issue(entropy=random.Random("receiver").randbytes)


def wall_clock() -> float:
    """The time both processes agree on."""
    return WALL_NOW
