"""Bulk transfers over the Stream API on loopback: MB/s, and CPU seconds per GB of each side.

Two processes with one connection, the first to send and the second to receive what a list of tasks says, which both
have. A transfer goes over one stream or over several at once, received and acknowledged whole.
"""

import multiprocessing
import multiprocessing.connection
import random
import resource
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.errors import ConnetError
from connet_trio.identity import EndpointIdentity, PinnedServer, Realm, check_client, issue_identity
from connet_trio.quic import WINDOWS, Answer, Connection, Dialing, Listening, Stream, open_transport, open_udp_socket
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.testing.bench.plan import BenchFailed
from connet_trio.testing.bench.setups import Setup

ALPN = "connet-trio-bench/1"
WALL_NOW = 1_800_000_000.0
"""Unix seconds: both processes make the same certificates, so both need the same time."""
CHUNK = random.Random(0).randbytes(1 << 18)
START_SECONDS = 60.0
GRACE_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 1_000_000
"""Transfers that are slower than this, and take longer than the grace too, have failed."""


@attrs.frozen(kw_only=True)
class Task:
    """Something for both processes to do."""

    size: int
    """Bytes in all."""
    streams: int = 1
    abandoned: bool = False
    """The receiver reads half of each stream and gives it up."""

    @property
    def shares(self) -> list[int]:
        """Bytes of each stream."""
        share, rest = divmod(self.size, self.streams)
        return [share + (number < rest) for number in range(self.streams)]


@attrs.frozen(kw_only=True)
class Transfer:
    """One task as both sides measured it; CPU in seconds per GB (10^9 bytes)."""

    megabytes_per_second: float
    sender_cpu: float
    receiver_cpu: float

    @property
    def cpu(self) -> float:
        """Of both."""
        return self.sender_cpu + self.receiver_cpu


def run_transfers(tasks: Sequence[Task], setup: Setup) -> list[Transfer]:
    """Carry out the tasks, one after the other, on one connection between this process and a new one.

    Raises:
      BenchFailed: the other process ended, or they are not done in time.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    receiver = context.Process(target=_receiver_process, args=(theirs, tasks, setup), daemon=True)
    receiver.start()
    theirs.close()
    try:
        sent = trio.run(_send, _received(ours), tasks, setup)
        received = _received(ours)
    finally:
        receiver.terminate()
        receiver.join()
    return [
        Transfer(
            megabytes_per_second=task.size / wall / 1e6,
            sender_cpu=cpu / task.size * 1e9,
            receiver_cpu=other / task.size * 1e9,
        )
        for task, (wall, cpu), other in zip(tasks, sent, received, strict=True)
    ]


def _received(pipe: Any) -> Any:
    try:
        if pipe.poll(START_SECONDS):
            return pipe.recv()
    except EOFError:
        pass
    raise BenchFailed("the process that receives has ended, or does not answer")


# --- the process that receives


def _receiver_process(pipe: multiprocessing.connection.Connection, tasks: Sequence[Task], setup: Setup) -> None:
    trio.run(_receive, pipe, tasks, setup)


async def _receive(pipe: Any, tasks: Sequence[Task], setup: Setup) -> None:
    sender, receiver = _identities()
    answer = Answer(
        credential=receiver.server,
        alpns=(ALPN,),
        client_trust=lambda leaf, wall_now: check_client(leaf, {sender.client.der}, wall_now),
    )
    listening = Listening(choose=lambda name: answer, windows=WINDOWS)
    socket = await open_udp_socket(HostPort("127.0.0.1", 0))
    async with open_transport(
        socket, wall_clock=wall_clock, listening=listening, **setup.transport_options
    ) as transport:
        pipe.send(transport.local_address.port)
        connection = await transport.accept()
        pipe.send([await _receive_task(connection, task) for task in tasks])
        await connection.wait_closed()


async def _receive_task(connection: Connection, task: Task) -> float:
    """Receive one task; returns the CPU seconds this took."""
    before, received = _cpu(), 0
    enough = task.size // task.streams // 2 if task.abandoned else task.size

    async def receive(stream: Stream) -> None:
        nonlocal received
        had = 0
        while had < enough and (data := await stream.receive_some()):
            had += len(data)
        received += had
        if task.abandoned:
            stream.abort()
        else:
            assert await stream.receive_some() == b""
            await stream.send_eof()

    async with trio.open_nursery() as nursery:
        for _ in range(task.streams):
            nursery.start_soon(receive, await connection.accept_stream())
    assert task.abandoned or received == task.size
    return _cpu() - before


# --- the process that sends


async def _send(port: int, tasks: Sequence[Task], setup: Setup) -> list[tuple[float, float]]:
    sender, receiver = _identities()
    dialing = Dialing(
        alpns=(ALPN,),
        trust=PinnedServer(receiver.server.der, receiver.name),
        server_name=receiver.name,
        credential=sender.client,
    )
    seconds = GRACE_SECONDS + sum(task.size for task in tasks) / SLOWEST_BYTES_PER_SECOND
    socket = await open_udp_socket(HostPort("127.0.0.1", 0))
    async with open_transport(socket, wall_clock=wall_clock, **setup.transport_options) as transport:
        try:
            with trio.fail_after(seconds):
                connection = await transport.dial(AddressPort(transport.local_address.address, port), dialing)
                return [await _send_task(connection, task) for task in tasks]
        except trio.TooSlowError as exc:
            raise BenchFailed(f"{len(tasks)} transfers are not done in {seconds:.0f} s") from exc
        except (ConnetError, trio.BrokenResourceError) as exc:
            raise BenchFailed(f"the connection to the process that receives is lost: {exc}") from exc


async def _send_task(connection: Connection, task: Task) -> tuple[float, float]:
    """Send one task and wait until it was taken; returns the seconds and CPU seconds this took."""
    wall, cpu = time.perf_counter(), _cpu()
    send = _send_in_vain if task.abandoned else _send_all
    with single_error():
        async with trio.open_nursery() as nursery:
            for share in task.shares:
                nursery.start_soon(send, await connection.open_stream(), share)
    return time.perf_counter() - wall, _cpu() - cpu


async def _send_all(stream: Stream, size: int) -> None:
    for start in range(0, size, len(CHUNK)):
        await stream.send_all(CHUNK[: size - start])
    await stream.send_eof()
    assert await stream.receive_some() == b""


async def _send_in_vain(stream: Stream, size: int) -> None:
    try:
        await _send_all(stream, size)
    except trio.BrokenResourceError:
        stream.abort()


def _identities() -> tuple[EndpointIdentity, EndpointIdentity]:
    issue = partial(issue_identity, Realm.PEER, wall_now=WALL_NOW)
    return issue(entropy=random.Random("sender").randbytes), issue(entropy=random.Random("receiver").randbytes)


def wall_clock() -> float:
    """The time both processes agree on."""
    return WALL_NOW


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
