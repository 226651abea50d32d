"""The one copy loop, between streams made of memory."""

from collections.abc import Callable

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from connet_trio.concurrency import AbortableStream, StreamBroken, Told, ignore_code, splice
from connet_trio.concurrency.splice import PATIENCE_SECONDS, PIECE_BYTES

CAPACITY = 100


@attrs.define
class Direction:
    """What one end sends and the other has not received."""

    capacity: int
    held: bytes = b""
    ended: bool = False
    reset_code: int | None = None
    stop_code: int | None = None
    lost: bool = False
    changed: trio.Event = attrs.field(factory=trio.Event)
    tell_stopped: Told = ignore_code
    tell_reset: Told = ignore_code

    def change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()
        self.tell()

    def tell(self) -> None:
        if self.stop_code is not None or self.lost:
            self.tell_stopped(self.stop_code or 0)
        if self.reset_code is not None or self.lost:
            self.tell_reset(self.reset_code or 0)


class MemoryStream(AbortableStream):
    """One end of a byte stream that holds no more than its capacity in each direction."""

    def __init__(self, incoming: Direction, outgoing: Direction) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.whole = True

    @property
    def ends_are_whole(self) -> bool:
        return self.whole

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest, way = bytes(data), self.outgoing
        while rest:
            self._check_sending()
            room = way.capacity - len(way.held)
            if not room:
                await way.changed.wait()
                continue
            way.held += rest[:room]
            rest = rest[room:]
            way.change()

    def _check_sending(self) -> None:
        if self.outgoing.lost:
            raise trio.BrokenResourceError("lost")
        if self.outgoing.stop_code is not None:
            raise StreamBroken("stopped", code=self.outgoing.stop_code)
        if self.outgoing.ended or self.outgoing.reset_code is not None:
            raise trio.ClosedResourceError

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check_sending()
        self.outgoing.ended = True
        self.outgoing.change()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        way = self.incoming
        while True:
            if way.reset_code is not None:
                raise StreamBroken("reset", code=way.reset_code)
            if way.lost:
                raise trio.BrokenResourceError("lost")
            if way.stop_code is not None:
                raise trio.ClosedResourceError
            if way.held or way.ended:
                data, way.held = way.held[:max_bytes], way.held[max_bytes:] if max_bytes else b""
                way.change()
                return data
            await way.changed.wait()

    def reset(self, code: int = 0) -> None:
        way = self.outgoing
        if not way.ended and way.stop_code is None and way.reset_code is None:
            way.reset_code, way.held = code, b""
            way.change()

    def stop(self, code: int = 0) -> None:
        way = self.incoming
        if way.stop_code is None and way.reset_code is None and not (way.ended and not way.held):
            way.stop_code, way.held = code, b""
            way.change()

    def on_stopped(self, tell: Told) -> None:
        self.outgoing.tell_stopped = tell
        self.outgoing.tell()

    def on_reset(self, tell: Told) -> None:
        self.incoming.tell_reset = tell
        self.incoming.tell()

    async def wait_stopped(self) -> int:
        """What the peer of a splice sees."""
        while self.outgoing.stop_code is None:
            await self.outgoing.changed.wait()
        return self.outgoing.stop_code

    async def aclose(self) -> None:
        self.stop()
        self.reset()
        await trio.lowlevel.checkpoint()

    def lose(self) -> None:
        """The connection under it is gone."""
        for way in (self.incoming, self.outgoing):
            way.lost = True
            way.change()

    async def receive_exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            received += await self.receive_some(count - len(received))
        return received

    async def receive_all(self) -> bytes:
        return b"".join([data async for data in self])


def make_pair(capacity: int = CAPACITY) -> tuple[MemoryStream, MemoryStream]:
    there, back = Direction(capacity), Direction(capacity)
    return MemoryStream(back, there), MemoryStream(there, back)


@attrs.frozen
class Line:
    """Two streams that are being spliced: the far ends, and the splice."""

    ends: tuple[MemoryStream, MemoryStream]
    middle: tuple[MemoryStream, MemoryStream]
    finished: trio.Event = attrs.field(factory=trio.Event)
    counts: list[int] = attrs.field(factory=lambda: [0, 0])

    async def run(self) -> None:
        await splice(*self.middle, to_right=self._counter(0), to_left=self._counter(1))
        self.finished.set()

    def _counter(self, index: int) -> Callable[[int], None]:
        def count(size: int) -> None:
            self.counts[index] += size

        return count


def make_line(capacity: int = CAPACITY) -> Line:
    (left_end, left), (right, right_end) = make_pair(capacity), make_pair(capacity)
    return Line((left_end, right_end), (left, right))


@pytest.fixture
def line(nursery: trio.Nursery) -> Line:
    made = make_line()
    nursery.start_soon(made.run)
    return made


