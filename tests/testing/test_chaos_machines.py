"""Machines of chaos runs: processes are started, stopped and killed; disks outlive them."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from connet_trio.errors import DialFailed, StoreError
from connet_trio.store import open_store
from connet_trio.testing.chaos.machines import Disk, Machine
from connet_trio.testing.chaos.processes import RESTART_SECONDS, Process, Up
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import open_network


class Clerk:
    """A service that does nothing."""

    def __init__(self) -> None:
        self.drained = False

    async def drain(self) -> None:
        self.drained = True
        await trio.sleep(1)


class Office:
    """One process, and what it did."""

    def __init__(self, machine: Machine, tasks: trio.Nursery) -> None:
        self.begun: list[float] = []
        self.ended: list[float] = []
        self.notes: list[str] = []
        self.failing = False
        self.process: Process[Clerk] = Process(machine, self._serve, tasks, self.notes.append)

    async def _serve(self, machine: Machine, up: Up[Clerk]) -> None:
        self.begun.append(trio.current_time())
        if self.failing:
            raise DialFailed("nobody there")
        try:
            await up(Clerk())
        finally:
            self.ended.append(trio.current_time())


def simulate(directory: Path, scenario: Callable[[Office], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_network(1) as network, trio.open_nursery() as tasks:
            await scenario(Office(Machine("box", network, network.host("192.0.2.1"), directory, seed=1), tasks))
            tasks.cancel_scope.cancel()

    run_simulated(run, seed=1)


def test_a_process_that_is_stopped_gets_time_and_one_that_is_killed_does_not(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        process = office.process
        process.start()
        process.start()  # it does run
        clerk = await process.running.wait_value(lambda service: service is not None)
        process.stop()
        await trio.sleep(2)
        assert clerk is not None
        assert clerk.drained
        assert (office.begun, office.ended) == ([0.0], [1.0])
        assert process.running.value is None
        process.start()
        await trio.sleep(1)
        process.kill()
        await trio.lowlevel.checkpoint()
        assert office.ended == [1.0, 3.0]
        process.kill()
        process.stop()
        assert office.notes == ["box starts", "box is stopped", "box starts", "box is killed"]

    simulate(tmp_path, scenario)


def test_a_process_that_fails_is_started_again(tmp_path: Path) -> None:
    async def scenario(office: Office) -> None:
        office.failing = True
        office.process.start()
        await trio.sleep(1)
        office.failing = False
        await office.process.running.wait_value(lambda service: service is not None)
        assert office.begun == [0.0, RESTART_SECONDS]
        assert office.notes == ["box starts", "box failed: nobody there"]

    simulate(tmp_path, scenario)


def test_what_a_killed_process_still_writes_is_on_no_disk(tmp_path: Path) -> None:
    async def scenario() -> list[bytes | None]:
        disk = Disk(tmp_path)
        async with open_store(disk.directory, run_sync=disk.runner()) as store:
            await store.put("before", b"kept")
            disk.keep_as_it_is()
            await store.put("after", b"lost")
        async with open_store(disk.directory, run_sync=disk.runner()) as store:
            return [await store.get("before"), await store.get("after")]

    assert run_simulated(scenario, seed=1) == [b"kept", None]


def test_a_disk_may_be_slow_or_full(tmp_path: Path) -> None:
    async def scenario() -> None:
        disk = Disk(tmp_path)
        async with open_store(disk.directory, run_sync=disk.runner()) as store:
            disk.delay = 2.0
            began = trio.current_time()
            async with trio.open_nursery() as nursery:  # one after the other
                nursery.start_soon(store.put, "key", b"value")
                nursery.start_soon(store.put, "key", b"value")
            assert trio.current_time() - began == 4.0
            disk.is_full = True
            with pytest.raises(StoreError, match="full"):
                await store.put("key", b"other")
            assert await store.get("key") == b"value"

    run_simulated(scenario, seed=1)


def test_a_machine_may_have_a_wrong_clock_and_gives_each_process_other_luck(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_network(1) as network:
            machine = Machine("box", network, network.host("192.0.2.1"), tmp_path, seed=1)
            first, second = machine.surroundings(), machine.surroundings()
            right = first.wall_clock()
            machine.clock_ahead = 60.0
            assert first.wall_clock() == second.wall_clock() == right + 60.0
            assert first.entropy(8) != second.entropy(8)
            assert machine.reset_key() == machine.reset_key()

    run_simulated(scenario, seed=1)
