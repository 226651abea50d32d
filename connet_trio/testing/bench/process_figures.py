"""What /proc says about a process; only Linux has it."""

import os
from pathlib import Path

from connet_trio.testing.bench.plan import BenchFailed

UTIME, STIME = 11, 12
"""Places in /proc/PID/stat, counted after the name of the command (proc(5))."""
RESIDENT = 1
"""Place in /proc/PID/statm."""


def check_system() -> None:
    """See that there is a /proc to read.

    Raises:
      BenchFailed: there is none.
    """
    if not Path("/proc/self/stat").exists():
        raise BenchFailed("CPU seconds and memory are read from /proc as Linux has it; there is none here")


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in user and system mode, all threads together; in steps of 10 ms as a rule.

    Raises:
      BenchFailed: there is no such process.
    """
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[UTIME]) + int(fields[STIME])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM.

    Raises:
      BenchFailed: there is no such process.
    """
    return int(_read(pid, "statm").split()[RESIDENT]) * os.sysconf("SC_PAGE_SIZE")


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace")
    except OSError as exc:
        raise BenchFailed(f"process {pid} cannot be looked at, or is gone: {exc.strerror}") from exc