both_ways = pytest.mark.parametrize("acting", [0, 1], ids=["left", "right"])


def sides(line: Line, acting: int) -> tuple[MemoryStream, MemoryStream]:
    return line.ends[acting], line.ends[1 - acting]


async def hold_back(line: Line, acting: int, nursery: trio.Nursery) -> None:
    """Let one side send more than the other, which does not read, has room for."""

    async def flood() -> None:
        with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
            await line.ends[acting].send_all(bytes(100 * CAPACITY))

    nursery.start_soon(flood)
    await wait_all_tasks_blocked()


@both_ways
async def test_an_end_is_passed_on_and_the_other_direction_goes_on(line: Line, acting: int) -> None:
    near, far = sides(line, acting)
    await near.send_all(b"that is all")
    await near.send_eof()
    assert await far.receive_all() == b"that is all"
    await wait_all_tasks_blocked()
    assert not line.finished.is_set()
    await far.send_all(b"understood")
    await far.send_eof()
    assert await near.receive_all() == b"understood"
    await line.finished.wait()


@both_ways
async def test_a_reset_is_passed_on_with_its_code_while_nothing_is_sent(line: Line, acting: int) -> None:
    near, far = sides(line, acting)
    await wait_all_tasks_blocked()
    near.reset(7)
    with pytest.raises(StreamBroken) as caught:
        await far.receive_some()
    assert caught.value.code == 7
    await far.send_all(b"still here")
    assert await near.receive_exactly(10) == b"still here"
    assert not line.finished.is_set()


@both_ways
async def test_a_stop_is_passed_on_with_its_code_while_nothing_is_sent(line: Line, acting: int) -> None:
    near, far = sides(line, acting)
    await wait_all_tasks_blocked()
    near.stop(9)
    assert await far.wait_stopped() == 9
    await near.send_all(b"still here")
    assert await far.receive_exactly(10) == b"still here"
    assert not line.finished.is_set()


@both_ways
async def test_a_reset_is_passed_on_while_the_other_side_does_not_read(
    line: Line, acting: int, nursery: trio.Nursery
) -> None:
    near, far = sides(line, acting)
    await hold_back(line, acting, nursery)
    near.reset(7)
    await wait_all_tasks_blocked()
    with pytest.raises(StreamBroken) as caught:
        await far.receive_some()
    assert caught.value.code == 7


@both_ways
async def test_a_stop_reaches_a_sender_that_is_held_back(line: Line, acting: int, nursery: trio.Nursery) -> None:
    near, far = sides(line, acting)
    await hold_back(line, acting, nursery)
    far.stop(9)
    assert await near.wait_stopped() == 9


@both_ways
async def test_what_ends_in_both_directions_at_once_is_over(line: Line, acting: int) -> None:
    near, far = sides(line, acting)
    near.stop(0)
    await near.send_eof()  # how the original closes (trap T17)
    await line.finished.wait()
    assert await far.receive_all() == b""
    with pytest.raises(StreamBroken):
        await far.send_all(b"too late")


@both_ways
async def test_a_lost_stream_abandons_both_directions_of_the_other(line: Line, acting: int) -> None:
    _, far = sides(line, acting)
    await wait_all_tasks_blocked()
    line.middle[acting].lose()
    await line.finished.wait()
    with pytest.raises(StreamBroken) as caught:
        await far.receive_some()
    assert caught.value.code == 0
    assert await far.wait_stopped() == 0


@both_ways
async def test_a_lost_stream_is_noticed_while_the_other_side_does_not_read(
    line: Line, acting: int, nursery: trio.Nursery
) -> None:
    near, _ = sides(line, acting)
    await hold_back(line, acting, nursery)
    near.lose()
    await line.finished.wait()


@both_ways
async def test_a_receiver_that_does_not_read_holds_its_sender(line: Line, acting: int, nursery: trio.Nursery) -> None:
    near, far = sides(line, acting)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await near.send_all(b"x")
            sent += 1

    nursery.start_soon(flood)
    await wait_all_tasks_blocked()
    # what is under way to the splice and from it, and a chunk it has in hand
    assert 2 * CAPACITY < sent <= 3 * CAPACITY
    await far.send_all(b"the other direction is free")
    assert await near.receive_exactly(27) == b"the other direction is free"
    assert await far.receive_exactly(5 * CAPACITY) == b"x" * 5 * CAPACITY
    nursery.cancel_scope.cancel()


async def test_only_what_the_other_side_has_taken_is_counted(line: Line, nursery: trio.Nursery) -> None:
    left, right = line.ends
    nursery.start_soon(left.send_all, bytes(10 * CAPACITY))
    await wait_all_tasks_blocked()
    assert line.counts == [CAPACITY, 0]
    await right.receive_some()
    await wait_all_tasks_blocked()
    assert line.counts == [2 * CAPACITY, 0]
    await right.send_all(bytes(30))
    await left.receive_exactly(30)
    assert line.counts == [2 * CAPACITY, 30]
    nursery.cancel_scope.cancel()


