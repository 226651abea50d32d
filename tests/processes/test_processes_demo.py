import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "connet_trio.testing.demo", "--mib", "1"]
SIZE = 1 << 20


def environment(tmp_path: Path, path: str) -> dict[str, str]:
    (tmp_path / "temporary").mkdir()
    return {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "PATH": path}


def run_demo(tmp_path: Path, path: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        COMMAND, env=environment(tmp_path, path), capture_output=True, text=True, timeout=100, check=False
    )


def check_nothing_is_left(tmp_path: Path, written: str) -> None:
    pids = re.findall(r"\(process (\d+)\)", written)
    assert pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert os.listdir(tmp_path / "temporary") == []


@pytest.mark.parametrize("path", [os.environ["PATH"], "/nonexistent"], ids=["as here", "without openssl and curl"])
def test_the_demo_works_over_both_paths_and_leaves_nothing_behind(path: str, tmp_path: Path) -> None:
    ran = run_demo(tmp_path, path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(set(re.findall(r"SHA-256 ([0-9a-f]{64}), the same as that of the file", ran.stdout))) == 1
    first, second = ran.stdout.split('route = "relay"')
    assert re.search(r"connected directly (to|from) \S+:\d+, \d+ ms", first)
    direct = re.search(
        r"path (?:outgoing|incoming) .* (\d+) bytes have come directly,\s+the relay has forwarded 0 b", first
    )
    assert direct is not None, first
    assert "path relay" not in first
    assert "connected through relay" in second
    relayed = re.search(r"path relay .* the relay has forwarded (\d+) bytes in 1 stream", second)
    assert relayed is not None, second
    assert all(SIZE <= int(found[1]) < SIZE + (1 << 16) for found in (direct, relayed))
    assert [half.count("the same as that of the file") for half in (first, second)] == [1, 1]
    assert second.endswith("All well: nothing is running any more, and nothing is left on the disk.\n")
    assert ran.stderr == ""
    check_nothing_is_left(tmp_path, ran.stdout)


@pytest.mark.parametrize(
    ("fetch", "complaint"),
    [
        ("echo something else >", r"what arrived has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"),
        ("cat ${0%/*}/temporary/*/files/random >", rf"client S counts 0 bytes, expected {SIZE} and at most 65536 more"),
    ],
    ids=["wrong", "another way"],
)
def test_the_demo_fails_when_what_arrived_is_wrong_or_came_another_way(
    fetch: str, complaint: str, tmp_path: Path
) -> None:
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\n{fetch} "$2"\n')
    curl.chmod(0o700)
    ran = run_demo(tmp_path, f"{tmp_path}:{os.environ['PATH']}")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert re.search(rf"\nFAILED: {complaint}\n$", ran.stderr)
    for name in ("server --config server.toml", "--config client-d.toml", "--config client-s.toml"):
        assert re.search(rf"connet-trio {name} wrote:\n(time=.*\n)+", ran.stderr)
    check_nothing_is_left(tmp_path, ran.stdout)


def test_an_interrupted_demo_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND,
        env=environment(tmp_path, os.environ["PATH"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        written = ""
        while "server.toml" not in written:  # ends with the demo, which bounds its own steps
            line = demo.stdout.readline()
            assert line
            written += line
        demo.send_signal(signal.SIGINT)
        rest, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (1, "\nFAILED: stopped by SIGINT\n")
    check_nothing_is_left(tmp_path, written + rest)
