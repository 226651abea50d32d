"""Frames: a length, then that many bytes of payload (protocol section 3.1)."""

import enum

from connet_trio.errors import LocalProtocolError, RemoteProtocolError

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The longest payload either side of either version may send."""


class WireVersion(enum.Enum):
    """How long a length is, chosen by ALPN (`wire.alpn`)."""

    V1 = "v1"
    V2 = "v2"

    @property
    def prefix_bytes(self) -> int:
        """Bytes of the length before a payload: big-endian, unsigned in both versions (trap T12)."""
        return 8 if self is WireVersion.V1 else 4


def encode_frame(payload: bytes, version: WireVersion) -> bytes:
    """`payload` behind its length; an empty one is legal.

    Raises:
      LocalProtocolError: the payload is longer than `MAX_FRAME_BYTES`.
    """
    if len(payload) > MAX_FRAME_BYTES:
        raise LocalProtocolError(f"frame of {len(payload)} bytes, at most {MAX_FRAME_BYTES}")
    return len(payload).to_bytes(version.prefix_bytes, "big") + payload


def detect_version(first: bytes) -> WireVersion | None:
    """The version of a stream on a relay connection that begins with `first`, None below 4 bytes (trap T2).

    The original's relay frames a Connect in the version of its source. A Connect is never empty and always far
    below 4 GiB, so only the 8-byte length begins with four zero bytes.
    """
    if len(first) < WireVersion.V2.prefix_bytes:
        return None
    return WireVersion.V2 if any(first[: WireVersion.V2.prefix_bytes]) else WireVersion.V1


class FrameDecoder:
    """Cuts the bytes of one stream into payloads, in time linear in their number however they arrive.

    Holds what was fed and not yet taken, so feed it no more than a read's worth before taking frames.

    Args:
      max_frame_bytes: the longest payload accepted. Lower it for those who have not authenticated: a list too long to
        become records is known only when it has been parsed, some 15 ms for 1 MiB of empty entries.
    """

    def __init__(self, version: WireVersion, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._prefix_bytes = version.prefix_bytes
        self._max_frame_bytes = max_frame_bytes
        # deleting from the front of a bytearray moves its start and copies only when half is gone: linear in total
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take in what the stream brought next."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next payload, None while it is incomplete.

        Raises:
          RemoteProtocolError: the length is above the limit, known as soon as the length itself is complete. The
            stream cannot be read any further, and every later call raises again.
        """
        length = self._length()
        if length is None:
            return None
        if length > self._max_frame_bytes:
            raise RemoteProtocolError(f"frame of {length} bytes, at most {self._max_frame_bytes}")
        end = self._prefix_bytes + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[self._prefix_bytes : end])
        del self._buffer[:end]
        return payload

    @property
    def wanted(self) -> int:
        """How many bytes at least are missing before `next_frame` returns a payload or raises; 0 when it would now.

        Reading no more than this at a time leaves what follows the frame in the stream.
        """
        length = self._length()
        if length is None:
            return self._prefix_bytes - len(self._buffer)
        if length > self._max_frame_bytes:
            return 0
        return max(0, self._prefix_bytes + length - len(self._buffer))

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing is held, so that the stream may end here without cutting a frame short."""
        return not self._buffer

    def take_rest(self) -> bytes:
        """Everything not yet returned in a frame, for the protocol that follows on the same stream; leaves nothing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _length(self) -> int | None:
        if len(self._buffer) < self._prefix_bytes:
            return None
        return int.from_bytes(self._buffer[: self._prefix_bytes], "big")
