import pytest
import trio

from connet_trio.testing.clock import run_simulated


def order_of_tasks(seed: int | str) -> list[int]:
    async def scenario() -> list[int]:
        order: list[int] = []

        async def step(number: int) -> None:
            await trio.sleep(1)
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(step, number)
        return order

    return run_simulated(scenario, seed=seed)


def test_an_hour_passes_at_once_and_the_result_comes_back() -> None:
    async def sleep(seconds: float) -> float:
        await trio.sleep(seconds)
        return trio.current_time()

    assert run_simulated(sleep, 3600.0, seed=1) == 3600.0


def test_the_same_seed_runs_tasks_in_the_same_order() -> None:
    assert order_of_tasks(7) == order_of_tasks(7)
    assert order_of_tasks("words") == order_of_tasks("words")
    assert len({tuple(order_of_tasks(seed)) for seed in range(5)}) > 1


def test_the_scheduler_is_as_before_afterwards() -> None:
    scheduler = trio._core._run
    allowed, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()

    async def fail() -> None:
        assert scheduler._ALLOW_DETERMINISTIC_SCHEDULING
        raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        run_simulated(fail, seed=1)
    assert (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()) == (allowed, state)
