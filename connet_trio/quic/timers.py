"""One heap of deadlines for all connections of a transport."""

import heapq
import itertools
import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something that knows when it wants to be woken."""

    def next_deadline(self) -> float:
        """Seconds on the transport's clock, `inf` for never."""


T = TypeVar("T", bound=Timed)

FAR_SECONDS = 1.0
"""A deadline that moved later by more than this is noted at once: whoever falls silent need not be looked at before."""
SPARE_ENTRIES = 64
"""Outdated entries are swept out when there are more of them than this and the current ones together: a busy receiver
leaves one behind each millisecond, due when its keepalive would have been."""


class TimerHeap(Generic[T]):
    """Earliest deadline first. Deadlines that moved a little later are noticed when the old one comes up, not before.

    A connection that receives a packet moves its idle deadline; touching the heap for that would cost every packet.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._armed: dict[T, float] = {}
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def next_deadline(self) -> float:
        """When `due` may yield something, `inf` when nothing is armed."""
        while self._heap and self._armed.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def arm(self, timed: T) -> float:
        """Look at the deadline of `timed` again, and return it."""
        deadline = timed.next_deadline()
        armed = self._armed.get(timed)
        if deadline != math.inf and (armed is None or deadline < armed or deadline > armed + FAR_SECONDS):
            self._push(timed, deadline)
        return deadline

    def disarm(self, timed: T) -> None:
        """Forget `timed`."""
        self._armed.pop(timed, None)

    def due(self, now: float) -> Iterator[T]:
        """Everything whose deadline has come; the caller arms each again when it has dealt with it."""
        while self._heap and self._heap[0][0] <= now:
            armed, _, timed = heapq.heappop(self._heap)
            if self._armed.get(timed) != armed:
                continue
            del self._armed[timed]
            deadline = timed.next_deadline()
            if deadline <= now:
                yield timed
            elif deadline != math.inf:
                self._push(timed, deadline)

    def _push(self, timed: T, deadline: float) -> None:
        self._armed[timed] = deadline
        heapq.heappush(self._heap, (deadline, next(self._order), timed))
        if len(self._heap) > SPARE_ENTRIES + 2 * len(self._armed):
            self._heap = [entry for entry in self._heap if self._armed.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
