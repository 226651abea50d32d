"""`connet-trio` as a program, with its trio tasks counted in a file that others read: for `soak`.

    python -m connet_trio.testing.counted_tasks client --config client.toml

The file is `tasks-PID` in the working directory, a number of eight bytes that is always up to date.
"""

import mmap
import os
import runpy
from functools import partial
from pathlib import Path

import trio

NUMBER_BYTES = 8


def count_file(directory: Path, pid: int) -> Path:
    """Where a process that was started in `directory` counts its tasks."""
    return directory / f"tasks-{pid}"


def read_count(file: Path) -> int:
    """How many tasks there are now.

    Raises:
      OSError: the process has not begun to count.
    """
    return int.from_bytes(file.read_bytes(), "little")


class TaskCounter(trio.abc.Instrument):
    """Counts the tasks of a run, those of trio itself included."""

    def __init__(self, file: Path) -> None:
        """Count into `file`, which is made."""
        file.write_bytes(bytes(NUMBER_BYTES))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), NUMBER_BYTES)
        self._count = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._change(1)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self._change(-1)

    def _change(self, difference: int) -> None:
        self._count += difference
        self._shared[:] = self._count.to_bytes(NUMBER_BYTES, "little")


def main() -> None:
    """Run the command, counted."""
    counter = TaskCounter(count_file(Path.cwd(), os.getpid()))
    trio.run = partial(trio.run, instruments=[counter])  # type: ignore[assignment]
    runpy.run_module("connet_trio", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
