"""One bidirectional QUIC stream as a trio stream, with backpressure both ways.

Sending blocks while more than `SEND_HIGH_BYTES` wait for the network or the peer; receiving grants the peer credit only
for what was taken, so an application that stops reading stops its peer. The two directions end independently:

    sending    OPEN → FINISHED (send_eof) | RESET (reset) | STOPPED_BY_PEER | LOST (connection over)
    receiving  OPEN → ENDED (the peer's FIN, once read) | STOPPED (stop) | RESET_BY_PEER | LOST
"""

import enum
import operator
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from connet_trio.concurrency import OneTask
from connet_trio.concurrency.byte_stream import AbortableStream, StreamBroken, Take, Told, ignore_code
from connet_trio.quic.limits import SEND_HIGH_BYTES

if TYPE_CHECKING:
    from connet_trio.quic.connection import Connection

SEND_AGAIN_BYTES = SEND_HIGH_BYTES // 2
"""Room at which a blocked sender goes on."""
RECEIVE_BYTES = 1 << 19
"""What `receive_some` returns at most unless asked otherwise."""


class SendState(enum.Enum):
    """Where the sending direction stands."""

    OPEN = enum.auto()
    FINISHED = enum.auto()
    RESET = enum.auto()
    STOPPED_BY_PEER = enum.auto()
    LOST = enum.auto()


class ReceiveState(enum.Enum):
    """Where the receiving direction stands."""

    OPEN = enum.auto()
    ENDED = enum.auto()
    STOPPED = enum.auto()
    RESET_BY_PEER = enum.auto()
    LOST = enum.auto()


