"""A value that many watch and one changes."""

from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Watched(Generic[T]):
    """A value whose readers see the latest only: states *conflate*, so a slow reader costs nothing and misses steps.

    Values are compared with `==`; what equals the value before is no change. For one trio thread.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = trio.Event()

    @property
    def value(self) -> T:
        """The latest value."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake its readers, unless it equals the one before."""
        if value == self._value:
            return
        self._value = value
        self._changed.set()
        self._changed = trio.Event()

    async def wait_value(self, predicate: Callable[[T], bool]) -> T:
        """Wait until the latest value fulfils `predicate`, and return it; one set and soon replaced may be missed."""
        await trio.lowlevel.checkpoint()
        while not predicate(self._value):
            await self._changed.wait()
        return self._value

    async def wait_transition(self) -> T:
        """Wait until the value differs from what it is at the call, and return it."""
        before = self._value
        return await self.wait_value(lambda value: value != before)

    def changes(self) -> AsyncIterator[T]:
        """The value as it is when first asked, then the latest one each time it differs from the one given before.

        The iteration never ends by itself. It may be left, or cancelled and taken up again, at any point.
        """
        return _Changes(self)


class _Changes(AsyncIterator[T]):
    # A class, since an async generator that is left half way would be finished by the garbage collector.

    def __init__(self, watched: Watched[T]) -> None:
        self._watched = watched
        self._given: list[T] = []  # the last value given, once there is one; T may include None

    async def __anext__(self) -> T:
        value = await self._watched.wait_value(self._is_news)
        self._given = [value]
        return value

    def _is_news(self, value: T) -> bool:
        return [value] != self._given
