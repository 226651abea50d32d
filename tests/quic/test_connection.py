"""A connection: opening and accepting streams, credit for them, and the ways it ends."""

import pytest
import trio
import trio.testing

from connet_trio.errors import PathLost, Refused
from connet_trio.quic import Connection, RecordStream, Stream, Windows
from connet_trio.quic.limits import STREAMS_ALLOWED
from connet_trio.wire import WireVersion, codecs
from tests.quic.conftest import Pair, dialing, listening, open_pair, open_streams, virtual_time

pytestmark = virtual_time

MIB = 1 << 20
SMALL = Windows(stream=1 << 16, connection=16 << 16)
WHOLE = bytes(SMALL.stream - 1)
"""What a stream takes that nobody reads, the byte that made it known apart."""


async def open_many(connection: Connection, count: int) -> list[Stream]:
    """Streams with a byte on each, so that the peer knows of them."""
    streams = [await connection.open_stream() for _ in range(count)]
    for stream in streams:
        await stream.send_all(b"?")
    return streams


async def finish(ours: Stream, theirs: Stream) -> None:
    """End both directions of a stream, whose byte has not been read, on both sides."""
    await ours.send_eof()
    await theirs.send_eof()
    while await theirs.receive_some():
        pass
    assert await ours.receive_some() == b""


