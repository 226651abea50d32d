"""Memory is bounded: who does not read holds up who writes to it, and nobody else."""

import hashlib
import random

import pytest
import trio

from connet_trio.quic import UNAUTHENTICATED_WINDOWS, WINDOWS, Connection, Stream, Windows
from connet_trio.quic.limits import SEND_HIGH_BYTES
from connet_trio.testing.network import Link
from tests.quic.conftest import Pair, dialing, listening, open_pair, open_streams, virtual_time

pytestmark = virtual_time

MIB = 1 << 20
BROADBAND = Link(delay=0.01, rate=5e6)
"""40 Mbit/s: what goes through it fast enough shows in seconds of virtual time."""
LONG = Link(mtu=65_536, delay=0.1, rate=25e6, queue_bytes=4 * MIB)
"""200 Mbit/s and 200 ms: 5 MB are under way when it is full. Few packets, since each costs the test time."""
SMALL = Windows(stream=1 << 16, connection=16 << 16)


async def send_for(stream: Stream, seconds: float) -> int:
    """Send as much as is taken; bytes accepted."""
    sent = 0
    with trio.move_on_after(seconds):
        while True:
            await stream.send_all(bytes(1 << 14))
            sent += 1 << 14
    return sent


async def transfer(ours: Stream, theirs: Stream, size: int) -> float:
    """Seconds that `size` bytes take from one to the other."""
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, bytes(size))
        received = 0
        while received < size:
            received += len(await theirs.receive_some())
    return trio.current_time() - begun


async def test_a_reader_that_stops_stops_its_writer(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    sent = await send_for(ours, 60)
    assert WINDOWS.stream <= sent <= WINDOWS.stream + SEND_HIGH_BYTES
    assert ours.connection.core.send_backlog(ours.id) <= SEND_HIGH_BYTES
    assert theirs.connection.bytes_received <= WINDOWS.stream


async def test_a_reader_that_goes_on_gets_everything_in_order(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    data = random.Random(5).randbytes(4 * MIB)

    async def send() -> None:
        await ours.send_all(data)
        await ours.send_eof()

    digest = hashlib.sha256()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while chunk := await theirs.receive_some(50_000):
            digest.update(chunk)
            if len(chunk) < 1000:
                await trio.sleep(0.5)
    assert digest.digest() == hashlib.sha256(data).digest()


@pytest.mark.reliability(line=19)
@pytest.mark.parametrize("stalled", [1, 8, 14])
async def test_other_streams_keep_their_speed_beside_stalled_readers(stalled: int) -> None:
    small = listening(SMALL)
    async with open_pair(link=BROADBAND, listen=small) as pair:
        undisturbed = await transfer(*await pair.open_streams(), MIB)
        dialled, accepted = await pair.connect()
        async with trio.open_nursery() as nursery:
            for _ in range(stalled):
                ours, _ = await open_streams(dialled, accepted)
                nursery.start_soon(send_for, ours, 3600)
            await trio.sleep(10)
            with trio.fail_after(60):
                beside = await transfer(*await open_streams(dialled, accepted), MIB)
            nursery.cancel_scope.cancel()
    assert beside <= 1.25 * undisturbed


async def test_sixteen_streams_that_nobody_reads_fit_into_the_fifteen_megabytes_of_a_connection() -> None:
    async with open_pair(link=Link(mtu=65_536)) as pair, trio.open_nursery() as nursery:
        dialled, accepted = await pair.connect()
        for _ in range(16):
            ours, _ = await open_streams(dialled, accepted)
            nursery.start_soon(send_for, ours, 3600)
        await trio.sleep(10)
        assert 15 * MIB <= accepted.bytes_received <= 15 * MIB + 16
        nursery.cancel_scope.cancel()


async def test_a_long_path_is_filled_once_the_window_of_its_stream_has_grown() -> None:
    async with open_pair(link=LONG) as pair:
        ours, theirs = await pair.open_streams()
        await transfer(ours, theirs, 20 * MIB)
        assert theirs.connection.core._growth.window_of(theirs.id) == 6 * MIB
        seconds = await transfer(ours, theirs, 20 * MIB)
        assert 20 * MIB / seconds > 0.85 * 25e6
        for stream in (ours, theirs):
            stream.close()
        await trio.sleep(5)
        assert theirs.connection.core._growth.spare == 6 * MIB - WINDOWS.stream


def window_of(stream: Stream) -> int:
    """Credit of its peer beyond what has been read."""
    core = stream.connection.core
    return int(core._streams[stream.id].max_stream_data_local) - core._stream_consumed[stream.id]


async def test_a_reader_slower_than_the_path_gets_no_larger_window() -> None:
    async with open_pair(link=LONG) as pair, trio.open_nursery() as nursery:
        ours, theirs = await pair.open_streams()
        nursery.start_soon(send_for, ours, 3600)
        for _ in range(200):  # 2 MB/s: a window's worth takes 2.5 round trips
            await trio.sleep(0.05)
            await theirs.receive_some(100_000)
        assert window_of(theirs) <= WINDOWS.stream
        assert theirs.connection.bytes_received <= 200 * 100_000 + WINDOWS.stream
        nursery.cancel_scope.cancel()


async def test_a_stream_that_has_grown_and_stalls_leaves_room_for_the_others() -> None:
    async with open_pair(link=BROADBAND, listen=listening(SMALL)) as pair:
        dialled, accepted = await pair.connect()
        async with trio.open_nursery() as nursery:
            grown = await open_streams(dialled, accepted)
            await transfer(*grown, 4 * MIB)
            assert window_of(grown[1]) > 3 * SMALL.stream
            near, far = pair.near.local_address.address, pair.far.local_address.address
            pair.network.set_link(near, far, Link(delay=0.004, rate=5e6))  # that a first window fills
            undisturbed = await transfer(*await pair.open_streams(), MIB)
            for ours in [grown[0], *[(await open_streams(dialled, accepted))[0] for _ in range(8)]]:
                nursery.start_soon(send_for, ours, 3600)
            await trio.sleep(10)
            with trio.fail_after(60):
                beside = await transfer(*await open_streams(dialled, accepted), MIB)
            nursery.cancel_scope.cancel()
    assert beside <= 1.25 * undisturbed


@pytest.mark.reliability(line=20)
async def test_a_peer_that_dies_at_full_speed_leaves_what_was_in_flight_and_a_megabyte() -> None:
    async with open_pair(link=LONG) as pair:
        ours, theirs = await pair.open_streams()
        await transfer(ours, theirs, 20 * MIB)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose, ours)
            with trio.move_on_after(1):
                await drain(theirs)
            pair.cut()
            await trio.sleep(10)
            backlog = ours.connection.core.send_backlog(ours.id)
            assert 4 * MIB < backlog <= 7 * MIB


async def lose(stream: Stream) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(bytes(64 * MIB))


@pytest.mark.reliability(line=20)
async def test_a_peer_that_grants_too_much_and_acknowledges_nothing_costs_seven_megabytes() -> None:
    generous = listening(Windows(stream=64 * MIB, connection=256 * MIB))
    async with open_pair(link=LONG, listen=generous) as pair, trio.open_nursery() as nursery:
        ours, theirs = await pair.open_streams()
        await transfer(ours, theirs, 30 * MIB)
        congestion = ours.connection.core._loss._cc
        congestion.congestion_window = 64 * MIB
        pair.far.outgoing = lambda data: []
        nursery.start_soon(lose, ours)
        await trio.sleep(10)
        assert ours.connection.core.send_backlog(ours.id) <= 7 * MIB


@pytest.mark.reliability(line=20)
async def test_a_fast_writer_to_a_dead_peer_holds_a_megabyte(pair: Pair) -> None:
    ours, _ = await pair.open_streams()
    pair.cut()
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(bytes(16 * MIB))
    assert ours.connection.core.send_backlog(ours.id) <= SEND_HIGH_BYTES
    assert ours.connection.bytes_sent <= SEND_HIGH_BYTES + 1


async def test_a_stranger_may_send_64_kib_in_all_until_it_is_known() -> None:
    async with open_pair(listen=listening(UNAUTHENTICATED_WINDOWS)) as pair, trio.open_nursery() as nursery:
        dialled, accepted = await pair.connect()
        for _ in range(3):
            ours, theirs = await open_streams(dialled, accepted)
            nursery.start_soon(ours.send_all, bytes(200_000))
            nursery.start_soon(drain, theirs)
        await trio.sleep(30)
        assert accepted.bytes_received <= 1 << 16
        accepted.raise_windows()
        await trio.sleep(5)
        assert accepted.bytes_received == 600_003
        nursery.cancel_scope.cancel()


async def drain(stream: Stream) -> None:
    while await stream.receive_some():
        pass


async def stalled_bytes(sender: Connection, receiver: Connection) -> int:
    """How much a stream takes that nobody reads."""
    ours, theirs = await open_streams(sender, receiver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_for, ours, 20)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    received = theirs.connection.core._streams[theirs.id].receiver.highest_offset
    ours.abort()
    theirs.abort()
    return int(received)


async def test_raised_windows_hold_for_streams_that_either_side_opens() -> None:
    async with open_pair(listen=listening(UNAUTHENTICATED_WINDOWS)) as pair:
        dialled, accepted = await pair.connect()
        assert await stalled_bytes(dialled, accepted) == UNAUTHENTICATED_WINDOWS.stream
        accepted.raise_windows()
        await trio.sleep(1)
        assert await stalled_bytes(dialled, accepted) == WINDOWS.stream
        ours, theirs = await open_streams(accepted, dialled)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_for, theirs, 20)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert ours.connection.core._streams[ours.id].receiver.highest_offset == WINDOWS.stream


