"""A byte stream whose two directions can each be abandoned, which `trio.abc.HalfCloseableStream` cannot say."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import trio

Take = Callable[[bytes], int]
"""Takes what it can of some bytes at once, and returns how many. It is called in the task that reads the socket for all
connections: it neither waits nor raises."""
Told = Callable[[int], None]
"""Given the code of the other side, 0 for none. It may be called in anybody's task: it neither waits nor raises."""


def ignore_code(code: int) -> None:
    """For those who need no longer be told."""


class StreamBroken(trio.BrokenResourceError):
    """The other side abandoned this direction of the stream; `code` is what it gave as reason, 0 for none."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class AbortableStream(trio.abc.HalfCloseableStream):
    """What `splice` joins: QUIC streams, and others that can play the part."""

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; a block that an exception or a cancellation ends has not said all: both directions are abandoned."""
        if exc_type is not None:
            self.reset()
            self.stop()
        await self.aclose()

    @property
    def ends_are_whole(self) -> bool:
        """Whether an end of what is received means that its sender said all, and not, at times, that it is lost."""
        return True

    @abstractmethod
    def reset(self, code: int = 0) -> None:
        """Abandon sending: the other side must not take what it has for the whole."""

    @abstractmethod
    def stop(self, code: int = 0) -> None:
        """Abandon receiving: the other side need not send any more."""

    def abort(self, code: int = 0) -> None:
        """Abandon both directions; what has not been ended with `send_eof` is lost."""
        self.reset(code)
        self.stop(code)

    def send_nowait(self, data: bytes) -> int:
        """`send_all` of as much as neither waits nor fails; returns how many bytes that was.

        A stream that cannot tell sends nothing this way. While another task is sending, nothing may be sent.
        """
        return 0

    @contextmanager
    def handing_over(self, take: Take) -> Iterator[None]:
        """Let `take` have what arrives while `receive_some` waits, in the place of the one who waits.

        That one need not be woken for what `take` accepts. A stream that learns of what arrives only by receiving asks
        nobody.
        """
        yield

    @abstractmethod
    def on_stopped(self, tell: Told) -> None:
        """Call `tell` once the other side has abandoned receiving, or is gone; at once if it has. One at a time."""

    def on_reset(self, tell: Told) -> None:
        """Call `tell` once the other side has abandoned sending, or is gone; at once if it has. One at a time.

        What `receive_some` would say too, for those who cannot receive because they are held back elsewhere. A stream
        that learns of it only by receiving never tells.
        """
