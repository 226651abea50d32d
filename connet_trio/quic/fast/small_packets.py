"""The part of the fast engine that builds packets that are in no run: with little data, or none.

Stock code builds any packet and finds out, frame by frame, what is to be in it, which costs six times as much. What is
built here, one packet at a time, holds an acknowledgement, credit, a ping and the bytes and ends of streams. Whatever
else is owed is for stock code, and then all that is owed is.
"""

from typing import Any

from aioquic.buffer import Buffer, size_uint_var  # type: ignore[attr-defined]
from aioquic.quic.packet import QuicFrameType, QuicPacketType, push_ack_frame
from aioquic.quic.packet_builder import PACKET_NUMBER_SEND_SIZE, QuicDeliveryHandler, QuicSentPacket
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.tls import Epoch

from connet_trio.quic.core import PING_PADDING_BYTES, Core
from connet_trio.quic.fast.recovery import FastRecovery
from connet_trio.quic.fast.sealing import SAMPLE, TAG_BYTES, first_byte, header_masks
from connet_trio.quic.fast.service_queue import ServiceQueue
from connet_trio.quic.network_path import Datagram

# here, since to look one up in its enumeration costs as much as to write a frame
ONE_RTT, ONE_RTT_PACKET = Epoch.ONE_RTT, QuicPacketType.ONE_RTT
PADDING, PING, ACK = int(QuicFrameType.PADDING), int(QuicFrameType.PING), int(QuicFrameType.ACK)
MAX_DATA, MAX_STREAM_DATA = int(QuicFrameType.MAX_DATA), int(QuicFrameType.MAX_STREAM_DATA)
STREAM_WITH_LENGTH, OFFSET_BIT = int(QuicFrameType.STREAM_BASE) | 2, 4  # and 1 where it is the end
LIMIT_BYTES = 1 + 8
STREAM_LIMIT_BYTES = 1 + 2 * 8
"""What a frame with one number, or two, takes at most; it is begun only where there is that much room."""
PINGS_APART = 8
"""Packets of which one asks to have its acknowledgement acknowledged, so that the ranges in it need not be repeated."""


class SmallPacket:
    """A packet that is being built: frames, and who is to be told when they have arrived or are lost.

    Each of its frames or what comes with it is at least two bytes, so it needs no padding to be sealed.
    """

    __slots__ = ("_capacity", "buffer", "handlers", "is_eliciting")

    def __init__(self, capacity: int) -> None:
        """`capacity` is bytes of frames."""
        self._capacity = capacity
        self.buffer = Buffer(capacity=capacity)
        """Where the frames are written."""
        self.is_eliciting = False
        """Whether it asks for an acknowledgement, and counts as in flight until then."""
        self.handlers: list[tuple[QuicDeliveryHandler, Any]] = []

    @property
    def room(self) -> int:
        """Bytes left."""
        return self._capacity - self.buffer.tell()

    def begin_acknowledgement(self, handler: QuicDeliveryHandler, arguments: Any) -> Buffer:
        """Begin the one kind of frame that asks for no acknowledgement."""
        self.handlers.append((handler, arguments))
        self.buffer.push_uint_var(ACK)
        return self.buffer

    def begin(self, frame_type: int, handler: QuicDeliveryHandler, arguments: Any) -> Buffer:
        """Begin any other."""
        self.is_eliciting = True
        self.handlers.append((handler, arguments))
        self.buffer.push_uint_var(frame_type)
        return self.buffer


