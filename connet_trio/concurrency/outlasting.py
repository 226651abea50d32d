"""Tasks that others need until their very last word."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio


@asynccontextmanager
async def outlasting(run: Callable[..., Awaitable[Any]]) -> AsyncIterator[Any]:
    """Run `run(task_status=…)` for the length of a block, whose goodbyes may need it; yields what it started with.

    A cancellation from outside ends the block at once, but the task only when the block has been left: what is
    cancelled there may still send a bounded goodbye through it. Until it has started, the task is cancelled like any.
    """
    scope = trio.CancelScope()

    async def run_in_scope(*, task_status: trio.TaskStatus[Any]) -> None:
        with scope:
            await run(task_status=task_status)

    async with trio.open_nursery() as nursery:
        started = await nursery.start(run_in_scope)
        scope.shield = True
        try:
            yield started
        finally:
            scope.cancel()