class Stream(AbortableStream):
    """A stream of a `Connection`; made by `open_stream` and `accept_stream`.

    Every method raises `trio.ClosedResourceError` after we ended that direction, `StreamBroken` after the peer did,
    and `trio.BrokenResourceError` caused by a `PathLost` after the connection was lost.
    """

    def __init__(self, connection: "Connection", stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self._send_state = SendState.OPEN
        self._receive_state = ReceiveState.OPEN
        self._stop_code = 0
        self._reset_code = 0
        self._chunks: deque[bytes | memoryview] = deque()
        self._fin_received = False
        self._readable = trio.Event()
        self._writable: trio.Event | None = None
        self._delivered = trio.Event()
        self._stopped = trio.Event()
        self._broken_off = trio.Event()
        self._tell_stopped: Told = ignore_code
        self._tell_reset: Told = ignore_code
        self._sending = OneTask("sending on this stream")
        self._receiving = OneTask("receiving from this stream")
        self._take_over: Take | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Stream {self.id}: sending {self._send_state.name}, receiving {self._receive_state.name}>"

    @property
    def ends_are_whole(self) -> bool:
        """See `AbortableStream.ends_are_whole`."""
        return self.connection.ends_are_whole

    # --- sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hand `data` to the connection; blocks while too much of it is under way or waits to be.

        If cancelled, an unknown part of `data` was sent: reset the stream.
        """
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sending()
            waited = False
            with memoryview(data) as view:
                sent = 0
                while sent < len(view):
                    room = self.connection.core.send_room(self.id)
                    if room <= 0:
                        waited = True
                        await self._wait_writable()
                        continue
                    self.connection.write(self.id, view[sent : sent + room])
                    sent += room
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, data: bytes) -> int:
        """See `AbortableStream.send_nowait`; all or nothing."""
        if self._closed or self._send_state is not SendState.OPEN or self._sending.is_taken:
            return 0
        if len(data) > self.connection.core.send_room(self.id):
            return 0
        self.connection.write(self.id, data)
        return len(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Return when `send_all` of a few bytes would not wait for acknowledgements."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_sending()
            while self.connection.core.send_room(self.id) <= 0:
                await self._wait_writable()

    async def send_eof(self) -> None:
        """Send FIN after all that was sent; the receiving direction goes on."""
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._send_state is not SendState.FINISHED:
                self._check_sending()
                self.finish()
            await trio.lowlevel.cancel_shielded_checkpoint()

    def finish(self) -> None:
        """`send_eof` without waiting: sends FIN, if this direction is still open."""
        if self._send_state is SendState.OPEN:
            self._send_state = SendState.FINISHED
            self.connection.write(self.id, b"", fin=True)
            self._wake_sender()
            self._tell_over()

    def reset(self, code: int = 0) -> None:
        """Abandon sending with RESET_STREAM; what the peer has not acknowledged may never arrive.

        After `send_eof` this does nothing: what was finished is delivered, or the connection is lost.
        """
        if self._send_state is SendState.OPEN:
            self._send_state = SendState.RESET
            self.connection.reset_stream(self.id, code)
            self._wake_sender()
            self._tell_over()

    async def wait_delivered(self) -> None:
        """Wait until the peer has acknowledged everything, the FIN included; call after `send_eof` or `finish`."""
        if self.connection.lost is None and not self.connection.core.is_delivered(self.id):
            self.connection.delivering[self.id] = self
            await self._delivered.wait()
        else:
            await trio.lowlevel.checkpoint()

    async def wait_stopped(self) -> int:
        """Wait until the peer reads no more of this stream, or the connection is over; returns the peer's code."""
        await self._stopped.wait()
        return self._stop_code

    def on_stopped(self, tell: Told) -> None:
        """As `wait_stopped`, for one who waits elsewhere."""
        self._tell_stopped = tell
        if self._stopped.is_set():
            tell(self._stop_code)

    async def _wait_writable(self) -> None:
        self._writable = trio.Event()
        self.connection.blocked[self.id] = self
        await self._writable.wait()
        self._check_sending()

    def _check_sending(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this side has closed the stream")
        match self._send_state:
            case SendState.OPEN:
                return
            case SendState.FINISHED | SendState.RESET:
                raise trio.ClosedResourceError("this side has ended sending")
            case SendState.STOPPED_BY_PEER:
                raise StreamBroken("the peer stopped reading this stream", code=self._stop_code)
            case SendState.LOST:
                raise trio.BrokenResourceError("connection lost") from self.connection.lost

    def _wake_sender(self) -> None:
        if self._writable is not None:
            self._writable.set()

    # --- receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at most `max_bytes`; b"" at the end. Grants the peer credit for what it returns."""
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while not self._chunks:
                if self._at_end():
                    break
                waited = True
                self._readable = trio.Event()
                await self._readable.wait()
            data = self._take(RECEIVE_BYTES if max_bytes is None else max_bytes)
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    def receive_nowait(self, max_bytes: int) -> bytes:
        """As `receive_some`, but b"" where that would wait, return the end or raise."""
        with self._receiving:
            return self._take(max_bytes)

    @contextmanager
    def handing_over(self, take: Take) -> Iterator[None]:
        """See `AbortableStream.handing_over`. Credit is granted for what `take` has accepted."""
        assert self._take_over is None
        self._take_over = take
        try:
            yield
        finally:
            self._take_over = None

    def stop(self, code: int = 0) -> None:
        """Tell the peer to send no more (STOP_SENDING); what has arrived unread is dropped."""
        if self._receive_state is ReceiveState.OPEN:
            self._receive_state = ReceiveState.STOPPED
            # the engine may have forgotten a stream that has ended, so its credit is given back here
            self.connection.consume(self.id, sum(map(len, self._chunks)))
            self._chunks.clear()
            self.connection.stop_stream(self.id, code)
            self._readable.set()
            self._tell_over()

    async def wait_reset(self) -> int:
        """Wait until the peer has reset this stream, or is gone without having ended it; returns the peer's code."""
        await self._broken_off.wait()
        return self._reset_code

    def on_reset(self, tell: Told) -> None:
        """As `wait_reset`, for one who waits elsewhere."""
        self._tell_reset = tell
        if self._broken_off.is_set():
            tell(self._reset_code)

    def _at_end(self) -> bool:
        if self._closed:
            raise trio.ClosedResourceError("this side has closed the stream")
        match self._receive_state:
            case ReceiveState.OPEN:
                if self._fin_received:
                    self._receive_state = ReceiveState.ENDED
                return self._fin_received
            case ReceiveState.ENDED:
                return True
            case ReceiveState.STOPPED:
                raise trio.ClosedResourceError("this side has stopped receiving")
            case ReceiveState.RESET_BY_PEER:
                raise StreamBroken("the peer reset this stream", code=self._reset_code)
            case ReceiveState.LOST:
                raise trio.BrokenResourceError("connection lost") from self.connection.lost

    def _take(self, max_bytes: int) -> bytes:
        taken: list[bytes | memoryview] = []
        room = max_bytes
        while self._chunks and room > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > room:
                chunk = memoryview(chunk)  # or every small read would copy what it leaves behind
                self._chunks.appendleft(chunk[room:])
                chunk = chunk[:room]
            taken.append(chunk)
            room -= len(chunk)
        first = taken[0] if len(taken) == 1 else None
        data = first if isinstance(first, bytes) else b"".join(taken)
        if data:
            self.connection.consume(self.id, len(data))
            self._tell_over()
        return data

    # --- ending

    async def aclose(self) -> None:
        """End both directions: FIN if nothing was abandoned, STOP_SENDING for what is unread (trap T17).

        If cancelled, as `abort`: whoever is cancelled has seldom said all.
        """
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            self.abort()
            raise
        finally:
            self.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def close(self) -> None:
        """`aclose` without waiting."""
        self._closed = True
        self.finish()
        self.stop()
        self._chunks.clear()

    @property
    def is_over(self) -> bool:
        """Whether both directions have ended, whoever ended them."""
        # an end that has arrived counts as read with all before it: few readers fetch the last b""
        ended = self._fin_received and not self._chunks
        return self._send_state is not SendState.OPEN and (ended or self._receive_state is not ReceiveState.OPEN)

    def _tell_over(self) -> None:
        if self.is_over:
            self.connection.end_stream(self.id)

    # --- told by the connection

    def handle_data(self, data: bytes, *, fin: bool) -> bool:
        """Bytes in order; returns False when nobody will read them."""
        if self._receive_state is not ReceiveState.OPEN:
            return False
        self._fin_received = self._fin_received or fin
        left = self._hand_over(data)
        if left:
            self._chunks.append(left)
        elif data and not fin:
            return True
        self._readable.set()
        self._tell_over()
        return True

    def _hand_over(self, data: bytes) -> bytes | memoryview:
        """Let others take bytes that have arrived; returns those that nobody did."""
        # somebody waits and nothing is before it, so this is what `receive_some` would return
        if not data or self._take_over is None or not self._receiving.is_taken or self._chunks:
            return data
        taken = self._take_over(data)
        if not taken:
            return data
        self.connection.consume(self.id, taken)
        return memoryview(data)[taken:]

    def handle_reset(self, code: int) -> None:
        """The peer abandoned sending; what it sent before and nobody has read is dropped with it."""
        if self._receive_state is ReceiveState.OPEN:
            self._receive_state, self._reset_code = ReceiveState.RESET_BY_PEER, code
            self._chunks.clear()
            self._readable.set()
            self._tell_over()
        self._note_broken_off()

    def handle_stop(self, code: int) -> None:
        """The peer reads no more; the engine has answered with RESET_STREAM."""
        if self._send_state in (SendState.OPEN, SendState.FINISHED):
            self._send_state = SendState.STOPPED_BY_PEER
            self._wake_sender()
            self._tell_over()
        self._stop_code = code
        self._note_stopped()

    def handle_lost(self) -> None:
        """The connection is over. Bytes that arrived before stay readable."""
        if self._send_state is SendState.OPEN:
            self._send_state = SendState.LOST
        if self._receive_state is ReceiveState.OPEN and not self._fin_received:
            self._receive_state = ReceiveState.LOST
            self._note_broken_off()
        self._readable.set()
        self._note_stopped()
        self._wake_sender()
        self._delivered.set()

    def _note_broken_off(self) -> None:
        self._broken_off.set()
        self._tell_reset(self._reset_code)

    def _note_stopped(self) -> None:
        self._stopped.set()
        self._tell_stopped(self._stop_code)

    def handle_room(self) -> None:
        """Enough was acknowledged for a blocked sender to go on."""
        self._wake_sender()

    def handle_delivered(self) -> None:
        """The peer has acknowledged everything."""
        self._delivered.set()

    @property
    def finished_cleanly(self) -> bool:
        """Both directions ended by FIN."""
        return self._send_state is SendState.FINISHED and self._receive_state is ReceiveState.ENDED
