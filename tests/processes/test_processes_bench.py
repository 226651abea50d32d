import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import trio

from connet_trio.testing.processes import open_process

BENCH = [sys.executable, "-m", "connet_trio.testing.bench"]
SPEEDS = {
    "download, MB/s",
    "upload, MB/s",
    "download over parallel streams, MB/s",
    "upload over parallel streams, MB/s",
    "download after download, MB/s",
    "download after download, after half-read ones, MB/s",
}


def test_the_bench_measures_our_relay_beside_a_plain_copy(tmp_path: Path) -> None:
    amounts = ["--quick", "--bytes", "1MiB", "--requests", "10", "--seconds", "0.3", "--transfers", "2"]
    document_file = tmp_path / "figures.json"
    ran = subprocess.run(
        [*BENCH, "--only", "relayed,plain", "--packet-size", "1200", *amounts, "--json", str(document_file)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [line.split()[:2] for line in ran.stdout.splitlines() if line.startswith("  ")]
    for name in ("relayed", "plain"):
        assert [rows.count([name, word]) for word in ("download", "upload", "p50", "p99")] == [2] * 4
    processes = ["server", "destination", "source"]
    assert [rows.count(["relayed", process]) for process in processes] == [2] * 3  # CPU and memory
    document = json.loads(document_file.read_text())
    assert {sample["metric"] for sample in document["samples"]} > SPEEDS
    assert all(sample["value"] > 0 for sample in document["samples"])
    assert [memory["process"] for memory in document["memory"]] == [*processes, "copy"]
    assert list(tmp_path.iterdir()) == [document_file]


async def test_an_interrupted_bench_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with trio.fail_after(30):
        async with open_process([*BENCH, "--only", "plain"], directory=tmp_path, environment=environment) as bench:
            await bench.wait_line("round 1 of 3")
            children = children_of(bench.pid)
            bench.send_signal(signal.SIGINT)
            assert await bench.wait() == 1
        assert bench.lines[-1] == "FAILED: stopped by SIGINT"
    assert len(children) == 2  # target and copy
    assert not any(map(is_running, children))
    assert os.listdir(tmp_path) == []


def children_of(pid: int) -> list[str]:
    """The process ids of those that a process has started, in whatever thread."""
    return " ".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")).split()


def is_running(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()
