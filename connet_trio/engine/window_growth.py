"""How much unread data each stream of a connection may have: more where that is what holds it back.

A stream begins with the first window. One whose reader takes a window's worth in less than `FAST_ROUND_TRIPS` round
trips is held back by its window, or soon would be, and gets twice as much: a window of two round trips' worth keeps a
sender busy while credit is under way. It is reading that counts, not arrival, so who does not read gains nothing.

What all streams have beyond their first window is bounded as a whole. A stream that has grown may stall like any
other, and what it then holds is missing from the window of the connection.
"""

import attrs

FAST_ROUND_TRIPS = 2


@attrs.define
class _Growing:
    window: int
    since: float
    """When the current window's worth began to be read."""
    read_before: int
    """What had been read by then."""


class WindowGrowth:
    """The windows of the streams of one connection, in bytes."""

    def __init__(self, *, first: int, largest: int, spare: int) -> None:
        """Give each stream `first` bytes, none more than `largest`, all together at most `spare` above the first."""
        self._first, self._largest, self._spare = first, largest, spare
        self._streams: dict[int, _Growing] = {}

    @property
    def spare(self) -> int:
        """What is left to grow by."""
        return self._spare

    def window_of(self, stream_id: int) -> int:
        """Bytes that the peer may send on a stream beyond what has been read of it."""
        growing = self._streams.get(stream_id)
        return self._first if growing is None else growing.window

    def handle_read(self, stream_id: int, read: int, *, now: float, round_trip: float) -> int:
        """So much has been read of a stream in all; returns its window.

        Args:
          now: seconds, monotonic.
          round_trip: seconds.
        """
        growing = self._streams.get(stream_id)
        if growing is None:
            growing = self._streams[stream_id] = _Growing(self._first, now, read)
        elif read - growing.read_before >= growing.window:
            if now - growing.since < FAST_ROUND_TRIPS * round_trip:
                self._grow(growing)
            growing.since, growing.read_before = now, read
        return growing.window

    def forget(self, stream_id: int) -> None:
        """Nothing more comes on a stream."""
        growing = self._streams.pop(stream_id, None)
        if growing is not None:
            self._spare += growing.window - self._first

    def _grow(self, growing: _Growing) -> None:
        more = min(growing.window, self._largest - growing.window, self._spare)
        growing.window += more
        self._spare -= more
