"""One stream: its two directions, how each ends, and what the other side sees."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from connet_trio.concurrency import StreamBroken
from connet_trio.errors import PathLost
from connet_trio.quic import Stream, Windows, connection, stream_credit
from tests.quic.conftest import Pair, dialing, listening, open_pair, open_streams, virtual_time

pytestmark = virtual_time

TINY = Windows(stream=4096, connection=16 * 4096)


async def receive_all(stream: Stream) -> bytes:
    data = b""
    while chunk := await stream.receive_some():
        data += chunk
    return data


async def test_our_streams_pass_the_checks_of_trio_for_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_credit, "SEND_HIGH_BYTES", 2000)
    monkeypatch.setattr(connection, "SEND_AGAIN_BYTES", 1)
    async with open_pair(listen=listening(TINY)) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(windows=TINY))
        accepted = await pair.listener.accept()

        async def make_clogged() -> tuple[Stream, Stream]:
            left, right = await open_streams(dialled, accepted)
            for sender in (left, right):
                with trio.move_on_after(1):
                    await sender.send_all(bytes(TINY.stream + 2000))
            return left, right

        await trio.testing.check_half_closeable_stream(partial(open_streams, dialled, accepted), make_clogged)


async def test_each_direction_ends_on_its_own(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_all(b"question")
    await ours.send_eof()
    assert await receive_all(theirs) == b"question"
    await theirs.send_all(b"answer")
    await theirs.send_eof()
    assert await receive_all(ours) == b"answer"
    assert ours.finished_cleanly
    assert theirs.finished_cleanly


async def test_the_acceptor_may_end_first(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_eof()
    assert await ours.receive_some() == b""
    await ours.send_all(b"still here")
    await ours.send_eof()
    assert await receive_all(theirs) == b"still here"


async def test_a_reset_reaches_the_receiver_with_its_code(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_all(b"lost")
    ours.reset(7)
    with pytest.raises(StreamBroken) as broken:
        await receive_all(theirs)
    assert broken.value.code == 7
    with pytest.raises(StreamBroken):
        await theirs.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"more")
    await theirs.send_all(b"other way")
    assert await ours.receive_some() == b"other way"


async def test_a_stop_reaches_the_sender_with_its_code(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    theirs.stop(9)
    assert await ours.wait_stopped() == 9
    with pytest.raises(StreamBroken) as broken:
        await ours.send_all(b"more")
    assert broken.value.code == 9
    with pytest.raises(StreamBroken):
        await ours.send_eof()
    with pytest.raises(trio.ClosedResourceError):
        await theirs.receive_some()
    await theirs.send_all(b"other way")
    assert await ours.receive_some() == b"other way"


async def test_the_codes_of_a_reset_and_of_a_stop_are_not_mixed_up(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    theirs.reset(1)
    theirs.stop(2)
    assert await ours.wait_stopped() == 2
    with pytest.raises(StreamBroken) as receiving:
        await ours.receive_some()
    with pytest.raises(StreamBroken) as sending:
        await ours.send_all(b"more")
    assert (receiving.value.code, sending.value.code) == (1, 2)


async def test_a_reset_is_noticed_by_who_does_not_receive(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_all(b"unread")
    await trio.sleep(1)
    theirs.reset(6)
    assert await ours.wait_reset() == 6


async def test_the_loss_of_the_connection_counts_as_a_reset_unless_the_end_had_arrived(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    ended, ending = await open_streams(ours.connection, theirs.connection)
    await ending.send_all(b"all of it")
    await ending.send_eof()
    await trio.sleep(1)
    theirs.connection.close(0, "")
    assert await ours.wait_reset() == 0
    with trio.move_on_after(60) as scope:
        await ended.wait_reset()
    assert scope.cancelled_caught
    assert await receive_all(ended) == b"all of it"


async def test_who_asks_to_be_told_of_a_reset_or_a_stop_is_told_once_it_comes_or_at_once(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    told: list[tuple[str, int]] = []
    ours.on_reset(lambda code: told.append(("reset", code)))
    ours.on_stopped(lambda code: told.append(("stopped", code)))
    theirs.reset(6)
    theirs.stop(7)
    assert told == []
    await trio.sleep(1)
    assert sorted(told) == [("reset", 6), ("stopped", 7)]
    ours.on_reset(lambda code: told.append(("late", code)))
    ours.on_stopped(lambda code: told.append(("later", code)))
    assert told[2:] == [("late", 6), ("later", 7)]


async def test_who_asks_to_be_told_is_told_of_the_loss_of_the_connection(pair: Pair) -> None:
    ours, _ = await pair.open_streams()
    told: list[int] = []
    ours.on_reset(told.append)
    ours.on_stopped(told.append)
    ours.connection.close(0, "")
    assert told == [0, 0]


async def test_what_is_there_can_be_taken_without_waiting(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_all(b"abc")
    await trio.sleep(1)
    assert (ours.receive_nowait(2), ours.receive_nowait(2), ours.receive_nowait(2)) == (b"ab", b"c", b"")
    await theirs.send_eof()
    await trio.sleep(1)
    assert ours.receive_nowait(2) == b""
    assert await ours.receive_some() == b""


async def test_a_stop_is_noticed_after_an_own_reset(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    ours.reset()
    theirs.stop(5)
    with trio.fail_after(1):
        await ours.wait_stopped()


async def test_a_finished_stream_can_no_longer_be_reset(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_all(b"whole")
    await ours.send_eof()
    ours.reset(7)
    assert await receive_all(theirs) == b"whole"


async def test_closing_finishes_one_direction_and_stops_the_other(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_all(b"bye")
    await ours.aclose()
    assert await receive_all(theirs) == b"bye"
    assert await theirs.wait_stopped() == 0
    for operation in (partial(ours.send_all, b"x"), ours.receive_some):
        with pytest.raises(trio.ClosedResourceError):
            await operation()


async def leave_by_error(stream: Stream) -> None:
    with suppress(ValueError):
        async with stream:
            await stream.send_all(b"half")
            raise ValueError("half way")


async def leave_by_cancellation(stream: Stream) -> None:
    with trio.move_on_after(1):
        async with stream:
            await stream.send_all(b"half")
            await trio.sleep_forever()


async def close_when_cancelled(stream: Stream) -> None:
    await stream.send_all(b"half")
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.aclose()


@pytest.mark.parametrize("end", [leave_by_error, leave_by_cancellation, close_when_cancelled])
async def test_what_is_left_half_way_is_not_taken_for_the_whole(
    pair: Pair, end: Callable[[Stream], Awaitable[None]]
) -> None:
    ours, theirs = await pair.open_streams()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end, ours)
        with pytest.raises(StreamBroken):
            await receive_all(theirs)
        assert await theirs.wait_stopped() == 0
    for operation in (partial(ours.send_all, b"x"), ours.receive_some):
        with pytest.raises(trio.ClosedResourceError):
            await operation()


async def test_what_was_finished_before_its_block_failed_is_whole(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    with suppress(ValueError):
        async with ours:
            await ours.send_all(b"whole")
            await ours.send_eof()
            raise ValueError("later")
    assert await receive_all(theirs) == b"whole"


async def test_a_stream_closed_after_its_end_was_received_is_closed(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.aclose()
    assert await ours.receive_some() == b""
    await ours.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await ours.receive_some()


async def test_after_the_loss_of_the_connection_everything_is_broken_by_it(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_all(b"before")
    await trio.sleep(1)
    theirs.connection.close(3, "enough")
    await ours.connection.wait_closed()
    assert await ours.receive_some() == b"before"
    operations: tuple[Callable[[], Awaitable[object]], ...] = (
        ours.receive_some,
        partial(ours.send_all, b"x"),
        ours.send_eof,
        ours.wait_send_all_might_not_block,
    )
    for operation in operations:
        with pytest.raises(trio.BrokenResourceError) as broken:
            await operation()
        assert isinstance(broken.value.__cause__, PathLost)
    with pytest.raises(PathLost):
        await ours.connection.open_stream()
    with pytest.raises(PathLost):
        await ours.connection.accept_stream()
    ours.reset()
    ours.stop()
    await ours.aclose()


async def test_what_was_finished_before_the_connection_is_lost_can_still_be_read_to_its_end(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_all(b"all of it")
    await theirs.send_eof()
    await theirs.wait_delivered()
    theirs.connection.close(0, "")
    await ours.connection.wait_closed()
    assert await receive_all(ours) == b"all of it"


async def test_two_tasks_on_one_direction_are_refused(pair: Pair, nursery: trio.Nursery) -> None:
    ours, _ = await pair.open_streams()
    nursery.start_soon(ours.receive_some)
    nursery.start_soon(ours.send_all, bytes(1 << 22))
    await trio.sleep(1)
    operations: tuple[Callable[[], Awaitable[object]], ...] = (
        ours.receive_some,
        partial(ours.send_all, b"x"),
        ours.send_eof,
        ours.wait_send_all_might_not_block,
    )
    for operation in operations:
        with pytest.raises(trio.BusyResourceError):
            await operation()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("max_bytes", [1, 2, 3, 100])
async def test_no_more_is_received_than_asked_for_and_nothing_is_lost(pair: Pair, max_bytes: int) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_all(b"hello ")
    await trio.sleep(1)
    await ours.send_all(b"world")
    await ours.send_eof()
    await trio.sleep(1)
    pieces = []
    while piece := await theirs.receive_some(max_bytes):
        pieces.append(piece)
    assert b"".join(pieces) == b"hello world"
    assert all(len(piece) == max_bytes for piece in pieces[:-1])


class CountingBytes(bytes):
    """Counts the bytes that slicing copies."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        result = super().__getitem__(key)
        type(self).copied += len(result)
        return CountingBytes(result)


