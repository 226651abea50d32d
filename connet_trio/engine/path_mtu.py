"""How large a datagram a path carries, found by probes and without ICMP (DPLPMTUD: RFC 8899, RFC 9000 section 14.3).

A probe is a datagram that nobody needs, larger than what is sent otherwise. One that is acknowledged raises the size;
a size of which `MAX_PROBES` were lost is beyond the path.

    SEARCHING   a probe is under way, or the next is to be taken
    COMPLETE    no size is left to try; searched again after `SEARCH_AGAIN_SECONDS`, since routes change

A loss that nothing behind it has survived says nothing about size: the path may be down. So a lost probe counts once
something sent after it has been acknowledged.

When a path shrinks, its full-size packets vanish while small ones pass: a black hole. `BLACK_HOLE_PACKETS` of them
lost behind the newest that arrived lead back to the base, and to a search that begins with the size that was lost. That
is right as soon as the losses were of another kind: then one round trip passes at the base.

Always: `base <= size <= limit`, and `size` is the base or has been acknowledged, on this path, since it was last lost.
Sizes are bytes of UDP payload; packet numbers are those of QUIC, and rise.
"""

from collections.abc import Iterator
from math import inf

BASE_BYTES = 1200
"""What every path of QUIC carries, and a handshake has proved. IPv6 guarantees 1232 (a packet of 1280), which one probe
finds as soon as it would 1280."""
LARGEST_BYTES = 16_384
"""The engine writes the length of a stream's data in two bytes, which hold 16,383."""
ETHERNET_BYTES = 1452
"""A packet of 1500 bytes less the headers of IPv6 and UDP."""
STEPS = (ETHERNET_BYTES, 1472, 8848, LARGEST_BYTES, 8952)
"""Sizes in the order they are tried, those that the path cannot carry or carries already left out: Ethernet (IPv6, then
IPv4), jumbo frames of 8896 bytes, loopback, jumbo frames of 9000. Of these few fail on any one path: an Ethernet
spends three probes on the first jumbo step."""
PRECISION_BYTES = 16
"""Below Ethernet, where tunnels are, sizes are halved until no more than this is left unknown."""
MAX_PROBES = 3
SEARCH_AGAIN_SECONDS = 600.0
"""PMTU_RAISE_TIMER of RFC 8899 section 5.1.1."""
BLACK_HOLE_PACKETS = 4
FULL_SLACK_BYTES = 32
"""Packets this much smaller than the size still count as full: frames do not always fill them."""


class PathMtu:
    """The size of datagrams on one path."""

    def __init__(self, *, limit: int = LARGEST_BYTES) -> None:
        """Search up to `limit` bytes; the base means not at all."""
        self.size = BASE_BYTES
        """What to send now."""
        self._limit = max(BASE_BYTES, min(limit, LARGEST_BYTES))
        self._probe: int | None = None  # the packet number of the one under way
        self._is_complete = False
        self._search_at = -inf
        self._newest_acked = self._newest_full = -1
        self._begin_search()

    @property
    def limit(self) -> int:
        """What is never exceeded."""
        return self._limit

    def limit_to(self, limit: int) -> None:
        """The peer takes no more than `limit` bytes (its max_udp_payload_size); told before the first probe."""
        self._limit = max(BASE_BYTES, min(limit, self._limit))
        self._begin_search()

    def take_probe(self, now: float, packet_number: int) -> int | None:
        """The size of a probe to send as `packet_number`, None when there is nothing to send.

        Args:
          now: seconds, monotonic.
        """
        if self._probe is not None or now < self._search_at:
            return None
        if self._is_complete:
            self._begin_search()
        size = next(self._candidates(), None)
        if size is None:
            self._is_complete, self._search_at = True, now + SEARCH_AGAIN_SECONDS
            return None
        self._probe, self._probe_size, self._probe_is_lost = packet_number, size, False
        return size

    def handle_probe_acked(self, packet_number: int) -> None:
        """The path carries the size of this probe."""
        if packet_number == self._probe:
            self._probe, self._tries = None, 0
            self.size = max(self.size, self._probe_size)
            self._newest_full, self._lost_in_a_row = max(self._newest_full, packet_number), 0

    def handle_probe_lost(self, packet_number: int) -> None:
        """This probe is lost, or has waited so long for an answer that it may be."""
        if packet_number == self._probe:
            self._probe_is_lost = True
            self._judge_probe()

    def handle_acked(self, packet_number: int, size: int) -> None:
        """A packet has arrived. Of several that are acknowledged at once, the newest will do."""
        if size > self.size - FULL_SLACK_BYTES and packet_number > self._newest_full:
            self._newest_full, self._lost_in_a_row = packet_number, 0
        self._newest_acked = max(self._newest_acked, packet_number)
        self._judge_probe()

    def handle_lost(self, packet_number: int, size: int) -> bool:
        """A packet is lost that was no probe, to be told after the acknowledgement that shows it.

        True when this is a black hole: `size` is the base now.
        """
        if self.size == BASE_BYTES or size <= self.size - FULL_SLACK_BYTES or packet_number <= self._newest_full:
            return False
        self._lost_in_a_row += 1
        if self._lost_in_a_row < BLACK_HOLE_PACKETS:
            return False
        lost, self.size = self.size, BASE_BYTES
        self._begin_search(first=lost)
        return True

    def handle_path_changed(self) -> None:
        """The peer has moved: nothing is known of the way to it."""
        self.size = BASE_BYTES
        self._begin_search()

    def _begin_search(self, *, first: int = BASE_BYTES) -> None:
        self._first = first
        self._ceiling = self._limit + 1  # the smallest size known to be too large
        self._is_complete, self._search_at = False, -inf
        self._probe, self._probe_size, self._probe_is_lost = None, BASE_BYTES, False
        self._tries = self._lost_in_a_row = 0

    def _judge_probe(self) -> None:
        if self._probe is None or not self._probe_is_lost or self._newest_acked < self._probe:
            return
        self._probe = None
        self._tries += 1
        if self._tries == MAX_PROBES:
            self._ceiling, self._tries = self._probe_size, 0

    def _candidates(self) -> Iterator[int]:
        yield from (size for size in (self._first, *STEPS, self._limit) if self.size < size < self._ceiling)
        if self._ceiling <= ETHERNET_BYTES and self._ceiling - self.size > PRECISION_BYTES:
            yield (self.size + self._ceiling) // 2
