import subprocess
import sys
from pathlib import Path

import pytest

from connet_trio.cli.main import main

BASH = """
eval "$(./connet-trio completion bash)"
COMP_WORDS=(connet-trio sta) COMP_CWORD=1
_connet_trio_completion ./connet-trio
printf '%s\\n' "${COMPREPLY[@]}"
"""


def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str) -> list[str]:
    """What a shell is told when the last word of a line, which may be empty, is to be completed."""
    monkeypatch.setenv("_CONNET_TRIO_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    with pytest.raises(SystemExit) as caught:
        main([])
    written = capsys.readouterr()
    assert (caught.value.code, written.err) == (0, "")
    return written.out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("connet-trio sta", ["plain,status"]),
        ("connet-trio status --wa", ["plain,--watch"]),
        ("connet-trio completion ", ["plain,bash", "plain,zsh", "plain,fish"]),
        ("connet-trio --src-u", ["plain,--src-url"]),
        ("connet-trio --hel", ["plain,--help"]),
        ("connet-trio --token x --src-u", ["plain,--src-url"]),
        ("connet-trio server --store-d", ["plain,--store-dir"]),
        ("connet-trio --config a", ["file,a"]),
        ("connet-trio client --token-file a", ["file,a"]),
        ("connet-trio server --store-dir a", ["dir,a"]),
        ("connet-trio client one too many --src-u", ["plain,--src-url"]),
    ],
)
def test_a_shell_is_told_what_may_come_next(
    line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(monkeypatch, capsys, line) == expected


def test_at_first_come_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"plain,client", "plain,server", "plain,status"} <= set(asked(monkeypatch, capsys, "connet-trio "))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"_CONNET_TRIO_COMPLETE={shell}_complete" in out


@pytest.mark.parametrize(("arguments", "expected"), [([], "Missing argument"), (["csh"], "'csh' is not one of")])
def test_another_shell_is_an_error(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert expected in err


def test_bash_completes_with_its_script(tmp_path: Path) -> None:
    program = tmp_path / "connet-trio"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m connet_trio "$@"\n')
    program.chmod(0o755)
    ran = subprocess.run(["bash", "--norc", "-c", BASH], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (ran.stdout, ran.stderr) == ("status\n", "")
