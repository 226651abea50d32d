"""Packets with one frame, or a few kinds of them, as values: what the fast path reads."""

from typing import NamedTuple

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.packet import QuicFrameType, pull_ack_frame
from aioquic.quic.rangeset import RangeSet

from connet_trio.quic.limits import ACK_RANGES

MOST_FRAMES = 16
"""Before another acknowledgement in one packet; where there are more, stock code counts them."""
# as plain numbers: to look one up in its enumeration costs as much as to read the frame
ACK, MAX_DATA, MAX_STREAM_DATA = int(QuicFrameType.ACK), int(QuicFrameType.MAX_DATA), int(QuicFrameType.MAX_STREAM_DATA)
STREAM, STREAM_MASK = int(QuicFrameType.STREAM_BASE), 0xF8
FIN_BIT, LENGTH_BIT, OFFSET_BIT = 1, 2, 4


class StreamHeader(NamedTuple):
    """The header of a STREAM frame that is all there is in its packet."""

    stream_id: int
    offset: int
    fin: bool
    size: int
    """Bytes of the header; what follows are the frame's."""
    offset_bytes: int
    """Width of the offset, 0 if there is none."""
    length_bytes: int
    """Width of the length behind it, 0 if there is none: the frame ends with its packet anyway."""


class Acknowledged(NamedTuple):
    """An ACK frame; the delay is still to be scaled."""

    numbers: RangeSet
    delay: int


class DataAllowed(NamedTuple):
    """A MAX_DATA frame."""

    limit: int


class StreamDataAllowed(NamedTuple):
    """A MAX_STREAM_DATA frame."""

    stream_id: int
    limit: int


Feedback = Acknowledged | DataAllowed | StreamDataAllowed


def read_stream_header(payload: bytes) -> StreamHeader | None:
    """The header, if the payload is one whole STREAM frame; None if it is anything else, or malformed."""
    if not payload or payload[0] & STREAM_MASK != STREAM:
        return None
    kind = payload[0]
    buffer = Buffer(data=payload)
    try:
        buffer.pull_uint8()
        stream_id, offset, offset_bytes, length_bytes = buffer.pull_uint_var(), 0, 0, 0
        if kind & OFFSET_BIT:
            at = buffer.tell()
            offset = buffer.pull_uint_var()
            offset_bytes = buffer.tell() - at
        if kind & LENGTH_BIT:
            at = buffer.tell()
            length = buffer.pull_uint_var()
            length_bytes = buffer.tell() - at
            if length != len(payload) - buffer.tell():
                return None
    except ValueError:  # it ends too early
        return None
    return StreamHeader(stream_id, offset, bool(kind & FIN_BIT), buffer.tell(), offset_bytes, length_bytes)


def _has_few_ranges(buffer: Buffer) -> bool:
    """Whether the acknowledgement that follows is no longer than anybody's."""
    at = buffer.tell()
    buffer.pull_uint_var()
    buffer.pull_uint_var()
    ranges = buffer.pull_uint_var()
    buffer.seek(at)
    return bool(ranges <= ACK_RANGES)


def read_feedback(payload: bytes) -> tuple[list[Feedback], int]:
    """The acknowledgements and credit that a packet begins with, and their bytes; none and 0 if malformed."""
    buffer = Buffer(data=payload)
    found: list[Feedback] = []
    size, end = 0, len(payload)
    try:
        while size < end:
            kind = buffer.pull_uint_var()
            if kind == ACK and len(found) < MOST_FRAMES and _has_few_ranges(buffer):
                found.append(Acknowledged(*pull_ack_frame(buffer)))
            elif kind == MAX_DATA:
                found.append(DataAllowed(buffer.pull_uint_var()))
            elif kind == MAX_STREAM_DATA:
                found.append(StreamDataAllowed(buffer.pull_uint_var(), buffer.pull_uint_var()))
            else:
                break
            size = buffer.tell()
    except ValueError:
        return [], 0
    return found, size
