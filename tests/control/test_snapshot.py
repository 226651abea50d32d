"""How what is known gets into the store (protocol section 14)."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connet_trio.concurrency import Watched
from connet_trio.control import open_control
from connet_trio.control.snapshot import SNAPSHOT, Snapshot, SnapshotKeeper
from connet_trio.errors import StoreError
from connet_trio.store import open_store, run_inline


async def test_what_could_not_be_saved_is_saved_when_the_store_can_be_written_again(
    autojump_clock: MockClock,
) -> None:
    full, saves = True, 0

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal saves
        if function.__name__ != "put_made":
            return await run_inline(function, *args)
        if full:
            await trio.lowlevel.checkpoint()
            raise StoreError("cannot write memory: disk full")
        saves += 1
        return await run_inline(function, *args)

    revision = Watched(0)
    async with open_store(None, run_sync=run) as store, trio.open_nursery() as nursery:
        keeper = SnapshotKeeper(store, Snapshot, revision)
        nursery.start_soon(keeper.run)
        revision.set(1)
        await trio.sleep(5)
        assert keeper.last_error == "cannot write memory: disk full"
        full = False
        await trio.sleep(5)
        assert (keeper.last_error, saves) == ("", 1)
        nursery.cancel_scope.cancel()


async def test_a_snapshot_is_encoded_where_the_store_runs(
    lab: Any, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_store = False
    encoded_in_store: list[bool] = []

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal in_store
        await trio.lowlevel.checkpoint()
        in_store = True
        try:
            return function(*args)
        finally:
            in_store = False

    def encode(snapshot: Snapshot) -> bytes:
        encoded_in_store.append(in_store)
        return b""

    monkeypatch.setattr(SNAPSHOT, "encode", encode)
    async with open_control(lab.settings(), surroundings=lab.surroundings(store_runner=run)):
        client = await lab.client()
        await (await client.ask(lab.announce())).receive()
        await trio.sleep(2)
    assert encoded_in_store == [True]
