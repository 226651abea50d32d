"""What is running now, for those who drain."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from connet_trio.concurrency import Workload


def test_jobs_are_counted_while_they_run_and_after() -> None:
    workload = Workload()
    with workload.job():
        with workload.job():
            assert (workload.running, workload.finished) == (2, 0)
        assert (workload.running, workload.finished) == (1, 1)
    assert (workload.running, workload.finished) == (0, 2)


def test_a_job_that_fails_is_finished_too() -> None:
    workload = Workload()
    with pytest.raises(KeyError), workload.job():
        raise KeyError
    assert (workload.running, workload.finished) == (0, 1)


async def test_without_jobs_there_is_nothing_to_wait_for() -> None:
    workload = Workload()
    with trio.fail_after(0.1):
        await workload.wait_idle()
        with workload.job():
            pass
        await workload.wait_idle()


async def test_everybody_who_waits_goes_on_when_the_last_job_ends(nursery: trio.Nursery) -> None:
    workload = Workload()
    gone_on: list[int] = []

    async def wait(number: int) -> None:
        await workload.wait_idle()
        gone_on.append(number)

    with workload.job():
        with workload.job():
            nursery.start_soon(wait, 1)
            await wait_all_tasks_blocked()
            nursery.start_soon(wait, 2)
        await wait_all_tasks_blocked()
        assert gone_on == []
    await wait_all_tasks_blocked()
    assert sorted(gone_on) == [1, 2]


async def test_a_job_that_begins_as_the_last_one_ends_is_waited_for(nursery: trio.Nursery) -> None:
    workload = Workload()
    idle = trio.Event()

    async def wait() -> None:
        await workload.wait_idle()
        idle.set()

    with workload.job():
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
    with workload.job():
        await wait_all_tasks_blocked()
        assert not idle.is_set()
    await idle.wait()
