"""A terminal on which lines replace those before them."""

import shutil
from collections.abc import Sequence
from typing import TextIO

from connet_trio.status import cut_to

HOME, CLEAR_LINE, CLEAR_BELOW, CLEAR_ALL = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"


class Screen:
    """Shows pages on a terminal, each in the place of the one before; elsewhere one after the other."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = 0

    def show(self, lines: Sequence[str]) -> None:
        """Show a page; a terminal shows as much of it as it has room for."""
        if self._is_terminal:
            first = CLEAR_ALL if self._shown == 0 else ""  # later ones do not flicker
            text = first + HOME + "\n".join(f"{line}{CLEAR_LINE}" for line in self._fitting(lines)) + CLEAR_BELOW
        else:
            text = "".join(f"{line}\n" for line in (["", *lines] if self._shown else lines))
        self._shown += 1
        self._stream.write(text)
        self._stream.flush()

    def end(self) -> None:
        """Let whatever comes next begin a line of its own."""
        if self._is_terminal and self._shown:
            self._stream.write("\n")
            self._stream.flush()

    def _fitting(self, lines: Sequence[str]) -> list[str]:
        width, height = shutil.get_terminal_size()
        room = max(2, height - 1)  # the last line is for the cursor
        if len(lines) > room:
            lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
        return [cut_to(line, width) for line in lines]
