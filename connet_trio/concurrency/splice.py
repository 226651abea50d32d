"""The one copy loop: joins two byte streams until both directions have ended.

Each direction is on its own. An end is passed on as an end, an abandoned sender as `reset`, an abandoned receiver as
`stop`, with its code, and at once: a direction that carries nothing notices too, and so does one that is held back,
whose chunk in hand is then dropped. Backpressure is the sender's wait; at most one chunk of `receive_some` is held in
each direction.
"""

from collections.abc import Callable

import trio

from connet_trio.concurrency.byte_stream import AbortableStream, StreamBroken

Count = Callable[[int], None]


def ignore_count(count: int) -> None:
    """For those who do not count bytes."""


async def splice(
    left: AbortableStream, right: AbortableStream, *, to_right: Count = ignore_count, to_left: Count = ignore_count
) -> None:
    """Carry bytes both ways; returns when both directions have ended. Closes neither stream.

    Args:
      to_right: told the size of each chunk that `right` has accepted; `to_left` likewise.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_copy, left, right, to_right)
        nursery.start_soon(_copy, right, left, to_left)


async def _copy(source: AbortableStream, sink: AbortableStream, count: Count) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_source, source, sink, nursery.cancel_scope)
        nursery.start_soon(_watch_sink, source, sink, nursery.cancel_scope)
        await _carry(source, sink, count)
        nursery.cancel_scope.cancel()


async def _carry(source: AbortableStream, sink: AbortableStream, count: Count) -> None:
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
