"""Datagrams of one size on one path, in one buffer: what segmentation offload takes and coalescing brings.

Bulk transfers are made of them. A run passes through the pump as one thing, where a list of its datagrams would cost
a slice, a tuple and several looks for each.
"""

from collections.abc import Iterable, Iterator

from connet_trio.quic.network_path import Datagram, NetworkPath


class DatagramRun:
    """Datagrams that go or came together, each of `size` bytes but for the last, which may be shorter."""

    __slots__ = ("data", "path", "size")

    def __init__(self, data: bytes | bytearray | memoryview, size: int, path: NetworkPath) -> None:
        """`size` is at least 1: empty datagrams are in no run."""
        self.data = memoryview(data)
        self.size = size
        self.path = path

    def __len__(self) -> int:
        """How many datagrams."""
        return -(-len(self.data) // self.size)

    def __iter__(self) -> Iterator[Datagram]:
        data, size, path = self.data, self.size, self.path
        return ((bytes(data[at : at + size]), path) for at in range(0, len(data), size))

    def without(self, count: int) -> "DatagramRun":
        """What comes after the first `count` datagrams."""
        return DatagramRun(self.data[count * self.size :], self.size, self.path)


Batch = list[Datagram | DatagramRun]
"""What a socket sends or has received in one go, in its order."""


def datagrams_of(batch: Iterable[Datagram | DatagramRun]) -> Iterator[Datagram]:
    """Every datagram of a batch, for those who handle each."""
    for item in batch:
        if isinstance(item, DatagramRun):
            yield from item
        else:
            yield item


def count_datagrams(batch: Iterable[Datagram | DatagramRun]) -> int:
    """How many datagrams are in a batch."""
    return sum(len(item) if isinstance(item, DatagramRun) else 1 for item in batch)
