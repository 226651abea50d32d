"""Bytes that go on to another stream as they arrive, without a task that carries them."""

import random

import attrs
import pytest
import trio
import trio.testing

from connet_trio.concurrency import splice
from connet_trio.quic import WINDOWS, Stream
from connet_trio.quic.limits import SEND_HIGH_BYTES
from tests.quic.conftest import Pair, open_streams, virtual_time

pytestmark = virtual_time

MIB = 1 << 20


@attrs.define
class Taker:
    """Takes what is handed over, unless told to refuse, and no more at once than it may."""

    willing: bool = True
    most: int = 1 << 30
    taken: bytes = b""

    def take(self, data: bytes) -> int:
        share = data[: self.most] if self.willing else b""
        self.taken += share
        return len(share)


async def receive_all(stream: Stream, into: list[bytes]) -> None:
    while data := await stream.receive_some():
        into.append(data)


async def test_what_is_taken_wakes_nobody_and_is_granted_again(pair: Pair, nursery: trio.Nursery) -> None:
    ours, theirs = await pair.open_streams()
    data = random.Random(1).randbytes(3 * WINDOWS.stream)
    taker = Taker()
    received: list[bytes] = []
    with theirs.handing_over(taker.take):
        nursery.start_soon(receive_all, theirs, received)
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_all(data)
        await ours.send_eof()
        await ours.wait_delivered()
        await trio.testing.wait_all_tasks_blocked()
    assert taker.taken == data
    assert received == []


async def test_what_is_refused_is_received_and_so_is_what_follows_until_somebody_waits_again(
    pair: Pair, nursery: trio.Nursery
) -> None:
    ours, theirs = await pair.open_streams()
    taker = Taker(willing=False)
    with theirs.handing_over(taker.take):
        await ours.send_all(b"before anybody waits, ")
        await trio.sleep(1)
        assert await theirs.receive_some() == b"before anybody waits, "
        received: list[bytes] = []
        nursery.start_soon(receive_all, theirs, received)
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_all(b"refused, ")
        await trio.sleep(1)
        taker.willing = True
        await ours.send_all(b"taken")
        await ours.send_eof()
        await trio.sleep(1)
    assert b"".join(received) == b"refused, "
    assert taker.taken == b"taken"


@pytest.mark.parametrize("fin", [False, True])
async def test_what_is_taken_in_part_is_received_from_there(pair: Pair, fin: bool) -> None:
    ours, theirs = await pair.open_streams()
    taker = Taker(most=10)
    received: list[bytes] = []
    async with trio.open_nursery() as nursery:
        with theirs.handing_over(taker.take):
            nursery.start_soon(receive_all, theirs, received)
            await trio.testing.wait_all_tasks_blocked()
            ours.connection.write(ours.id, b"0123456789 and the rest", fin=fin)
            await trio.sleep(1)
            if not fin:
                ours.finish()
    assert (taker.taken, b"".join(received)) == (b"0123456789", b" and the rest")
    await theirs.send_eof()
    assert theirs.finished_cleanly


async def test_an_end_follows_the_bytes_that_were_taken_with_it(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    taker = Taker()
    async with trio.open_nursery() as nursery:
        with theirs.handing_over(taker.take):
            received: list[bytes] = []
            nursery.start_soon(receive_all, theirs, received)
            await trio.testing.wait_all_tasks_blocked()
            ours.connection.write(ours.id, b"last words", fin=True)
            await trio.sleep(1)
    assert taker.taken == b"last words"
    assert received == []
    await theirs.send_eof()
    assert theirs.finished_cleanly


async def test_sending_at_once_takes_no_more_than_sending_would_without_a_wait(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await trio.sleep(1)  # until what opened the stream is acknowledged
    assert not ours.send_nowait(bytes(SEND_HIGH_BYTES + 1))
    assert ours.send_nowait(bytes(SEND_HIGH_BYTES))
    assert not ours.send_nowait(b"x")
    received: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_all, theirs, received)
        await trio.sleep(5)
        assert ours.send_nowait(b"x")
        await ours.send_eof()
    assert sum(map(len, received)) == SEND_HIGH_BYTES + 1


@pytest.mark.parametrize("end", ["finish", "reset", "close"])
async def test_nothing_is_sent_at_once_after_the_end(pair: Pair, end: str) -> None:
    ours, _ = await pair.open_streams()
    getattr(ours, end)()
    assert not ours.send_nowait(b"too late")


async def test_nothing_is_sent_at_once_on_a_lost_connection(pair: Pair) -> None:
    ours, _ = await pair.open_streams()
    ours.connection.close(0, "over")
    assert not ours.send_nowait(b"too late")


async def test_nothing_is_sent_at_once_in_front_of_what_another_task_is_sending(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, bytes(WINDOWS.stream + SEND_HIGH_BYTES + 1))
        await trio.sleep(5)
        assert not ours.send_nowait(b"")
        nursery.start_soon(receive_all, theirs, [])
        await trio.sleep(5)
        await ours.send_eof()


async def test_a_sink_that_is_stopped_in_the_batch_that_brings_the_bytes_takes_none(
    pair: Pair, nursery: trio.Nursery
) -> None:
    dialled, accepted = await pair.connect()
    (sender, left), (receiver, right) = await open_streams(dialled, accepted), await open_streams(dialled, accepted)
    nursery.start_soon(splice, left, right)
    await trio.testing.wait_all_tasks_blocked()
    held: list[bytes] = []

    def hold(data: bytes) -> list[bytes]:
        held.append(data)
        return []

    pair.far.incoming = hold
    await sender.send_all(b"behind these bytes the sink is stopped")
    await trio.testing.wait_all_tasks_blocked()
    receiver.stop(7)
    await trio.sleep(0.1)
    pair.far.incoming = lambda data: [*held, data]
    assert await sender.wait_stopped() == 7
    assert not accepted.is_closed


async def test_two_spliced_streams_carry_everything_and_hold_the_sender_of_a_reader_that_stops(
    pair: Pair, nursery: trio.Nursery
) -> None:
    (sender, left), (right, receiver) = await pair.open_streams(), await pair.open_streams()
    data = random.Random(2).randbytes(8 * MIB)
    counted: list[int] = []
    nursery.start_soon(lambda: splice(left, right, to_right=counted.append))

    async def send() -> None:
        await sender.send_all(data)
        await sender.send_eof()

    nursery.start_soon(send)
    await trio.sleep(10)
    assert sum(counted) <= WINDOWS.stream + SEND_HIGH_BYTES
    assert left.connection.bytes_received < len(data) // 2
    received: list[bytes] = []
    await receive_all(receiver, received)
    assert b"".join(received) == data
    assert sum(counted) == len(data)


async def test_a_taker_that_fails_costs_its_own_connection_alone(
    pair: Pair, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    class UnheardOf(Exception):
        pass

    def fail(data: bytes) -> bool:
        raise UnheardOf

    ours, theirs = await pair.open_streams()
    others, unharmed = await pair.open_streams()
    with theirs.handing_over(fail):
        nursery.start_soon(receive_until_lost, theirs)
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_all(b"trigger")
        assert "internal error" in str(await theirs.connection.wait_closed())
    await others.send_all(b"unharmed")
    assert await unharmed.receive_some() == b"unharmed"
    (alarm,) = caplog.records
    assert alarm.exc_info is not None


async def receive_until_lost(stream: Stream) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
