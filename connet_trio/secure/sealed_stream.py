"""The stream of `dhxcp`: records sealed by ChaCha20-Poly1305 (protocol section 8.5)."""

from connet_trio.concurrency import AbortableStream
from connet_trio.engine.encryption import MAX_SEALED_BYTES, Opener, Sealer
from connet_trio.errors import RemoteProtocolError
from connet_trio.secure.layered_stream import LayeredStream


def seal_stream(below: AbortableStream, sealer: Sealer, opener: Opener) -> LayeredStream:
    """`below` as a stream whose records are sealed.

    It ends as `below` ends, which whoever is between the two sides can bring about after any record.
    """
    return LayeredStream(below, _SealedLayer(sealer, opener))


class _SealedLayer:
    piece_bytes = MAX_SEALED_BYTES
    ends_are_whole = None
    is_ended = False

    def __init__(self, sealer: Sealer, opener: Opener) -> None:
        self._sealer = sealer
        self._opener = opener

    def wrap(self, data: memoryview) -> bytes:
        return self._sealer.seal(data)

    def wrap_end(self) -> bytes:
        return b""

    def unwrap(self, data: bytes) -> bytes:
        return self._opener.open(data)

    def check_end(self) -> None:
        if not self._opener.is_between_records:
            raise RemoteProtocolError("the stream ended inside a record")
