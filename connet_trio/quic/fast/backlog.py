"""The unacknowledged bytes of a stream, in the pieces in which they were written."""

from bisect import bisect_right
from typing import Any

JOINED_BYTES = 1 << 12
"""Up to which pieces are joined, so that there are not many of them: one costs as much as copying so many bytes."""
WASTED_SHARE = 2
"""A part of bytes that are this many times as long is copied, or a few unacknowledged ones would keep all of them."""


class Backlog:
    """Takes the place of the bytearray in aioquic's `QuicStreamSender`, and does the three things it does with it.

    That one is trimmed in front with each acknowledgement and appended to behind: with a megabyte in it, every append
    may move all of it. Here bytes that cannot change are not even copied once. Indices count from the oldest byte.
    """

    __slots__ = ("_end", "_oldest", "_pieces", "_starts")

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._starts: list[int] = []  # of each piece, counted as the two below: from the first byte ever
        self._oldest = self._end = 0

    def __len__(self) -> int:
        return self._end - self._oldest

    def __iadd__(self, data: Any) -> "Backlog":
        """Append a bytes-like object."""
        count = len(data)
        if not count:
            return self
        if self._pieces and len(self._pieces[-1]) + count <= JOINED_BYTES:
            self._pieces[-1] = b"".join((self._pieces[-1], data))
        else:
            self._pieces.append(_lasting(data))
            self._starts.append(self._end)
        self._end += count
        return self

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        return bytes(self.view(start, max(stop, start)))

    def __delitem__(self, part: slice) -> None:
        """Drop the oldest bytes; nothing else can be dropped."""
        start, count, _ = part.indices(len(self))
        assert start == 0
        self._oldest += count
        over = bisect_right(self._starts, self._oldest) - 1 if self._oldest < self._end else len(self._pieces)
        if over > 0:
            del self._pieces[:over], self._starts[:over]

    def clear(self) -> None:
        """Drop everything."""
        del self[:]

    def view(self, start: int, stop: int) -> memoryview | bytes:
        """The bytes from `start` to `stop`, which exist; copied only where they were not written as one."""
        if stop <= start:
            return b""
        first, last = self._oldest + start, self._oldest + stop
        index = bisect_right(self._starts, first) - 1
        begin, piece = self._starts[index], self._pieces[index]
        if last <= begin + len(piece):
            return memoryview(piece)[first - begin : last - begin]
        parts = [memoryview(piece)[first - begin :]]
        while (begin := begin + len(piece)) < last:
            index += 1
            piece = self._pieces[index]
            parts.append(memoryview(piece)[: last - begin])
        return b"".join(parts)


def _lasting(data: Any) -> bytes | memoryview:
    """These bytes, in a form that nobody changes."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, memoryview) and isinstance(data.obj, bytes) and len(data) * WASTED_SHARE >= len(data.obj):
        return data
    return bytes(data)
