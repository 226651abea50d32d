"""How a soak is judged, by hand; `tests/processes/test_processes_soak.py` has a short one."""

from pathlib import Path

import attrs
import pytest
import trio

from connet_trio.testing.counted_tasks import TaskCounter, read_count
from connet_trio.testing.soak import HOUR, MIB, Look, Sample, complaints, format_look, slope

SAMPLE = Sample(resident=70 * MIB, files=12, tasks=30, connections=3)


def looks(sizes: list[float], *, interval: float = 10.0, **changed: int) -> list[Look]:
    """Looks at one process of these sizes in MiB; at the last one something may be `changed`."""
    made = []
    for number, size in enumerate(sizes, 1):
        sample = attrs.evolve(SAMPLE, resident=round(size * MIB))
        if number == len(sizes):
            sample = attrs.evolve(sample, **changed)
        made.append(Look(seconds=number * interval, served=number, samples={"relay": sample}))
    return made


def test_a_run_that_gives_everything_back_is_good() -> None:
    assert complaints(looks([70, 75, 76, 76.5])) == []


def test_memory_may_grow_in_the_first_half_only() -> None:
    assert complaints(looks([60, 70, 75, 77.5])) == ["relay has grown by 2.5 MiB in the second half, at most 2"]


@pytest.mark.parametrize("what", ["files", "tasks", "connections"])
@pytest.mark.parametrize("difference", [-1, 1])
def test_whatever_else_there_is_must_be_as_many_as_after_the_warm_up(what: str, difference: int) -> None:
    (complaint,) = complaints(looks([70, 70], **{what: getattr(SAMPLE, what) + difference}))
    assert "after the warm-up 12, 30, 3" in complaint


def test_in_hours_it_is_the_slope_that_counts() -> None:
    steady, leaking = [70 + 0.9 * hour for hour in range(10)], [70 + 1.1 * hour for hour in range(10)]
    assert complaints(looks(steady, interval=HOUR)) == []
    assert complaints(looks(leaking, interval=HOUR)) == ["relay grows by 1.10 MiB an hour, at most 1"]


def test_the_slope_is_that_of_the_line_that_fits_best() -> None:
    assert slope(looks([70, 72, 71, 73], interval=HOUR), "relay") == pytest.approx(0.8 * MIB)
    assert slope(looks([70]), "relay") == 0


def test_a_look_is_a_line() -> None:
    (look,) = looks([70])
    sample = "70.0 MiB, 12 files, 30 tasks, 3 connections"
    assert format_look(look) == f"     10 s         1 connections  relay {sample}"


def test_tasks_are_counted_as_they_come_and_go(tmp_path: Path) -> None:
    async def count() -> list[int]:
        counts = [read_count(file)]
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.sleep_forever)
            counts.append(read_count(file))
            nursery.cancel_scope.cancel()
        return [*counts, read_count(file)]

    file = tmp_path / "tasks"
    before, during, after = trio.run(count, instruments=[TaskCounter(file)])
    assert during == before + 3
    assert after == before
    assert read_count(file) == 0
