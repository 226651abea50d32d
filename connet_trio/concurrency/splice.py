"""The one copy loop: joins two byte streams until both directions have ended.

Each direction is on its own. An end is passed on as an end, an abandoned sender as `reset`, an abandoned receiver as
`stop`, with its code, and at once: a direction that carries nothing notices too, and so does one that is held back,
whose chunk in hand is then dropped. Backpressure is the sender's wait; at most one chunk of `receive_some` is held in
each direction. From one QUIC stream to another, bytes go over as they arrive, and no task is woken for them, for as
long as the sink has room.

Where an end may stand for a loss (`AbortableStream.ends_are_whole`), nobody may ever come to read what the other
direction carries: once one has ended there, the other is given up when it is held back for `PATIENCE_SECONDS`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from connet_trio.concurrency.byte_stream import AbortableStream, StreamBroken

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
    patience = _Patience(math.inf if left.ends_are_whole and right.ends_are_whole else PATIENCE_SECONDS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_copy, left, right, to_right, patience)
        nursery.start_soon(_copy, right, left, to_left, patience)


class _Patience:
    """How long one direction may be held back, which is for ever until the other has ended."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._one_ended = False
        self._sending: dict[trio.CancelScope, float] = {}  # and how long each may then take

    @contextmanager
    def bounded(self, size: int) -> Iterator[None]:
        """Around a wait for the other side to take `size` bytes; raises StreamBroken when patience is over."""
        seconds = self._seconds * max(1, size / PIECE_BYTES)
        with trio.CancelScope() as scope:
            self._sending[scope] = seconds
            if self._one_ended:
                scope.deadline = trio.current_time() + seconds
            try:
                yield
            finally:
                del self._sending[scope]
        if scope.cancelled_caught:
            raise StreamBroken(f"held back for {seconds:g} s after the other direction had ended")

    def handle_end(self) -> None:
        """One direction has ended."""
        self._one_ended = True
        for scope, seconds in self._sending.items():
            scope.deadline = trio.current_time() + seconds


async def _copy(source: AbortableStream, sink: AbortableStream, count: Count, patience: _Patience) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_source, source, sink, nursery.cancel_scope)
        nursery.start_soon(_watch_sink, source, sink, nursery.cancel_scope)

        def take(data: bytes) -> bool:
            taken = sink.send_nowait(data)
            if taken:
                count(len(data))
            return taken

        with source.handing_over(take):
            await _carry(source, sink, count, patience)
        nursery.cancel_scope.cancel()
    patience.handle_end()


async def _carry(source: AbortableStream, sink: AbortableStream, count: Count, patience: _Patience) -> None:
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
            with patience.bounded(len(data)):
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            source.stop(_code(exc))
            return
        count(len(data))


async def _watch_source(source: AbortableStream, sink: AbortableStream, copying: trio.CancelScope) -> None:
    sink.reset(await source.wait_reset())
    copying.cancel()


async def _watch_sink(source: AbortableStream, sink: AbortableStream, copying: trio.CancelScope) -> None:
    source.stop(await sink.wait_stopped())
    copying.cancel()


def _code(exc: BaseException) -> int:
    return exc.code if isinstance(exc, StreamBroken) else 0
