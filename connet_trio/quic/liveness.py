"""When the other side of a connection was last heard, when to ask whether it is there, and who waits for either.

Heard is what the other side has sealed and what came by its path. A forged datagram, a copy of an old one, or what a
listener sends after its NAT moved it elsewhere, which a dialer must not take (RFC 9000 section 9), is no sign of life:
it would hide that the path is dead for as long as it keeps coming.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from connet_trio.quic.limits import ASKER_PATIENCE, KEEPALIVE_SECONDS


class Liveness:
    """Signs of life of one connection, on the clock of trio."""

    def __init__(self, now: float, *, asks_first: bool = True) -> None:
        self.keepalive_seconds = KEEPALIVE_SECONDS
        """Silence after which the other side is asked."""
        self.last_heard = now
        """When something was last heard; at first, when the connection was begun."""
        self._asked = False
        self._patience = 1.0 if asks_first else ASKER_PATIENCE
        self._heard: trio.Event | None = None
        self._spared: list[Callable[[], None]] = []
        self._closed = trio.Event()

    def note_heard(self, now: float) -> None:
        """Something has been heard."""
        self.last_heard, self._asked = now, False
        if self._heard is not None:
            self._heard.set()
            self._heard = None
        if self._spared:
            spared, self._spared = self._spared, []
            for spare in spared:
                spare()

    def note_asked(self) -> None:
        """A ping is under way; the engine repeats it until it is answered."""
        self._asked, self._patience = True, ASKER_PATIENCE

    def note_keepalive(self) -> None:
        """The other side has asked; the next time it is our turn."""
        self._patience = 1.0

    def note_closed(self) -> None:
        """The connection is over: nobody needs to wait any longer."""
        self._closed.set()
        if self._heard is not None:
            self._heard.set()

    def ask_at(self, *, idle_timeout: float, probe_timeout: float) -> float:
        """When to send the next keepalive, `inf` while one is unanswered (protocol section 2.1)."""
        if self._asked:
            return math.inf
        return self.last_heard + self._patience * max(
            min(self.keepalive_seconds, idle_timeout / 2), 1.5 * probe_timeout
        )

    async def wait_silent(self, seconds: float) -> None:
        """Return once nothing has been heard for `seconds`, or the connection is over."""
        while True:
            with trio.move_on_at(self.last_heard + seconds):
                await self._closed.wait()
                return
            # after a pause of the whole process, what came meanwhile is yet to be read
            await trio.lowlevel.checkpoint()
            if self.last_heard + seconds <= trio.current_time():
                return

    async def wait_heard(self) -> None:
        """Return once something has been heard from now on, or the connection is over."""
        if self._closed.is_set():
            await trio.lowlevel.checkpoint()
            return
        if self._heard is None:
            self._heard = trio.Event()
        await self._heard.wait()

    @contextmanager
    def deadline(self, seconds: float, *, silent_seconds: float) -> Iterator[trio.CancelScope]:
        """A scope that is cancelled after `seconds`, or after `silent_seconds` in which nothing has been heard."""
        now = trio.current_time()

        def spare() -> None:
            scope.deadline = now + seconds

        with trio.CancelScope(deadline=now + min(seconds, silent_seconds)) as scope:
            self._spared.append(spare)
            try:
                yield scope
            finally:
                if spare in self._spared:
                    self._spared.remove(spare)
