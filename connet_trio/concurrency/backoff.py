"""How long to wait before dialling again (protocol section 7.5)."""

import random


class Backoff:
    """Delays that grow with luck while connections fail or die young (trap T19), so that many clients spread out."""

    def __init__(
        self,
        random: random.Random,
        *,
        first: float = 0.01,
        cap: float = 15.0,
        settled_after: float = 15.0,
        shrinks: bool = True,
        goodbye_spread: float | None = None,
    ) -> None:
        """Start with the shortest delay.

        Args:
          random: luck for the jitter.
          first: the shortest delay, in seconds.
          cap: the longest delay, in seconds.
          settled_after: the uptime, in seconds, that earns the shortest delay again.
          shrinks: whether luck may make a delay shorter than the one before; many failures that cost nothing, like
            refusals of a peer that is there, then come in bursts.
          goodbye_spread: over how many seconds luck spreads those who were told that the connection ends; None makes no
            difference of it.
        """
        self._random = random
        self._first = first
        self._cap = cap
        self._settled_after = settled_after
        self._shrinks = shrinks
        self._goodbye_spread = goodbye_spread
        self._previous: float | None = None

    @property
    def longest(self) -> float:
        """The longest delay there is, in seconds; to wait it once changes nothing about those that follow."""
        return self._cap

    def next_delay(self, uptime: float, *, goodbye: bool = False) -> float:
        """Seconds to wait now.

        Args:
          uptime: how long the connection that is gone had worked, in seconds; 0 when it was never made.
          goodbye: the other side has said that it ends; if it stops, to everybody at the same moment.
        """
        if goodbye and self._goodbye_spread is not None:
            self._previous = self._random.uniform(self._first, self._goodbye_spread)
        elif self._previous is None or uptime >= self._settled_after:
            self._previous = self._first
        else:
            jitter = self._random.uniform(0.0, 3.0 * self._previous - self._first)
            least = 0.0 if self._shrinks else self._previous
            self._previous = min(self._cap, max(self._first + jitter, least))
        return self._previous
