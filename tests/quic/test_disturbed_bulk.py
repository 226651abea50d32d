"""New keys, new addresses and new connection IDs in the middle of transfers both ways: all arrives, and fast again."""

import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from aioquic.quic.connection import QuicConnectionId
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType

from connet_trio.quic import Connection, Stream
from connet_trio.quic.fast import FastCore
from connet_trio.testing.adversary import seal_frames
from connet_trio.testing.floods import frame
from connet_trio.testing.network import Link
from tests.quic.conftest import open_pair, open_streams, virtual_time  # noqa: F401  # with it, both engines
from tests.quic.fast.conftest import Shares
from tests.quic.test_rebinding import Trip, open_trip

pytestmark = virtual_time

MIB = 1 << 20
SIZE = 2 * MIB
"""Each way."""
LINK = Link(mtu=4000, delay=0.01, rate=4e6)
"""A path of few packets, since each costs the test time."""
PAUSE_SECONDS = 0.06
"""Three round trips: before the next disturbance, the one before has been answered."""

Disturb = Callable[[Trip], Awaitable[None]]


async def send(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


async def transfer_both_ways(trip: Trip, disturb: Disturb) -> None:
    """Transfers of `SIZE`, `disturb` when they are well under way; all of it must be over before they are."""
    ours, theirs = await open_streams(trip.dialled, trip.accepted)
    data = {stream: random.Random(stream.id + index).randbytes(SIZE) for index, stream in enumerate((ours, theirs))}
    digests = {stream: hashlib.sha256() for stream in (ours, theirs)}
    under_way = {stream: trio.Event() for stream in (ours, theirs)}

    async def receive(stream: Stream) -> None:
        received = 0
        while chunk := await stream.receive_some():
            digests[stream].update(chunk)
            received += len(chunk)
            if received > SIZE // 8:
                under_way[stream].set()
        assert disturbed.is_set(), "the transfer was over too early"

    disturbed = trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for stream in (ours, theirs):
                nursery.start_soon(send, stream, data[stream])
                nursery.start_soon(receive, stream)
            for event in under_way.values():
                await event.wait()
            await disturb(trip)
            disturbed.set()
    assert digests[theirs].digest() == hashlib.sha256(data[ours]).digest()
    assert digests[ours].digest() == hashlib.sha256(data[theirs]).digest()


async def assert_fast(trip: Trip) -> None:
    """Nearly all packets of what follows take the short way; of aioquic's own engine, that it arrives."""
    await trio.sleep(1)
    for sender, receiver in ((trip.dialled, trip.accepted), (trip.accepted, trip.dialled)):
        fast = isinstance(sender.core, FastCore)
        shares = Shares(sender, receiver) if fast else None
        ours, theirs = await open_streams(sender, receiver)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, ours, bytes(MIB))
            received = 0
            while chunk := await theirs.receive_some():
                received += len(chunk)
        assert received == MIB
        theirs.close()
        if shares is not None:
            sent, taken = shares.now
            assert sent > 0.85
            assert taken > 0.95


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often keys were updated by own will, and to follow the peer."""
    counted: Counter[str] = Counter()
    update = CryptoPair._update_key

    def count_update(keys: CryptoPair, trigger: str) -> None:
        counted[trigger] += 1
        update(keys, trigger)

    monkeypatch.setattr(CryptoPair, "_update_key", count_update)
    return counted


@pytest.mark.parametrize("who", ["dialer", "listener", "in turns"])
async def test_keys_are_updated_several_times(who: str, updates: Counter[str]) -> None:
    async def disturb(trip: Trip) -> None:
        sides = {"dialer": [trip.dialled], "listener": [trip.accepted], "in turns": [trip.dialled, trip.accepted]}[who]
        for number in range(4):
            sides[number % len(sides)].core.request_key_update()
            await trio.sleep(PAUSE_SECONDS)

    async with open_trip(LINK) as trip:
        await transfer_both_ways(trip, disturb)
        assert updates == {"local_update": 4, "remote_update": 4}
        await assert_fast(trip)


async def test_both_sides_update_their_keys_at_once(updates: Counter[str]) -> None:
    async def disturb(trip: Trip) -> None:
        for _ in range(3):
            trip.dialled.core.request_key_update()
            trip.accepted.core.request_key_update()
            await trio.sleep(PAUSE_SECONDS)

    async with open_trip(LINK) as trip:
        await transfer_both_ways(trip, disturb)
        assert updates.total() == 6
        await assert_fast(trip)


@pytest.mark.parametrize("address", ["192.0.2.3", "192.0.2.4"], ids=["port", "address and port"])
async def test_the_dialers_nat_makes_new_mappings(address: str) -> None:
    async def disturb(trip: Trip) -> None:
        for port in (6000, 6001, 6002):
            trip.move(port, address)
            await followed(trip)

    async with open_trip(LINK) as trip:
        await transfer_both_ways(trip, disturb)
        assert str(trip.accepted.remote_address) == f"{address}:6002"
        await assert_fast(trip)


async def followed(trip: Trip) -> None:
    """Wait until the listener sends to where the dialer is now."""
    with trio.fail_after(5):
        while trip.accepted.remote_address != trip.roaming.local_address:  # noqa: ASYNC110  # nothing tells of it
            await trio.sleep(0.005)


def current_id(connection: Connection) -> int:
    """The number of the peer's connection ID that is sent to."""
    number = connection.core._peer_cid.sequence_number
    assert number is not None
    return number


