"""Notices that the wall clock has jumped: somebody set it, or the machine slept.

Certificates are judged by the wall clock, timers run on the monotonic one. The two advance together but for two events:

- the clock is set, back or forth: a board without a battery boots in 1970 and asks NTP; an operator corrects it;
- the machine sleeps: Linux and macOS stop the monotonic clock meanwhile, so that awake again it is the wall clock which
  has moved. (Where the monotonic clock goes on, as on Windows, a sleep is not noticed here.)

Always: what is compared is one tick with the one before, so that drift and slewing (NTP moves a clock by less than a
millisecond a second) never add up to a jump.
"""

from collections.abc import Callable
from typing import NoReturn

import trio


class ClockWatch:
    """Compares two clocks at each tick."""

    def __init__(self, wall: float, now: float, *, tolerance: float = 3.0) -> None:
        """Begin with what both clocks say.

        Args:
          wall: Unix seconds.
          now: seconds, monotonic.
          tolerance: the seconds between two ticks by which the clocks may disagree.
        """
        self._lead = wall - now
        self._tolerance = tolerance

    def handle_tick(self, wall: float, now: float) -> float | None:
        """How far the wall clock has jumped since the tick before, in seconds, less than 0 for back; None if not."""
        moved = wall - now - self._lead
        self._lead = wall - now
        return moved if abs(moved) > self._tolerance else None


async def watch_wall_clock(
    wall_clock: Callable[[], float],
    handle_jump: Callable[[float], None],
    *,
    every: float = 2.0,
    tolerance: float = 3.0,
) -> NoReturn:
    """Call `handle_jump` with the signed seconds of each jump of `wall_clock` against trio's clock.

    Args:
      wall_clock: Unix seconds.
      every: seconds between two looks, so how late a jump is noticed at most.
      tolerance: as for `ClockWatch`.
    """
    watch = ClockWatch(wall_clock(), trio.current_time(), tolerance=tolerance)
    while True:
        await trio.sleep(every)
        moved = watch.handle_tick(wall_clock(), trio.current_time())
        if moved is not None:
            handle_jump(moved)
