"""Services as a service manager runs them: started, stopped, killed, and started again when they fail."""

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import attrs
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
Up = Callable[[S], Awaitable[None]]
"""Told of a service that works; returns when that is to end by itself."""
Serve = Callable[[Machine, Up[S]], Awaitable[None]]
"""Runs a service on a machine."""


@attrs.frozen(eq=False)
class _Life:
    """From a start to the end that follows."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    leaving: trio.Event = attrs.field(factory=trio.Event)


class Process(Generic[S]):
    """One service on one machine; its tasks run in the nursery it is given."""

    def __init__(self, machine: Machine, serve: Serve[S], tasks: trio.Nursery, note: Callable[[str], None]) -> None:
        self.machine = machine
        self.running: Watched[S | None] = Watched(None)
        """The service, while it works."""
        self._serve = serve
        self._tasks = tasks
        self._note = note
        self._life: _Life | None = None

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
            self._life = _Life()
            self._note(f"{self.name} starts")
            self._tasks.start_soon(self._keep, self._life)

    def kill(self) -> None:
        """End it without a word."""
        if self._life is not None:
            self._note(f"{self.name} is killed")
            self.machine.kill()
            self._life.scope.cancel()
            self._forget()

    def stop(self) -> None:
        """End it in peace; it may take as long as `drain` does."""
        if self._life is not None:
            self._note(f"{self.name} is stopped")
            life, service = self._life, self.running.value
            self._forget()
            if service is None:
                life.scope.cancel()  # it has not come up yet
            else:
                self._tasks.start_soon(self._drain, life, service)

    def _forget(self) -> None:
        self._life = None
        self.running.set(None)

    async def _drain(self, life: _Life, service: S) -> None:
        with trio.move_on_after(DRAIN_SECONDS):
            await service.drain()
        life.leaving.set()

    async def _keep(self, life: _Life) -> None:
        async def up(service: S) -> None:
            if self._life is life:
                self.running.set(service)
            await life.leaving.wait()

        with life.scope:
            while not life.leaving.is_set():
                try:
                    await self._serve(self.machine, up)
                except* ConnetError as failures:
                    self._note(f"{self.name} failed: {first_error(failures)}")
                if self._life is life:
                    self.running.set(None)
                    await trio.sleep(RESTART_SECONDS)
