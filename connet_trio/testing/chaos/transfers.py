"""What is carried in a chaos run: streams whose every byte is known beforehand, and what became of each.

A stream begins with the number of its transfer, by which the destination finds the plan; each byte after it is a
function of that number, its direction and its place. So each side judges what it gets by itself: all of it and then an
end, or a loud failure; whatever else is a violation.
"""

import random
import struct
from functools import cache

import attrs
import trio

from connet_trio.concurrency import AbortableStream, Watched
from connet_trio.errors import ConnetError
from connet_trio.testing.chaos.plan import GivesUp, TransferPlan
from connet_trio.testing.chaos.world import World

_NUMBER = struct.Struct("!I")
_PERIOD = 65_521
"""Bytes after which contents repeat: a prime, so that what is misplaced by a usual size is noticed."""


@attrs.define
class Side:
    """One direction of a transfer, as its receiver sees it."""

    expected: int
    received: int = 0
    ended: bool = False
    """All has arrived, and then the end."""
    broken: str = ""
    """Why not, in the words of the error that said so."""


@attrs.define(eq=False)
class Transfer:
    """What has become of a transfer."""

    plan: TransferPlan
    state: str = "not begun"
    down: Side | None = None
    up: Side | None = None

    @property
    def is_whole(self) -> bool:
        """Whether both sides have got everything."""
        return all(side is not None and side.ended for side in (self.up, self.down))

    def __str__(self) -> str:
        sides = ((name, side) for name, side in (("up", self.up), ("down", self.down)) if side is not None)
        got = ", ".join(
            f"{name} {side.received} of {side.expected}{' and the end' * side.ended}{side.broken and ': '}{side.broken}"
            for name, side in sides
        )
        what = f"transfer {self.plan.number} of {self.plan.service} from {self.plan.source}"
        return f"{what}: {self.state}{got and '; '}{got}"


class Traffic:
    """Every transfer of a run."""

    def __init__(self, world: World) -> None:
        self.transfers: dict[int, Transfer] = {}
        self.violations: list[str] = []
        self._world = world
        self._serving: Watched[frozenset[int]] = Watched(frozenset())

    @property
    def open(self) -> list[Transfer]:
        """Those that are under way at their source, or at the destination that serves them."""
        return [
            transfer
            for number, transfer in self.transfers.items()
            if transfer.state == "open" or number in self._serving.value
        ]

    async def run(self, plan: TransferPlan) -> Transfer:
        """Make a transfer from now on; returns when its source is done with it."""
        transfer = self.transfers[plan.number] = Transfer(plan)
        running = self._world.clients[plan.source].running.value
        if running is None:
            transfer.state = "no client"
            return transfer
        try:
            stream = await running.sources[plan.service].dial()
        except ConnetError as exc:
            transfer.state = f"not dialled: {exc}"
            return transfer
        transfer.state = "open"
        transfer.down = Side(plan.bytes_down)
        try:
            await self._talk(stream, plan, transfer)
        finally:
            transfer.state = "over"
        return transfer

    async def wait_served(self, transfer: Transfer) -> None:
        """Wait until the destination is done with it too."""
        await self._serving.wait_value(lambda numbers: transfer.plan.number not in numbers)

    async def _talk(self, stream: AbortableStream, plan: TransferPlan, transfer: Transfer) -> None:
        assert transfer.down is not None
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, plan, "up", _NUMBER.pack(plan.number))
            await self._receive(stream, plan, transfer.down, "down")

    async def serve(self, client: str, stream: AbortableStream) -> None:
        """The other side of `run`, at a destination."""
        async with stream:
            try:
                header = await _receive_exactly(stream, _NUMBER.size)
            except trio.BrokenResourceError:
                return
            if header is None:
                self.violations.append(f"a stream at {client} ended within its number")
                return
            (number,) = _NUMBER.unpack(header)
            transfer = self.transfers[number]
            plan, side = transfer.plan, Side(transfer.plan.bytes_up)
            transfer.up = side
            self._serving.set(self._serving.value | {number})
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_send, stream, plan, "down", b"")
                    await self._receive(stream, plan, side, "up")
            finally:
                self._serving.set(self._serving.value - {number})

    async def _receive(self, stream: AbortableStream, plan: TransferPlan, side: Side, direction: str) -> None:
        contents = _contents(plan.number, direction)
        what = f"transfer {plan.number} {direction}"
        while True:
            try:
                data = await stream.receive_some(plan.chunk_bytes)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                side.broken = f"{exc}" + (f" ({exc.__cause__})" if exc.__cause__ else "")
                return
            if data != _piece(contents, side.received, len(data)):
                self.violations.append(f"{what}: wrong bytes within {len(data)} at {side.received}")
                stream.abort()
                return
            side.received += len(data)
            if side.received > side.expected or (not data and side.received < side.expected):
                self.violations.append(f"{what}: ended after {side.received} bytes, {side.expected} were sent")
                stream.abort()
                return
            if not data:
                side.ended = True
                return
            if plan.read_pause:
                await trio.sleep(plan.read_pause)


async def _send(stream: AbortableStream, plan: TransferPlan, direction: str, first: bytes) -> None:
    """Send one direction of a transfer to its end, or to where it is given up."""
    size, gives_up = (plan.bytes_up, GivesUp.SOURCE) if direction == "up" else (plan.bytes_down, GivesUp.DESTINATION)
    contents = _contents(plan.number, direction)
    sent = 0
    try:
        if first:
            await stream.send_all(first)
        while sent < size:
            if plan.gives_up is gives_up and sent >= size // 2:
                stream.abort()
                return
            count = min(plan.chunk_bytes, size - sent)
            await stream.send_all(_piece(contents, sent, count))
            sent += count
            if plan.write_pause:
                await trio.sleep(plan.write_pause)
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _receive_exactly(stream: AbortableStream, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            return None
        data += more
    return data


@cache
def _pattern() -> bytes:
    """Three periods, so that any piece up to one is a slice."""
    return random.Random("chaos contents").randbytes(_PERIOD) * 3


def _contents(number: int, direction: str) -> int:
    """Where the contents of a transfer begin in the pattern."""
    return random.Random(f"{number}{direction}").randrange(_PERIOD)


def _piece(begin: int, offset: int, size: int) -> bytes:
    start = (begin + offset) % _PERIOD
    return _pattern()[start : start + size]
