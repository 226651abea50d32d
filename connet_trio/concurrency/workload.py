"""What is running now, for those who drain before they stop."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Workload:
    """Counts jobs under way; one for each client, relay or control server."""

    def __init__(self) -> None:
        self.running = 0
        self.finished = 0
        self._idle = trio.Event()
        self._idle.set()

    @contextmanager
    def job(self) -> Iterator[None]:
        """Count one job for the length of a block."""
        if self.running == 0:
            self._idle = trio.Event()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self.finished += 1
            if self.running == 0:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        while self.running:
            await self._idle.wait()
