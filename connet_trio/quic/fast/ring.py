"""The unacknowledged bytes of a stream, in a buffer that never moves them."""

from typing import Any

SMALLEST_CAPACITY = 1 << 12
KEPT_CAPACITY = 1 << 14
"""What an empty ring keeps; more is given back, or each stream that was ever busy would hold a megabyte."""


class Ring:
    """Takes the place of the bytearray in aioquic's `QuicStreamSender`, and does the three things it does with it.

    That one is trimmed in front with each acknowledgement and appended to behind: with a megabyte in it, every append
    may move all of it. Here a byte stays where it was written until it is dropped; indices count from the oldest.
    """

    __slots__ = ("_bytes", "_capacity", "_length", "_oldest", "_view")

    def __init__(self) -> None:
        self._oldest = self._length = 0
        self._allocate(0)

    def __len__(self) -> int:
        return self._length

    def __iadd__(self, data: Any) -> "Ring":
        """Append a bytes-like object."""
        count = len(data)
        if self._length + count > self._capacity:
            self._grow(self._length + count)
        start = (self._oldest + self._length) % self._capacity if count else 0
        behind = self._capacity - start
        if count <= behind:
            self._bytes[start : start + count] = data
        else:
            self._bytes[start:] = data[:behind]
            self._bytes[: count - behind] = data[behind:]
        self._length += count
        return self

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._length)
        return bytes(self.view(start, max(stop, start)))

    def __delitem__(self, part: slice) -> None:
        """Drop the oldest bytes; nothing else can be dropped."""
        start, count, _ = part.indices(self._length)
        assert start == 0
        self._length -= count
        if self._length:
            self._oldest = (self._oldest + count) % self._capacity
        else:
            self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._oldest = self._length = 0
        if self._capacity > KEPT_CAPACITY:
            self._allocate(0)

    def view(self, start: int, stop: int) -> memoryview | bytes:
        """The bytes from `start` to `stop`, which exist; copied only where the buffer's end is between them."""
        if stop <= start:
            return b""
        first = (self._oldest + start) % self._capacity
        last = first + stop - start
        if last <= self._capacity:
            return self._view[first:last]
        return b"".join((self._view[first:], self._view[: last - self._capacity]))

    def _grow(self, needed: int) -> None:
        kept = self.view(0, self._length)
        self._allocate(max(SMALLEST_CAPACITY, 1 << (needed - 1).bit_length()))
        self._bytes[: len(kept)] = kept

    def _allocate(self, capacity: int) -> None:
        self._bytes = bytearray(capacity)
        self._view = memoryview(self._bytes)
        self._capacity = capacity
        self._oldest = 0