async def test_small_reads_from_a_large_chunk_copy_little(pair: Pair) -> None:
    _, theirs = await pair.open_streams()
    theirs.handle_data(CountingBytes(10_000), fin=False)
    for _ in range(2500):
        assert await theirs.receive_some(4) == bytes(4)
    assert CountingBytes.copied <= 20_000


@pytest.mark.parametrize("wrong", [0, -1])
async def test_receiving_nothing_is_no_request(pair: Pair, wrong: int) -> None:
    ours, _ = await pair.open_streams()
    with pytest.raises(ValueError, match="at least 1"):
        await ours.receive_some(wrong)


async def test_a_cancelled_receive_loses_nothing(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    with trio.move_on_after(1) as scope:
        await theirs.receive_some()
    assert scope.cancelled_caught
    await ours.send_all(b"later")
    await trio.sleep(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await theirs.receive_some()
    assert scope.cancelled_caught
    assert await theirs.receive_some() == b"later"


async def test_a_send_cancelled_at_its_first_checkpoint_has_sent_nothing(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.send_all(b"never")
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.send_eof()
    await ours.send_all(b"after")
    await ours.send_eof()
    assert await receive_all(theirs) == b"after"


async def test_a_send_cancelled_while_held_back_leaves_the_stream_usable(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    with trio.move_on_after(5) as scope:
        await ours.send_all(bytes(1 << 22))
    assert scope.cancelled_caught
    ours.reset(4)
    with pytest.raises(StreamBroken):
        await receive_all(theirs)
    await theirs.send_all(b"fine")
    assert await ours.receive_some() == b"fine"
    fresh, accepted = await open_streams(ours.connection, theirs.connection)
    await fresh.send_all(b"next")
    assert await accepted.receive_some() == b"next"


async def test_a_sender_that_waits_learns_of_every_end(pair: Pair) -> None:
    dialled, accepted = await pair.connect()

    async def expect(error: type[Exception], end: Callable[[Stream, Stream], None]) -> None:
        ours, theirs = await open_streams(dialled, accepted)

        async def send() -> None:
            with pytest.raises(error):
                await ours.send_all(bytes(1 << 22))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(5)
            end(ours, theirs)

    with trio.fail_after(60):
        await expect(StreamBroken, lambda ours, theirs: theirs.stop())
        await expect(trio.ClosedResourceError, lambda ours, theirs: ours.reset())
        await expect(trio.ClosedResourceError, lambda ours, theirs: ours.close())
        await expect(trio.BrokenResourceError, lambda ours, theirs: theirs.connection.close(0, ""))


async def test_delivery_means_that_the_peer_has_acknowledged_the_end(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_all(bytes(100_000))
    await ours.send_eof()
    begun = trio.current_time()
    with trio.fail_after(5):
        await ours.wait_delivered()
    assert trio.current_time() >= begun + 0.04
    assert len(await receive_all(theirs)) == 100_000
    with trio.testing.assert_checkpoints():
        await ours.wait_delivered()


async def test_everybody_who_waits_for_delivery_is_told(pair: Pair) -> None:
    ours, _ = await pair.open_streams()
    await ours.send_eof()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.wait_delivered)
            nursery.start_soon(ours.wait_delivered)


async def test_delivery_ends_with_the_connection(pair: Pair, nursery: trio.Nursery) -> None:
    ours, _ = await pair.open_streams()
    pair.cut()
    await ours.send_eof()
    nursery.start_soon(ours.wait_delivered)
    with trio.fail_after(60):
        await ours.connection.wait_closed()


async def test_a_stream_tells_its_state_when_printed(pair: Pair) -> None:
    ours, _ = await pair.open_streams()
    assert repr(ours) == "<Stream 0: sending OPEN, receiving OPEN>"
    ours.abort()
    assert repr(ours) == "<Stream 0: sending RESET, receiving STOPPED>"
