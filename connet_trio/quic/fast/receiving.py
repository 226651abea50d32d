"""What the packets of one run bring, gathered and then told to the engine in one go."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

from aioquic.quic.connection import Limit
from aioquic.quic.events import QuicEvent, StreamDataReceived
from aioquic.quic.packet import QuicFrameType, QuicStreamFrame
from aioquic.quic.stream import FinalSizeError, QuicStream

from connet_trio.quic.fast.frames import Acknowledged, Feedback, StreamHeader, read_feedback, read_stream_header
from connet_trio.quic.limits import STREAM_GAPS

FEEDBACK_TYPES = frozenset({QuicFrameType.ACK, QuicFrameType.MAX_DATA, QuicFrameType.MAX_STREAM_DATA})
UNIDIRECTIONAL_BIT = 2


class Reception:
    """Takes the payloads of packets whose numbers are new and ascending, for as long as they are plain.

    Plain is what holds acknowledgements and credit, one STREAM frame on a stream we have, within its credit, or both in
    this order.
    """

    def __init__(
        self,
        *,
        streams: dict[int, QuicStream],
        limit: Limit,
        events: deque[QuicEvent],
        take_feedback: Callable[[list[Feedback]], bool],
    ) -> None:
        """`limit` is the connection's credit; `take_feedback` applies what was acknowledged or granted, or nothing."""
        self._streams = streams
        self._limit = limit
        self._events = events
        self._take_feedback = take_feedback
        self._assembly: Assembly | None = None
        self.silent = 0
        """How many of the packets ask for no acknowledgement."""

    def take_all(self, payloads: Generator[bytes, None, None]) -> None:
        """Take what comes, and close `payloads` at the first that is not plain, of which nothing is then done."""
        payload = next(payloads, None)
        while payload is not None:
            if not self._take(payload):
                payloads.close()
                break
            payload = next(payloads, None) if self._assembly is None else self._assembly.append_alike(payloads)
        self._finish_assembly()

    def _take(self, payload: bytes) -> bool:
        if payload and payload[0] in FEEDBACK_TYPES:
            return self._take_feedback_and_stream(payload)
        header = read_stream_header(payload)
        return header is not None and self._take_stream_frame(payload, header)

    def _take_feedback_and_stream(self, payload: bytes) -> bool:
        feedback, size = read_feedback(payload)
        frame = payload[size:]
        header = read_stream_header(frame)
        if not feedback or (frame and (header is None or header.stream_id not in self._streams)):
            return False
        self._finish_assembly()  # what an acknowledgement reports comes after the bytes before it
        if not self._take_feedback(feedback):
            return False
        if header is not None:
            # should stock code have to take the packet after all, it finds nothing new in what has been applied
            return self._take_stream_frame(frame, header)
        self.silent += all(isinstance(one, Acknowledged) for one in feedback)
        return True

    def _take_stream_frame(self, payload: bytes, header: StreamHeader) -> bool:
        stream = self._streams.get(header.stream_id)
        if stream is None or header.stream_id & UNIDIRECTIONAL_BIT:
            return False
        if self._assembly is None or self._assembly.stream is not stream:
            self._finish_assembly()
            if is_in_order(stream):
                self._assembly = Assembly(stream, header.stream_id, self._limit)
        assembly = self._assembly
        if assembly is not None and header.offset == assembly.end and not header.fin and len(payload) > header.size:
            return assembly.append(payload, header)
        self._finish_assembly()
        return self._give_to_receiver(stream, payload, header)

    def _give_to_receiver(self, stream: QuicStream, payload: bytes, header: StreamHeader) -> bool:
        """Bytes out of order, or with an end: stock code puts them where they belong."""
        end = header.offset + len(payload) - header.size
        new = max(0, end - stream.receiver.highest_offset)
        if end > stream.max_stream_data_local or self._limit.used + new > self._limit.value:
            return False
        if len(stream.receiver._ranges) > STREAM_GAPS:
            return False
        frame = QuicStreamFrame(data=payload[header.size :], fin=header.fin, offset=header.offset)
        try:
            event = stream.receiver.handle_frame(frame)
        except FinalSizeError:  # raised before anything is changed
            return False
        self._limit.used += new
        if event is not None:
            self._events.append(event)
        return True

    def _finish_assembly(self) -> None:
        if self._assembly is not None:
            self._assembly.finish(self._events)
            self._assembly = None


class Assembly:
    """Bytes of one stream that come in order, until they become one event."""

    def __init__(self, stream: QuicStream, stream_id: int, limit: Limit) -> None:
        """`limit` is the connection's credit, which nothing else may use before `finish`."""
        receiver = stream.receiver
        self.stream = stream
        self._id = stream_id
        self.end = receiver.starting_offset()
        """Offset of the next byte."""
        self._limit = limit
        self._bound = min(stream.max_stream_data_local, receiver.highest_offset + limit.value - limit.used)
        self._parts: list[bytes] = []
        # what the header of the next packet is, if that is like the last one
        self._packet_bytes = -1
        self._header_bytes = self._header = self._header_step = self._step = self._alike_bound = 0

    def append_alike(self, payloads: Iterator[bytes]) -> bytes | None:
        """Take packets just like the last one but for the offset, where each goes on after the one before.

        Returns the first that is none, or None when there are no more.
        """
        packet_bytes, header_bytes, header = self._packet_bytes, self._header_bytes, self._header
        step, header_step, end, bound = self._step, self._header_step, self.end, self._alike_bound
        append, from_bytes = self._parts.append, int.from_bytes
        unlike = None
        for payload in payloads:
            if (
                len(payload) != packet_bytes
                or from_bytes(payload[:header_bytes], "big") != header
                or end + step > bound
            ):
                unlike = payload
                break
            append(payload[header_bytes:])
            end += step
            header += header_step
        self._header, self.end = header, end
        return unlike

    def append(self, payload: bytes, header: StreamHeader) -> bool:
        """Take a packet with bytes from `end` on; False if there is no credit for them."""
        step = len(payload) - header.size
        if self.end + step > self._bound:
            return False
        self._parts.append(payload[header.size :])
        self.end += step
        self._packet_bytes = len(payload) if header.offset_bytes else -1
        self._header_bytes, self._step = header.size, step
        # as one number, the next header is this one plus the length, until the offset needs more bytes
        self._header_step = step << 8 * header.length_bytes
        self._header = int.from_bytes(payload[: header.size], "big") + self._header_step
        self._alike_bound = min(self._bound, 1 << max(8 * header.offset_bytes - 2, 0))
        return True

    def finish(self, events: deque[QuicEvent]) -> None:
        """Tell stream, connection and application."""
        if self._parts:
            receiver: Any = self.stream.receiver
            self._limit.used += self.end - receiver.highest_offset
            receiver.highest_offset = receiver._buffer_start = self.end
            events.append(StreamDataReceived(data=b"".join(self._parts), end_stream=False, stream_id=self._id))


def is_in_order(stream: QuicStream) -> bool:
    """Whether the next byte to come is the first one that is missing, so that nothing waits behind it."""
    receiver = stream.receiver
    return not receiver.is_finished and receiver._final_size is None and not receiver._buffer