@pytest.mark.parametrize("who", ["dialer", "listener", "both"])
async def test_connection_ids_are_changed_and_retired_many_times(who: str) -> None:
    def sides(trip: Trip) -> list[Connection]:
        return {"dialer": [trip.dialled], "listener": [trip.accepted], "both": [trip.dialled, trip.accepted]}[who]

    async def disturb(trip: Trip) -> None:
        for _ in range(10):  # more than there are at a time
            for side in sides(trip):
                before = current_id(side)
                side.core.change_connection_id()
                assert current_id(side) > before
            await trio.sleep(PAUSE_SECONDS / 2)

    async with open_trip(LINK) as trip:
        await transfer_both_ways(trip, disturb)
        assert all(current_id(side) >= 10 for side in sides(trip))
        await assert_fast(trip)
        assert all(len(side.core._host_cids) == 8 for side in (trip.dialled, trip.accepted))


@pytest.mark.parametrize("who", ["dialer", "listener"])
async def test_a_side_retires_all_its_connection_ids_at_once(who: str) -> None:
    async def disturb(trip: Trip) -> None:
        ours, theirs = (trip.dialled, trip.accepted) if who == "dialer" else (trip.accepted, trip.dialled)
        for number in range(3):
            retired = retire_all(trip, ours, bytes([number]) * 8)
            await trio.sleep(PAUSE_SECONDS)
            assert current_id(theirs) == retired

    async with open_trip(LINK) as trip:
        await transfer_both_ways(trip, disturb)
        await assert_fast(trip)


def retire_all(trip: Trip, side: Connection, connection_id: bytes) -> int:
    """Give a connection ID that takes the place of all the others, as aioquic itself never does; returns its number."""
    core, number = side.core, side.core._host_cid_seq
    core._host_cid_seq += 1
    core._host_cids.append(QuicConnectionId(cid=connection_id, sequence_number=number, was_sent=True))
    side._router.route(connection_id, side)
    given = frame(QuicFrameType.NEW_CONNECTION_ID, number, number, b"\x08", connection_id, bytes(16))
    socket = trip.roaming if side is trip.dialled else trip.pair.far
    assert core.current_path is not None
    socket.send_batch([(seal_frames(core, given), core.current_path)])
    return number


@pytest.mark.parametrize("seed", range(2))
async def test_all_of_it_together_on_a_path_that_loses_packets(seed: int) -> None:
    async def disturb(trip: Trip) -> None:
        for port in range(6000, 6004):
            trip.move(port)
            trip.dialled.core.change_connection_id()
            await followed(trip)
            for side in (trip.accepted, trip.dialled):
                side.core.request_key_update()
                side.core.change_connection_id()
                await trio.sleep(PAUSE_SECONDS)

    async with open_trip(attrs.evolve(LINK, loss=0.01, reordering=0.01), seed) as trip:
        await transfer_both_ways(trip, disturb)
        trip.pair.network.set_link("192.0.2.3", trip.pair.address.address, LINK)
        await assert_fast(trip)
