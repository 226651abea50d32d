"""A cable between two namespaces with the delay and the bad luck of a `Link`, carried by this process.

The kernel's own means for that (netem) are not everywhere. Each end is a TUN device; a task for each direction reads
packets, has `Line` decide when they arrive, and writes them to the other end. Adds up to a millisecond of its own.
"""

import fcntl
import heapq
import os
import struct
from contextlib import suppress
from math import inf
from random import Random

import attrs
import trio

from connet_trio.testing.links import Link
from connet_trio.testing.namespaces import Namespaces
from connet_trio.testing.network import REORDERING_DELAY

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
"""linux/if_tun.h"""
PACKET_BYTES = 1 << 16
BATCH_PACKETS = 64
MAX_UNDER_WAY = 20_000
"""Packets of one direction; more are lost, as in a queue that is full."""


class Line:
    """One direction of a link: decides when a packet arrives, or that it never does. Times are seconds of any clock."""

    def __init__(self, link: Link, luck: Random) -> None:
        self._link = link
        self._luck = luck
        self._free_at = -inf  # when the bottleneck has sent all it was given
        self._latest = -inf

    def arrivals(self, packet_bytes: int, now: float) -> list[float]:
        """When a packet sent now arrives: never, once, or twice."""
        link = self._link
        # all of them for every packet, so that a changed link changes no later draw
        loss, duplication, reordering, jitter, lateness = (self._luck.random() for _ in range(5))
        leaves = self._pass_bottleneck(packet_bytes, now)
        if leaves is None or packet_bytes > link.mtu or loss < link.loss:
            return []
        arrival = max(leaves + link.delay + link.jitter * jitter, self._latest)
        late = arrival + REORDERING_DELAY * (0.2 + 0.8 * lateness)
        copies = [late] if duplication < link.duplication else []
        if reordering < link.reordering:
            return [late, *copies]
        self._latest = arrival
        return [arrival, *copies]

    def _pass_bottleneck(self, packet_bytes: int, now: float) -> float | None:
        link = self._link
        if link.rate is None:
            return now
        begins = max(now, self._free_at)
        if round((begins - now) * link.rate) + packet_bytes > link.queue_bytes:
            return None
        self._free_at = begins + packet_bytes / link.rate
        return self._free_at


@attrs.define(eq=False)
class Wire:
    """Carries packets between its two ends while `run` runs; made by `lay_wire`."""

    ends: tuple[int, int]
    """File descriptors of the two TUN devices."""
    lines: tuple[Line, Line]
    """From the first to the second, and back."""

    async def run(self) -> None:
        """Carry both ways. Never returns."""
        one, other = self.ends
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_carry, one, other, self.lines[0])
            nursery.start_soon(_carry, other, one, self.lines[1])

    def close(self) -> None:
        """Take both devices away."""
        for end in self.ends:
            os.close(end)


def lay_wire(namespaces: Namespaces, one: tuple[str, str], other: tuple[str, str], link: Link, seed: int | str) -> Wire:
    """A wire between two nodes, each given with the name that its device has there; both ends are up."""
    ends = _open_tun(namespaces, *one, link.mtu), _open_tun(namespaces, *other, link.mtu)
    names = f"{one} {other}", f"{other} {one}"
    return Wire(ends, (Line(link, Random(f"{seed}{names[0]}")), Line(link, Random(f"{seed}{names[1]}"))))


def _open_tun(namespaces: Namespaces, node: str, device: str, mtu: int) -> int:
    with namespaces.inside(node):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    namespaces.ip(node, f"link set {device} up mtu {mtu} txqueuelen 5000")
    return end


async def _carry(source: int, target: int, line: Line) -> None:
    under_way: list[tuple[float, int, bytes]] = []
    number = 0
    while True:
        with trio.move_on_at(under_way[0][0] if under_way else inf):
            await trio.lowlevel.wait_readable(source)
        now = trio.current_time()
        for packet in _read(source):
            for arrival in line.arrivals(len(packet), now):
                number += 1
                if len(under_way) < MAX_UNDER_WAY:
                    heapq.heappush(under_way, (arrival, number, packet))
        while under_way and under_way[0][0] <= now:
            _write(target, heapq.heappop(under_way)[2])


def _read(source: int) -> list[bytes]:
    packets: list[bytes] = []
    try:
        while len(packets) < BATCH_PACKETS:
            packets.append(os.read(source, PACKET_BYTES))
    except BlockingIOError:
        pass
    return packets


def _write(target: int, packet: bytes) -> None:
    with suppress(OSError):  # the device is down, or its queue full: lost
        os.write(target, packet)
