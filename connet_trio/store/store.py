"""The store as services see it: keys to bytes, never blocking the trio thread."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from connet_trio.store.database import Database, open_database

Runner = Callable[..., Awaitable[Any]]
"""Runs a blocking function with its arguments, one at a time, and returns its result; never abandons it half way."""


class Store:
    """Keys to bytes; a value is on the disk when the call that keeps it returns."""

    def __init__(self, database: Database, warnings: tuple[str, ...], run_sync: Runner) -> None:
        self._database = database
        self._run_sync = run_sync
        self.warnings = warnings
        """What the operator should know about the state directory, a sentence each, for the log of who opened it."""

    @property
    def place(self) -> str:
        """The path of the database, or `memory`; for messages."""
        return self._database.place

    async def get(self, key: str) -> bytes | None:
        """The value of `key`, None without one.

        Raises:
          StoreError: the database cannot be read.
        """
        value: bytes | None = await self._run_sync(self._database.get, key)
        return value

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`, replacing what was there.

        Raises:
          StoreError: the database cannot be written (read-only, disk full); the old value is still there.
        """
        await self._run_sync(self._database.put, key, value)

    async def put_made(self, key: str, make: Callable[[], bytes]) -> None:
        """`put` a value that takes long to make: `make` is called in the thread, and its exceptions come out.

        Raises:
          StoreError: as `put`.
        """

        def put_made() -> None:
            self._database.put(key, make())

        await self._run_sync(put_made)

    async def setdefault(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The value of `key`; without one, `make` is called, here and not in the thread, and its result kept.

        Whoever asks gets the same bytes, even if several tasks or processes ask at once.

        Raises:
          StoreError: the database cannot be read or written.
        """
        value = await self.get(key)
        if value is None:
            value = await self._run_sync(self._database.insert_or_get, key, make())
        return value


async def run_inline(function: Callable[..., Any], *args: Any) -> Any:
    """A `Runner` for simulations: in the calling thread, since virtual time would race with another one."""
    await trio.lowlevel.checkpoint()
    return function(*args)


@asynccontextmanager
async def open_store(directory: Path | None, *, run_sync: Runner | None = None) -> AsyncIterator[Store]:
    """Open the store in `directory` for the length of a block; None keeps everything in memory.

    The directory is created 0700 and the database in it 0600, under any umask. A damaged database is moved aside and a
    fresh one started: `Store.warnings` says so.

    Args:
      run_sync: where blocking calls run; a worker thread, one call at a time, unless given.

    Raises:
      StoreError: the directory cannot be used, or a newer release wrote the database; the text says what to do.
    """
    if run_sync is None:
        run_sync = partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(1))
    database, warnings = await run_sync(open_database, directory)
    try:
        yield Store(database, warnings, run_sync)
    finally:
        with trio.CancelScope(shield=True):  # bounded: SQLite waits for no other process to close
            await run_sync(database.close)
