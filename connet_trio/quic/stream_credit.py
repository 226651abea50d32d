"""The part of the core that has streams: those there may be, what they may send, and what is granted to the peer.

Credit follows what the application has consumed, where aioquic's follows what has arrived and doubles by itself: who
does not read is sent no more than a window. Windows grow by `engine.WindowGrowth`; a stream that is abandoned gives
back what nobody will read of it.
"""

from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]

from connet_trio.quic.bounds import BoundedConnection
from connet_trio.quic.limits import SEND_FLIGHT_BYTES, SEND_HIGH_BYTES, Windows
from connet_trio.quic.stream_table import StreamTable


class CreditedConnection(BoundedConnection):
    """A connection that grants credit for what was consumed, and says how much may be written."""

    def __init__(self, *, windows: Windows, **others: Any) -> None:
        super().__init__(**others)
        self.windows = windows
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = windows.streams
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0
        self._streams = self._stream_table = StreamTable()
        self._consumed = 0
        self._stream_consumed: dict[int, int] = {}
        self._growth = windows.growth()
        self._now = 0.0
        self.stream_credit_changed = False
        """The peer allows more streams; cleared by whoever tells those that wait for it."""

    @property
    def smoothed_rtt(self) -> float:
        """Seconds; the initial guess until there is a sample."""
        return float(self._loss._rtt_smoothed) if self._loss._rtt_initialized else self._configuration.initial_rtt

    def _handle_max_streams_bidi_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        super()._handle_max_streams_bidi_frame(context, frame_type, buf)
        self.stream_credit_changed = True

    def open_stream_id(self) -> int | None:
        """Make a stream of ours, or None while the peer allows no more. Invisible to the peer until its first byte."""
        stream_id: int = self._local_next_stream_id_bidi
        if not self._handshake_complete or stream_id // 4 >= self._remote_max_streams_bidi:
            return None
        self.send_stream_data(stream_id, b"")
        self._tell_credit(self._streams[stream_id])
        return stream_id

    def is_open(self, stream_id: int) -> bool:
        """Whether the stream has not finished both ways."""
        return stream_id in self._streams

    def take_discarded(self) -> list[int]:
        """Streams that have finished both ways since the last call."""
        discarded, self._stream_table.discarded = self._stream_table.discarded, []
        for stream_id in discarded:
            self._stream_consumed.pop(stream_id, None)
            self._growth.forget(stream_id)
        return discarded

    def send_backlog(self, stream_id: int) -> int:
        """Bytes written and not yet acknowledged: what the engine holds in memory."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def send_room(self, stream_id: int) -> int:
        """Bytes that may be written before the stream's sender is to wait; negative when too much was.

        0 once it has been reset: the peer's STOP_SENDING does that before anybody is told of it.
        What is in flight is held beyond what waits to be, as long as there is no more of the latter than of the former:
        on a long path at high speed there is more in flight than may wait.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return SEND_HIGH_BYTES
        if stream.sender._reset_error_code is not None:
            return 0
        flying = min(stream.sender.highest_offset - stream.sender._buffer_start, SEND_FLIGHT_BYTES)
        return max(SEND_HIGH_BYTES, flying + min(flying, SEND_HIGH_BYTES)) - self.send_backlog(stream_id)

    def is_delivered(self, stream_id: int) -> bool:
        """Whether the peer has acknowledged all that was sent, the end included."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender.is_finished

    def reset(self, stream_id: int, code: int) -> None:
        """Abandon sending; what is unsent is dropped at once."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.sender.is_finished:
            stream.sender.reset(code)
            self.drop_backlog(stream_id)

    def drop_backlog(self, stream_id: int) -> None:
        """Free what a stream that was reset had not sent: aioquic keeps it until both directions have finished."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.sender._buffer.clear()
            stream.sender._buffer_start = stream.sender._buffer_stop

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to send no more; a stream already read to its end is left alone."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            stream.receiver.stop(code)

    def consume(self, stream_id: int, count: int) -> bool:
        """The application took `count` bytes: grant that many more. True when credit is worth a packet now."""
        self._consumed += count
        stream = self._streams.get(stream_id)
        if stream is not None:
            consumed = self._stream_consumed[stream_id] = self._stream_consumed.get(stream_id, 0) + count
        if not self.windows.renewed:
            return False
        # half a stream's worth, no more: what is owed is missing from the window, whose rest stalled streams may hold
        due = self._consumed + self.windows.connection - self._local_max_data.value >= self.windows.stream // 2
        if stream is None or stream.receiver.is_finished:
            self._growth.forget(stream_id)
            return due
        window = self._growth.handle_read(stream_id, consumed, now=self._now, round_trip=self.smoothed_rtt)
        credit = consumed + window
        if credit - stream.max_stream_data_local < window // 4:
            return due
        stream.max_stream_data_local = credit
        self._stream_table.credited[stream_id] = stream
        return True

    def release(self, stream_id: int) -> bool:
        """Nobody will read this stream again: give all it has received back to the connection's window.

        Without it every abandoned stream shrinks the window for good, and the connection stalls after a few.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        unread = stream.receiver.highest_offset - self._stream_consumed.get(stream_id, 0)
        return unread > 0 and self.consume(stream_id, unread)

    def raise_windows(self, windows: Windows) -> None:
        """Grant a peer that has proved who it is the credit of a friend, on the streams it has and those to come."""
        self.windows = windows
        self._growth = windows.growth()
        self._local_max_stream_data_bidi_remote = windows.stream
        self._local_max_stream_data_bidi_local = windows.stream
        for stream_id in self._streams:
            self.consume(stream_id, 0)

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> Any:
        opened = self._local_max_streams_bidi.used
        stream = super()._get_or_create_stream(frame_type, stream_id)
        for index in range(opened, self._local_max_streams_bidi.used):
            self._tell_credit(self._streams[index * 4 + stream_id % 4])
        return stream

    def _tell_credit(self, stream: Any) -> None:
        # Windows raised after the handshake: the peer still believes in those of our transport parameters.
        stream.max_stream_data_local_sent = self._configuration.max_stream_data
        if stream.max_stream_data_local != stream.max_stream_data_local_sent:
            self._stream_table.credited[stream.stream_id] = stream

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        if not self._limits_are_due():
            return  # the common packet
        limit = self._local_max_data
        used, limit.used = limit.used, 0  # super() doubles the window once half of it has arrived
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    def _limits_are_due(self) -> bool:
        """Raise the connection's credit if that is worth a packet; whether there is a limit to tell the peer."""
        limit, streams = self._local_max_data, self._local_max_streams_bidi
        credit = self._consumed + self.windows.connection
        if self.windows.renewed and credit - limit.value >= self.windows.stream // 2:
            limit.value = credit
        # of streams, aioquic tells once the peer has fewer left than it would get
        untold = streams.value - streams.sent
        return limit.value != limit.sent or (untold != 0 and streams.sent - streams.used < untold)

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        if not stream.receiver.is_finished and stream.max_stream_data_local_sent != stream.max_stream_data_local:
            highest, stream.receiver.highest_offset = stream.receiver.highest_offset, 0  # as above
            try:
                super()._write_stream_limits(builder, space, stream)  # raises when the packet is full
            finally:
                stream.receiver.highest_offset = highest
        self._stream_table.credited.pop(stream.stream_id, None)

    def _on_max_stream_data_delivery(self, delivery: Any, stream: Any) -> None:
        super()._on_max_stream_data_delivery(delivery, stream)
        if stream.max_stream_data_local_sent != stream.max_stream_data_local and self.is_open(stream.stream_id):
            self._stream_table.credited[stream.stream_id] = stream
