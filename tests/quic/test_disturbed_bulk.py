"""New keys, new addresses and new connection IDs in the middle of transfers both ways: all arrives, and fast again."""

import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from aioquic.quic.connection import QuicConnectionId
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType
from aioquic.tls import Epoch

from connet_trio.quic import Connection, Stream
from connet_trio.quic.fast import FastCore
from connet_trio.quic.limits import CONNECTION_IDS_KEPT
from connet_trio.testing.adversary import seal_frames
from connet_trio.testing.floods import frame
from connet_trio.testing.network import Fate, Link
from tests.quic.conftest import open_pair, open_streams, virtual_time  # noqa: F401  # with it, both engines
from tests.quic.fast.conftest import Shares
from tests.quic.test_rebinding import Trip, open_trip

pytestmark = virtual_time

MIB = 1 << 20
SIZE = 2 * MIB
"""Each way."""
LINK = Link(mtu=4000, delay=0.01, rate=4e6)
"""A path of few packets, since each costs the test time."""
LOOK_SECONDS = 0.002
"""Between two looks at whether the other side has followed: nothing tells of it."""
CONFIRMED_SECONDS = 0.1
"""A round trip with a full queue: the keys are known to be the other side's too, and may be updated again."""
SHARE_LOST = 0.1
"""Of packets that take the short way, how many fewer may do so after a disturbance."""

Disturb = Callable[[Trip], Awaitable[None]]