async def test_a_cancelled_splice_leaves_both_streams_to_the_caller() -> None:
    line = make_line()
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == before
    for stream in line.middle:
        assert (stream.outgoing.ended, stream.outgoing.reset_code, stream.incoming.stop_code) == (False, None, None)


async def test_streams_that_have_ended_already_are_spliced_at_once() -> None:
    line = make_line()
    for end in line.ends:
        await end.send_eof()
    with trio.testing.assert_checkpoints():
        await line.run()
    assert await line.ends[0].receive_all() == await line.ends[1].receive_all() == b""


async def test_a_stream_that_cannot_tell_of_resets_is_spliced_all_the_same(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryStream, "on_reset", AbortableStream.on_reset)
    line = make_line()
    nursery.start_soon(line.run)
    await wait_all_tasks_blocked()
    line.ends[0].reset(7)
    with pytest.raises(StreamBroken) as caught:
        await line.ends[1].receive_some()
    assert caught.value.code == 7
    line.ends[1].reset(8)
    await line.finished.wait()


@settings(max_examples=30)
@given(
    left=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    right=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    capacity=st.integers(1, 200),
)
def test_bytes_arrive_whole_both_ways_however_they_are_cut(
    left: list[bytes], right: list[bytes], capacity: int
) -> None:
    async def scenario() -> None:
        line = make_line(capacity)
        received: dict[int, bytes] = {}

        async def send(side: int, chunks: list[bytes]) -> None:
            for chunk in chunks:
                await line.ends[side].send_all(chunk)
            await line.ends[side].send_eof()

        async def receive(side: int) -> None:
            received[side] = await line.ends[side].receive_all()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            for side, chunks in enumerate((left, right)):
                nursery.start_soon(send, side, chunks)
                nursery.start_soon(receive, side)
        assert (received[1], received[0]) == (b"".join(left), b"".join(right))
        assert line.counts == [len(received[1]), len(received[0])]

    trio.run(scenario, clock=MockClock(autojump_threshold=0))


@both_ways
@pytest.mark.parametrize("whole", [True, False])
async def test_a_direction_held_back_after_the_other_ended_is_given_up_where_that_end_may_be_a_loss(
    acting: int, whole: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    line = make_line()
    line.middle[1 - acting].whole = whole
    nursery.start_soon(line.run)
    near, far = sides(line, acting)
    await hold_back(line, acting, nursery)
    await far.send_eof()
    assert await near.receive_all() == b""
    began = trio.current_time()
    with trio.move_on_after(1000):
        await line.finished.wait()
    waited = trio.current_time() - began
    assert waited == pytest.approx(1000 if whole else PATIENCE_SECONDS)
    nursery.cancel_scope.cancel()


async def test_a_reader_that_pauses_after_its_own_whole_end_is_not_given_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    line = make_line()
    line.middle[1].whole = False  # the other side's ends may be losses, but nothing of that side has ended
    nursery.start_soon(line.run)
    reader, writer = line.ends
    await reader.send_eof()
    assert await writer.receive_all() == b""
    data = bytes(range(250)) * 4

    async def send() -> None:
        await writer.send_all(data)
        await writer.send_eof()

    nursery.start_soon(send)
    await trio.sleep(10 * PATIENCE_SECONDS)
    assert await reader.receive_all() == data
    await line.finished.wait()


async def test_a_reader_that_is_slow_but_reads_is_never_given_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    line = make_line()
    line.middle[1].whole = False
    nursery.start_soon(line.run)
    near, far = line.ends
    data = bytes(range(250)) * 4

    async def send() -> None:
        await near.send_all(data)
        await near.send_eof()

    nursery.start_soon(send)
    await far.send_eof()
    received = b""
    while len(received) < len(data):
        await trio.sleep(PATIENCE_SECONDS - 1)
        received += await far.receive_some(200)
    assert received == data
    await line.finished.wait()


async def test_a_chunk_of_many_pieces_has_the_time_of_each(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    line = make_line(4 * PIECE_BYTES)
    line.middle[1].whole = False
    nursery.start_soon(line.run)
    near, far = line.ends
    data = bytes(12 * PIECE_BYTES)

    async def send() -> None:
        await near.send_all(data)
        await near.send_eof()

    nursery.start_soon(send)
    await wait_all_tasks_blocked()
    await far.send_eof()
    received = 0
    while received < len(data):
        await trio.sleep(PATIENCE_SECONDS - 1)
        received += len(await far.receive_some(PIECE_BYTES))
    await line.finished.wait()
