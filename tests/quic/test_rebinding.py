"""NATs that forget and make new mappings: whose address may change, who follows, and what that cannot be abused for."""

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from connet_trio.quic import Connection, Stream, open_transport
from connet_trio.testing.network import Link, SimulatedSocket
from tests.quic.conftest import MeddlingSocket, Pair, dialing, open_pair, open_streams, virtual_time, wall_clock

pytestmark = virtual_time

MIB = 1 << 20
SLOW = Link(rate=MIB)
PATHS = 8
"""What a connection remembers at most."""


class Roaming(MeddlingSocket):
    """A socket behind a NAT that forgets: from `move` on it has another address; what goes to the old one is lost."""

    def move(self, socket: SimulatedSocket) -> None:
        self.socket.close()
        self.socket = socket


@attrs.frozen
class Trip:
    """A connection from behind such a NAT, as each side sees it."""

    pair: Pair
    roaming: Roaming
    dialled: Connection
    accepted: Connection

    def move(self, port: int, address: str = "192.0.2.3") -> None:
        self.roaming.move(self.pair.network.socket(f"{address}:{port}"))


@asynccontextmanager
async def open_trip(link: Link = SLOW, seed: int = 0) -> AsyncIterator[Trip]:
    async with open_pair(seed, link) as pair:
        roaming = Roaming(pair.network.socket("192.0.2.3:5000"))
        async with open_transport(roaming, wall_clock=wall_clock) as dialer:
            dialled = await dialer.dial(pair.address, dialing())
            yield Trip(pair, roaming, dialled, await pair.listener.accept())


async def send(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


async def receive(stream: Stream) -> bytes:
    digest = hashlib.sha256()
    while chunk := await stream.receive_some():
        digest.update(chunk)
    return digest.digest()


@pytest.mark.parametrize("seconds", [0.1, 0.6])
@pytest.mark.parametrize("upwards", [True, False], ids=["upload", "download"])
async def test_a_transfer_goes_on_from_another_port(upwards: bool, seconds: float) -> None:
    async with open_trip() as trip, trio.open_nursery() as nursery:
        ours, theirs = await open_streams(trip.dialled, trip.accepted)
        sender, receiver = (ours, theirs) if upwards else (theirs, ours)
        trip.dialled.set_keepalive(2.5)  # a receiver with nothing to acknowledge is not heard of before
        data = random.Random(seconds).randbytes(MIB)
        nursery.start_soon(send, sender, data)
        nursery.start_soon(move_later, trip, receiver.connection, seconds)
        with trio.fail_after(2.5 + 5):
            assert await receive(receiver) == hashlib.sha256(data).digest()
        assert trip.accepted.remote_address.port == 6000


async def move_later(trip: Trip, receiver: Connection, seconds: float) -> None:
    await trio.sleep(seconds)
    assert 0 < receiver.bytes_received < MIB
    trip.move(6000)


@pytest.mark.parametrize("keepalive", [2.5, 10])
async def test_a_dialer_that_moved_in_silence_is_found_with_its_next_keepalive(keepalive: float) -> None:
    async with open_trip() as trip:
        ours, theirs = await open_streams(trip.dialled, trip.accepted)
        trip.dialled.set_keepalive(keepalive)
        await trio.sleep(1)
        trip.move(6000)
        await theirs.send_all(b"where are you?")
        with trio.fail_after(keepalive):
            assert await ours.receive_some() == b"where are you?"
        assert trip.accepted.remote_address.port == 6000


async def test_a_dialer_that_moves_and_moves_is_followed_with_a_bounded_memory() -> None:
    async with open_trip() as trip:
        ours, theirs = await open_streams(trip.dialled, trip.accepted)
        for port in range(6000, 6060):
            trip.move(port)
            await ours.send_all(b"here now")
            with trio.fail_after(5):
                assert await theirs.receive_some() == b"here now"
            assert trip.accepted.remote_address.port == port
        assert len(trip.accepted.core._network_paths) == PATHS
        await theirs.send_all(b"there")
        with trio.fail_after(5):
            assert await ours.receive_some() == b"there"


async def test_a_dialer_that_lies_about_where_it_is_comes_back() -> None:
    """Somebody on the way sends its datagrams on from elsewhere, many times over, until an address does not answer."""
    async with open_pair() as pair:
        dialled, accepted = await pair.connect()
        await trio.sleep(1)
        spoofed = [pair.network.socket(f"192.0.2.66:{1000 + number}") for number in range(40)]
        before = len(pair.far.sent)
        for socket in spoofed:
            pair.near.outgoing = lambda data, socket=socket: (
                socket.send_batch(  # type: ignore[misc]
                    [(data, socket.path_to(pair.address))]
                )
                or []
            )
            dialled.probe()
            await trio.sleep(0.05)
        assert str(accepted.remote_address.address) == "192.0.2.66"
        assert len(accepted.core._network_paths) == PATHS
        assert sum(map(len, pair.far.sent[before:])) <= 3 * sum(map(len, pair.near.sent)) + 8 * 1200
        pair.near.outgoing = lambda data: [data]
        with trio.fail_after(15):
            ours, theirs = await open_streams(dialled, accepted)
            await theirs.send_all(bytes(100_000))
            received = 0
            while received < 100_000:
                received += len(await ours.receive_some())
        assert accepted.remote_address == pair.near.local_address


@asynccontextmanager
async def open_moved_listener(pair: Pair) -> AsyncIterator[tuple[Connection, Connection]]:
    """A connection whose listener sends from another address since: its NAT made a new mapping."""
    dialled, accepted = await pair.connect()
    await trio.sleep(1)
    elsewhere = pair.network.socket("192.0.2.1:4999")
    pair.far.outgoing = lambda data: (
        elsewhere.send_batch(  # type: ignore[func-returns-value]
            [(data, elsewhere.path_to(pair.near.local_address))]
        )
        or []
    )
    yield dialled, accepted


async def test_a_dialer_does_not_follow_its_listener(pair: Pair) -> None:
    """RFC 9000 section 9 forbids it; a path that is dead in one direction has to be noticed all the same."""
    async with open_moved_listener(pair) as (dialled, accepted):
        dialled.set_keepalive(2.5)
        accepted.set_keepalive(2.5)
        heard = dialled.last_heard
        await dialled.wait_silent(7)
        assert trio.current_time() == pytest.approx(heard + 7)
        assert len(pair.near.received) > 5
        assert dialled.remote_address == pair.address
        assert len(dialled.core._network_paths) == 1
        assert accepted.last_heard > heard + 2  # it hears us ask
        assert str(await dialled.wait_closed()) == "no sign of life from the peer"
        assert trio.current_time() <= heard + 20.1


async def test_the_close_of_a_dialer_that_gave_up_reaches_a_listener_that_moved(pair: Pair) -> None:
    async with open_moved_listener(pair) as (dialled, accepted):
        await dialled.wait_silent(7)
        dialled.close(401, "keepalive closed")
        with trio.fail_after(1):
            assert (await accepted.wait_closed()).code == 401


async def test_a_listener_cannot_give_a_dialer_paths(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    await trio.sleep(1)
    for port in range(100):
        elsewhere = pair.network.socket(f"192.0.2.66:{1000 + port}")
        pair.far.outgoing = lambda data, socket=elsewhere: (
            socket.send_batch(  # type: ignore[misc]
                [(data, socket.path_to(pair.near.local_address))]
            )
            or [data]
        )
        accepted.probe()
        await trio.sleep(0.1)
    assert len(dialled.core._network_paths) == 1
    pair.far.outgoing = lambda data: [data]
    await open_streams(dialled, accepted)
