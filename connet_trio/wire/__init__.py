"""How records are written: messages, frames and protocol names. Bytes in and out, nothing else.

Module `codecs` has a codec for each thing said; read it as `codecs.CONTROL_REQUEST.decode(payload)`.
"""

from connet_trio.wire import codecs
from connet_trio.wire.alpn import ConnectionKind, protocol_names, wire_version
from connet_trio.wire.codecs import Codec
from connet_trio.wire.framing import MAX_FRAME_BYTES, FrameDecoder, WireVersion, detect_version, encode_frame
from connet_trio.wire.proxy_protocol import encode_proxy_header

__all__ = [
    "MAX_FRAME_BYTES",
    "Codec",
    "ConnectionKind",
    "FrameDecoder",
    "WireVersion",
    "codecs",
    "detect_version",
    "encode_frame",
    "encode_proxy_header",
    "protocol_names",
    "wire_version",
]
