"""How far packets may overtake each other before one is taken for lost.

RFC 9002 section 6.1 begins with 3 packets or 9/8 of a round trip, and lets both grow where packets turn out to be
late instead of lost. Here, each packet that arrives after it was given up widens what was too narrow for it, up to
what RFC 8985 allows (two round trips); 16 recoveries in a row without one bring the narrow start back.
"""

PACKET_THRESHOLD = 3
TIME_THRESHOLD = 9 / 8
LARGEST_TIME_THRESHOLD = 2.0
TIME_STEP = 1 / 4
"""Of a round trip, by which the age grows at a time: one odd packet must not double it."""
CLEAN_RECOVERIES = 16


class ReorderingTolerance:
    """The two thresholds of one connection."""

    def __init__(self) -> None:
        self.packets = PACKET_THRESHOLD
        """A packet is lost when one sent this many later has been acknowledged, …"""
        self.round_trips = TIME_THRESHOLD
        """… or when a later one has been, and it is this old."""
        self._clean = 0

    def handle_late(self, *, distance: int, round_trips: float) -> None:
        """A packet given up has arrived, `distance` packets behind the newest, at this age."""
        self._clean = 0
        if distance >= self.packets:
            # twice as many: the next one will be late by more, and every miss costs a window
            self.packets = 2 * distance
        if round_trips > self.round_trips:
            needed = min(1.05 * round_trips, self.round_trips + TIME_STEP)
            self.round_trips = min(needed, LARGEST_TIME_THRESHOLD)

    def handle_recovery(self) -> None:
        """A loss episode has begun; those before it are over."""
        self._clean += 1
        if self._clean > CLEAN_RECOVERIES:
            self.packets, self.round_trips, self._clean = PACKET_THRESHOLD, TIME_THRESHOLD, 0
