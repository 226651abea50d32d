"""When a connection is idle: which streams are over, as the application and the other side see it."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from connet_trio.quic import Connection, Stream
from connet_trio.quic.limits import STREAMS_ALLOWED
from tests.quic.conftest import Pair, open_streams, virtual_time

pytestmark = virtual_time

RTT = 0.04


async def time_idle(connection: Connection) -> float:
    begun = trio.current_time()
    await connection.wait_idle()
    assert connection.stream_count == 0
    return trio.current_time() - begun


async def never_idle(connection: Connection, seconds: float = 60) -> bool:
    with trio.move_on_after(seconds):
        await connection.wait_idle()
        return False
    return True


async def test_a_connection_without_streams_is_idle(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    for connection in (dialled, accepted):
        with trio.testing.assert_checkpoints():
            assert await time_idle(connection) == 0


async def test_streams_of_both_sides_count_from_their_opening_on(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    await dialled.open_stream()
    assert (dialled.stream_count, accepted.stream_count) == (1, 0)  # nobody was told of it
    await open_streams(dialled, accepted)
    await open_streams(accepted, dialled)
    assert (dialled.stream_count, accepted.stream_count) == (3, 2)
    assert await never_idle(dialled)


async def test_a_stream_is_over_when_both_have_ended_and_all_has_been_read(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_all(b"question")
    await ours.send_eof()
    await theirs.receive_some()
    assert await never_idle(ours.connection, 5)
    await theirs.send_all(b"answer")
    await theirs.send_eof()
    assert await time_idle(theirs.connection) == pytest.approx(RTT, abs=0.03)
    assert await never_idle(ours.connection, 5)  # the answer lies there unread, and nothing is under way
    assert ours.connection.core._streams == {}
    assert await ours.receive_some() == b"answer"
    assert ours.connection.stream_count == 0


async def test_the_last_read_wakes_those_who_wait(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await ours.send_eof()
    await theirs.send_all(bytes(1000))
    await theirs.send_eof()
    await trio.sleep(1)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.connection.wait_idle)
            nursery.start_soon(ours.connection.wait_idle)
            await trio.testing.wait_all_tasks_blocked()
            while await ours.receive_some(100):
                pass


async def test_what_is_not_acknowledged_is_not_over(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_eof()
    assert await ours.receive_some() == b""
    pair.cut()
    await ours.send_all(b"on the way")
    ours.close()
    assert await never_idle(ours.connection, 5)
    assert ours.connection.stream_count == 1
    pair.heal()
    await theirs.receive_some()
    assert await time_idle(ours.connection) < 15


def close(stream: Stream) -> None:
    stream.close()


def abort(stream: Stream) -> None:
    stream.abort()


def reset_and_close(stream: Stream) -> None:
    stream.reset()
    stream.close()


@pytest.mark.parametrize("end", [close, abort, reset_and_close])
async def test_a_stream_that_only_we_have_ended_is_over(pair: Pair, end: Callable[[Stream], None]) -> None:
    """Trap T6: some peers never end their side."""
    ours, theirs = await pair.open_streams()
    await theirs.send_all(b"unread")
    await trio.sleep(1)
    end(ours)
    with trio.fail_after(1):
        await ours.connection.wait_idle()
    assert theirs.connection.stream_count == 1


@pytest.mark.parametrize("end", [close, abort])
async def test_a_stream_that_the_peer_has_ended_is_over_when_we_end_ours(
    pair: Pair, end: Callable[[Stream], None]
) -> None:
    ours, theirs = await pair.open_streams()
    end(theirs)
    await trio.sleep(1)
    if ours.connection.stream_count:
        ours.close()
    with trio.fail_after(1):
        await ours.connection.wait_idle()
        await theirs.connection.wait_idle()


async def test_a_stream_nobody_has_accepted_counts(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    ours = await dialled.open_stream()
    await ours.send_all(b"?")
    await trio.sleep(1)
    assert accepted.stream_count == 1


async def test_streams_that_a_flood_has_ended_for_us_do_not_count(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    for _ in range(3 * STREAMS_ALLOWED):
        with trio.fail_after(5):
            (await dialled.open_stream()).close()
    await trio.sleep(1)
    assert dialled.stream_count == 0
    assert accepted.stream_count <= STREAMS_ALLOWED + 1


async def test_streams_that_are_over_are_forgotten(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    for _ in range(20):
        ours, theirs = await open_streams(dialled, accepted)
        ours.finish()
        await theirs.send_all(b"answer")
        theirs.finish()
        assert await ours.receive_some() == b"answer"  # neither fetches the end
    await trio.sleep(1)
    for connection in (dialled, accepted):
        assert connection.stream_count == 0
        assert connection._open == connection._streams == {}


async def test_a_new_stream_at_the_last_moment_keeps_the_connection_busy(pair: Pair, nursery: trio.Nursery) -> None:
    ours, theirs = await pair.open_streams()
    done = False

    async def wait() -> None:
        nonlocal done
        await ours.connection.wait_idle()
        done = True

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    ours.close()
    theirs.close()
    fresh = await ours.connection.open_stream()
    await trio.sleep(5)
    assert not done
    fresh.close()
    await trio.sleep(1)
    assert done


async def test_the_end_of_the_connection_is_the_end_of_its_streams(pair: Pair) -> None:
    ours, _ = await pair.open_streams()
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.connection.wait_idle)
            await trio.testing.wait_all_tasks_blocked()
            ours.connection.close(0, "over")
        await ours.connection.wait_idle()
    assert ours.connection.stream_count == 0
