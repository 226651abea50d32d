"""Bulk transfers take the short way, and go on taking it whatever else the connection has on its hands."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from aioquic.quic.events import StreamDataReceived, StreamReset
from aioquic.tls import Epoch

from connet_trio.quic import Connection, Stream, Windows
from connet_trio.quic.fast import FastCore
from connet_trio.quic.fast.sealing import payload_capacity
from connet_trio.testing.network import Link
from tests.quic.conftest import listening, open_pair, open_streams, virtual_time
from tests.quic.fast.conftest import FAR, NEAR, Shares, engine_of, handshake

pytestmark = virtual_time
ENGINES = ["fast"]

MIB = 1 << 20
BROADBAND = Link(delay=0.01, rate=5e6)


@asynccontextmanager
async def connected(
    link: Link = BROADBAND, windows: Windows | None = None
) -> AsyncIterator[tuple[Connection, Connection]]:
    async with open_pair(link=link, listen=listening(windows) if windows else None) as pair:
        yield await pair.connect()


async def drain(stream: Stream) -> int:
    received = 0
    while data := await stream.receive_some():
        received += len(data)
    return received


async def send(stream: Stream, size: int) -> None:
    await stream.send_all(bytes(size))
    await stream.send_eof()


async def transfer(sender: Connection, receiver: Connection, size: int = MIB) -> float:
    """Seconds that a stream of its own takes."""
    ours, theirs = await open_streams(sender, receiver)
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, ours, size)
        assert await drain(theirs) == size
    theirs.close()
    return trio.current_time() - begun


async def test_nearly_all_packets_of_a_transfer_take_the_short_way() -> None:
    async with connected() as (dialled, accepted):
        for sender, receiver in ((dialled, accepted), (accepted, dialled)):
            shares = Shares(sender, receiver)
            await transfer(sender, receiver)
            sent, received = shares.now
            assert sent > 0.85
            assert received > 0.95
            assert engine_of(sender).fast_packets.received > 0, "acknowledgements too"


@pytest.mark.parametrize("stalled", [1, 14])
async def test_they_do_beside_readers_that_have_stalled(stalled: int) -> None:
    small = Windows(stream=1 << 16, connection=16 << 16)
    async with connected(windows=small) as (dialled, accepted), trio.open_nursery() as nursery:
        alone = Shares(dialled, accepted)
        undisturbed = await transfer(dialled, accepted)
        expected, _ = alone.now
        for _ in range(stalled):
            ours, _ = await open_streams(dialled, accepted)
            nursery.start_soon(ours.send_all, bytes(MIB))
        await trio.sleep(10)
        shares = Shares(dialled, accepted)
        assert await transfer(dialled, accepted) <= 1.25 * undisturbed
        assert shares.now[0] > expected - 0.05
        nursery.cancel_scope.cancel()


async def test_they_do_after_ten_transfers_that_were_abandoned() -> None:
    async with connected() as (dialled, accepted):
        first = await transfer(dialled, accepted)
        for _ in range(10):
            ours, theirs = await open_streams(dialled, accepted)
            with trio.move_on_after(0.05):
                await ours.send_all(bytes(4 * MIB))
            ours.abort()
            theirs.abort()
        await trio.sleep(2)
        shares = Shares(dialled, accepted)
        assert await transfer(dialled, accepted) <= 1.1 * first
        assert shares.now[0] > 0.85
        assert accepted.core._consumed == accepted.core._local_max_data.used, "no credit has leaked"


async def test_streams_that_say_nothing_are_not_looked_at() -> None:
    async with connected() as (dialled, accepted):
        for _ in range(90):
            await open_streams(dialled, accepted)
        await trio.sleep(1)
        looked_at: list[int] = []
        for connection in (dialled, accepted):
            core = engine_of(connection)
            assert len(core._streams) == 90
            before = core._survey

            def survey(core: FastCore = core, before: object = before) -> object:
                looked_at.append(len(core._service))
                return before()  # type: ignore[operator]

            core._survey = survey  # type: ignore[assignment]
        await transfer(dialled, accepted)
        assert max(looked_at) <= 3


async def test_a_small_message_does_not_wait_for_a_large_one() -> None:
    slow = Link(delay=0.01, rate=1e6)  # a megabyte takes a second
    async with connected(link=slow) as (dialled, accepted), trio.open_nursery() as nursery:
        large, theirs = await open_streams(dialled, accepted)
        small, heard = await open_streams(dialled, accepted)
        nursery.start_soon(large.send_all, bytes(8 * MIB))
        nursery.start_soon(drain, theirs)
        await trio.sleep(1)
        worst = 0.0
        for _ in range(8):
            begun = trio.current_time()
            await small.send_all(b"ping")
            assert await heard.receive_some() == b"ping"
            worst = max(worst, trio.current_time() - begun)
            await trio.sleep(0.05)
        assert worst < 0.35, "it waits in the queue of the bottleneck, as everything does"
        nursery.cancel_scope.cancel()


async def test_what_is_small_or_urgent_leaves_before_what_is_large() -> None:
    dialer, listener = handshake(FastCore, 10.0)
    for stream_id in (0, 4, 8, 12, 16):
        dialer.open_stream_id()
        dialer.send_stream_data(stream_id, b"!")
    listener.receive_batch([(data, NEAR) for data, _ in dialer.collect(11.0)], 11.0)
    while listener.next_event() is not None:
        pass
    for stream_id in (0, 4, 8):
        dialer.send_stream_data(stream_id, bytes(20_000))
    dialer.send_stream_data(12, b"small")
    dialer.reset(16, 7)
    first, *_ = dialer.collect(12.0)
    listener.receive_batch([(first[0], NEAR)], 12.0)
    found = list(iter(listener.next_event, None))
    assert StreamDataReceived(data=b"small", end_stream=False, stream_id=12) in found
    assert StreamReset(error_code=7, stream_id=16) in found


async def test_a_wake_that_owes_nothing_builds_nothing() -> None:
    async with connected() as (dialled, accepted):
        await transfer(dialled, accepted)
        await trio.sleep(1)
        core = engine_of(accepted)
        built = core.stock_packets.sent

        def fail(now: float) -> list[object]:
            raise AssertionError("stock code was asked for packets")

        core._stock_datagrams = fail  # type: ignore[assignment,method-assign]
        for _ in range(3):
            assert core.collect(trio.current_time()) == []
        assert core.stock_packets.sent == built


def consume_a_stream(core: Any) -> None:
    core._streams[0].max_stream_data_local += 5
    core._stream_table.credited[0] = core._streams[0]


def end_a_stream(core: Any) -> None:
    core._streams[0].receiver.is_finished = core._streams[0].sender.is_finished = True
    core._streams[0].sender.wake()
    core._local_max_streams_bidi.used = core._local_max_streams_bidi.sent  # so that one more is worth telling


@pytest.mark.parametrize(
    "owe",
    [
        lambda core: setattr(core._spaces[Epoch.ONE_RTT], "ack_at", 0.0),
        lambda core: core.consume(400, core.windows.stream),
        consume_a_stream,
        end_a_stream,
        lambda core: core.ping(),
        lambda core: core._send_probe(),
        lambda core: core._replenish_connection_ids(),
        lambda core: core._retire_connection_ids.append(0),
        lambda core: setattr(core, "_handshake_done_pending", True),
        lambda core: core._network_paths[0].remote_challenges.append(bytes(8)),
        lambda core: core._crypto_streams[Epoch.ONE_RTT].sender.write(b"ticket"),
        lambda core: core.send_datagram_frame(b"datagram"),
        lambda core: core.send_stream_data(0, b"bytes"),
        lambda core: core.send_stream_data(0, b"", end_stream=True),
        lambda core: core.reset(0, 1),
        lambda core: core.stop(0, 1),
        lambda core: core.close(0),
    ],
    ids=[
        *("ack", "credit", "credit of a stream", "streams", "ping", "probe", "id", "retired id", "handshake done"),
        *("path response", "crypto", "datagram", "bytes", "end", "reset", "stop", "close"),
    ],
)
async def test_whatever_is_owed_leaves_at_once(owe: Callable[[Any], object]) -> None:
    async with connected() as (dialled, accepted):
        await open_streams(dialled, accepted)
        await trio.sleep(1)
        core: Any = accepted.core
        assert core.collect(trio.current_time()) == []
        core._host_cids[:] = core._host_cids[:3]  # so that there are some to give
        owe(core)
        assert len(core.collect(trio.current_time())) == 1


async def test_the_first_packet_of_a_new_key_phase_is_stock_codes() -> None:
    dialer, listener = handshake(FastCore, 10.0)
    assert isinstance(dialer, FastCore)
    for turn, phase in enumerate((1, 0, 1), 1):
        dialer.send_stream_data(0, bytes(payload_capacity(1200, dialer._peer_cid.cid, 0) * 4))
        dialer.request_key_update()
        sent = dialer.collect(10.0 + turn)
        listener.receive_batch([(data, NEAR) for data, _ in sent], 10.0 + turn)
        assert dialer._cryptos[Epoch.ONE_RTT].key_phase == listener._cryptos[Epoch.ONE_RTT].key_phase == phase
        assert listener._spaces[Epoch.ONE_RTT].largest_received_packet == dialer._packet_number - 1
        assert (dialer.fast_packets.sent, listener.fast_packets.received) == (3 * turn, 3 * turn)
        dialer.receive_batch([(data, FAR) for data, _ in listener.collect(10.5 + turn)], 10.5 + turn)


@pytest.mark.parametrize("pacer", ["with room", "burst spent", "bucket empty"])
async def test_a_probe_leaves_though_window_and_pacer_are_exhausted(pacer: str) -> None:
    dialer, _ = handshake(FastCore, 10.0)
    core: Any = dialer
    core.send_stream_data(0, bytes(1 << 16))
    while core.collect(11.1):
        pass
    assert core._loss.congestion_window - core._loss.bytes_in_flight < 1200
    core._loss._pacer._left = 0 if pacer == "burst spent" else 54
    if pacer == "bucket empty":
        core._loss._pacer.update_rate(12_000, 0.1)
        core._loss._pacer._credit, core._loss._pacer._filled_at = 0.0, 11.1
    core._send_probe()
    now, left = 11.1, core.collect(11.1)
    while not left and (core.has_more or now < core.next_deadline() < 11.1201):  # two packets each 20 ms
        now = now if core.has_more else core.next_deadline()
        left = core.collect(now)
    assert len(left) == 1
