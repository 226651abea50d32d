"""Records over a stream, one frame each (protocol section 3.1)."""

from copy import copy
from typing import TypeVar

import trio

from connet_trio.concurrency import StreamBroken
from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic.stream import Stream
from connet_trio.wire import Codec, FrameDecoder, WireVersion, encode_frame
from connet_trio.wire.framing import MAX_FRAME_BYTES

T = TypeVar("T")

COPIED_BYTES = 1 << 16
"""The longest payload that is copied behind its length, to leave in one packet with it."""


class RecordStream:
    """Sends and receives records on one stream, in one wire version. Reads no byte past a frame: payload may follow."""

    def __init__(
        self, stream: Stream, version: WireVersion, *, max_frame_bytes: int = MAX_FRAME_BYTES, received: bytes = b""
    ) -> None:
        """Begin on a stream of which `received` has already been read."""
        self.stream = stream
        self.version = version
        self._decoder = FrameDecoder(version, max_frame_bytes=max_frame_bytes)
        self._decoder.feed(received)

    async def send(self, codec: Codec[T], record: T) -> None:
        """Send one record.

        Raises:
          Refused: the peer closed the connection with a code of the protocol (trap T1).
          PathLost: the connection or the stream is over.
        """
        await self.send_payload(codec.encode(record))

    async def send_payload(self, payload: bytes) -> None:
        """Send one record that is already encoded, as `send`; how a relay forwards what it does not know.

        A long one is not copied as a whole: many streams may wait with the same bytes.
        """
        if COPIED_BYTES < len(payload) <= MAX_FRAME_BYTES:
            parts = [len(payload).to_bytes(self.version.prefix_bytes, "big"), payload]
        else:
            parts = [encode_frame(payload, self.version)]
        try:
            for part in parts:
                await self.stream.send_all(part)
        except trio.BrokenResourceError as exc:
            raise explain(exc, self.stream) from exc

    async def receive(self, codec: Codec[T]) -> T:
        """The next record.

        Raises:
          RemoteProtocolError: the frame is too long or is none, or the stream ended.
          Refused, PathLost: as `send`.
        """
        return codec.decode(await self.receive_payload())

    async def receive_or_end(self, codec: Codec[T]) -> T | None:
        """The next record, or None when the peer ended the stream after the last one; otherwise as `receive`."""
        payload = await self._receive_frame()
        return None if payload is None else codec.decode(payload)

    async def receive_payload(self) -> bytes:
        """The bytes of the next record, as `receive`."""
        payload = await self._receive_frame()
        if payload is None:
            raise RemoteProtocolError("the stream ended where a record was expected")
        return payload

    async def _receive_frame(self) -> bytes | None:
        while (payload := self._decoder.next_frame()) is None:
            wanted = self._decoder.wanted
            try:
                # a record waits for its first bytes, or gives others a turn; the rest has most often come with them
                rest = b"" if self._decoder.is_between_frames else self.stream.receive_nowait(wanted)
                data = rest or await self.stream.receive_some(wanted)
            except trio.BrokenResourceError as exc:
                raise explain(exc, self.stream) from exc
            if not data:
                if self._decoder.is_between_frames:
                    return None
                raise RemoteProtocolError("the stream ended inside a record")
            self._decoder.feed(data)
        return payload


def explain(exc: trio.BrokenResourceError, stream: Stream) -> PathLost | Refused:
    """What broke `stream`, in the words of `errors.py`."""
    if isinstance(exc, StreamBroken):
        return PathLost(f"{exc} (code {exc.code})")
    lost = stream.connection.lost
    assert lost is not None
    if lost.code:
        return Refused(lost.code, lost.reason)
    return copy(lost)
