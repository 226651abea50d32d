"""The one copy loop: joins two byte streams until both directions have ended.

Each direction is on its own. An end is passed on as an end, an abandoned sender as `reset`, an abandoned receiver as
`stop`, with its code, and at once: a direction that carries nothing notices too, and so does one that is held back,
whose chunk in hand is then dropped. Backpressure is the sender's wait; at most one chunk of `receive_some` is held in
each direction. From a QUIC stream, bytes go over as they arrive, and no task is woken for them, for as long as the sink
has room.

Where an end may stand for a loss (`AbortableStream.ends_are_whole`), nobody may ever come to read what is sent there:
once what comes from there has ended, the other direction is given up when it is held back for `PATIENCE_SECONDS`.

One task and one cancel scope for each direction: connections are many and short, and most of them carry two chunks.
"""

import math
from collections.abc import Callable

import trio

from connet_trio.concurrency.byte_stream import AbortableStream, StreamBroken, ignore_code

Count = Callable[[int], None]

PATIENCE_SECONDS = 20.0
"""As long as a connection may be silent before it is given up."""
PIECE_BYTES = 1 << 16
"""What a reader has to take within that time."""


def ignore_count(count: int) -> None:
    """For those who do not count bytes."""


async def splice(
    left: AbortableStream, right: AbortableStream, *, to_right: Count = ignore_count, to_left: Count = ignore_count
) -> None:
    """Carry bytes both ways; returns when both directions have ended. Closes neither stream.

    Args:
      to_right: told the size of each chunk that `right` has accepted; `to_left` likewise.
    """
    there, back = _Direction(left, right, to_right), _Direction(right, left, to_left)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(back.carry, there)
        await there.carry(back)


class _Direction:
    """What one stream says and the other hears."""

    def __init__(self, source: AbortableStream, sink: AbortableStream, count: Count) -> None:
        self._source, self._sink = source, sink
        self._count = count
        # it is an end of what the sink's other side says that raises the question whether it still listens
        self._patience = math.inf if sink.ends_are_whole else PATIENCE_SECONDS
        self._limit = math.inf  # seconds for each piece; that patience once the other direction has ended
        self._in_hand = 0
        self._scope = trio.CancelScope()
        self._reset_code: int | None = None
        self._stop_code: int | None = None

    async def carry(self, opposite: "_Direction") -> None:
        """Carry bytes until this direction has ended, and tell the opposite one."""
        self._source.on_reset(self._handle_reset)
        self._sink.on_stopped(self._handle_stopped)
        with self._scope, self._source.handing_over(self._take):
            await self._copy()
        self._source.on_reset(ignore_code)
        self._sink.on_stopped(ignore_code)
        if self._reset_code is not None:
            self._sink.reset(self._reset_code)
        elif self._scope.cancelled_caught:
            self._source.stop(self._stop_code or 0)
        opposite.handle_opposite_end()

    def handle_opposite_end(self) -> None:
        """The opposite direction has ended."""
        self._limit = self._patience
        if self._in_hand:
            self._bound_sending()

    def _handle_reset(self, code: int) -> None:
        self._reset_code = code
        self._scope.cancel()

    def _handle_stopped(self, code: int) -> None:
        self._stop_code = code
        self._scope.cancel()

    async def _copy(self) -> None:
        source, sink = self._source, self._sink
        while True:
            try:
                data = await source.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                sink.reset(_code(exc))
                return
            try:
                if not data:
                    await sink.send_eof()
                    return
                if self._patience == math.inf:
                    await sink.send_all(data)
                else:
                    await self._send_bounded(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                source.stop(_code(exc))
                return
            self._count(len(data))

    def _take(self, data: bytes) -> int:
        taken = self._sink.send_nowait(data)
        if taken:
            self._count(taken)
        return taken

    async def _send_bounded(self, data: bytes | bytearray) -> None:
        """Send `data`, bounding the wait; when it lapses, the scope of this direction is cancelled."""
        self._in_hand = len(data)
        self._bound_sending()
        try:
            await self._sink.send_all(data)
        finally:
            self._in_hand = 0
            self._scope.deadline = math.inf

    def _bound_sending(self) -> None:
        self._scope.deadline = trio.current_time() + self._limit * max(1, self._in_hand / PIECE_BYTES)


def _code(exc: BaseException) -> int:
    return exc.code if isinstance(exc, StreamBroken) else 0
