"""A path made of numbers: a bottleneck with a queue, acknowledgements, and a controller that sends over it."""

import heapq
import itertools
from collections.abc import Callable
from itertools import takewhile

import attrs
import pytest

from connet_trio.quic.congestion import DRAFT, Bbr, BbrConstants, SendLimit, Snapshot
from connet_trio.quic.congestion.constants import State

PACKET = 1200
REORDERING = 3


@attrs.define
class Path:
    """Bytes, seconds; may be changed while it runs."""

    rate: float = 1_200_000.0
    rtt: float = 0.05
    queue: float = 100_000.0
    is_lost: Callable[[int], bool] = lambda number: False
    aggregation: float = 0.0
    """Acknowledgements come in clumps, that many seconds apart."""


class Sender:
    """Sends packets over a path as a controller allows, while its application has data."""

    def __init__(self, controller: Bbr, path: Path) -> None:
        self.controller, self.path = controller, path
        self.now = 0.0
        self.has_data = True
        self.states: list[tuple[float, State]] = [(0.0, controller.state)]
        """Each that was entered, and when."""
        self.delivered = self.lost = self.sent = 0
        self._free_at = 0.0
        self._next_at = 0.0
        self._wake_at = 0.0
        self._events: list[tuple[float, int, int | None]] = []
        self._order = itertools.count()
        self._out: dict[int, Snapshot] = {}

    def run(self, seconds: float) -> float:
        """Go on for `seconds`; bytes delivered in each of them."""
        end, before = self.now + seconds, self.delivered
        self._send()
        while self._events and self._events[0][0] <= end:
            self.now, _, number = heapq.heappop(self._events)
            if number is not None:
                self._acknowledge(number)
            self._send()
        self.now = end
        return (self.delivered - before) / seconds

    def run_until(self, state: State, most: float = 20.0) -> None:
        """Go on until the controller is in `state`."""
        end = self.now + most
        while self.controller.state is not state:
            assert self.now < end, f"{state} not reached, but {self.states[-5:]}"
            self.run(0.002)

    def entered(self, state: State) -> list[float]:
        """When it was entered."""
        return [at for at, entered in self.states if entered is state]

    def _send(self) -> None:
        controller = self.controller
        while True:
            if not self.has_data:
                return controller.handle_limit(SendLimit.APPLICATION)
            if controller.bytes_in_flight + PACKET > controller.congestion_window:
                return controller.handle_limit(SendLimit.WINDOW)
            if self._next_at > self.now + 1e-9:
                if self._wake_at <= self.now:
                    self._wake_at = self._next_at
                    self._at(self._wake_at, None)
                return controller.handle_limit(SendLimit.PACING)
            self._send_one()

    def _send_one(self) -> None:
        number, self.sent = self.sent, self.sent + 1
        self._out[number] = self.controller.handle_sent(PACKET, self.now)
        if self.controller.pacing_rate:
            self._next_at = max(self._next_at, self.now) + PACKET / self.controller.pacing_rate
        path = self.path
        if path.is_lost(number) or (self._free_at - self.now) * path.rate > path.queue:
            return
        self._free_at = max(self._free_at, self.now) + PACKET / path.rate
        arrival = self._free_at + path.rtt
        if path.aggregation:
            arrival = (arrival // path.aggregation + 1) * path.aggregation
        self._at(arrival, number)

    def _acknowledge(self, number: int) -> None:
        controller = self.controller
        controller.handle_acked(self._out.pop(number), PACKET, self.now)
        self.delivered += PACKET
        for missing in list(takewhile(lambda each: each < number - REORDERING, self._out)):
            controller.handle_lost(self._out.pop(missing), PACKET, missing, self.now)
            self.lost += 1
        controller.handle_ack_end(self.now)
        if controller.state is not self.states[-1][1]:
            self.states.append((self.now, controller.state))

    def _at(self, time: float, number: int | None) -> None:
        heapq.heappush(self._events, (time, next(self._order), number))


MakeSender = Callable[..., Sender]


@pytest.fixture
def make_sender() -> MakeSender:
    def make(constants: BbrConstants = DRAFT, luck: float = 0.0, **path: object) -> Sender:
        controller = Bbr(datagram_bytes=PACKET, luck=lambda: luck, constants=constants)
        return Sender(controller, Path(**path))  # type: ignore[arg-type]

    return make
