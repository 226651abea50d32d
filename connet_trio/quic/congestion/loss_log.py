"""Packets that were given up, in case they are only late.

Losses make episodes: one begins with the loss of a packet that left after the last one began, as a congestion event
does (RFC 9002 section 7.3.1). When all that an episode gave up has arrived after all, there was no loss.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

LOG_PACKETS = 4096
"""Remembered at most; beyond that the oldest are believed to be lost."""

T = TypeVar("T")


@attrs.define(eq=False)
class _Episode:
    began_at: float
    missing: int = 0


@attrs.define(eq=False)
class GivenUp(Generic[T]):
    """A packet that was given up."""

    packet: T
    sent_at: float
    episode: _Episode | None
    """None: a timeout has given it up, and nobody took that for congestion."""


class LossLog(Generic[T]):
    """By packet number, of one packet number space."""

    def __init__(self) -> None:
        self._given_up: dict[int, GivenUp[T]] = {}
        self._episode: _Episode | None = None

    def __len__(self) -> int:
        return len(self._given_up)

    def note_lost(self, number: int, packet: T, *, sent_at: float, now: float) -> bool:
        """Packet `number` is given up; whether an episode begins with it."""
        begins = self._episode is None or sent_at > self._episode.began_at
        if begins:
            self._episode = _Episode(now)
        assert self._episode is not None
        self._episode.missing += 1
        self._add(number, GivenUp(packet, sent_at, self._episode))
        return begins

    def note_expired(self, number: int, packet: T, *, sent_at: float) -> None:
        """Packet `number` is sent again to be on the safe side."""
        self._add(number, GivenUp(packet, sent_at, None))

    def take_late(self, acknowledged: Sequence[range]) -> list[tuple[int, GivenUp[T]]]:
        """Those that are among the acknowledged packet numbers (ascending) after all, the first given up first."""
        starts = [each.start for each in acknowledged]
        late = [number for number in self._given_up if number in acknowledged[bisect_right(starts, number) - 1]]
        taken = [(number, self._given_up.pop(number)) for number in late]
        for _, given_up in taken:
            if given_up.episode is not None:
                given_up.episode.missing -= 1
        return taken

    def take_spurious(self) -> bool:
        """Whether all that the last episode gave up has arrived; it is then over."""
        if self._episode is None or self._episode.missing:
            return False
        self._episode = None
        return True

    def forget_before(self, sent_at: float) -> None:
        """Those sent before are lost for good."""
        while self._given_up:
            number, oldest = next(iter(self._given_up.items()))
            if oldest.sent_at >= sent_at:
                return
            del self._given_up[number]

    def _add(self, number: int, given_up: GivenUp[T]) -> None:
        self._given_up[number] = given_up
        if len(self._given_up) > LOG_PACKETS:
            del self._given_up[next(iter(self._given_up))]
