"""Two engines that have shaken hands, without sockets."""

from connet_trio.quic.connection import Connection
from connet_trio.quic.core import Core
from connet_trio.quic.fast import FastCore
from connet_trio.quic.limits import Windows
from connet_trio.quic.network_path import NetworkPath
from tests.quic.conftest import RESET_KEY, WALL_NOW, dialing, listening

NEAR, FAR = NetworkPath(("192.0.2.2", 5000)), NetworkPath(("192.0.2.1", 4000))
"""Where the dialer and the listener are."""
WINDOWS = Windows(stream=1 << 16, connection=1 << 18)


def handshake(dialer_kind: type[Core], now: float) -> tuple[Core, FastCore]:
    """A dialer and a listener that have confirmed each other and have nothing left to say."""
    dialer = dialer_kind(dialing=dialing(windows=WINDOWS), reset_key=RESET_KEY, wall_now=WALL_NOW)
    listener = FastCore(
        listening=listening(WINDOWS),
        original_destination_id=dialer.original_destination_connection_id,
        reset_key=RESET_KEY,
        wall_now=WALL_NOW,
    )
    dialer.connect(FAR, now=now - 1)
    for turn in range(20):
        at = now - 1 + turn / 100
        listener.receive_batch([(data, NEAR) for data, _ in dialer.collect(at)], at)
        dialer.receive_batch([(data, FAR) for data, _ in listener.collect(at)], at)
    for core in (dialer, listener):
        assert core._handshake_confirmed
        while core.next_event() is not None:
            pass
    return dialer, listener


def engine_of(connection: Connection) -> FastCore:
    assert isinstance(connection.core, FastCore)
    return connection.core


class Shares:
    """Which way packets have gone since it was made: of a sender's and of a receiver's, how many the short one."""

    def __init__(self, sender: Connection, receiver: Connection) -> None:
        self._sender, self._receiver = engine_of(sender), engine_of(receiver)
        self._before = self._counts()

    def _counts(self) -> tuple[int, int, int, int]:
        sent, received = self._sender, self._receiver
        return (
            sent.fast_packets.sent,
            sent.stock_packets.sent,
            received.fast_packets.received,
            received.stock_packets.received,
        )

    @property
    def now(self) -> tuple[float, float]:
        sent, sent_stock, received, received_stock = (
            after - before for after, before in zip(self._counts(), self._before, strict=True)
        )
        return sent / (sent + sent_stock), received / (received + received_stock)
