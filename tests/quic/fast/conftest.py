"""Two engines that have shaken hands, without sockets."""

import copy
from typing import Any

from aioquic.tls import Epoch

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


def copy_of(core: FastCore) -> FastCore:
    """With the same keys, which are not copied: they have no state."""
    keys = [pair for pair in core._cryptos.values() if pair.send.is_valid()]
    shared: list[object] = [core.tls, core._dialing, core._listening, core._answer, *core._crypto_buffers.values()]
    shared += [part for pair in keys for context in (pair.send, pair.recv) for part in (context.aead, context.hp)]
    return copy.deepcopy(core, {id(thing): thing for thing in shared})


def stream_picture(stream: Any) -> dict[str, object]:
    receiver, sender = stream.receiver, stream.sender
    return {
        "received": (receiver.highest_offset, receiver._buffer_start, bytes(receiver._buffer), list(receiver._ranges)),
        "receiving": (receiver._final_size, receiver.is_finished, receiver.stop_pending),
        "credit": (stream.max_stream_data_local, stream.max_stream_data_local_sent, stream.max_stream_data_remote),
        "sent": (sender._buffer_start, sender._buffer_stop, sender.highest_offset, sender._buffer[:]),
        "under way": (list(sender._pending), list(sender._acked)),
        "sending": (sender.is_finished, sender.reset_pending, sender._reset_error_code),
    }


def picture(core: Core) -> dict[str, object]:
    """Everything that a packet can change, received or sent."""
    space, loss = core._spaces[Epoch.ONE_RTT], core._loss
    window = space.received_packets
    known = {number for number in window._received if number >= window._lower}
    keys = core._cryptos[Epoch.ONE_RTT]
    return {
        "numbers": (list(space.ack_queue), space.largest_received_packet, window._lower, known),
        "acknowledgement": (space.ack_at, space.largest_received_time),
        "streams": {stream_id: stream_picture(stream) for stream_id, stream in core._streams.items()},
        "limits": [
            (limit.value, limit.sent, limit.used) for limit in (core._local_max_data, core._local_max_streams_bidi)
        ],
        "allowed": (core._remote_max_data, core._remote_max_data_used, core._remote_max_streams_bidi),
        "under way": [number for number, _ in space.sent_packets.items()],
        "congestion": (loss.congestion_window, loss.bytes_in_flight, loss._rtt_smoothed, loss._rtt_latest),
        "time": (core._close_at, core.get_timer(), core._ack_eliciting_sent_since_receipt),
        "spin": (core._spin_bit, core._spin_highest_pn),
        "keys": (keys.recv.key_phase, keys.recv.secret, keys._update_key_requested),
        "ids": (core.host_cid, core._peer_cid.cid, [entry.cid for entry in core._host_cids]),
        "paths": [(path.addr, path.is_validated, len(path.remote_challenges)) for path in core._network_paths],
        "end": (core._state, core._close_pending, core._close_event),
    }


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
