"""systemd, or whoever else started this process with NOTIFY_SOCKET, is told what the service does: sd_notify(3).

What it has to know (`READY=1`, `STOPPING=1`) may wait a second for room in its queue; what is said again anyway
(`WATCHDOG=1`, `STATUS=`) does not wait. A manager that cannot be told is no reason to stop.
"""

import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from connet_trio.records.text import printable

logger = logging.getLogger(__name__)

STATUS_SECONDS = 10.0
"""How often it is told more than that the process lives."""

PATIENCE = struct.pack("ll", 1, 0)
"""A `timeval` of one second."""


class ServiceManager:
    """Whoever runs this service; nobody, unless made by `open_service_manager` with a NOTIFY_SOCKET."""

    def __init__(
        self, address: bytes = b"", sender: socket.socket | None = None, *, watchdog_seconds: float | None = None
    ) -> None:
        self._address = address
        self._sender = sender
        self._failed = False
        self.watchdog_seconds = watchdog_seconds
        """After so long without a sign of life it kills the process; None when it does not watch."""

    @property
    def is_there(self) -> bool:
        """Whether anybody is told anything."""
        return self._sender is not None

    @property
    def pause_seconds(self) -> float:
        """How long to wait between two signs of life: half of what is allowed (sd_watchdog_enabled(3))."""
        return min(STATUS_SECONDS, (self.watchdog_seconds or 2 * STATUS_SECONDS) / 2)

    def tell_starting(self) -> None:
        """The process has begun; it is not of use yet."""
        self._tell("STATUS=starting")

    def tell_ready(self, status: str) -> None:
        """It is of use. `status`: a line for people."""
        self._tell("READY=1", f"STATUS={status}", has_to_arrive=True)

    def tell_stopping(self) -> None:
        """It is about to end."""
        self._tell("STOPPING=1", "STATUS=stopping", has_to_arrive=True)

    def tell_alive(self, status: str = "") -> None:
        """It lives, and what it does, if there is a line about it."""
        watchdog = ["WATCHDOG=1"] if self.watchdog_seconds is not None else []
        told = [*watchdog, f"STATUS={status}"] if status else watchdog
        if told:
            self._tell(*told)

    def _tell(self, *assignments: str, has_to_arrive: bool = False) -> None:
        if self._sender is None:
            return
        message = "\n".join(printable(assignment, 2000) for assignment in assignments).encode(errors="replace")
        flags = 0 if has_to_arrive else socket.MSG_DONTWAIT
        try:
            self._sender.sendto(message, flags, self._address)
        except OSError as exc:
            if not self._failed:
                logger.warning("the service manager at NOTIFY_SOCKET cannot be told anything: %s", exc.strerror or exc)
            self._failed = True
        else:
            self._failed = False


@contextmanager
def open_service_manager(environment: Mapping[str, str], pid: int) -> Iterator[ServiceManager]:
    """The service manager that an environment names, for the process `pid`; its socket lasts as long as the block.

    It is kept open, since a process that may open no more files has to be able to say that it lives.
    """
    place = environment.get("NOTIFY_SOCKET", "")
    if not place:
        yield ServiceManager()
        return
    if place[0] not in "/@" or not hasattr(socket, "AF_UNIX"):
        logger.warning("NOTIFY_SOCKET=%s is not supported, expected a path or @name; nobody is told anything", place)
        yield ServiceManager()
        return
    address = os.fsencode(place)
    if place[0] == "@":
        address = b"\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, PATIENCE)
        yield ServiceManager(address, sender, watchdog_seconds=_watchdog_seconds(environment, pid))


def _watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    written = environment.get("WATCHDOG_USEC", "")
    if not written or environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    if not (written.isascii() and written.isdigit()) or int(written) == 0:
        logger.warning("WATCHDOG_USEC=%s is no number of microseconds; no watchdog is told anything", written)
        return None
    return int(written) / 1e6