async def send(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


async def transfer_both_ways(trip: Trip, disturb: Disturb) -> None:
    """Transfers of `SIZE`, `disturb` when they are under way; its end has to come before theirs."""
    ours, theirs = await open_streams(trip.dialled, trip.accepted)
    data = {stream: random.Random(stream.id + index).randbytes(SIZE) for index, stream in enumerate((ours, theirs))}
    digests = {stream: hashlib.sha256() for stream in (ours, theirs)}
    under_way = {stream: trio.Event() for stream in (ours, theirs)}

    async def receive(stream: Stream) -> None:
        received = 0
        while chunk := await stream.receive_some():
            digests[stream].update(chunk)
            received += len(chunk)
            if received > SIZE // 16:
                under_way[stream].set()
        assert over.is_set(), "the transfer was over too early"

    over = trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for stream in (ours, theirs):
                nursery.start_soon(send, stream, data[stream])
                nursery.start_soon(receive, stream)
            for event in under_way.values():
                await event.wait()
            await disturb(trip)
            over.set()
    assert digests[theirs].digest() == hashlib.sha256(data[ours]).digest()
    assert digests[ours].digest() == hashlib.sha256(data[theirs]).digest()


async def shares(trip: Trip) -> list[float]:
    """Of a transfer each way, the shares of packets sent and received the short way; none of aioquic's own engine."""
    found: list[float] = []
    for sender, receiver in ((trip.dialled, trip.accepted), (trip.accepted, trip.dialled)):
        counts = Shares(sender, receiver) if isinstance(sender.core, FastCore) else None
        ours, theirs = await open_streams(sender, receiver)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, ours, bytes(MIB // 2))
            received = 0
            while chunk := await theirs.receive_some():
                received += len(chunk)
        assert received == MIB // 2
        theirs.close()
        if counts is not None:
            found += counts.now
    return found


@asynccontextmanager
async def disturbed(disturb: Disturb, link: Link = LINK, seed: int = 0) -> AsyncIterator[Trip]:
    """A connection after such transfers, on which as many packets as before take the short way."""
    async with open_trip(LINK, seed) as trip:
        before = await shares(trip)
        near, far = trip.roaming.local_address.address, trip.pair.address.address
        trip.pair.network.set_link(near, far, link)
        await transfer_both_ways(trip, disturb)
        yield trip
        trip.pair.network.set_link(near, far, LINK)
        await trio.sleep(1)
        after = await shares(trip)
    assert all(now >= max(then - SHARE_LOST, 0.7) for then, now in zip(before, after, strict=True)), (before, after)


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not true():  # noqa: ASYNC110  # see LOOK_SECONDS
            await trio.sleep(LOOK_SECONDS)


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


def key_phases(trip: Trip) -> tuple[int, int]:
    """Of what each side sends."""
    dialled, accepted = (side.core._cryptos[Epoch.ONE_RTT].key_phase for side in (trip.dialled, trip.accepted))
    return dialled, accepted


async def update_keys(trip: Trip, side: Connection) -> None:
    """Let one side begin an update; returns when the other has followed."""
    phase = 1 - key_phases(trip)[0]
    side.core.request_key_update()
    await until(lambda: key_phases(trip) == (phase, phase))


@pytest.mark.parametrize("who", ["dialer", "listener", "in turns"])
async def test_keys_are_updated_several_times(who: str, updates: Counter[str]) -> None:
    async def disturb(trip: Trip) -> None:
        sides = {"dialer": [trip.dialled], "listener": [trip.accepted], "in turns": [trip.dialled, trip.accepted]}[who]
        for number in range(4):
            await update_keys(trip, sides[number % len(sides)])

    async with disturbed(disturb):
        assert updates == {"local_update": 4, "remote_update": 4}


async def test_both_sides_update_their_keys_at_once(updates: Counter[str]) -> None:
    async def disturb(trip: Trip) -> None:
        for _ in range(3):
            trip.accepted.core.request_key_update()
            trip.dialled.core.request_key_update()
            await trio.sleep(CONFIRMED_SECONDS)

    async with disturbed(disturb):
        assert updates.total() == 6


@pytest.mark.parametrize("address", ["192.0.2.3", "192.0.2.4"], ids=["port", "address and port"])
async def test_the_dialers_nat_makes_new_mappings(address: str) -> None:
    async def disturb(trip: Trip) -> None:
        for port in (6000, 6001, 6002):
            await move(trip, port, address)

    async with disturbed(disturb) as trip:
        assert str(trip.accepted.remote_address) == f"{address}:6002"


async def move(trip: Trip, port: int, address: str = "192.0.2.3") -> None:
    """Give the dialer another address; returns when the listener sends there."""
    trip.move(port, address)
    await until(lambda: trip.accepted.remote_address == trip.roaming.local_address)


def current_id(connection: Connection) -> int:
    """The number of the peer's connection ID that is sent to."""
    number = connection.core._peer_cid.sequence_number
    assert number is not None
    return number


async def change_id(side: Connection) -> None:
    """Let a side send to another of its peer's connection IDs, as soon as it has one to spare."""
    await until(lambda: bool(side.core._peer_cid_available))
    before = current_id(side)
    side.core.change_connection_id()
    assert current_id(side) > before


@pytest.mark.parametrize("who", ["dialer", "listener", "both"])
async def test_connection_ids_are_changed_and_retired_many_times(who: str) -> None:
    def sides(trip: Trip) -> list[Connection]:
        return {"dialer": [trip.dialled], "listener": [trip.accepted], "both": [trip.dialled, trip.accepted]}[who]

    async def disturb(trip: Trip) -> None:
        for _ in range(2 * CONNECTION_IDS_KEPT):
            for side in sides(trip):
                await change_id(side)

    async with disturbed(disturb) as trip:
        assert all(current_id(side) >= 2 * CONNECTION_IDS_KEPT for side in sides(trip))
        assert all(len(side.core._host_cids) <= CONNECTION_IDS_KEPT + 1 for side in (trip.dialled, trip.accepted))


@pytest.mark.parametrize("who", ["dialer", "listener"])
async def test_a_side_retires_all_its_connection_ids_at_once(who: str) -> None:
    async def disturb(trip: Trip) -> None:
        ours, theirs = (trip.dialled, trip.accepted) if who == "dialer" else (trip.accepted, trip.dialled)
        for number in range(3):
            retired = retire_all(trip, ours, bytes([number]) * 8)
            await until(lambda retired=retired: current_id(theirs) == retired)  # type: ignore[misc]

    async with disturbed(disturb):
        pass


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
        for port in (6000, 6001, 6002):
            await move(trip, port)
            for side in (trip.accepted, trip.dialled):
                await update_keys(trip, side)
                await change_id(side)

    async with disturbed(disturb, attrs.evolve(LINK, loss=0.01, reordering=0.01), seed) as trip:
        assert trip.pair.network.fates[Fate.LOST] > 0