async def test_a_stream_read_to_its_limit_before_authentication_goes_on_after_it() -> None:
    windows = Windows(stream=4096, connection=4096, renewed=False)
    async with open_pair(listen=listening(windows)) as pair, trio.open_nursery() as nursery:
        dialled, accepted = await pair.connect()
        ours, theirs = await open_streams(dialled, accepted)
        nursery.start_soon(ours.send_all, bytes(10_000))
        with trio.move_on_after(5):
            while True:
                await theirs.receive_some()
        assert accepted.bytes_received == 4096
        accepted.raise_windows()
        with trio.fail_after(5):
            while accepted.bytes_received < 10_001:
                await theirs.receive_some()


@pytest.mark.parametrize("seed", range(3))
async def test_credit_that_is_lost_on_the_way_is_granted_again(seed: int) -> None:
    tiny = Windows(stream=1 << 14, connection=16 << 14)
    async with open_pair(seed, Link(loss=0.2), listening(tiny)) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(handshake_idle_seconds=30.0))
        ours, theirs = await open_streams(dialled, await pair.listener.accept())
        with trio.fail_after(600):
            await transfer(ours, theirs, 500_000)


async def test_a_thousand_streams_that_grow_and_shrink_leave_the_window_as_it_was(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    for _ in range(1000):
        ours, theirs = await open_streams(dialled, accepted)
        ours.close()
        theirs.close()
    await trio.sleep(1)
    core = accepted.core
    assert core._consumed == core._local_max_data.used
    assert len(core._streams) == len(dialled.core._streams) == 0
    assert core._stream_consumed == {}
    assert core._growth._streams == {}
