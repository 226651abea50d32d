"""The log of `connet-trio punch`: netpunch's lines on stderr, one for each datagram and each event."""

import logging
import os
import sys
from datetime import datetime

from connet_trio.records.text import printable

MAX_TEXT = 4000
"""Characters of one line; a datagram has no more than four for each byte."""


def set_up_punch_logging(names: str, *, silent: bool) -> None:
    """Send the log of this process to stderr. Only for a process of our own: it changes global state.

    Args:
      names: the peers that this process is, empty for a control node.
      silent: whether nothing is written at all; errors that end the process are no log.
    """
    logging.raiseExceptions = False  # a log that cannot be written must not become a traceback on the same stream
    handler: logging.Handler = logging.NullHandler() if silent else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(names))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("connet_trio").setLevel(logging.INFO)
    logging.getLogger("connet_trio.punch").setLevel(logging.DEBUG)


class _Formatter(logging.Formatter):
    """`2026/04/02 17:40:20.562777 [25399] [a] [info] text`."""

    def __init__(self, names: str) -> None:
        super().__init__()
        self._names = names

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%Y/%m/%d %H:%M:%S.%f")
        name = getattr(record, "punch_name", self._names)
        level = {logging.WARNING: "warning", logging.ERROR: "error"}.get(record.levelno, "info")
        prefix = f"{time} [{os.getpid()}] " + (f"[{name}] " if name else "")
        return f"{prefix}[{level}] {printable(record.getMessage(), MAX_TEXT)}"
