"""The fast engine: what of aioquic it replaces, and when."""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

import attrs
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.connection import QuicConnectionState, stream_is_client_initiated
from aioquic.quic.packet import get_spin_bit
from aioquic.quic.recovery import MAX_ACK_RANGES
from aioquic.quic.stream import QuicStream

from connet_trio.quic.core import DUPLICATE_WINDOW_PACKETS
from connet_trio.quic.datagram_run import Batch, DatagramRun
from connet_trio.quic.fast.arrivals import Arrivals
from connet_trio.quic.fast.frames import Acknowledged, DataAllowed, Feedback, StreamDataAllowed
from connet_trio.quic.fast.opening import Opener
from connet_trio.quic.fast.receiving import UNIDIRECTIONAL_BIT, Reception
from connet_trio.quic.fast.recovery import FastRecovery
from connet_trio.quic.fast.sealing import first_byte, payload_capacity, seal_run
from connet_trio.quic.fast.sent_log import SentLog, SentRun
from connet_trio.quic.fast.service_queue import ServiceQueue, Survey, WakingStreamTable, sendable_bytes
from connet_trio.quic.fast.small_packets import SmallPackets
from connet_trio.quic.network_path import Datagram

LEAST_PACKETS = 2
"""A stream with room for fewer full packets is for stock code, which puts several streams into one."""
CONNECTED = QuicConnectionState.CONNECTED  # here, since to look it up in its enumeration is slow
USUAL_NUMBER_BYTES = 2
"""Width of packet numbers that a peer is expected to begin with; aioquic's never changes."""


@attrs.define
class PacketCount:
    """How many packets went one way through the engine."""

    sent: int = 0
    received: int = 0


