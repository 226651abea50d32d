"""Bulk transfers over the Stream API on loopback: MB/s, and CPU seconds per GB of each side.

Two processes with one connection; each transfer is a stream of its own, received and acknowledged whole. Wall speed
moves with the neighbours of the machine; CPU seconds (user and system, `getrusage`) are the number to trust.
"""

import argparse
import json
import multiprocessing
import multiprocessing.connection
import random
import resource
import statistics
import time
from functools import partial
from typing import Any

import attrs
import trio

from connet_trio.identity import EndpointIdentity, PinnedServer, Realm, check_client, issue_identity
from connet_trio.quic import WINDOWS, Answer, Dialing, Listening, QuicEngine, Stream, open_transport, open_udp_socket
from connet_trio.records.model import AddressPort, HostPort

ALPN = "connet-trio-bench/1"
WALL_NOW = 1_800_000_000.0
"""Unix seconds: both processes make the same certificates, so both need the same time."""
CHUNK = random.Random(0).randbytes(1 << 18)


@attrs.frozen(kw_only=True)
class Transfer:
    """One transfer as both sides measured it; CPU in seconds per GB (10^9 bytes)."""

    megabytes_per_second: float
    sender_cpu: float
    receiver_cpu: float


def main() -> None:
    """Print a row for each transfer, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100, help="size of one transfer, 10^6 bytes (default 100)")
    parser.add_argument("--transfers", type=int, default=5, help="transfers on the one connection (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--stock", action="store_true", help="without the fast engine")
    parser.add_argument("--rounds", type=int, help="so many rounds, each with both engines, and their medians")
    options = parser.parse_args()
    size = options.megabytes * 1_000_000
    if options.rounds:
        compare_engines(size, options.transfers, options.rounds)
        return
    transfers = run_bench(size, options.transfers, fast=not options.stock)
    if options.json:
        print(json.dumps([attrs.asdict(transfer) for transfer in transfers]))
        return
    print("transfer     MB/s   sender CPU s/GB   receiver CPU s/GB")
    for number, transfer in enumerate(transfers, 1):
        print(_row(str(number), transfer))
    print(_row("median", _median(transfers)))
    if len(transfers) > 1:
        later = statistics.median(transfer.megabytes_per_second for transfer in transfers[1:])
        print(f"median of 2 to {len(transfers)} against the first: {later / transfers[0].megabytes_per_second:.2f}")


def compare_engines(size: int, count: int, rounds: int) -> None:
    """Print the medians of both engines over interleaved rounds: neighbours of the machine disturb both alike."""
    found: dict[bool, list[Transfer]] = {True: [], False: []}
    for _ in range(rounds):
        for fast, transfers in found.items():
            transfers += run_bench(size, count, fast=fast)
    print("  engine     MB/s   sender CPU s/GB   receiver CPU s/GB")
    for fast, transfers in found.items():
        print(_row("fast" if fast else "stock", _median(transfers)))


def run_bench(size: int, count: int, *, fast: bool = True) -> list[Transfer]:
    """`count` transfers of `size` bytes on one connection between two new processes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    receiver = context.Process(target=_receiver_process, args=(theirs, size, count, fast), daemon=True)
    receiver.start()
    try:
        port = ours.recv()
        sent = trio.run(_send, port, size, count, fast)
        received: list[float] = ours.recv()
    finally:
        receiver.join(10)
    return [
        Transfer(megabytes_per_second=size / wall / 1e6, sender_cpu=cpu / size * 1e9, receiver_cpu=other / size * 1e9)
        for (wall, cpu), other in zip(sent, received, strict=True)
    ]


def _receiver_process(pipe: multiprocessing.connection.Connection, size: int, count: int, fast: bool) -> None:
    trio.run(_receive, pipe, size, count, fast)


async def _receive(pipe: Any, size: int, count: int, fast: bool) -> None:
    sender, receiver = _identities()
    answer = Answer(
        credential=receiver.server,
        alpns=(ALPN,),
        client_trust=lambda leaf, wall_now: check_client(leaf, {sender.client.der}, wall_now),
    )
    socket = await open_udp_socket(HostPort("127.0.0.1", 0))
    listening = Listening(choose=lambda name: answer, windows=WINDOWS)
    async with open_transport(
        socket, wall_clock=wall_clock, listening=listening, quic_engine=_engine(fast)
    ) as transport:
        pipe.send(transport.local_address.port)
        connection = await transport.accept()
        pipe.send([await _receive_one(await connection.accept_stream(), size) for _ in range(count)])
        await connection.wait_closed()


def _engine(fast: bool) -> QuicEngine:
    return QuicEngine.FAST if fast else QuicEngine.STOCK


async def _receive_one(stream: Stream, size: int) -> float:
    before, received = _cpu(), 0
    while data := await stream.receive_some():
        received += len(data)
    assert received == size
    await stream.send_eof()
    return _cpu() - before


async def _send(port: int, size: int, count: int, fast: bool) -> list[tuple[float, float]]:
    sender, receiver = _identities()
    dialing = Dialing(
        alpns=(ALPN,),
        trust=PinnedServer(receiver.server.der, receiver.name),
        server_name=receiver.name,
        credential=sender.client,
    )
    socket = await open_udp_socket(HostPort("127.0.0.1", 0))
    async with open_transport(socket, wall_clock=wall_clock, quic_engine=_engine(fast)) as transport:
        address = AddressPort(transport.local_address.address, port)
        connection = await transport.dial(address, dialing)
        return [await _send_one(await connection.open_stream(), size) for _ in range(count)]


async def _send_one(stream: Stream, size: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), _cpu()
    for start in range(0, size, len(CHUNK)):
        await stream.send_all(CHUNK[: size - start])
    await stream.send_eof()
    assert await stream.receive_some() == b""
    return time.perf_counter() - wall, _cpu() - cpu


def _identities() -> tuple[EndpointIdentity, EndpointIdentity]:
    issue = partial(issue_identity, Realm.PEER, wall_now=WALL_NOW)
    return issue(entropy=random.Random("sender").randbytes), issue(entropy=random.Random("receiver").randbytes)


def wall_clock() -> float:
    """The time both processes agree on."""
    return WALL_NOW


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _median(transfers: list[Transfer]) -> Transfer:
    columns = [attrs.astuple(transfer) for transfer in transfers]
    wall, sender, receiver = map(statistics.median, zip(*columns, strict=True))
    return Transfer(megabytes_per_second=wall, sender_cpu=sender, receiver_cpu=receiver)


def _row(label: str, transfer: Transfer) -> str:
    return (
        f"{label:>8} {transfer.megabytes_per_second:>8.1f} {transfer.sender_cpu:>17.2f} {transfer.receiver_cpu:>19.2f}"
    )


if __name__ == "__main__":
    main()
