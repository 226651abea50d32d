import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connet_trio.cli.failures import tell_failure
from connet_trio.cli.main import main
from connet_trio.errors import ConfigError, ConnetError, DialFailed
from connet_trio.testing.certificates import write_certificate
from connet_trio.version import VERSION

SECRET = "s3cr3t-token"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, and an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONNET_TOKEN", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CONNET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CONNET_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def errors_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines that a command which fails writes to stderr."""
    assert main(arguments) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert SECRET not in written.err
    lines = written.err.splitlines()
    assert all(line.startswith("error: ") for line in lines), lines
    return lines


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve"], "No such command 'serve'"),
        (["client", "--sorce"], "--sorce"),
        (["client", f"--tokn={SECRET}"], "--tokn"),
        (["relay", "--token"], "requires an argument"),
        (["server", "--tokens", "one", SECRET], "1 more than options and their values"),
        (["--token", "t", SECRET], "1 more than options and their values"),
        (["client", "--src-url", "tcp://:80"], "--src-url needs --src-name"),
        (["check"], "Missing argument"),
        (["version", "now"], "1 more than options and their values"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_error(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = errors_of(capsys, *arguments)
    assert expected in line
    assert "--help)" in line


def test_without_a_command_the_client_runs(capsys: pytest.CaptureFixture[str]) -> None:
    places = "token-file, token, or the environment variable CONNET_TOKEN"
    expected = [f"error: command line: client: has no token, expected {places}"]
    assert errors_of(capsys) == expected
    assert errors_of(capsys, "--log-level", "debug") == expected
    assert errors_of(capsys, "client") == expected


def test_every_error_of_a_configuration_is_told_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "a.toml").write_text(f'[client]\ntoken = "{SECRET}"\nserver-add = ":1"\nnat-pmp = "yes"\n')
    lines = errors_of(capsys, "--config", "a.toml", "--log-format", "xml")
    assert len(lines) == 3
    assert "a.toml:3: client.server-add: unknown key, did you mean server-addr?" in lines[0]
    assert "command line: log-format" in lines[2]


def test_a_missing_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert errors_of(capsys, "--config", "none.toml") == [
        f"error: none.toml: cannot be read: {os.strerror(errno.ENOENT)}"
    ]


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_release_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr() == (f"connet-trio {VERSION}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["client", "-h"], ["server", "--help"], ["check", "--help"]])
def test_help_is_no_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    written = capsys.readouterr()
    assert written.out.startswith("Usage: connet-trio ")
    assert written.err == ""


def test_what_a_peer_says_cannot_add_lines_to_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failure(DialFailed("refused: no\nerror: forged\x1b[2J\rwhat"))
    assert capsys.readouterr().err == "error: refused: no\\nerror: forged\\x1b[2J\\rwhat\n"


def test_several_errors_are_told_one_on_each_line_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    inner = ExceptionGroup[ConnetError]("", [DialFailed("a"), ConfigError("b\nc")])
    failures: list[Any] = [DialFailed("a"), inner]
    tell_failure(ExceptionGroup("", failures))
    assert capsys.readouterr().err == "error: a\nerror: b\nerror: c\n"


def test_checking_good_files_says_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_certificate(place, ["localhost"])
    (place / "server.toml").write_text(
        '[server]\ntokens = ["a"]\n[[server.ingress]]\ncert-file = "cert.pem"\nkey-file = "key.pem"\n'
        '[[server.relay-ingress]]\nhostports = ["example.com"]\n'
    )
    assert main(["check", "server.toml"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not (place / "state").exists()


def test_checking_opens_the_files_a_configuration_names(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_certificate(place, ["localhost"])
    (place / "cert.pem").write_text("not a certificate")
    (place / "server.toml").write_text(
        '[server]\ntokens-file = "none"\n[[server.ingress]]\ncert-file = "cert.pem"\nkey-file = "key.pem"\n'
    )
    lines = errors_of(capsys, "check", "server.toml")
    assert [line.split(": ")[1] for line in lines] == ["server.toml:2", "server.toml:4"]


def test_checking_tells_warnings_and_still_ends_well(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "client.toml").write_text(f'[client]\ntoken = "{SECRET}"\n')
    assert main(["check", "client.toml"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: client.toml:1: client: has neither destinations nor sources")


def test_checking_judges_every_service_of_the_files(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "both.toml").write_text('[client]\nmetadata = "x"\n[relay]\nmetadata = "y"\n')
    lines = errors_of(capsys, "check", "both.toml")
    assert ["client: has no token" in lines[0], "relay: has no token" in lines[1]] == [True, True]


def test_checking_reads_several_files_as_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "a.toml").write_text('[relay]\ncontrol-addr = "c.example:1"\n')
    (place / "b.toml").write_text(f'[relay]\ntoken = "{SECRET}"\n[[relay.ingress]]\nhostports = ["r.example"]\n')
    assert main(["check", "a.toml", "b.toml"]) == 0
    assert capsys.readouterr().err == ""
    (line,) = errors_of(capsys, "check", "a.toml")
    assert "has no token" in line


def test_checking_a_file_for_no_service_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "log.toml").write_text('log-level = "debug"\n')
    assert main(["check", "log.toml"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: log.toml: for no service")


@pytest.mark.parametrize("content", [b"[client\n", b"\xff", b"x = 1\nx = 2\n"])
def test_checking_what_is_no_toml_is_an_error(content: bytes, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "a.toml").write_bytes(content)
    (line,) = errors_of(capsys, "check", "a.toml")
    assert "a.toml" in line


def test_the_package_runs_as_a_module() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "connet_trio", "version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"connet-trio {VERSION}\n", "")
