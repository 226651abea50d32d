"""A stream in, a stream out: what goes over the one below is encrypted. Which way is chosen in `engine.encryption`."""

from connet_trio.secure.layered_stream import LayeredStream
from connet_trio.secure.sealed_stream import seal_stream
from connet_trio.secure.tls_context import pinned_context
from connet_trio.secure.tls_stream import TlsStream, open_tls_stream

__all__ = ["LayeredStream", "TlsStream", "open_tls_stream", "pinned_context", "seal_stream"]
