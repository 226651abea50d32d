"""A value whose readers see the latest only."""

import pytest
import trio
import trio.testing

from connet_trio.concurrency.watched import Watched


async def test_the_value_is_the_latest_one_set() -> None:
    watched = Watched(1)
    assert watched.value == 1
    watched.set(2)
    assert watched.value == 2


async def test_a_value_that_holds_already_is_returned_at_once() -> None:
    watched = Watched(5)
    with trio.testing.assert_checkpoints():
        assert await watched.wait_value(lambda value: value > 4) == 5


async def test_a_wait_ends_with_the_first_value_that_fulfils_it(nursery: trio.Nursery) -> None:
    watched = Watched(0)
    seen: list[int] = []

    async def wait() -> None:
        seen.append(await watched.wait_value(lambda value: value >= 2))

    nursery.start_soon(wait)
    for value in (1, 2, 3):
        await trio.testing.wait_all_tasks_blocked()
        watched.set(value)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [2]


async def test_a_transition_is_any_other_value_than_at_the_call(nursery: trio.Nursery) -> None:
    watched = Watched("up")
    seen: list[str] = []

    async def wait() -> None:
        seen.append(await watched.wait_transition())

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    watched.set("up")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == []
    watched.set("down")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["down"]


async def test_an_iteration_gives_the_value_there_is_and_then_each_later_one() -> None:
    watched: Watched[int | None] = Watched(None)
    seen: list[int | None] = []

    async def read() -> None:
        async for value in watched.changes():
            seen.append(value)
            assert len(seen) <= 3
            if value == 2:
                break

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for later in (1, 2):
            await trio.testing.wait_all_tasks_blocked()
            watched.set(later)
    assert seen == [None, 1, 2]


async def test_a_slow_reader_sees_the_latest_value_only() -> None:
    watched = Watched(0)
    changes = watched.changes()
    assert await anext(changes) == 0
    for value in (1, 2, 3):
        watched.set(value)
    assert await anext(changes) == 3


async def test_the_first_value_of_an_iteration_is_that_of_its_first_step() -> None:
    watched = Watched(0)
    changes = watched.changes()
    watched.set(1)
    assert await anext(changes) == 1


async def test_each_reader_has_its_own_place() -> None:
    watched = Watched(0)
    fast, slow = watched.changes(), watched.changes()
    assert await anext(fast) == 0
    watched.set(1)
    assert await anext(fast) == 1
    assert await anext(slow) == 1


async def test_setting_an_equal_value_wakes_nobody() -> None:
    watched = Watched([1])
    asked: list[list[int]] = []

    def is_two(value: list[int]) -> bool:
        asked.append(value)
        return value == [2]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.wait_value, is_two)
        for later in ([1], [2]):
            await trio.testing.wait_all_tasks_blocked()
            watched.set(later)
    assert asked == [[1], [2]]


async def test_a_value_that_changed_and_changed_back_is_no_news(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched(0)
    changes = watched.changes()
    await anext(changes)
    watched.set(1)
    watched.set(0)
    with trio.move_on_after(1) as scope:
        await anext(changes)
    assert scope.cancelled_caught


async def test_a_cancelled_wait_loses_no_value() -> None:
    watched = Watched(0)
    changes = watched.changes()
    assert await anext(changes) == 0
    with trio.CancelScope() as scope:
        scope.cancel()
        watched.set(1)
        await anext(changes)
    assert scope.cancelled_caught
    assert await anext(changes) == 1


async def test_every_reader_is_woken() -> None:
    watched = Watched(0)
    seen: list[int] = []

    async def read() -> None:
        seen.append(await watched.wait_transition())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        watched.set(7)
    assert seen == [7, 7, 7]


async def test_a_failing_predicate_reaches_its_caller_only() -> None:
    watched = Watched(0)
    with pytest.raises(ZeroDivisionError):
        await watched.wait_value(lambda value: 1 / value > 0)
    watched.set(1)
    assert await watched.wait_value(lambda value: 1 / value > 0) == 1
