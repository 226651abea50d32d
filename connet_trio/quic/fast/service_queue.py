"""Which streams have something to send, so that the others cost nothing.

Stock code walks all open streams for every packet it builds. Here a stream is in the queue while it has something to
say: bytes that its credit lets leave, an end, a reset, a stop, or that it is over and can be forgotten. Whatever may
give it such a thing wakes it: a write, a loss, credit, the last acknowledgement or byte. It leaves the queue when it
is looked at and has nothing. So one that is blocked, by a reader that stalls, is in nobody's way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from aioquic.quic.events import StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicErrorCode, QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStream, QuicStreamReceiver, QuicStreamSender

from connet_trio.quic.fast.backlog import Backlog
from connet_trio.quic.stream_table import StreamTable

ACKED = QuicDeliveryState.ACKED  # here, since to look it up in its enumeration is slow


class Survey(NamedTuple):
    """What the streams of the queue have to send now."""

    bulk: QuicStream | None = None
    """The first that can fill packets of its own."""
    small: Sequence[QuicStream] = ()
    """Those that have something else: less, an end, a reset or a stop."""
    for_stock: bool = False
    """Whether one of these is a reset or a stop; streams with such are the first."""
    over: Sequence[QuicStream] = ()
    """Those that have finished both ways; they are in the queue no more."""


SILENCE = Survey()


class ServiceQueue:
    """Takes the place of aioquic's list of streams in the order of service."""

    def __init__(self) -> None:
        self._streams: dict[QuicStream, None] = {}

    def __iter__(self) -> Iterator[QuicStream]:
        return iter(list(self._streams))

    def __len__(self) -> int:
        return len(self._streams)

    def append(self, stream: QuicStream) -> None:
        """Let `stream` be looked at, after all others unless it already waits."""
        self._streams.setdefault(stream)

    def survey(self, *, credit: int, least: int) -> Survey:
        """Look at all streams; those with nothing to send leave the queue.

        Args:
          credit: of the connection, for new bytes.
          least: bytes that make a stream one that can fill packets of its own.
        """
        if not self._streams:
            return SILENCE
        bulk = None
        small, cut_off, over = [], [], []
        for stream in list(self._streams):
            sender = stream.sender
            if stream.receiver.stop_pending or sender.reset_pending:
                cut_off.append(stream)
            elif sender.is_finished and stream.receiver.is_finished:
                over.append(stream)
                self.remove(stream)
            elif (count := sendable_bytes(stream, credit)) >= least:
                bulk = bulk or stream
            elif count or has_end_only(sender):
                small.append(stream)
            elif not has_work(stream):
                self.remove(stream)
        return Survey(bulk, cut_off + small, bool(cut_off), over)

    def extend(self, served: Iterable[QuicStream]) -> None:
        """Send streams that have been served to the end of the queue; those with nothing left leave it."""
        # stock code hands over a set, whose order differs from run to run
        for stream in sorted(served, key=lambda stream: stream.stream_id or 0):
            self.remove(stream)
            if has_work(stream):
                self.append(stream)

    def remove(self, stream: QuicStream) -> None:
        """Take `stream` out until it is woken."""
        self._streams.pop(stream, None)

    def replace(self, streams: Iterable[QuicStream]) -> None:
        """Have these streams in this order, but for those that have nothing to say."""
        self._streams = dict.fromkeys(filter(has_work, streams))

    def prefer(self, streams: Iterable[QuicStream]) -> None:
        """Serve these first."""
        self._streams = dict.fromkeys(streams) | self._streams


def has_work(stream: QuicStream) -> bool:
    """Whether a packet could carry something of this stream, the connection's credit apart."""
    sender = stream.sender
    if stream.receiver.stop_pending or sender.reset_pending or stream.is_finished:
        return True
    if sender.buffer_is_empty:
        return False
    if not len(sender._pending):
        return sender._pending_eof
    return stream.is_blocked or sender.next_offset < stream.max_stream_data_remote


def sendable_bytes(stream: QuicStream, credit: int) -> int:
    """How many bytes in a row the stream could send now, with so much credit of the connection for new ones."""
    sender = stream.sender
    if sender.buffer_is_empty or stream.is_blocked:
        return 0
    for pending in sender._pending:
        limit = min(pending.stop, sender.highest_offset + credit, stream.max_stream_data_remote)
        return max(limit - pending.start, 0)
    return 0


