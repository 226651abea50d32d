"""A task that outlasts the block it serves."""

import pytest
import trio
from trio.testing import MockClock

from connet_trio.concurrency import outlasting, single_error


class Pump:
    """Carries words while it runs."""

    def __init__(self) -> None:
        self.carried: list[str] = []
        self.running = False

    async def run(self, *, task_status: trio.TaskStatus[str]) -> None:
        self.running = True
        try:
            task_status.started("ready")
            await trio.sleep_forever()
        finally:
            self.running = False

    async def carry(self, word: str) -> None:
        await trio.sleep(0.1)
        if self.running:
            self.carried.append(word)


async def test_a_goodbye_of_a_cancelled_block_is_carried(autojump_clock: MockClock) -> None:
    pump = Pump()
    with trio.move_on_after(1):
        async with outlasting(pump.run) as started:
            assert started == "ready"
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(0.5, shield=True):
                    await pump.carry("goodbye")
    assert pump.carried == ["goodbye"]
    assert not pump.running


async def test_the_task_ends_with_the_block(autojump_clock: MockClock) -> None:
    pump = Pump()
    async with outlasting(pump.run):
        assert pump.running
    assert not pump.running


async def test_a_start_that_is_cancelled_ends(autojump_clock: MockClock) -> None:
    async def never(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        async with outlasting(never):
            pytest.fail("started")
    assert scope.cancelled_caught


async def test_a_task_that_fails_ends_the_block(autojump_clock: MockClock) -> None:
    async def fail(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), single_error():
        async with outlasting(fail):
            await trio.sleep_forever()
