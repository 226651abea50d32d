import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from connet_trio.cli.service import run_service
from connet_trio.cli.service_manager import STATUS_SECONDS, ServiceManager, open_service_manager
from connet_trio.records.status import ClientStatus, ServiceStatus, Status

PID = 77


class Receiver:
    """The other end, as systemd has it."""

    def __init__(self, address: str | bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def received(self) -> list[list[str]]:
        """The lines of each message since the last call."""
        messages: list[list[str]] = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(str(tmp_path / "notify"))
    with made.socket:
        yield made


@pytest.fixture
def environment(tmp_path: Path, receiver: Receiver) -> dict[str, str]:
    """What systemd sets, with a watchdog."""
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID)}


def test_each_state_is_a_message(environment: dict[str, str], receiver: Receiver) -> None:
    with open_service_manager(environment, PID) as manager:
        assert manager.is_there
        manager.tell_starting()
        manager.tell_ready("connected")
        manager.tell_alive("one\nMAINPID=1")
        manager.tell_alive()
        manager.tell_stopping()
    assert receiver.received() == [
        ["STATUS=starting"],
        ["READY=1", "STATUS=connected"],
        ["WATCHDOG=1", "STATUS=one\\nMAINPID=1"],
        ["WATCHDOG=1"],
        ["STOPPING=1", "STATUS=stopping"],
    ]


def test_an_abstract_socket_is_reached() -> None:
    name = f"connet-trio-test-{os.getpid()}"
    receiver = Receiver(f"\0{name}")
    with receiver.socket, open_service_manager({"NOTIFY_SOCKET": f"@{name}"}, PID) as manager:
        manager.tell_ready("x")
        manager.tell_alive()  # nothing to say: nobody watches, and nothing is new
        assert receiver.received() == [["READY=1", "STATUS=x"]]


def test_without_a_socket_nobody_is_told_and_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    with open_service_manager({"WATCHDOG_USEC": "1"}, PID) as manager:
        assert not manager.is_there
        manager.tell_ready("x")


@pytest.mark.parametrize(
    ("changes", "seconds", "pause"),
    [
        ({}, 3.0, 1.5),
        ({"WATCHDOG_PID": ""}, None, STATUS_SECONDS),
        ({"WATCHDOG_PID": "78"}, None, STATUS_SECONDS),
        ({"WATCHDOG_USEC": ""}, None, STATUS_SECONDS),
        ({"WATCHDOG_USEC": "600000000"}, 600.0, STATUS_SECONDS),
    ],
)
def test_the_watchdog_is_that_of_this_process(
    changes: dict[str, str], seconds: float | None, pause: float, environment: dict[str, str]
) -> None:
    with open_service_manager({**environment, **changes}, PID) as manager:
        assert (manager.watchdog_seconds, manager.pause_seconds) == (seconds, pause)


def test_a_watchdog_that_names_no_process_is_ours(environment: dict[str, str]) -> None:
    del environment["WATCHDOG_PID"]
    with open_service_manager(environment, PID) as manager:
        assert manager.watchdog_seconds == 3.0


@pytest.mark.parametrize("written", ["-1", "soon", "0", "²"])
def test_a_watchdog_without_a_time_is_a_warning(
    written: str, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with open_service_manager({**environment, "WATCHDOG_USEC": written}, PID) as manager:
        assert manager.watchdog_seconds is None
    (record,) = caplog.records
    assert record.getMessage().startswith(f"WATCHDOG_USEC={written} is no number")


@pytest.mark.parametrize("place", ["vsock:2:1", "notify"])
def test_a_socket_of_another_kind_is_a_warning(place: str, caplog: pytest.LogCaptureFixture) -> None:
    with open_service_manager({"NOTIFY_SOCKET": place}, PID) as manager:
        assert not manager.is_there
    (record,) = caplog.records
    assert record.getMessage() == f"NOTIFY_SOCKET={place} is not supported, expected a path or @name; " + (
        "nobody is told anything"
    )


def test_a_manager_that_is_gone_is_told_about_once(
    environment: dict[str, str], receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_service_manager(environment, PID) as manager:
        receiver.socket.close()
        manager.tell_alive()
        manager.tell_alive()
        (tmp_path / "notify").unlink()
        back = Receiver(str(tmp_path / "notify"))
        with back.socket:
            manager.tell_alive()
            assert back.received() == [["WATCHDOG=1"]]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_manager_that_reads_nothing_does_not_hold_the_service_up(
    environment: dict[str, str], receiver: Receiver
) -> None:
    with open_service_manager(environment, PID) as manager:
        for _ in range(2000):
            manager.tell_alive()
    assert 0 < len(receiver.received()) < 2000


class FakeService:
    """Drains when told to."""

    warnings = ()

    def __init__(self) -> None:
        self.drained = trio.Event()
        self.state = Status.CONNECTED
        self.fails = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator["FakeService"]:
        yield self

    def status(self) -> ServiceStatus:
        if self.fails:
            raise ValueError("no status today")
        return ClientStatus(status=self.state)

    async def drain(self) -> None:
        await self.drained.wait()


async def test_a_service_tells_how_it_is_from_its_start_to_its_end(
    environment: dict[str, str],
    receiver: Receiver,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = FakeService()
    with open_service_manager(environment, PID) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_service, "fake", service.open(), None, manager)
            await trio.testing.wait_all_tasks_blocked()
            assert receiver.received() == [["STATUS=starting"], ["READY=1", "STATUS=connected"]]
            await trio.sleep(1.6)
            assert receiver.received() == [["WATCHDOG=1", "STATUS=connected"]]
            service.state = Status.RECONNECTING
            await trio.sleep(1.5)
            assert receiver.received() == [["WATCHDOG=1", "STATUS=reconnecting"]]
            service.fails = True
            await trio.sleep(1.5)
            assert receiver.received() == [["WATCHDOG=1"]]
            assert [record.getMessage() for record in caplog.records] == ["status line failed"]
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert receiver.received() == [["STOPPING=1", "STATUS=stopping"]]
            await trio.sleep(1.5)
            assert receiver.received() == [["WATCHDOG=1"]]
            service.drained.set()
    assert receiver.received() == []


async def test_a_start_that_is_cut_short_is_told_as_a_stop(environment: dict[str, str], receiver: Receiver) -> None:
    @asynccontextmanager
    async def never_up() -> AsyncIterator[FakeService]:
        await trio.sleep_forever()
        yield FakeService()

    with open_service_manager(environment, PID) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_service, "fake", never_up(), None, manager)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGTERM)
    assert receiver.received() == [["STATUS=starting"], ["STOPPING=1", "STATUS=stopping"]]


async def test_without_a_manager_a_service_has_no_task_for_it(autojump_clock: trio.testing.MockClock) -> None:
    service = FakeService()
    service.fails = True  # which nobody sees
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_service, "fake", service.open(), None, ServiceManager())
        await trio.sleep(100)
        service.drained.set()
        os.kill(os.getpid(), signal.SIGTERM)
