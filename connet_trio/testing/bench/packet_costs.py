"""What a full packet costs in each layer: the cipher's call, the engine's run, the kernel, two engines in conversation.

All of it in this process and by CPU time, the least of several rounds, so that it says the same on a busy machine. The
cipher and the kernel are what no engine in Python can do without: their sum is the limit of what can be reached.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connet_trio.identity import PinnedServer, Realm, check_client, issue_identity
from connet_trio.quic import WINDOWS, Answer, Dialing, Listening, NetworkPath, open_udp_socket
from connet_trio.quic.datagram_run import DatagramRun, count_datagrams
from connet_trio.quic.fast import FastCore
from connet_trio.quic.fast.backlog import Backlog
from connet_trio.quic.fast.opening import Opener
from connet_trio.quic.fast.sealing import TAG_BYTES, first_byte, payload_capacity, seal_run
from connet_trio.quic.limits import CONNECTION_ID_BYTES
from connet_trio.records.model import HostPort
from connet_trio.testing.bench.plan import BenchFailed
from connet_trio.testing.bench.tables import format_table, number

ALPN = "connet-trio-packets/1"
WALL_NOW = 1_800_000_000.0
HEADER_BYTES = 1 + CONNECTION_ID_BYTES + 2
NONCE = bytes(12)
BURST_BYTES = 65_000
CHUNK = random.Random(0).randbytes(1 << 18)
CONVERSATION_BYTES = 30_000_000
CALLS, ROUNDS = 2_000, 7
PATH = NetworkPath(("192.0.2.1", 1))
MICRO = 1e6


@attrs.frozen(kw_only=True)
class PacketCosts:
    """CPU microseconds for each packet, of the sending and of the receiving side."""

    packet_bytes: int
    payload_bytes: int
    """Of a stream, in each."""
    cipher: tuple[float, float]
    """The call that seals, and the one that opens: AES-128-GCM of the cryptography package."""
    kernel: tuple[float, float]
    """`sendmsg` and `recvmsg` on loopback, with segmentation and coalescing where there are."""
    run: tuple[float, float]
    """A burst through the engine's two loops, the cipher included."""
    conversation: tuple[float, float]
    """Two whole engines and no socket, with acknowledgements and credit."""

    @property
    def limit(self) -> float:
        """Seconds per GB that cipher and kernel take, both sides together."""
        return self.per_gigabyte(sum(self.cipher) + sum(self.kernel))

    def per_gigabyte(self, microseconds: float) -> float:
        """CPU seconds per GB (10^9 bytes of a stream) at so much for each packet."""
        return microseconds / MICRO / self.payload_bytes * 1e9


