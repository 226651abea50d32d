"""Packets sent and not yet acknowledged or lost, where a burst is one entry."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.tls import Epoch


class SentRun:
    """Packets of consecutive numbers, sent at once, of one size, with consecutive bytes of one stream and nothing else.

    Any part of a run is a run, so that one can be taken apart when the other side acknowledges or misses some of it.
    """

    __slots__ = ("count", "offset", "packet_bytes", "packet_number", "payload_bytes", "sender", "sent_time", "snapshot")

    def __init__(
        self,
        *,
        packet_number: int,
        count: int,
        sent_time: float,
        packet_bytes: int,
        sender: Any,
        offset: int,
        payload_bytes: int,
        snapshot: Any = None,
    ) -> None:
        """`snapshot` is what congestion control hangs on a packet when it is sent: one for all of them."""
        self.packet_number = packet_number
        self.count = count
        self.sent_time = sent_time
        self.packet_bytes = packet_bytes
        self.sender = sender
        self.offset = offset
        self.payload_bytes = payload_bytes
        self.snapshot = snapshot

    @property
    def sent_bytes(self) -> int:
        """Bytes of all its packets."""
        return self.count * self.packet_bytes

    @property
    def stop(self) -> int:
        """The packet number after its last."""
        return self.packet_number + self.count

    @property
    def end_offset(self) -> int:
        """The offset in the stream after its last byte."""
        return self.offset + self.count * self.payload_bytes

    def part(self, first: int, stop: int) -> "SentRun":
        """The packets numbered `first` to `stop` - 1, which are some of this run's."""
        return SentRun(
            packet_number=first,
            count=stop - first,
            sent_time=self.sent_time,
            packet_bytes=self.packet_bytes,
            sender=self.sender,
            offset=self.offset + (first - self.packet_number) * self.payload_bytes,
            payload_bytes=self.payload_bytes,
            snapshot=self.snapshot,
        )

    def packet(self, number: int) -> QuicSentPacket:
        """One of its packets as stock code would have made it."""
        start = self.offset + (number - self.packet_number) * self.payload_bytes
        packet = QuicSentPacket(
            epoch=Epoch.ONE_RTT,
            in_flight=True,
            is_ack_eliciting=True,
            is_crypto_packet=False,
            packet_number=number,
            packet_type=QuicPacketType.ONE_RTT,
            sent_time=self.sent_time,
            sent_bytes=self.packet_bytes,
            delivery_handlers=[(self.sender.on_data_delivery, (start, start + self.payload_bytes, False))],
        )
        packet.snapshot = self.snapshot  # type: ignore[attr-defined]
        return packet

    def packets(self) -> Iterator[QuicSentPacket]:
        """All of them, in order."""
        return map(self.packet, range(self.packet_number, self.stop))


class SentLog:
    """Takes the place of the dictionary `sent_packets` of a packet number space.

    To stock code it is that dictionary, packets by number in the order they were sent, except that a run looks like
    its first packet to who asks for numbers only. `FastRecovery` knows; others ask for packets, and get every one.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []  # of each entry the first, ascending
        self._entries: list[QuicSentPacket | SentRun] = []

    def __setitem__(self, number: int, packet: QuicSentPacket) -> None:
        self._append(packet)

    def add_run(self, run: SentRun) -> None:
        """Note a burst that has just been sent."""
        self._append(run)

    def __len__(self) -> int:
        """How many entries there are, runs counted once."""
        return len(self._entries)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def values(self) -> Iterator[QuicSentPacket]:
        """Every packet; the log must not change meanwhile."""
        for entry in self._entries:
            if isinstance(entry, SentRun):
                yield from entry.packets()
            else:
                yield entry

    def items(self) -> Iterator[tuple[int, QuicSentPacket]]:
        """Every packet with its number; the log must not change meanwhile."""
        return ((packet.packet_number, packet) for packet in self.values())

    def get(self, number: int) -> QuicSentPacket | None:
        """A packet by its number."""
        index = bisect_right(self._numbers, number) - 1
        entry = self._entries[index] if index >= 0 else None
        if isinstance(entry, SentRun):
            return entry.packet(number) if number < entry.stop else None
        return entry if entry is not None and entry.packet_number == number else None

    def pop(self, number: int) -> QuicSentPacket:
        """Remove and return a packet.

        Raises:
          KeyError: there is none of that number.
        """
        index = bisect_right(self._numbers, number) - 1
        entry = self._entries[index] if index >= 0 else None
        if isinstance(entry, SentRun) and number < entry.stop:
            around: list[QuicSentPacket | SentRun] = [
                entry.part(entry.packet_number, number),
                entry.part(number + 1, entry.stop),
            ]
            self._replace(index, index + 1, around)
            return entry.packet(number)
        if isinstance(entry, QuicSentPacket) and entry.packet_number == number:
            del self._numbers[index], self._entries[index]
            return entry
        raise KeyError(number)

    def __delitem__(self, number: int) -> None:
        self.pop(number)

    @property
    def oldest(self) -> int | None:
        """The lowest number, None if there is nothing."""
        return self._numbers[0] if self._numbers else None

    def clear(self) -> None:
        """Forget everything."""
        self._numbers.clear()
        self._entries.clear()

    def take(self, first: int, stop: int) -> list[QuicSentPacket | SentRun]:
        """Remove and return what is numbered `first` to `stop` - 1: packets and, whole or in part, runs."""
        index = bisect_left(self._numbers, first)
        if index:
            before = self._entries[index - 1]
            index -= isinstance(before, SentRun) and before.stop > first
        end = bisect_left(self._numbers, stop, index)
        taken, left = self._entries[index:end], []
        if not taken:
            return taken
        head = taken[0]
        if isinstance(head, SentRun) and head.packet_number < first:
            left.append(head.part(head.packet_number, first))
            taken[0] = head.part(first, head.stop)
        tail = taken[-1]
        if isinstance(tail, SentRun) and tail.stop > stop:
            left.append(tail.part(stop, tail.stop))
            taken[-1] = tail.part(tail.packet_number, stop)
        self._entries[index:end] = left
        self._numbers[index:end] = [entry.packet_number for entry in left]
        return taken

    def put_back(self, packet: QuicSentPacket) -> None:
        """Note a packet that had been given up, where its number belongs."""
        index = bisect_left(self._numbers, packet.packet_number)
        self._numbers.insert(index, packet.packet_number)
        self._entries.insert(index, packet)

    def _append(self, entry: QuicSentPacket | SentRun) -> None:
        assert not self._numbers or self._numbers[-1] < entry.packet_number
        self._numbers.append(entry.packet_number)
        self._entries.append(entry)

    def _replace(self, index: int, end: int, entries: list[QuicSentPacket | SentRun]) -> None:
        kept = [entry for entry in entries if not isinstance(entry, SentRun) or entry.count]
        self._entries[index:end] = kept
        self._numbers[index:end] = [entry.packet_number for entry in kept]
