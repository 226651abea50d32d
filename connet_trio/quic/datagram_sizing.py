"""The part of the core that finds out how large a datagram the path carries, and sends in that size.

`engine.PathMtu` decides; here its probes are built, its size is put where aioquic keeps one, and it is told what
arrived and what was lost. Handshakes stay at the base: nothing is probed before the handshake is confirmed. What goes
where the size is not known to pass stays at the base too: the probe after a timeout, so that a path that has shrunk
answers at once, and what is sent on other paths than the current one.

A probe is no part of the congestion window, neither while it is under way nor when it is lost (RFC 9000 section 14.4).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicFrameType, QuicPacketType, pull_quic_transport_parameters
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.tls import Epoch

from connet_trio.engine import PathMtu
from connet_trio.quic.datagram_run import Batch
from connet_trio.quic.limits import MAX_DATAGRAM_BYTES
from connet_trio.quic.network_path import Datagram
from connet_trio.quic.recovery import Recovery

SEARCH_AFTER_BYTES = 16_384
"""What is sent on a path before its MTU matters. Most connections to a control server never come to that, and a search
costs as much as a tenth of a handshake."""


class MtuAwareRecovery(Recovery):
    """Loss recovery that tells `path_mtu` what arrived and what was lost."""

    path_mtu: PathMtu

    def on_ack_received(self, *, ack_rangeset: Any, ack_delay: float, now: float, space: Any) -> None:
        """Look at the newest packet of an acknowledgement before those it shows to be lost."""
        newest = space.sent_packets.get(ack_rangeset.bounds().stop - 1)
        if newest is not None:
            self.path_mtu.handle_acked(newest.packet_number, newest.sent_bytes)
        super().on_ack_received(ack_rangeset=ack_rangeset, ack_delay=ack_delay, now=now, space=space)

    def _on_packets_lost(self, *, packets: Iterable[Any], **others: Any) -> None:
        lost = list(packets)
        in_flight = [packet for packet in lost if packet.in_flight]  # which a probe is not
        if any(self.path_mtu.handle_lost(packet.packet_number, packet.sent_bytes) for packet in in_flight):
            # it was their size, not congestion; aioquic would go on with a window of two packets
            others["congestion_event"] = False
        super()._on_packets_lost(packets=lost, **others)


class SizedConnection(QuicConnection):
    """A connection whose datagrams follow `path_mtu`."""

    _recovery: MtuAwareRecovery
    """`_loss`, when it has been made one."""

    def __init__(self, *, configuration: QuicConfiguration, path_mtu: PathMtu, **others: Any) -> None:
        super().__init__(configuration=configuration, **others)
        self.path_mtu = path_mtu
        self._mtu_path: object = None

    @property
    def datagram_size(self) -> int:
        """Bytes of UDP payload in a full datagram on the current path."""
        return self.path_mtu.size

    def sized_datagrams(self, now: float) -> Batch:
        """`datagrams_to_send` in the size the path carries, and a probe for the next size if one is due."""
        path = self._network_paths[0]
        if path is not self._mtu_path:
            if self._mtu_path is not None:
                self.path_mtu.handle_path_changed()
            self._mtu_path = path
        if self.path_mtu.size != self._max_datagram_size:
            self._max_datagram_size = self.path_mtu.size
            self._recovery.set_datagram_bytes(self.path_mtu.size)
        closing = self._close_pending
        if self._probe_pending:
            with self._base_size():
                datagrams: Batch = [*self.datagrams_to_send(now)]
        else:
            datagrams = [*self.datagrams_to_send(now)]
        if self._handshake_confirmed and path.bytes_sent >= SEARCH_AFTER_BYTES and path.is_validated and not closing:
            datagrams += self._mtu_probe(path, now)
        return datagrams

    @contextmanager
    def _base_size(self) -> Iterator[None]:
        self._max_datagram_size, usual = MAX_DATAGRAM_BYTES, self._max_datagram_size
        try:
            yield
        finally:
            self._max_datagram_size = usual

    def _mtu_probe(self, path: Any, now: float) -> list[Datagram]:
        size = self.path_mtu.take_probe(now, self._packet_number)
        if size is None:
            return []
        assert self._version is not None
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=size,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            spin_bit=self._spin_bit,
            version=self._version,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[Epoch.ONE_RTT])
        builder.start_frame(
            QuicFrameType.PING, handler=self._on_mtu_probe_delivery, handler_args=(self._packet_number,)
        )
        room = builder.remaining_buffer_space
        builder.start_frame(QuicFrameType.PADDING, capacity=room).push_bytes(bytes(room - 1))
        ((data,), (packet,)) = builder.flush()
        packet.sent_time, packet.in_flight = now, False
        self._packet_number = builder.packet_number
        self._loss.on_packet_sent(packet=packet, space=self._spaces[Epoch.ONE_RTT])
        # what is not in flight leaves this alone, and the timeout would count from what was sent long ago
        self._loss._time_of_last_sent_ack_eliciting_packet = now
        path.bytes_sent += size
        return [(data, path.addr)]

    def _on_mtu_probe_delivery(self, delivery: QuicDeliveryState, packet_number: int) -> None:
        if delivery is QuicDeliveryState.ACKED:
            self.path_mtu.handle_probe_acked(packet_number)
        else:
            self.path_mtu.handle_probe_lost(packet_number)

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        limit = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        if limit is not None:
            self.path_mtu.limit_to(limit)

    def _send_probing_frames(self, network_path: Any, now: float) -> list[Datagram]:
        with self._base_size():
            datagrams: list[Datagram] = super()._send_probing_frames(network_path, now)
        return datagrams
