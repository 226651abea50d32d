import logging
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from connet_trio.cli import file_limit
from connet_trio.cli.file_limit import raise_file_limit
from connet_trio.cli.service import STOP_SIGNALS, run_service
from connet_trio.cli.service_command import ServiceKind, run_kind
from connet_trio.cli.store_place import settle_store
from connet_trio.cli.udp_buffers import open_udp_socket_with_advice
from connet_trio.config import Loaded
from connet_trio.errors import BindFailed, DialFailed
from connet_trio.quic.plain_socket import WANTED_BUFFER_BYTES
from connet_trio.records.model import HostPort
from connet_trio.records.status import ClientStatus, Status
from connet_trio.relay import RelaySettings

LOOPBACK = HostPort("127.0.0.1", 0)


class FakeService:
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.warnings = ("it is late",)
        self.up = trio.Event()
        self.done: list[str] = []
        self.fails = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator["FakeService"]:
        self.done.append("opened")
        try:
            yield self
        finally:
            self.done.append("left")

    def status(self) -> ClientStatus:
        if self.fails:
            raise ValueError("no status today")
        self.up.set()
        return ClientStatus(status=Status.CONNECTED)

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()
        self.done.append("drained")


async def ask(port: int) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n")
        return b"".join([data async for data in stream])


def status_port(caplog: pytest.LogCaptureFixture) -> int | None:
    """Where the status page is, once the log says so."""
    for record in caplog.records:
        if record.msg.startswith("status page"):
            return int(record.getMessage().rstrip("/").rpartition(":")[2])
    return None


@pytest.mark.parametrize("number", STOP_SIGNALS)
async def test_the_first_signal_drains_the_service_and_leaves_it(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "connet_trio")
    before = [signal.getsignal(stop_signal) for stop_signal in STOP_SIGNALS]
    service = FakeService()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_service, "fake", service.open(), None)
        await trio.testing.wait_all_tasks_blocked()
        assert service.done == ["opened"]
        os.kill(os.getpid(), number)
    assert service.done == ["opened", "drained", "left"]
    assert [signal.getsignal(stop_signal) for stop_signal in STOP_SIGNALS] == before
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "it is late",
        "fake is up",
        f"{number.name}: stopping; a second signal ends this process at once",
        "fake stopped",
    ]


async def test_a_signal_during_the_start_ends_it() -> None:
    left = False

    @asynccontextmanager
    async def never_up() -> AsyncIterator[FakeService]:
        nonlocal left
        try:
            await trio.sleep_forever()
            yield FakeService()
        finally:
            left = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_service, "fake", never_up(), None)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(os.getpid(), signal.SIGTERM)
    assert left


async def test_the_status_page_lives_as_long_as_the_service(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "connet_trio")
    service = FakeService()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_service, "fake", service.open(), LOOPBACK)
        await trio.testing.wait_all_tasks_blocked()
        port = status_port(caplog)
        assert port is not None
        assert b'"status": "connected"' in await ask(port)
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_status_page_that_fails_is_counted_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "connet_trio")
    service = FakeService()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_service, "fake", service.open(), LOOPBACK)
        await trio.testing.wait_all_tasks_blocked()
        port = status_port(caplog)
        assert port is not None
        service.fails = True
        await ask(port)
        service.fails = False
        page = await ask(port)
        os.kill(os.getpid(), signal.SIGTERM)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert f'"handler-errors": {len(errors)}'.encode() in page


async def test_a_status_address_in_use_is_an_error_of_the_start() -> None:
    service = FakeService()
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with taken:
        port = taken.socket.getsockname()[1]
        with pytest.raises(BaseExceptionGroup) as caught:
            await run_service("fake", service.open(), HostPort("127.0.0.1", port))
    assert caught.group_contains(BindFailed, match="address already in use")
    assert service.done == ["opened", "left"]


@attrs.frozen
class FakeSettings:
    status_address: HostPort | None = None


def test_warnings_are_logged_before_the_service_starts(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def fail(settings: FakeSettings, *, surroundings: object = None) -> AsyncIterator[FakeService]:
        raise DialFailed("nobody there")
        yield

    kind: ServiceKind[FakeSettings] = ServiceKind(
        name="fake",
        load=lambda files, flags, environment: Loaded(settings=FakeSettings(), warnings=("odd",)),
        open=fail,
        prepare=lambda settings, environment: (settings, ("elsewhere",)),
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        run_kind(kind, [], {}, {})
    assert caught.group_contains(DialFailed)
    written = capsys.readouterr().err
    assert [line.partition(" level=")[2] for line in written.splitlines()] == ["warn msg=odd", "warn msg=elsewhere"]


def test_state_goes_to_a_temporary_directory_where_the_usual_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "connet-trio").mkdir()
    blocked = tmp_path / "connet-trio" / "relay"
    blocked.write_text("a file where a directory should be")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("connet_trio.config.environment._can_be_written", lambda directory: True)
    settings = RelaySettings(token="t", store_directory=blocked)
    settled, (warning,) = settle_store(settings, {"XDG_STATE_HOME": str(tmp_path)}, service="relay")
    assert settled.store_directory is not None
    assert settled.store_directory.name.startswith("connet-relay-")
    assert "identity will be lost" in warning
    assert settle_store(settings, {"XDG_STATE_HOME": "/elsewhere"}, service="relay") == (settings, ())


def test_the_usual_place_of_state_is_used_where_it_can_be(tmp_path: Path) -> None:
    usual = tmp_path / "connet-trio" / "relay"
    settings = RelaySettings(token="t", store_directory=usual)
    assert settle_store(settings, {"XDG_STATE_HOME": str(tmp_path)}, service="relay") == (settings, ())
    assert usual.is_dir()


async def test_small_udp_buffers_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    class SmallSocket:
        receive_buffer_bytes = 212_992
        send_buffer_bytes = WANTED_BUFFER_BYTES

    async def open_small(address: HostPort) -> SmallSocket:
        await trio.lowlevel.checkpoint()
        return SmallSocket()

    open_socket = open_udp_socket_with_advice(open_small)  # type: ignore[arg-type]  # what it looks at is there
    await open_socket(LOOPBACK)
    await open_socket(LOOPBACK)
    (record,) = caplog.records
    assert "208 KiB" in record.getMessage()


def test_a_service_may_have_as_many_files_open_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_NOFILE: (256, 4096)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    raise_file_limit()
    assert limits == {resource.RLIMIT_NOFILE: (4096, 4096)}


def test_a_limit_that_cannot_be_raised_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(what: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda what: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_file_limit()


def test_where_sockets_are_no_files_there_is_nothing_to_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_limit, "resource", None)
    raise_file_limit()
