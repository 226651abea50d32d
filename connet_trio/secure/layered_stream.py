"""A stream over another: what is sent is wrapped, what arrives is unwrapped.

What the wrapping says is decided by a `Layer`, which never waits. Memory is bounded by what one read of the stream
below gives and one incomplete record; a sender waits where the stream below makes it wait. The two directions end on
their own, as below: an end as an end, a reset as a reset.

Bytes that do not unwrap were altered on the way, or cut off. Nothing of such a stream is to be believed any more: both
of its directions are abandoned at once, and whoever receives is told why.
"""

import enum
import operator
from typing import Protocol

import trio

from connet_trio.concurrency import AbortableStream, OneTask, StreamBroken, Told
from connet_trio.errors import RemoteProtocolError


class Layer(Protocol):
    """How bytes are wrapped for the other side, and its own are unwrapped."""

    @property
    def piece_bytes(self) -> int:
        """How much is wrapped at a time."""

    @property
    def ends_are_whole(self) -> bool | None:
        """Whether an end that `check_end` accepts was said by the other side itself; None leaves it to below."""

    @property
    def is_ended(self) -> bool:
        """Whether the other side has said, inside the layer, that nothing follows."""

    def wrap(self, data: memoryview) -> bytes:
        """What to send below for at most `piece_bytes` of data."""

    def wrap_end(self) -> bytes:
        """What to send below as the last before its end; called once."""

    def unwrap(self, data: bytes) -> bytes:
        """What is complete with `data` from below, perhaps nothing.

        Raises:
          RemoteProtocolError: it was altered on the way, or makes no sense.
        """

    def check_end(self) -> None:
        """Below has ended.

        Raises:
          RemoteProtocolError: in the middle of something.
        """


class SendState(enum.Enum):
    """Where the sending direction stands."""

    OPEN = enum.auto()
    CUT_OFF = enum.auto()
    """A part of something wrapped was sent, or is being sent: nothing can follow."""
    ENDED = enum.auto()


class LayeredStream(AbortableStream):
    """Owns the stream below: closing or abandoning this one does the same there."""

    def __init__(self, below: AbortableStream, layer: Layer) -> None:
        self.below = below
        self._layer = layer
        self._sending = OneTask("sending on this stream")
        self._receiving = OneTask("receiving from this stream")
        self._send_state = SendState.OPEN
        self._unwrapped = memoryview(layer.unwrap(b""))  # what came along with the handshake
        self._ended = layer.is_ended
        self._failure: str | None = None

    @property
    def ends_are_whole(self) -> bool:
        """See `AbortableStream.ends_are_whole`."""
        whole = self._layer.ends_are_whole
        return self.below.ends_are_whole if whole is None else whole

    # --- sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`. If cancelled, nothing more can be sent: reset the stream."""
        with self._sending, memoryview(data) as view:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sending()
            if not len(view):
                await self.below.send_all(b"")
                return
            self._send_state = SendState.CUT_OFF
            for begin in range(0, len(view), self._layer.piece_bytes):
                await self.below.send_all(self._layer.wrap(view[begin : begin + self._layer.piece_bytes]))
            self._send_state = SendState.OPEN

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self.below.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End sending, saying so inside the layer where it has words for that; the receiving direction goes on."""
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._send_state is SendState.ENDED:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return
            self._check_sending()
            self._send_state = SendState.CUT_OFF
            last = self._layer.wrap_end()
            if last:
                await self.below.send_all(last)
            await self.below.send_eof()
            self._send_state = SendState.ENDED

    def _check_sending(self) -> None:
        if self._send_state is SendState.ENDED:
            raise trio.ClosedResourceError("this side has ended sending")
        if self._failure is not None:
            raise StreamBroken(self._failure)
        if self._send_state is SendState.CUT_OFF:
            raise trio.BrokenResourceError("sending was broken off before")

    def reset(self, code: int = 0) -> None:
        """See `AbortableStream.reset`."""
        self.below.reset(code)

    def on_stopped(self, tell: Told) -> None:
        """See `AbortableStream.on_stopped`."""
        self.below.on_stopped(tell)

    # --- receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has been unwrapped, at most `max_bytes`; b"" at the end.

        Raises:
          StreamBroken: what arrived was altered on the way or cut short; or as the stream below.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while not self._unwrapped and not self._ended:
                if self._failure is not None:
                    raise StreamBroken(self._failure)
                waited = True
                self._take_in(await self.below.receive_some())
            taken = self._unwrapped[:max_bytes]
            self._unwrapped = self._unwrapped[len(taken) :]
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return bytes(taken)

    def _take_in(self, data: bytes | bytearray) -> None:
        try:
            if data:
                self._unwrapped = memoryview(self._layer.unwrap(bytes(data)))
                self._ended = self._layer.is_ended
            else:
                self._layer.check_end()
                self._ended = True
        except RemoteProtocolError as exc:
            self._failure = str(exc)
            self.below.abort()
            raise StreamBroken(self._failure) from exc

    def stop(self, code: int = 0) -> None:
        """See `AbortableStream.stop`."""
        self.below.stop(code)

    def on_reset(self, tell: Told) -> None:
        """See `AbortableStream.on_reset`."""
        self.below.on_reset(tell)

    # --- ending

    async def aclose(self) -> None:
        """End both directions. If cancelled before the end was said, the other side is told that it is not whole."""
        try:
            await self.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            self.below.reset()
        except BaseException:
            self.below.reset()
            raise
        finally:
            await self.below.aclose()
