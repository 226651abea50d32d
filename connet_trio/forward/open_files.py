"""How many files this process may still have open: local sockets leave the last ones to everything else.

Without a descriptor left a process answers nobody's question for its status, looks up no name and finds no moment to
say so, and whoever dials it waits in the kernel's queue until somebody else leaves. So connections are refused before
that.
"""

import errno
import logging
import math
import os
import socket
from collections.abc import Callable

import trio

from connet_trio.records.text import printable

try:
    import resource
except ImportError:  # Windows, where sockets are no files
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

RESERVED_FILES = 32
"""What the status page may have open, and a few more; less where there are few."""
TOLD_SECONDS = 60.0
"""After which it is said again."""


def file_limit() -> float:
    """How many files this process may have open, `inf` if that is not known."""
    if resource is None:
        return math.inf
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if soft == resource.RLIM_INFINITY else soft


class OpenFiles:
    """Refuses local connections of one service that would take the last files."""

    def __init__(self, limit: Callable[[], float] = file_limit) -> None:
        """Nothing is refused yet; `limit` is asked each time, since it may be changed from outside."""
        self._limit = limit
        self._told_at = -math.inf

    def refuses(self, opened: socket.socket | trio.socket.SocketType, name: str) -> bool:
        """Whether `opened`, a connection of endpoint `name`, has to be closed again; people are told now and then."""
        limit = self._limit()
        # systems give the lowest number that is free
        if opened.fileno() < limit - min(RESERVED_FILES, limit // 8):
            return False
        self.tell(name)
        return True

    def tell(self, name: str) -> None:
        """Tell people, unless that was done a moment ago, that a connection of `name` was refused."""
        now = trio.current_time()
        if now < self._told_at + TOLD_SECONDS:
            return
        self._told_at = now
        logger.warning(
            "%s: connections are refused: this process may have %g files open, and has nearly as many; "
            "raise the limit (LimitNOFILE= under systemd, ulimit -n)",
            printable(name),
            self._limit(),
        )


def too_many_open_files() -> OSError:
    """What the system would say of one file more."""
    return OSError(errno.EMFILE, os.strerror(errno.EMFILE))
