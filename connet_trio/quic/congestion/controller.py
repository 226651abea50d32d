"""What an engine tells a congestion controller, and what it asks of it.

The order within one acknowledgement: `handle_acked` for each packet (or each run of packets of one burst), then
`handle_lost` for what it shows to be lost, then `handle_ack_end`. A burst that leaves at one time is one `handle_sent`
if the engine likes: its packets then share the snapshot, and may be acknowledged or lost one by one or in runs.
"""

import enum
from typing import Protocol

import attrs


@attrs.define
class Snapshot:
    """How delivery stood when a packet or a burst left; kept with it by the engine (4.1.2.1)."""

    sent_at: float
    delivered: int
    delivered_at: float
    first_sent_at: float
    is_app_limited: bool
    in_flight: int
    """With the packet itself."""
    lost: int


class SendLimit(enum.Enum):
    """What kept an engine from sending more."""

    APPLICATION = "nothing to send, or no credit of the peer"
    WINDOW = "the congestion window is full"
    PACING = "the next packet is not due, or the burst is spent"


class Controller(Protocol):
    """A rate-based controller; those of aioquic have a window only, and are paced by it."""

    @property
    def bytes_in_flight(self) -> int:
        """Sent, and neither acknowledged nor given up."""

    @property
    def congestion_window(self) -> int:
        """Bytes that may be in flight."""

    @property
    def pacing_rate(self) -> float:
        """Bytes per second, 0 while there is no sample of the round trip."""

    @property
    def send_quantum(self) -> int:
        """Bytes to send at a time, about 1 ms of the rate."""

    @property
    def phase(self) -> str:
        """What it is doing, for the trace."""

    @property
    def bandwidth(self) -> float:
        """Bytes per second that it believes to have, 0 while it does not know."""

    @property
    def round_trip(self) -> float:
        """Seconds without a queue, infinite while it does not know."""

    def handle_sent(self, size: int, now: float) -> Snapshot:
        """`size` bytes leave; the snapshot comes back with their fate."""

    def handle_acked(self, snapshot: Snapshot, size: int, now: float) -> None:
        """They have arrived."""

    def handle_lost(self, snapshot: Snapshot, size: int, number: int, now: float) -> None:
        """They are lost, `number` being that of the packet, or of the last one."""

    def handle_expired(self, size: int) -> None:
        """They are no longer waited for, which says nothing about the path."""

    def handle_late(self, snapshot: Snapshot, size: int, now: float) -> None:
        """What was reported lost has arrived after all."""

    def handle_spurious(self) -> None:
        """All that was lost since a loss episode began has arrived after all."""

    def handle_ack_end(self, now: float) -> None:
        """The acknowledgement has been told entirely."""

    def handle_persistent_congestion(self) -> None:
        """Nothing got through for several timeouts (RFC 9002 section 7.6)."""

    def handle_limit(self, limit: SendLimit) -> None:
        """Sending has come to a stop, and why."""

    def set_datagram_bytes(self, size: int) -> None:
        """The path carries datagrams of this size from now on."""
