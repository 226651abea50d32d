"""Which streams are in the queue, and that nothing else is looked at."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStream, QuicStreamSender

from connet_trio.quic.fast.backlog import Backlog
from connet_trio.quic.fast.service_queue import ServiceQueue, WakingStreamTable, has_work, sendable_bytes

ACKED, LOST = QuicDeliveryState.ACKED, QuicDeliveryState.LOST


def make_stream(*, allowed: int = 10_000) -> tuple[ServiceQueue, Any]:
    """A stream in a table, asleep."""
    queue = ServiceQueue()
    table = WakingStreamTable(queue)
    stream = table[4] = QuicStream(stream_id=4, max_stream_data_local=10_000, max_stream_data_remote=allowed)
    return queue, stream


def send_everything(stream: Any) -> None:
    while stream.sender.get_frame(1000, stream.max_stream_data_remote) is not None:
        pass


def test_a_stream_of_the_table_has_a_ring() -> None:
    _, stream = make_stream()
    stream.sender.write(b"hello")
    assert type(stream.sender._buffer) is Backlog
    assert stream.sender.get_frame(1000).data == b"hello"
    stream.sender.on_data_delivery(ACKED, 0, 5, False)
    assert len(stream.sender._buffer) == 0


def lose(stream: Any) -> None:
    stream.sender.write(b"x" * 10)
    send_everything(stream)
    stream.sender.wake = lambda: None
    stream.sender.on_data_delivery(LOST, 0, 10, False)


def finish(stream: Any) -> None:
    stream.receiver.handle_frame(QuicStreamFrame(data=b"", fin=True, offset=0))
    stream.sender.write(b"", end_stream=True)
    send_everything(stream)
    stream.sender.on_data_delivery(ACKED, 0, 0, True)


def lose_reset(stream: Any) -> None:
    stream.sender.reset(1)
    stream.sender.get_reset_frame()
    stream.sender.on_reset_delivery(LOST)


def lose_stop(stream: Any) -> None:
    stream.receiver.stop(1)
    stream.receiver.get_stop_frame()
    stream.receiver.on_stop_sending_delivery(LOST)


@pytest.mark.parametrize(
    "happen",
    [
        lambda stream: stream.sender.write(b"bytes"),
        lambda stream: stream.sender.write(b"", end_stream=True),
        lambda stream: stream.sender.reset(1),
        lambda stream: stream.receiver.stop(1),
        lose_reset,
        lose_stop,
        finish,
    ],
    ids=["bytes", "end", "reset", "stop", "lost reset", "lost stop", "over"],
)
def test_whatever_gives_a_stream_something_to_say_wakes_it(happen: Callable[[Any], None]) -> None:
    queue, stream = make_stream()
    assert list(queue) == []
    happen(stream)
    assert list(queue) == [stream]
    assert has_work(stream)


def test_bytes_that_are_lost_wake_their_stream() -> None:
    queue, stream = make_stream()
    stream.sender.write(b"x" * 10)
    send_everything(stream)
    queue.replace(list(queue))
    assert list(queue) == []
    stream.sender.on_data_delivery(LOST, 0, 10, False)
    assert list(queue) == [stream]


@pytest.mark.parametrize("end_first", [True, False])
def test_the_last_thing_a_stream_waits_for_wakes_it(end_first: bool) -> None:
    queue, stream = make_stream()
    stream.sender.write(b"", end_stream=True)
    send_everything(stream)
    ends = [
        lambda: stream.sender.on_data_delivery(ACKED, 0, 0, True),
        lambda: stream.receiver.handle_reset(final_size=0, error_code=1),
    ]
    for end in ends if end_first else reversed(ends):
        queue.replace(list(queue))
        assert list(queue) == []
        end()
    assert list(queue) == [stream]
    assert stream.is_finished


def test_a_stream_without_credit_is_out_of_the_way_until_it_gets_some() -> None:
    queue, stream = make_stream(allowed=100)
    stream.sender.write(b"x" * 500, end_stream=True)
    assert sendable_bytes(stream, 10_000) == 100
    send_everything(stream)
    assert sendable_bytes(stream, 10_000) == 0
    queue.extend([stream])
    assert list(queue) == []
    stream.sender.on_data_delivery(LOST, 50, 100, False)
    assert list(queue) == [stream], "what was lost needs no new credit"
    assert sendable_bytes(stream, 0) == 50


def test_credit_of_the_connection_is_for_new_bytes() -> None:
    _, stream = make_stream()
    stream.sender.write(b"x" * 5000)
    stream.sender.get_frame(3000)
    stream.sender.on_data_delivery(LOST, 1000, 2000, False)
    assert sendable_bytes(stream, 0) == 1000
    stream.sender.get_frame(1000)
    assert sendable_bytes(stream, 0) == 0
    assert sendable_bytes(stream, 300) == 300


def test_a_stream_that_was_reset_sends_no_bytes_and_no_end() -> None:
    _, stream = make_stream()
    stream.sender.write(b"x" * 500, end_stream=True)
    stream.sender.reset(1)
    stream.sender.get_reset_frame()
    assert sendable_bytes(stream, 10_000) == 0
    assert not has_work(stream)


def test_those_that_have_been_served_go_to_the_end() -> None:
    queue = ServiceQueue()
    table = WakingStreamTable(queue)
    streams = [QuicStream(stream_id=4 * index, max_stream_data_remote=100) for index in range(4)]
    for stream in streams:
        table[stream.stream_id or 0] = stream
        stream.sender.write(b"bytes")
    queue.extend({streams[1], streams[0]})
    assert list(queue) == [streams[2], streams[3], streams[0], streams[1]]
    queue.prefer([streams[0]])
    assert list(queue) == [streams[0], streams[2], streams[3], streams[1]]


def test_a_forgotten_stream_wakes_no_more() -> None:
    queue = ServiceQueue()
    table = WakingStreamTable(queue)
    stream = table[0] = QuicStream(stream_id=0)
    table.pop(0)
    stream.sender.reset(1)
    stream.receiver.stop(1)
    assert list(queue) == []
    assert table.discarded == [0]


@pytest.mark.parametrize("seed", range(20))
def test_a_sender_of_the_table_cuts_frames_and_hears_of_their_fate_as_stock_codes_does(seed: int) -> None:
    luck, (_, stream) = Random(seed), make_stream(allowed=100_000)
    ours, stock = stream.sender, QuicStreamSender(stream_id=4, writable=True)
    under_way: list[tuple[int, int, bool]] = []
    for step in range(300):
        if luck.random() < 0.4 and step < 200:
            data = luck.randbytes(luck.choice([0, 1, 500, 3000]))
            ours.write(data)
            stock.write(data)
        if step == 200 and seed % 3:
            ours.write(b"", end_stream=True)
            stock.write(b"", end_stream=True)
        if step == 210 and seed % 5 == 4:
            ours.reset(1)
            stock.reset(1)
        if luck.random() < 0.6 and stock._reset_error_code is None:
            most, limit = luck.choice([-1, 0, 1, 700, 1200]), stock.highest_offset + luck.choice([0, 100, 2000])
            frame = stock.get_frame(most, limit)
            assert ours.cut(most, limit) == (frame and (frame.offset, frame.data, frame.fin))
            if frame:
                under_way.append((frame.offset, frame.offset + len(frame.data), frame.fin))
        if under_way and luck.random() < 0.5:
            what = under_way.pop(luck.choice([0, 0, 0, luck.randrange(len(under_way))]))
            fate = luck.choice([ACKED, ACKED, ACKED, LOST])
            for sender in (ours, stock):
                sender.on_data_delivery(fate, *what)
        for name in ("_buffer_start", "_buffer_stop", "highest_offset", "_pending_eof", "_acked_fin", "is_finished"):
            assert getattr(ours, name) == getattr(stock, name), name
        assert (list(ours._pending), list(ours._acked)) == (list(stock._pending), list(stock._acked))
        assert ours._buffer[:] == stock._buffer
        assert ours.buffer_is_empty == ((not len(stock._pending) and not stock._pending_eof) or stock.buffer_is_empty)
