import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import trio

from connet_trio.cli.main import main
from connet_trio.cli.screen import Screen
from connet_trio.cli.status import choose_address
from connet_trio.errors import ConfigError
from connet_trio.records.model import HostPort
from connet_trio.records.status import ClientStatus, Status, to_json
from connet_trio.status import serve_status
from connet_trio.testing.processes import CONNET_TRIO

PAGE = to_json(ClientStatus(status=Status.CONNECTED, metadata="\x9battic"))


class Served:
    """A status page for a test; what it shows can be changed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked = 0
        self.page: dict[str, Any] = PAGE

    def snapshot(self) -> dict[str, Any]:
        self.asked += 1
        return self.page


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    service = Served(listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_status, listener, service.snapshot)
        yield service
        nursery.cancel_scope.cancel()


async def run(*arguments: str) -> int:
    return await trio.to_thread.run_sync(main, arguments)


async def test_a_service_is_shown_as_tables(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as service:
        assert await run("status", f"127.0.0.1:{service.port}") == 0
    assert capsys.readouterr() == ("client connected\n  metadata  \\x9battic\n", "")


async def test_as_json_it_is_the_page_itself_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as service:
        assert await run("status", "--json", f"http://127.0.0.1:{service.port}/") == 0
    written = capsys.readouterr().out
    assert written.isascii()
    assert json.loads(written) == PAGE


async def test_the_address_is_found_in_the_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    async with served() as service:
        file.write_text(f'[client]\ntoken-file = "/root/not-for-you"\nstatus-addr = ":{service.port}"\n')
        assert await run("status", "--config", str(file)) == 0
    assert capsys.readouterr().out.startswith("client connected\n")


@pytest.mark.parametrize(
    ("written", "chosen"),
    [
        (":19182", HostPort("127.0.0.1", 19182)),
        ("0.0.0.0:1", HostPort("127.0.0.1", 1)),
        ("[::]:1", HostPort("::1", 1)),
        ("http://[::1]:1/", HostPort("::1", 1)),
        ("example.com:80", HostPort("example.com", 80)),
    ],
)
def test_an_address_that_listens_everywhere_is_asked_here(written: str, chosen: HostPort) -> None:
    assert choose_address(written, ()) == chosen


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no service to ask, expected the status-addr of one, or --config with its file"),
        (["localhost"], 'status: ADDR: "localhost" has no port'),
        (["https://localhost:1"], 'status: ADDR: "https://localhost:1" is not an address'),
        ([":0"], "status: ADDR: :0 has port 0, which stands for any; the log of the service says which"),
        ([":1", "--config", "a.toml"], "either ADDR or --config says where to ask, not both"),
        (["--config", "none.toml"], "none.toml: cannot be read"),
        (["--config", "a.toml"], "a.toml: no status-addr, so the service has no status page"),
        (["--config", "zero.toml"], "zero.toml: client.status-addr: :0 has port 0"),
        (["--config", "two.toml"], "two.toml: status-addr of client and relay, expected one; give its ADDR instead"),
        (["--config", "bad.toml"], "bad.toml:2: client.status-adr: unknown key, did you mean status-addr?"),
    ],
)
def test_without_one_place_to_ask_the_error_says_what_is_expected(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text('[client]\ntoken = "t"\n')
    Path("zero.toml").write_text('[client]\nstatus-addr = ":0"\n')
    Path("two.toml").write_text('[client]\nstatus-addr = ":1"\n[relay]\nstatus-addr = ":2"\n')
    Path("bad.toml").write_text('[client]\nstatus-adr = ":1"\n')
    assert main(["status", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert expected in err


async def test_nobody_there_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    for more in ([], ["--watch"], ["--json"]):
        assert await run("status", f"127.0.0.1:{port}", *more) == 1
        assert capsys.readouterr() == ("", f"error: TCP 127.0.0.1:{port} cannot be reached: connection refused\n")


async def test_another_protocol_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"220 \x1b[2Jhello\r\n")
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, greet, [listener])
        assert await run("status", f"127.0.0.1:{listener.socket.getsockname()[1]}") == 1
        nursery.cancel_scope.cancel()
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: no status page at 127.0.0.1:")
    assert "\x1b" not in err


async def test_a_service_that_does_not_answer_is_one_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connet_trio.cli.status.ANSWER_SECONDS", 0.05)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        assert await run("status", f"127.0.0.1:{port}") == 1
    expected = f"error: no status page at 127.0.0.1:{port}: no answer within 0.05 s\n"
    assert capsys.readouterr() == ("", expected)


async def test_watching_lives_through_a_restart_of_the_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connet_trio.cli.status.PAUSE_SECONDS", 0.0)

    class Enough(BaseException):
        pass

    async with served() as service:

        def snapshot_then_trouble() -> dict[str, Any]:
            service.asked += 1
            if service.asked == 2:
                return {"other": "service"}
            if service.asked == 4:
                monkeypatch.setattr("connet_trio.cli.status.read_status", end)
            return PAGE

        async def end(where: HostPort) -> dict[str, Any]:
            raise Enough

        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(serve_status, HostPort("127.0.0.1", 0), snapshot_then_trouble)
            port = listener.socket.getsockname()[1]
            with pytest.raises(Enough):
                await run("status", "--json", "--watch", f"127.0.0.1:{port}")
            nursery.cancel_scope.cancel()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    error = {"error": f"no status page at 127.0.0.1:{port}: what answers there is something else than connet"}
    assert lines == [PAGE, error, PAGE, PAGE]


async def test_watching_ends_with_ctrl_c_and_is_no_error() -> None:
    async with served() as service:
        command = [*CONNET_TRIO, "status", "--watch", f"127.0.0.1:{service.port}"]
        process = await trio.lowlevel.open_process(command, stdout=PIPE, stderr=PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        with trio.fail_after(30):
            shown = b""
            while shown.count(b"client connected") < 2:
                chunk = await process.stdout.receive_some()
                assert chunk, await process.stderr.receive_some()
                shown += chunk
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
            assert await process.stderr.receive_some() == b""
    assert shown.startswith(b"client connected\n  metadata  \\x9battic\n\nclient connected\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_each_page_in_the_place_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((6, 4)))
    terminal = Terminal()
    screen = Screen(terminal)
    screen.show(["one", "a long line"])
    screen.show(["1", "2", "3", "4"])
    screen.end()
    assert terminal.getvalue() == (
        "\x1b[2J\x1b[Hone\x1b[K\na lon…\x1b[K\x1b[J\x1b[H1\x1b[K\n2\x1b[K\n… 2 m…\x1b[K\x1b[J\n"
    )


def test_what_is_no_terminal_gets_one_page_after_the_other() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.show(["one"])
    screen.show(["two"])
    screen.end()
    assert stream.getvalue() == "one\n\ntwo\n"


def test_an_address_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        choose_address("a b:1", ())


def test_a_closed_pipe_ends_it_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr("connet_trio.cli.status._read", answer)
    for more in ([], ["--watch"], ["--watch", "--json"]):
        with pytest.raises(SystemExit) as caught:
            main(["status", ":1", *more])
        assert caught.value.code == 1


async def answer(where: HostPort) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return PAGE
