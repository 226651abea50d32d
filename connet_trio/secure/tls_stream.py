"""TLS over any stream, whose directions end on their own (TLS 1.3, RFC 8446 section 6.1).

`ssl.SSLObject` has one word for the end, `unwrap`: it says close_notify and then looks for the other side's, and what
it finds in its place is an error that takes the connection with it. Here everything that is fed is read at once, so
that there is nothing to find.
"""

import ssl
from contextlib import suppress

from connet_trio.concurrency import AbortableStream
from connet_trio.errors import RemoteProtocolError
from connet_trio.secure.layered_stream import LayeredStream

PIECE_BYTES = 1 << 16
HANDSHAKE_READ_BYTES = 1 << 14
MAX_REPLY_BYTES = 1 << 16
"""What TLS itself may have to say (answers to key updates) before we send anything; a peer that asks for more is up to
no good."""


class TlsStream(LayeredStream):
    """Made by `open_tls_stream`. An end that the other side did not say itself, by close_notify, is a breach."""

    def __init__(self, below: AbortableStream, layer: "_TlsLayer", peer_certificate: bytes | None) -> None:
        super().__init__(below, layer)
        self.peer_certificate = peer_certificate
        """The leaf (DER) whose key the other side has proved to have; None when it showed none."""


async def open_tls_stream(
    below: AbortableStream, context: ssl.SSLContext, *, server_side: bool = False, server_name: str | None = None
) -> TlsStream:
    """Shake hands over `below`. The caller bounds the wait, and ends `below` when this fails.

    A TLS 1.3 client is through before the server has judged its certificate.

    Args:
      server_name: what a client sends as SNI.

    Raises:
      RemoteProtocolError: the two do not agree, or `context` does not accept the other side's certificate.
      trio.BrokenResourceError: `below` is broken.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls = context.wrap_bio(incoming, outgoing, server_side=server_side, server_hostname=server_name)
    except (ValueError, ssl.SSLError) as exc:
        raise RemoteProtocolError("TLS: the other side's name is none that TLS can carry") from exc
    while True:
        failure: ssl.SSLError | None = None
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            finished = False
        except ssl.SSLError as exc:
            finished, failure = True, exc
        else:
            finished = True
        if outgoing.pending:
            await below.send_all(outgoing.read())  # after a failure too: the alert says why
        if failure is not None:
            raise RemoteProtocolError(f"TLS: {_why(failure)}") from failure
        if finished:
            return TlsStream(below, _TlsLayer(tls, incoming, outgoing), tls.getpeercert(binary_form=True))
        data = await below.receive_some(HANDSHAKE_READ_BYTES)
        if not data:
            raise RemoteProtocolError("TLS: the stream ended inside the handshake")
        incoming.write(data)


class _TlsLayer:
    piece_bytes = PIECE_BYTES
    ends_are_whole = True

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self.is_ended = False

    def wrap(self, data: memoryview) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()

    def wrap_end(self) -> bytes:
        with suppress(ssl.SSLWantReadError):  # the other side goes on
            self._tls.unwrap()
        return self._outgoing.read()

    def unwrap(self, data: bytes) -> bytes:
        self._incoming.write(data)
        unwrapped: list[bytes] = []
        while not self.is_ended:
            try:
                piece = self._tls.read(PIECE_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            except ssl.SSLError as exc:
                raise RemoteProtocolError(f"TLS: {_why(exc)}") from exc
            unwrapped.append(piece)
            self.is_ended = not piece
        if self._outgoing.pending > MAX_REPLY_BYTES:
            raise RemoteProtocolError("TLS: too many key updates")
        return b"".join(unwrapped)

    def check_end(self) -> None:
        raise RemoteProtocolError("TLS: the stream was cut short")


def _why(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {exc.verify_message}"
    return (exc.reason or "handshake failed").lower().replace("_", " ")