class SmallPackets(Core):
    """A `Core` that builds packets with few frames by itself."""

    _loss: FastRecovery
    _service: ServiceQueue
    _space: QuicPacketSpace
    """Of the packets that carry data, once there is one."""

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self._space = self._spaces[Epoch.ONE_RTT]
        self._keys = self._cryptos[Epoch.ONE_RTT]
        self._crypto_stream = self._crypto_streams[Epoch.ONE_RTT]

    def _owes_rare_frames(self) -> bool:
        """Whether anything is to be sent that only stock code builds, streams apart."""
        return bool(
            self._probe_pending
            or self._handshake_done_pending
            or self._retire_connection_ids
            or self._streams_blocked_pending
            or self._datagrams_pending
            or self._network_paths[0].remote_challenges
            or not self._crypto_stream.sender.buffer_is_empty
            or self._has_unsent_ids()
        )

    def _has_unsent_ids(self) -> bool:
        for entry in self._host_cids:  # noqa: SIM110  # asked at every turn; a generator costs three times as much
            if not entry.was_sent:
                return True
        return False

    def _owes_frames(self, now: float) -> bool:
        """Whether there is anything to send that belongs to no stream's queue."""
        ack_at = self._space.ack_at
        return bool(
            (ack_at is not None and ack_at <= now)
            or self._stream_table.credited
            or self._ping_pending
            or self._limits_are_due()
            or self._owes_rare_frames()
        )

    def _small_packet(self, now: float) -> list[Datagram]:
        """One packet with what is owed, and what of the queue of streams finds room beside it.

        None leaves where pacer or window do not let it. An acknowledgement that is due is above both, and what leaves
        with it above the pacer; one that is not due yet leaves with what leaves anyway.
        """
        due_at, self._pacing_at = self._space.ack_at, None
        is_due = due_at is not None and due_at <= now
        has_window = self._loss.congestion_window - self._loss.bytes_in_flight >= self._max_datagram_size
        if not has_window and not is_due:
            return []
        if not is_due:
            self._pacing_at = self._loss._pacer.next_send_time(now)
            if self._pacing_at is not None:
                return []
        header_bytes = 1 + len(self._peer_cid.cid) + PACKET_NUMBER_SEND_SIZE
        packet = SmallPacket(self._max_datagram_size - header_bytes - TAG_BYTES)
        if due_at is not None:
            self._add_acknowledgement(packet, now, may_ping=has_window)
        if has_window:
            self._add_credit(packet)
            self._add_ping(packet)
            self._add_stream_frames(packet)
        return self._leave(packet, now) if packet.handlers else []

    # --- frames, each as stock code writes it

    def _add_acknowledgement(self, packet: SmallPacket, now: float, *, may_ping: bool) -> None:
        space = self._space
        assert space.largest_received_time is not None
        delay = int((now - space.largest_received_time) * 1_000_000) >> self._local_ack_delay_exponent
        buffer = packet.begin_acknowledgement(self._on_ack_delivery, (space, space.largest_received_packet))
        ranges = push_ack_frame(buffer, space.ack_queue, delay, packet.room)
        space.ack_at = None
        if may_ping and ranges > 1 and self._packet_number % PINGS_APART == 0 and packet.room:
            packet.begin(PING, self._on_ping_delivery, ((),))

    def _add_credit(self, packet: SmallPacket) -> None:
        """What the peer may send and does not know of yet; streams for which there is no room are left for later."""
        if self._limits_are_due():
            data, streams = self._local_max_data, self._local_max_streams_bidi
            untold = streams.value - streams.sent
            for limit, is_due in ((data, data.value != data.sent), (streams, streams.sent - streams.used < untold)):
                if is_due and packet.room >= LIMIT_BYTES:
                    buffer = packet.begin(limit.frame_type, self._on_connection_limit_delivery, (limit,))
                    buffer.push_uint_var(limit.value)
                    limit.sent = limit.value
        for stream in self._stream_table.values():
            if packet.room < STREAM_LIMIT_BYTES:
                return
            if not stream.receiver.is_finished and stream.max_stream_data_local_sent != stream.max_stream_data_local:
                buffer = packet.begin(MAX_STREAM_DATA, self._on_max_stream_data_delivery, (stream,))
                buffer.push_uint_var(stream.stream_id)
                buffer.push_uint_var(stream.max_stream_data_local)
                stream.max_stream_data_local_sent = stream.max_stream_data_local
            del self._stream_table.credited[stream.stream_id]

    def _add_ping(self, packet: SmallPacket) -> None:
        if self._ping_pending and packet.room > PING_PADDING_BYTES:
            buffer = packet.begin(PING, self._on_ping_delivery, (tuple(self._ping_pending),))
            buffer.push_bytes(bytes(PING_PADDING_BYTES))
            self._ping_pending.clear()

    def _add_stream_frames(self, packet: SmallPacket) -> None:
        served = []
        for stream in self._service:
            sender: Any = stream.sender
            if sender.buffer_is_empty or stream.is_blocked:
                continue
            stream_id: Any = stream.stream_id
            highest = sender.highest_offset
            offset = sender.next_offset
            header_bytes = 3 + size_uint_var(stream_id) + (size_uint_var(offset) if offset else 0)
            credit = self._remote_max_data - self._remote_max_data_used
            frame = sender.cut(packet.room - header_bytes, min(highest + credit, stream.max_stream_data_remote))
            if frame is None:
                continue
            offset, data, is_end = frame
            end = offset + len(data)
            buffer = packet.begin(
                STREAM_WITH_LENGTH | (OFFSET_BIT if offset else 0) | is_end,
                sender.on_data_delivery,
                (offset, end, is_end),
            )
            buffer.push_uint_var(stream_id)
            if offset:
                buffer.push_uint_var(offset)
            buffer.push_uint16(len(data) | 0x4000)
            buffer.push_bytes(data)
            if end > highest:
                self._remote_max_data_used += end - highest
                served.append(stream)
        self._service.extend(served)

    # --- the whole

    def _leave(self, packet: SmallPacket, now: float) -> list[Datagram]:
        """Seal it, and note what stock code notes of a packet, in path, loss recovery and pacer."""
        number, path = self._packet_number, self._network_paths[0]
        data = self._seal(packet.buffer.data, number)
        self._packet_number = number + 1
        path.bytes_sent += len(data)
        self._loss.on_small_sent(
            QuicSentPacket(
                ONE_RTT,
                packet.is_eliciting,  # in flight
                packet.is_eliciting,
                False,
                number,
                ONE_RTT_PACKET,
                now,
                len(data),
                packet.handlers,
            ),
            self._space,
        )
        return [(data, path.addr)]

    def _seal(self, payload: bytes, number: int) -> bytes:
        keys = self._keys
        header = bytes((first_byte(spin=self._spin_bit, key_phase=keys.recv.key_phase),)) + self._peer_cid.cid
        number_bytes = (number & 0xFFFF).to_bytes(PACKET_NUMBER_SEND_SIZE, "big")
        sealed: bytes = keys.send.aead.encrypt(payload, header + number_bytes, number)  # type: ignore[union-attr]
        mask = header_masks(keys.send.hp, [sealed[SAMPLE]])
        protected = (header[0] ^ mask[0] & 0x1F, *header[1:], number_bytes[0] ^ mask[1], number_bytes[1] ^ mask[2])
        return bytes(protected) + sealed