async def test_both_sides_open_and_accept_streams(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    ours, theirs = await open_streams(dialled, accepted)
    mine, other = await open_streams(accepted, dialled)
    assert (ours.id, theirs.id, mine.id, other.id) == (0, 0, 1, 1)


async def test_streams_are_accepted_in_the_order_they_were_opened(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    opened = await open_many(dialled, 10)
    assert [(await accepted.accept_stream()).id for _ in opened] == [stream.id for stream in opened]


async def test_the_stream_past_the_credit_is_opened_when_another_has_finished(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    first, *_ = await open_many(dialled, STREAMS_ALLOWED)
    with trio.move_on_after(30) as scope:
        await dialled.open_stream()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish, first, await accepted.accept_stream())
        with trio.fail_after(1):
            fresh = await dialled.open_stream()
    await fresh.send_all(b"through")
    for _ in range(STREAMS_ALLOWED - 1):
        await accepted.accept_stream()
    assert await (await accepted.accept_stream()).receive_some() == b"through"


async def test_everybody_who_waits_for_a_stream_gets_one(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    opened = await open_many(dialled, STREAMS_ALLOWED)
    got: list[int] = []

    async def wait() -> None:
        got.append((await dialled.open_stream()).id)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await trio.sleep(1)
            for stream in opened[:3]:
                await finish(stream, await accepted.accept_stream())
    assert sorted(got) == [400, 404, 408]


async def test_everybody_who_waits_for_a_stream_learns_that_the_connection_is_over(pair: Pair) -> None:
    dialled, _ = await pair.connect()
    await open_many(dialled, STREAMS_ALLOWED)
    lost: list[PathLost] = []

    async def wait() -> None:
        with pytest.raises(PathLost) as caught:
            await dialled.open_stream()
        lost.append(caught.value)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await trio.sleep(1)
            dialled.close(0, "over")
    assert len(lost) == 3


async def test_opening_and_accepting_are_checkpoints(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    with trio.testing.assert_checkpoints():
        await dialled.open_stream()
    await open_many(dialled, 1)
    await trio.sleep(1)
    with trio.testing.assert_checkpoints():
        await accepted.accept_stream()


async def test_cancelled_openers_and_acceptors_take_nothing(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    await open_many(dialled, STREAMS_ALLOWED - 1)
    for _ in range(5):
        with trio.CancelScope() as scope:
            scope.cancel()
            await dialled.open_stream()
        with trio.CancelScope() as scope:
            scope.cancel()
            await accepted.accept_stream()
    with trio.fail_after(1):
        assert (await dialled.open_stream()).id == 4 * (STREAMS_ALLOWED - 1)
        assert (await accepted.accept_stream()).id == 0


async def test_hundreds_of_streams_go_through_one_connection_one_after_the_other(pair: Pair) -> None:
    dialled, accepted = await pair.connect()

    async def serve() -> None:
        while True:
            stream = await accepted.accept_stream()
            nursery.start_soon(finish_accepted, stream)

    async def finish_accepted(stream: Stream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        for number in range(3 * STREAMS_ALLOWED):
            stream = await dialled.open_stream()
            await stream.send_all(b"%d" % number)
            await stream.send_eof()
            assert await stream.receive_some() == b"%d" % number
            assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()
    assert dialled.bytes_sent == accepted.bytes_received == accepted.bytes_sent == dialled.bytes_received


async def test_streams_abandoned_half_read_do_not_shrink_the_window_of_the_connection() -> None:
    async with open_pair(listen=listening(SMALL)) as pair:
        dialled, accepted = await pair.connect()
        for number in range(50):
            ours, theirs = await open_streams(dialled, accepted)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.send_all, 2 * WHOLE)
                await theirs.receive_some(1000)
                if number % 2:
                    await trio.sleep(1)
                nursery.cancel_scope.cancel()
            theirs.abort()
            await ours.aclose()
        await assert_window_is_whole(dialled, accepted)


async def test_streams_abandoned_after_their_end_has_arrived_do_not_shrink_it_either() -> None:
    async with open_pair(listen=listening(SMALL)) as pair:
        dialled, accepted = await pair.connect()
        for _ in range(50):
            ours, theirs = await open_streams(dialled, accepted)
            await theirs.send_eof()
            await ours.send_all(WHOLE)
            await ours.send_eof()
            await ours.wait_delivered()
            await trio.sleep(1)
            await theirs.aclose()
        await assert_window_is_whole(dialled, accepted)


async def assert_window_is_whole(sender: Connection, receiver: Connection) -> None:
    """Fifteen streams that nobody reads fit into it; the sixteenth part may not have been granted again yet."""
    streams = [await open_streams(sender, receiver) for _ in range(15)]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for ours, _ in streams:
                nursery.start_soon(ours.send_all, WHOLE)
        for ours, _ in streams:
            await ours.send_eof()
            await ours.wait_delivered()


@pytest.mark.reliability(line=21)
async def test_a_flood_of_streams_that_end_before_anybody_accepts_them_is_bounded(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    for _ in range(5 * STREAMS_ALLOWED):
        with trio.fail_after(5):
            stream = await dialled.open_stream()
        stream.close()
    await trio.sleep(1)
    taken = 0
    with trio.move_on_after(1):
        while True:
            stream = await accepted.accept_stream()
            taken += 1
    assert STREAMS_ALLOWED <= taken < 5 * STREAMS_ALLOWED
    ours, theirs = await open_streams(dialled, accepted)
    await ours.send_all(b"still works")
    assert await theirs.receive_some() == b"still works"


async def test_what_a_reset_stream_had_not_sent_is_dropped_at_once(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    core = ours.connection.core
    with trio.move_on_after(5):
        await ours.send_all(bytes(4 * MIB))
    assert core.send_backlog(ours.id) > MIB // 2
    ours.reset()
    assert core.send_backlog(ours.id) == 0
    with trio.move_on_after(5):
        await theirs.send_all(bytes(4 * MIB))
    assert theirs.connection.core.send_backlog(theirs.id) > MIB // 2
    ours.stop()
    await trio.sleep(1)
    assert theirs.connection.core.send_backlog(theirs.id) == 0


async def test_a_close_reaches_the_peer_with_code_and_reason(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    accepted.close(302, "keepalive closed")
    lost = await dialled.wait_closed()
    assert (lost.code, lost.reason) == (302, "keepalive closed")
    assert str(lost) == "closed by the peer: keepalive closed (302)"
    assert dialled.is_closed
    assert accepted.is_closed


async def test_a_close_with_a_code_refuses_those_who_wait_for_a_record(pair: Pair) -> None:
    """Trap T1: the original closes instead of answering."""
    dialled, accepted = await pair.connect()
    stream = await dialled.open_stream()

    async def receive() -> None:
        with pytest.raises(Refused) as refused:
            await RecordStream(stream, WireVersion.V2).receive(codecs.CONTROL_AUTHENTICATE_REPLY)
        assert (refused.value.code, refused.value.message) == (100, "authentication failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.sleep(1)
        accepted.close(100, "authentication failed")
    with pytest.raises(Refused):
        await RecordStream(stream, WireVersion.V2).send_payload(b"x")


async def test_our_own_close_is_no_refusal(pair: Pair) -> None:
    dialled, _ = await pair.connect()
    stream = await dialled.open_stream()

    async def receive() -> None:
        with pytest.raises(PathLost, match="closed by this side"):
            await RecordStream(stream, WireVersion.V2).receive_payload()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.sleep(1)
        dialled.close(401, "keepalive closed")


async def test_an_error_raised_again_and_again_stays_small(pair: Pair) -> None:
    dialled, _ = await pair.connect()
    records = RecordStream(await dialled.open_stream(), WireVersion.V2)
    dialled.close(0, "over")
    for attempt in (dialled.open_stream, dialled.accept_stream, records.receive_payload):
        for _ in range(20):
            with pytest.raises(PathLost, match="over") as caught:
                await attempt()
        assert len(caught.traceback) <= 5


async def test_closing_twice_is_closing_once(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    dialled.close(1, "first")
    dialled.close(2, "second")
    assert (await accepted.wait_closed()).code == 1


@pytest.mark.parametrize("reason", ["x" * 5000, "ä" * 5000, ""])
async def test_a_reason_of_any_length_is_sent_as_far_as_it_fits(pair: Pair, reason: str) -> None:
    dialled, accepted = await pair.connect()
    dialled.close(7, reason)
    lost = await accepted.wait_closed()
    assert lost.code == 7
    assert reason.startswith(lost.reason.removesuffix("…"))
    assert bool(lost.reason) is bool(reason)
    await pair.connect()


async def test_a_reason_of_any_length_also_ends_a_handshake(pair: Pair) -> None:
    with trio.move_on_after(0.05):
        await pair.dialer.dial(pair.address, dialing())
    pair.dialer.close_all(7, "x" * 5000)
    await pair.connect()


@pytest.mark.reliability(line=32)
async def test_a_hostile_reason_does_not_reach_the_text_of_the_error_raw(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    accepted.close(5, "two\nlines \x1b[31m")
    lost = await dialled.wait_closed()
    assert str(lost).isprintable()
    assert lost.reason.isprintable()


@pytest.mark.parametrize("reason", ["Idle timeout", "stateless reset"])
async def test_a_peer_cannot_pass_its_close_off_as_something_else(pair: Pair, reason: str) -> None:
    dialled, accepted = await pair.connect()
    accepted.core.close(error_code=0x0A, frame_type=0, reason_phrase=reason)
    pair.listener.mark(accepted)
    lost = await dialled.wait_closed()
    assert lost.quic_error == 0x0A
    assert str(lost) == f"the peer ended the connection: {reason} (QUIC error 0xa)"


async def test_a_stream_that_arrives_while_its_connection_closes_harms_nobody(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    bystander, _ = await pair.open_streams()
    await (await dialled.open_stream()).send_all(b"too late")

    def close_now(data: bytes) -> list[bytes]:
        accepted.close(0, "closed between arrival and delivery")
        return [data]

    pair.far.incoming = close_now
    await dialled.wait_closed()
    pair.far.incoming = lambda data: [data]
    await bystander.send_all(b"alive")
    await pair.connect()


async def exchange(dialled: Connection, accepted: Connection) -> None:
    """A question and its answer, with every operation that waits."""
    ours = await dialled.open_stream()
    try:
        await ours.send_all(bytes(100_000))
        await ours.send_eof()
        theirs = await accepted.accept_stream()
        try:
            size = 0
            while data := await theirs.receive_some(30_000):
                size += len(data)
            assert size == 100_000
            await theirs.wait_send_all_might_not_block()
            await theirs.send_all(b"answer")
            await theirs.send_eof()
            assert await ours.receive_some() == b"answer"
            assert await ours.receive_some() == b""
            await theirs.wait_delivered()
        finally:
            theirs.abort()
    finally:
        ours.abort()


@pytest.mark.reliability(line=34)
async def test_an_exchange_may_be_cancelled_anywhere() -> None:
    async with open_pair(listen=listening(SMALL)) as pair:
        dialled, accepted = await pair.connect()
        begun = trio.current_time()
        await exchange(dialled, accepted)
        duration = trio.current_time() - begun
        for step in range(150):
            with trio.move_on_after(duration * step / 150):
                await exchange(dialled, accepted)
            await trio.sleep(1)
            with trio.move_on_after(1):  # an exchange cancelled between its stream's arrival and its acceptance
                while True:
                    (await accepted.accept_stream()).abort()
            await trio.sleep(1)
        await exchange(dialled, accepted)
        await trio.sleep(1)
        assert len(dialled.core._streams) == len(accepted.core._streams) == 0
        await assert_window_is_whole(dialled, accepted)


async def test_no_task_outlives_its_transport() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_pair() as pair:
        await pair.open_streams()
        assert trio.lowlevel.current_statistics().tasks_living == before + 7  # three of each transport, one network
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_leaving_the_transport_closes_its_connections_and_wakes_everybody() -> None:
    async with trio.open_nursery() as nursery:
        async with open_pair() as pair:
            dialled, accepted = await pair.connect()
            ours, theirs = await open_streams(dialled, accepted)
            seen: list[str] = []

            async def note_loss(stream: Stream) -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
                seen.append("stream")

            async def note_end(connection: Connection) -> None:
                await connection.wait_closed()
                seen.append("connection")

            nursery.start_soon(note_loss, ours)
            nursery.start_soon(note_loss, theirs)
            nursery.start_soon(note_end, dialled)
            nursery.start_soon(note_end, accepted)
            await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(1):
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(seen) == ["connection", "connection", "stream", "stream"]