async def measure_packet_costs(packet_bytes: int) -> PacketCosts:
    """Measure packets of so many bytes of UDP payload.

    Raises:
      BenchFailed: datagrams are lost on loopback.
    """
    packet = random.Random(1).randbytes(packet_bytes - HEADER_BYTES - TAG_BYTES)
    sealed = AESGCM(bytes(16)).encrypt(NONCE, packet, bytes(HEADER_BYTES))
    return PacketCosts(
        packet_bytes=packet_bytes,
        payload_bytes=payload_capacity(packet_bytes, bytes(CONNECTION_ID_BYTES), 0),
        cipher=(
            _least(partial(AESGCM(bytes(16)).encrypt, NONCE, packet, bytes(HEADER_BYTES)), CALLS),
            _least(partial(AESGCM(bytes(16)).decrypt, NONCE, sealed, bytes(HEADER_BYTES)), CALLS),
        ),
        kernel=await _measure_kernel(packet_bytes),
        run=_measure_run(packet_bytes),
        conversation=min(_measure_conversation(packet_bytes) for _ in range(ROUNDS // 2)),
    )


def format_packet_costs(costs: PacketCosts) -> str:
    """A row for each layer."""
    rows = [["", "sent", "received", "us together", "s/GB"]]
    for label, (sent, received) in (
        ("cipher alone (AES-128-GCM)", costs.cipher),
        ("kernel alone (loopback, in bursts)", costs.kernel),
        ("the engine's loops, cipher included", costs.run),
        ("two engines, no socket", costs.conversation),
    ):
        both = sent + received
        rows.append([label, *(number(each, 2) for each in (sent, received, both, costs.per_gigabyte(both)))])
    title = f"CPU of a packet of {costs.packet_bytes} bytes, microseconds"
    limit = f"  No engine in Python takes less than cipher and kernel: {costs.limit:.2f} s/GB"
    return f"{format_table(title, rows, words=1)}\n{limit}"


def _least(call: Callable[[], object], count: int) -> float:
    """Microseconds of a call, in the best of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(count):
            call()
        best = min(best, time.thread_time() - began)
    return best / count * MICRO


# --- the engine's loops


def _measure_run(packet_bytes: int) -> tuple[float, float]:
    keys = CryptoPair()
    for context in (keys.send, keys.recv):
        context.setup(
            cipher_suite=CipherSuite.AES_128_GCM_SHA256, secret=bytes(32), version=QuicProtocolVersion.VERSION_1
        )
    count, destination_id = max(BURST_BYTES // packet_bytes, 2), bytes(CONNECTION_ID_BYTES)
    payload_bytes = payload_capacity(packet_bytes, destination_id, 0)
    backlog = Backlog()
    backlog += random.Random(2).randbytes(count * payload_bytes)
    seal = partial(
        seal_run,
        header=bytes((first_byte(spin=False, key_phase=0),)) + destination_id,
        packet_number=0,
        count=count,
        stream_id=0,
        offset=0,
        backlog=backlog,
        start=0,
        payload_bytes=payload_bytes,
        keys=keys.send,
    )
    runs = [DatagramRun(seal(), packet_bytes, PATH)]

    def open_all() -> None:
        opener = Opener(keys.recv, destination_id=destination_id, next_number=0, number_bytes=2)
        assert sum(1 for _ in opener.payloads(runs)) == count

    bursts = CALLS // count + 1
    return _least(seal, bursts) / count, _least(open_all, bursts) / count


# --- the kernel


async def _measure_kernel(packet_bytes: int) -> tuple[float, float]:
    near, far = await open_udp_socket(HostPort("127.0.0.1", 0)), await open_udp_socket(HostPort("127.0.0.1", 0))
    try:
        count = max(BURST_BYTES // packet_bytes, 2)
        run = DatagramRun(bytes(count * packet_bytes), packet_bytes, near.path_to(far.local_address))
        best = float("inf"), float("inf")
        for _ in range(ROUNDS):
            sending = receiving = 0.0
            bursts = CALLS // count + 1
            for _ in range(bursts):
                began = time.thread_time()
                near.send_batch([run])
                sent_at = time.thread_time()
                sending += sent_at - began
                arrived = 0
                with trio.move_on_after(1):
                    while arrived < count:
                        await far.wait_readable()
                        began = time.thread_time()
                        arrived += count_datagrams(far.receive_batch())
                        receiving += time.thread_time() - began
                if arrived < count:
                    raise BenchFailed(f"{count - arrived} of {count} datagrams were lost on loopback")
            best = min(best, (sending / bursts, receiving / bursts), key=sum)
        return best[0] / count * MICRO, best[1] / count * MICRO
    finally:
        near.close()
        far.close()


# --- two engines


def _measure_conversation(packet_bytes: int) -> tuple[float, float]:
    sender, receiver = _connected(packet_bytes)
    stream_id = sender.open_stream_id()
    assert stream_id is not None
    clock = _Clock()
    cost = {sender: 0.0, receiver: 0.0}
    written = read = packets = 0

    def timed(engine: FastCore, step: Callable[[], Any]) -> Any:
        began = time.thread_time()
        result = step()
        cost[engine] += time.thread_time() - began
        return result

    while read < CONVERSATION_BYTES:
        while sender.send_room(stream_id) > 0 and written < CONVERSATION_BYTES:
            timed(sender, partial(sender.send_stream_data, stream_id, CHUNK))
            written += len(CHUNK)
        there = timed(sender, partial(sender.collect_batch, clock.tick()))
        packets += count_datagrams(there)
        timed(receiver, partial(receiver.receive_batch, _by(there, PATH), clock.now))
        read += timed(receiver, partial(_take_all, receiver))
        back = timed(receiver, partial(receiver.collect_batch, clock.tick()))
        timed(sender, partial(sender.receive_batch, _by(back, PATH), clock.now))
        timed(sender, partial(_take_all, sender))
        if not there and not back:
            clock.now += 0.01
            sender.fire_timers(clock.now)
            receiver.fire_timers(clock.now)
    return cost[sender] / packets * MICRO, cost[receiver] / packets * MICRO


@attrs.define
class _Clock:
    now: float = 100.0

    def tick(self) -> float:
        """A little later; as far apart as bursts are on loopback."""
        self.now += 0.0002
        return self.now


def _by(batch: list[Any], path: NetworkPath) -> list[Any]:
    """What one side sends as the other receives it."""
    return [
        DatagramRun(each.data, each.size, path) if isinstance(each, DatagramRun) else (each[0], path) for each in batch
    ]


def _take_all(engine: FastCore) -> int:
    """Read whatever has arrived; returns how many bytes."""
    taken = 0
    while (event := engine.next_event()) is not None:
        if isinstance(event, StreamDataReceived):
            engine.consume(event.stream_id, len(event.data))
            taken += len(event.data)
    return taken


def _connected(packet_bytes: int) -> tuple[FastCore, FastCore]:
    """A dialer and a listener that have shaken hands and send packets of that size."""
    issue = partial(issue_identity, Realm.PEER, wall_now=WALL_NOW)
    near, far = issue(entropy=random.Random("near").randbytes), issue(entropy=random.Random("far").randbytes)
    trust = PinnedServer(far.server.der, far.name)
    answer = Answer(
        credential=far.server,
        alpns=(ALPN,),
        client_trust=lambda leaf, wall_now: check_client(leaf, {near.client.der}, wall_now),
    )
    dialer = FastCore(
        dialing=Dialing(alpns=(ALPN,), trust=trust, server_name=far.name, credential=near.client, windows=WINDOWS),
        reset_key=None,
        wall_now=WALL_NOW,
        largest_datagram=packet_bytes,
    )
    listener = FastCore(
        listening=Listening(choose=lambda name: answer, windows=WINDOWS),
        original_destination_id=dialer.original_destination_connection_id,
        reset_key=None,
        wall_now=WALL_NOW,
        largest_datagram=packet_bytes,
    )
    clock = _Clock()
    dialer.connect(PATH, now=clock.now)
    warm = dialer, listener
    for _ in range(40):
        listener.receive_batch(_by(dialer.collect_batch(clock.tick()), PATH), clock.now)
        dialer.receive_batch(_by(listener.collect_batch(clock.tick()), PATH), clock.now)
        for engine in warm:
            _take_all(engine)
    return warm
