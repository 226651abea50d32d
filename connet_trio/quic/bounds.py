"""The part of the core that bounds what a hostile peer can make us hold, and what one packet of its can make us do.

aioquic bounds most of what a peer may say, but not how long it takes to hear it: 16 KiB of TLS bytes in pieces of one
byte, or a thousand frames in a packet, cost as much as seconds of honest traffic. What is beyond these limits ends the
connection, as it would in RFC 9000 section 21.9; no peer in good faith comes near them.
"""

from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.tls import Epoch

from connet_trio.quic.datagram_sizing import SizedConnection
from connet_trio.quic.limits import (
    ACK_RANGES,
    CRYPTO_BYTES,
    CRYPTO_GAPS,
    REMEMBERED_ACKNOWLEDGEMENTS,
    REMEMBERED_PEER_IDS,
    SMALL_FRAMES,
    STREAM_GAPS,
)

ONE_RTT = Epoch.ONE_RTT  # here, since to look it up in its enumeration is slow


def crypto_buffer_exceeded() -> QuicConnectionError:
    """What a peer is told that has us hold too many TLS bytes."""
    return QuicConnectionError(
        QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, QuicFrameType.CRYPTO, "too many TLS bytes without a message"
    )


class BoundedConnection(SizedConnection):
    """A connection that ends when its peer goes too far."""

    _counted_packet: object = None
    _small_frames = 0

    def _handle_crypto_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        at = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(at)
        receiver = self._crypto_streams[context.epoch].receiver
        # aioquic holds half a megabyte, zeros for what is missing included, for anybody who sends one byte
        if end - receiver.starting_offset() > CRYPTO_BYTES or len(receiver._ranges) > CRYPTO_GAPS:
            raise crypto_buffer_exceeded()
        super()._handle_crypto_frame(context, frame_type, buf)

    def _count_frame(self, context: object, frame_type: int) -> None:
        if context is not self._counted_packet:  # of which there is one for each packet
            self._counted_packet, self._small_frames = context, 0
        self._small_frames += 1
        if self._small_frames > SMALL_FRAMES:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "too many frames in a packet")

    def _handle_ack_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        self._count_frame(context, frame_type)
        at = buf.tell()
        buf.pull_uint_var()
        buf.pull_uint_var()
        ranges = buf.pull_uint_var()
        buf.seek(at)
        if ranges > ACK_RANGES:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "too many ranges acknowledged")
        super()._handle_ack_frame(context, frame_type, buf)

    def _handle_ping_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        self._count_frame(context, frame_type)
        super()._handle_ping_frame(context, frame_type, buf)

    def _handle_path_challenge_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        self._count_frame(context, frame_type)
        super()._handle_path_challenge_frame(context, frame_type, buf)

    def _handle_retire_connection_id_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        self._count_frame(context, frame_type)
        super()._handle_retire_connection_id_frame(context, frame_type, buf)

    def forget_acknowledgements(self) -> None:
        """Of the packets that ask for no answer, remember the newest.

        They are kept for when the peer has heard what they acknowledge, which one that sends but never answers
        does not say.
        """
        space = self._spaces.get(ONE_RTT)
        if space is None or len(space.sent_packets) - space.ack_eliciting_in_flight <= 2 * REMEMBERED_ACKNOWLEDGEMENTS:
            return
        idle = [
            number
            for number, packet in space.sent_packets.items()
            if not packet.is_ack_eliciting and not packet.in_flight
        ]
        for number in idle[:-REMEMBERED_ACKNOWLEDGEMENTS]:
            del space.sent_packets[number]

    def _consume_peer_cid(self) -> None:
        if not self._peer_cid_available:  # it has retired them all, and named again one that it retired before
            raise QuicConnectionError(
                QuicErrorCode.PROTOCOL_VIOLATION, QuicFrameType.NEW_CONNECTION_ID, "no connection ID left"
            )
        super()._consume_peer_cid()

    def _handle_new_connection_id_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        super()._handle_new_connection_id_frame(context, frame_type, buf)
        if len(self._peer_cid_sequence_numbers) > REMEMBERED_PEER_IDS:
            # as if it had retired the older half, which it may never say; aioquic forgets those with its next one
            self._peer_retire_prior_to = sorted(self._peer_cid_sequence_numbers)[REMEMBERED_PEER_IDS // 2]

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> Any:
        stream = super()._get_or_create_stream(frame_type, stream_id)
        if len(stream.receiver._ranges) > STREAM_GAPS:
            raise QuicConnectionError(QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "too many gaps in a stream")
        return stream