class FastCore(SmallPackets):
    """A `Core` that does the bulk of the work in few steps for each packet; it takes what `Core` takes."""

    def __init__(self, **options: Any) -> None:
        self._service = ServiceQueue()  # what follows fills it
        super().__init__(**options)
        self._streams = self._stream_table = WakingStreamTable(self._service)
        self._loss.__class__ = FastRecovery
        self._number_bytes = USUAL_NUMBER_BYTES
        self.fast_packets = PacketCount()
        """Those that took the short way."""
        self.stock_packets = PacketCount()
        """Those that stock code made, or was given (one datagram counts as one packet there)."""

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self._space.sent_packets = SentLog()  # type: ignore[assignment]

    def _is_settled(self) -> bool:
        """Whether nothing is going on but an exchange of data, over one path that both sides know to work."""
        return bool(
            self._handshake_confirmed
            and self._state is CONNECTED
            and not self._close_pending
            and self._network_paths[0].is_validated
            and self._quic_logger is None
        )

    # --- streams that have something to send

    @property
    def _streams_queue(self) -> Any:
        return self._service

    @_streams_queue.setter
    def _streams_queue(self, streams: Iterable[QuicStream]) -> None:
        self._service.replace(streams)

    def _handle_max_stream_data_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        at = buf.tell()
        stream_id = buf.pull_uint_var()
        buf.seek(at)
        super()._handle_max_stream_data_frame(context, frame_type, buf)
        self._service.append(self._streams[stream_id])

    def _survey(self) -> Survey:
        """What the streams have to send now; those that are over are forgotten, as stock code does it."""
        survey = self._service.survey(
            credit=self._remote_max_data - self._remote_max_data_used, least=LEAST_PACKETS * self._max_datagram_size
        )
        for stream in survey.over:
            stream_id: Any = stream.stream_id
            self._streams.pop(stream_id)
            if stream_is_client_initiated(stream_id) != self._is_client:
                self._local_max_streams_bidi.value += 1
        return survey

    # --- sending

    def datagrams_to_send(self, now: float) -> Batch:  # type: ignore[override]
        """What to send now, at most one burst; `get_timer() <= now` afterwards means there is more."""
        if not self._is_settled() or self._has_other_paths_to_probe():
            return self._stock_datagrams(now)
        survey = self._survey()
        owes = bool(survey.small) or self._owes_frames(now)
        if survey.bulk is None:
            self._pacing_at = None
            return self._send_small(survey, now) if owes else []
        datagrams: Batch = []
        if owes or self._keys._update_key_requested:
            datagrams = self._one_packet(survey, now)
            if not datagrams and self._pacing_at is not None:
                return []  # the pacer holds back even that, which comes first
        return datagrams + self._send_runs(now)

    def _send_small(self, survey: Survey, now: float) -> Batch:
        """Packets with what is owed, which most often are one, as pacer and window allow."""
        datagrams: Batch = []
        while packet := self._one_packet(survey, now):
            datagrams += packet
            survey = self._survey()
            if not survey.small and survey.bulk is None and not self._owes_frames(now):
                self._pacing_at = None
                break
        return datagrams

    def _one_packet(self, survey: Survey, now: float) -> Batch:
        """A packet with what is owed; of streams first what is small, which must not wait behind what is large."""
        self._service.prefer(survey.small)
        if survey.for_stock or self._keys._update_key_requested or self._owes_rare_frames():
            return self._one_stock_packet(now)
        packet: Batch = [*self._small_packet(now)]
        self.fast_packets.sent += len(packet)
        return packet

    def _send_runs(self, now: float) -> Batch:
        """Full packets of one stream after the other, then what is left of them, as pacer and window allow."""
        pacer = self._loss._pacer
        datagrams: Batch = []
        self._pacing_at = None
        while True:
            room = (self._loss.congestion_window - self._loss.bytes_in_flight) // self._max_datagram_size
            if room <= 0 and self._space.ack_eliciting_in_flight:
                return datagrams  # acknowledgements will make room; a packet that is not full would cost as much
            self._pacing_at = pacer.next_send_time(now)
            if self._pacing_at is not None:
                return datagrams
            survey = self._survey()
            if survey.bulk is None:
                return datagrams + (self._send_small(survey, now) if survey.small else [])
            if room <= 0:
                return datagrams + self._stock_datagrams(now)
            datagrams.append(self._send_run(survey.bulk, min(room, pacer.sendable_packets), now))

    def _send_run(self, stream: QuicStream, most: int, now: float) -> DatagramRun:
        """At most `most` full packets of a stream that can fill at least one."""
        sender: Any = stream.sender
        stream_id: Any = stream.stream_id
        crypto = self._keys
        destination_id, offset = self._peer_cid.cid, sender._pending[0].start
        payload_bytes = payload_capacity(self._max_datagram_size, destination_id, stream_id)
        credit = self._remote_max_data - self._remote_max_data_used
        count = min(most, sendable_bytes(stream, credit) // payload_bytes)
        sealed = seal_run(
            header=bytes((first_byte(spin=self._spin_bit, key_phase=crypto.key_phase),)) + destination_id,
            packet_number=self._packet_number,
            count=count,
            stream_id=stream_id,
            offset=offset,
            backlog=sender._buffer,
            start=offset - sender._buffer_start,
            payload_bytes=payload_bytes,
            keys=crypto.send,
        )
        run = SentRun(
            packet_number=self._packet_number,
            count=count,
            sent_time=now,
            packet_bytes=len(sealed) // count,
            sender=sender,
            offset=offset,
            payload_bytes=payload_bytes,
        )
        self._note_run(run, stream)
        return DatagramRun(sealed, run.packet_bytes, self._network_paths[0].addr)

    def _note_run(self, run: SentRun, stream: QuicStream) -> None:
        """What stock code notes of each packet, in the stream, the connection, loss recovery and the pacer."""
        sender: Any = run.sender
        sender._pending.subtract(run.offset, run.end_offset)
        if run.end_offset > sender.highest_offset:
            self._remote_max_data_used += run.end_offset - sender.highest_offset
            sender.highest_offset = run.end_offset
        if not len(sender._pending) and not sender._pending_eof:
            sender.buffer_is_empty = True
        self._service.extend([stream])
        self._packet_number += run.count
        self._network_paths[0].bytes_sent += run.sent_bytes
        self._loss.on_run_sent(run, self._space)
        self.fast_packets.sent += run.count

    def _stock_datagrams(self, now: float) -> Batch:
        before = self._packet_number
        datagrams: Batch = [*super().datagrams_to_send(now)]
        self.stock_packets.sent += self._packet_number - before
        return datagrams

    def _one_stock_packet(self, now: float) -> Batch:
        pacer = self._loss._pacer
        self._loss._pacer = OnePacket(pacer, self._space)  # type: ignore[assignment]
        try:
            return self._stock_datagrams(now)
        finally:
            self._loss._pacer = pacer

    def _has_other_paths_to_probe(self) -> bool:
        return self._remote_preferred_address is not None or (
            len(self._network_paths) > 1
            and any(
                path.remote_challenges or not (path.is_validated or path.local_challenge_sent)
                for path in islice(self._network_paths, 1, None)
            )
        )

    # --- receiving

    def receive_batch(self, batch: Iterable[Datagram | DatagramRun], now: float) -> bool:
        """As `Core.receive_batch`; what is not plain goes to stock code one by one."""
        arrivals = Arrivals(batch)
        heard = False
        while arrivals:
            taken = self._receive_plain(arrivals, now) if self._is_settled() else 0
            self.fast_packets.received += taken
            heard = heard or taken > 0
            if arrivals:
                self.stock_packets.received += 1
                heard = super().receive_batch((arrivals.pop(),), now) or heard
        return heard

    def _receive_plain(self, arrivals: Arrivals, now: float) -> int:
        """Take plain packets until one is not; returns how many."""
        opener = self._opener_for(arrivals.next_bytes)
        if opener is None or self._known_path(arrivals.path) != self._network_paths[0].addr:
            return 0
        reception = Reception(
            streams=self._streams,
            limit=self._local_max_data,
            events=self._events,
            take_feedback=partial(self._take_feedback, now=now),
        )
        reception.take_all(opener.payloads(arrivals.on_one_path()))
        taken = sum(map(len, opener.taken))
        if taken:
            self._number_bytes = opener.number_bytes
            self._note_received(opener.taken, now)
            self._note_newest(arrivals.drop(taken), now)
            self._note_eliciting(taken - reception.silent, now)
        return taken

    def _opener_for(self, data: memoryview) -> Opener | None:
        """For packets to the connection ID of this one; None where that is not a matter of course.

        A listener's host ID is the one its dialer uses; a packet to another one of them means that the dialer moves,
        which is for stock code. A dialer may be called by any of its own.
        """
        destination_id = bytes(data[1 : 1 + len(self.host_cid)])
        if destination_id != self.host_cid and not (
            self._is_client and any(destination_id == entry.cid for entry in self._host_cids)
        ):
            return None
        return Opener(
            self._keys.recv,
            destination_id=destination_id,
            next_number=self._space.largest_received_packet + 1,
            number_bytes=self._number_bytes,
        )

    def _note_received(self, taken: list[range], now: float) -> None:
        """What stock code notes of the number of each packet, all of them new."""
        space = self._space
        for numbers in taken:
            space.ack_queue.add(numbers.start, numbers.stop)
            if len(space.ack_queue) > MAX_ACK_RANGES:
                space.ack_queue.shift()
            space.received_packets._received.update(numbers[-DUPLICATE_WINDOW_PACKETS:])
            space.received_packets.add(numbers[-1])  # moves the window
        space.largest_received_packet, space.largest_received_time = taken[-1][-1], now
        space.expected_packet_number = max(space.expected_packet_number, taken[-1].stop)

    def _note_newest(self, first_byte: int, now: float) -> None:
        """What else it notes of each, where only the last one counts: that one begins with `first_byte`."""
        space = self._space
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        self._spin_highest_pn = space.largest_received_packet
        self._spin_bit = get_spin_bit(first_byte) is not self._is_client

    def _take_feedback(self, frames: list[Feedback], now: float) -> bool:
        """Apply acknowledgements and credit; False, with nothing done, if one of them is for stock code."""
        allowed = [frame for frame in frames if isinstance(frame, StreamDataAllowed)]
        if any(frame.stream_id not in self._streams or frame.stream_id & UNIDIRECTIONAL_BIT for frame in allowed):
            return False
        for frame in frames:
            match frame:
                case Acknowledged(numbers, delay):
                    self._loss.on_ack_received(
                        ack_rangeset=numbers,
                        ack_delay=(delay << self._remote_ack_delay_exponent) / 1_000_000,
                        now=now,
                        space=self._space,
                    )
                case DataAllowed(limit):
                    self._remote_max_data = max(self._remote_max_data, limit)
                case StreamDataAllowed(stream_id, limit):
                    stream = self._streams[stream_id]
                    stream.max_stream_data_remote = max(stream.max_stream_data_remote, limit)
                    self._service.append(stream)
        return True


class OnePacket:
    """A pacer that lets one packet through, when its own pacer would, and then asks to be called again.

    An acknowledgement that is waiting leaves with that packet: aioquic would send it alone, when it is due. It is not
    made due for a packet that does not leave, or it would stay so for ever where time stands still.
    """

    def __init__(self, pacer: Any, space: Any) -> None:
        self._pacer = pacer
        self._space = space
        self._sent = False

    def next_send_time(self, now: float) -> float | None:
        """None when a packet may leave now, else when to ask again."""
        if self._sent:
            return now
        at: float | None = self._pacer.next_send_time(now)
        if at is None and self._space.ack_at is not None:
            self._space.ack_at = min(self._space.ack_at, now)
        return at

    def update_after_send(self, now: float) -> None:
        """Count the packet."""
        self._sent = True
        self._pacer.update_after_send(now)