def has_end_only(sender: QuicStreamSender) -> bool:
    """Whether an end is all there is to send."""
    return sender._pending_eof and not sender.buffer_is_empty and not len(sender._pending)


def _sleep() -> None:
    """What a stream that has been forgotten does when it is woken."""


class WakingSender(QuicStreamSender):
    """The sending half of a stream, which wakes its stream."""

    wake: Callable[[], None] = staticmethod(_sleep)

    def write(self, data: bytes, end_stream: bool = False) -> None:
        super().write(data, end_stream)
        self.wake()

    def cut(self, most: int, limit: int) -> tuple[int, bytes, bool] | None:
        """What `get_frame` would return, in fewer steps: offset, bytes, and whether the end comes with them.

        And what is empty afterwards is known to be so, which stock code only notices when it asks again.
        """
        if most < 0:
            return None
        for pending in self._pending:
            start = pending.start
            stop = min(pending.stop, start + most, limit)
            if stop <= start:
                return None
            if stop == pending.stop:
                self._pending.shift()
            else:
                self._pending.subtract(start, stop)
            self.highest_offset = max(self.highest_offset, stop)
            ring: Any = self._buffer
            data = bytes(ring.view(start - self._buffer_start, stop - self._buffer_start))
            is_end = stop == self._buffer_fin
            if is_end:
                self._pending_eof = False
            self.buffer_is_empty = not self._pending_eof and not len(self._pending)
            return start, data, is_end
        has_end, self._pending_eof, self.buffer_is_empty = self._pending_eof, False, True
        return (self._buffer_stop, b"", True) if has_end else None

    def reset(self, error_code: int) -> None:
        super().reset(error_code)
        self.wake()

    def on_data_delivery(self, delivery: QuicDeliveryState, start: int, stop: int, fin: bool) -> None:
        is_oldest = start == self._buffer_start and stop > start and not len(self._acked)
        goes_on = self._buffer_fin is None and self._reset_error_code is None
        if delivery is ACKED and is_oldest and goes_on:  # as nearly always
            self._buffer_start = stop
            del self._buffer[: stop - start]
            return
        super().on_data_delivery(delivery, start, stop, fin)
        if delivery is not ACKED or self.is_finished:
            self.wake()

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        super().on_reset_delivery(delivery)
        self.wake()


class WakingReceiver(QuicStreamReceiver):
    """The receiving half of a stream, which wakes its stream."""

    wake: Callable[[], None] = staticmethod(_sleep)

    def handle_frame(self, frame: QuicStreamFrame) -> StreamDataReceived | None:
        event = super().handle_frame(frame)
        if self.is_finished:
            self.wake()
        return event

    def handle_reset(self, *, final_size: int, error_code: int = QuicErrorCode.NO_ERROR) -> StreamReset | None:
        event = super().handle_reset(final_size=final_size, error_code=error_code)
        self.wake()
        return event

    def stop(self, error_code: int = QuicErrorCode.NO_ERROR) -> None:
        super().stop(error_code)
        self.wake()

    def on_stop_sending_delivery(self, delivery: QuicDeliveryState) -> None:
        super().on_stop_sending_delivery(delivery)
        self.wake()


class WakingStreamTable(StreamTable):
    """A table of streams that gives each a `Backlog` for its unacknowledged bytes, and has it wake itself."""

    def __init__(self, queue: ServiceQueue) -> None:
        super().__init__()
        self._queue = queue

    def __setitem__(self, stream_id: int, stream: QuicStream) -> None:
        queue = self._queue

        def wake() -> None:
            queue.append(stream)

        # now, before the first packet: those that are sent keep methods of the class they saw
        sender: Any = stream.sender
        receiver: Any = stream.receiver
        sender.__class__, receiver.__class__ = WakingSender, WakingReceiver
        sender._buffer = Backlog()
        sender.wake = receiver.wake = wake
        super().__setitem__(stream_id, stream)

    def pop(self, stream_id: int, *default: Any) -> Any:
        """Forget a stream that has finished both ways."""
        stream = super().pop(stream_id, *default)
        if isinstance(stream, QuicStream):
            sender: Any = stream.sender
            receiver: Any = stream.receiver
            sender.wake = receiver.wake = _sleep
        return stream
