"""Services as a service manager runs them: started, stopped, killed, and started again when they fail."""

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import trio

from connet_trio.concurrency import Watched, first_error
from connet_trio.errors import ConnetError
from connet_trio.testing.chaos.machines import Machine

RESTART_SECONDS = 3.0
"""After which a service that has failed is started again."""
DRAIN_SECONDS = 5.0
"""What a service gets to end by itself when it is stopped."""


class Service(Protocol):
    """What runs in a process."""

    async def drain(self) -> None:
        """Take in nothing new, and let end what runs."""


S = TypeVar("S", bound=Service)
Serve = Callable[[Machine, Callable[[S], None]], Awaitable[None]]
"""Runs a service on a machine until cancelled; calls its second argument once it works."""


class Process(Generic[S]):
    """One service on one machine; its tasks run in the nursery it is given."""

    def __init__(self, machine: Machine, serve: Serve[S], tasks: trio.Nursery, note: Callable[[str], None]) -> None:
        self.machine = machine
        self.running: Watched[S | None] = Watched(None)
        """The service, while it works."""
        self._serve = serve
        self._tasks = tasks
        self._note = note
        self._life: trio.CancelScope | None = None

    @property
    def name(self) -> str:
        """What it is called in plans."""
        return self.machine.name

    @property
    def is_wanted(self) -> bool:
        """Whether it has been started, and neither stopped nor killed since."""
        return self._life is not None

    def start(self) -> None:
        """Run it from now on; nothing if it does."""
        if self._life is None:
            self._life = trio.CancelScope()
            self._note(f"{self.name} starts")
            self._tasks.start_soon(self._keep, self._life)

    def kill(self) -> None:
        """End it without a word."""
        if self._life is not None:
            self._note(f"{self.name} is killed")
            self.machine.kill()
            self._end(self._life)

    def stop(self) -> None:
        """End it in peace; it may take as long as `drain` does."""
        if self._life is not None:
            self._note(f"{self.name} is stopped")
            life, service = self._life, self.running.value
            self._life = None
            self._tasks.start_soon(self._drain, life, service)

    async def _drain(self, life: trio.CancelScope, service: S | None) -> None:
        if service is not None:
            with trio.move_on_after(DRAIN_SECONDS):
                await service.drain()
        self._end(life)

    def _end(self, life: trio.CancelScope) -> None:
        if self._life in (None, life):
            self._life = None
            self.running.set(None)
        life.cancel()

    async def _keep(self, life: trio.CancelScope) -> None:
        def up(service: S) -> None:
            if self._life is life:
                self.running.set(service)

        with life:
            while True:
                try:
                    await self._serve(self.machine, up)
                except* ConnetError as failures:
                    self._note(f"{self.name} failed: {first_error(failures)}")
                if self._life is life:
                    self.running.set(None)
                await trio.sleep(RESTART_SECONDS)
