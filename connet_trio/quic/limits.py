"""Constants of every QUIC connection we make (protocol section 2.1), with the reason where it is ours."""

import attrs

from connet_trio.engine import WindowGrowth
from connet_trio.engine.path_mtu import BASE_BYTES, LARGEST_BYTES

IDLE_TIMEOUT_SECONDS = 20.0
"""Advertised; the smaller of both sides counts."""
SMALLEST_IDLE_TIMEOUT_SECONDS = 5.0
"""A peer that asks for less gets this."""
HANDSHAKE_IDLE_SECONDS = 5.0
"""Silence that ends a handshake; a dialer may be configured otherwise, a listener not."""
KEEPALIVE_SECONDS = 10.0
ASKER_PATIENCE = 1.05
"""Whoever asked last, at first the listener, asks that much later: so the sides take turns, and each measures the round
trip. They have heard each other at about the same time, and would else both ask."""
SILENCE_SECONDS = 1.0
"""After that much silence a packet that brings nothing is a keepalive, and answered at once: nothing will join the
answer, and to be woken again for it costs as much as all the rest."""
MAX_DATAGRAM_BYTES = BASE_BYTES
"""What every path carries, and the size of handshakes; larger once path MTU discovery has found it to pass."""
LARGEST_DATAGRAM_BYTES = LARGEST_BYTES
"""Up to which it looks, unless told otherwise."""
PACKET_SIZES = range(MAX_DATAGRAM_BYTES, LARGEST_DATAGRAM_BYTES + 1)
"""What it may be told: bytes of UDP payload. The smallest of them leaves every path as it is."""
CONNECTION_ID_BYTES = 8
CONNECTION_IDS_KEPT = 4
"""Of the other side's, for when it moves; as the original. aioquic's 8 cost a handshake twice the frames."""
STREAMS_ALLOWED = 100
"""Bidirectional streams a peer may have open; one more for each that fully completes."""
ACCEPT_QUEUE = 32
"""Connections whose handshake is done and that nobody has accepted; the next is refused."""
KEY_UPDATE_PACKETS = 1 << 21
"""Packets sent under one key; RFC 9001 section 6.6 allows AES-GCM 2^23, and aioquic never updates by itself."""
SEND_HIGH_BYTES = 1 << 20
"""Bytes that one stream holds for a slow network before its sender blocks; it goes on when there is room for half."""
SEND_FLIGHT_BYTES = 6 << 20
"""Bytes in flight that are held beyond that, so that they do not take the place of what is to follow them."""
CRYPTO_BYTES = 1 << 14
"""TLS bytes held for a message that is not complete, as in the original; no chain of certificates is as long."""
CRYPTO_GAPS = 64
"""Gaps in TLS bytes. Dialers shuffle the frames of their hello on purpose, and make a dozen."""
STREAM_GAPS = 2000
"""Gaps in the bytes of a stream. A path that loses a quarter of 5000 packets under way makes half as many; each
costs every later frame time, and a hostile peer has hundreds of frames in a packet."""
ACK_RANGES = 256
"""Ranges in one acknowledgement. aioquic sends 64 at most, the original 32, and each costs us time."""
SMALL_FRAMES = 128
"""Frames in one packet of kinds of which nobody needs many; a thousand fit, and each costs us time."""
REMEMBERED_ACKNOWLEDGEMENTS = 512
"""Packets that ask for no answer, and that we remember for an answer all the same."""
REMEMBERED_PEER_IDS = 1000
"""Connection IDs a peer has given, those that are retired included."""
RESET_TOKEN_BYTES = 16
SMALLEST_RESET_BYTES = 21
"""RFC 9000 section 10.3: anything shorter is no stateless reset."""
RESET_BYTES = 42
"""Size of a stateless reset we send, as the original's; shorter in answer to what is no longer itself, which the
original leaves unanswered: acknowledgements and probes of a client, the first thing a restarted server hears."""


GROWN_TENTHS = 4
"""How many tenths of the connection's window one stream may grow to, and all together by what one may: eight streams
that nobody reads and one that has grown take nine tenths, and the others go on with more than a first window."""


@attrs.frozen(kw_only=True)
class Windows:
    """Flow control credit in bytes. The connection's is what bounds memory; sixteen streams that stall fit into it."""

    stream: int = 15 << 16
    """At first; `engine.WindowGrowth` says when more, up to 6 MiB of the 15."""
    connection: int = 15 << 20
    streams: int = STREAMS_ALLOWED
    """How many bidirectional streams the peer may have open; settled when the connection begins."""
    renewed: bool = True
    """Whether what has been read is granted again."""

    def growth(self) -> WindowGrowth:
        """The windows of the streams of one connection."""
        largest = max(self.stream, self.connection * GROWN_TENTHS // 10) if self.renewed else self.stream
        return WindowGrowth(first=self.stream, largest=largest, spare=largest - self.stream)


WINDOWS = Windows()
UNAUTHENTICATED_WINDOWS = Windows(stream=1 << 16, connection=1 << 16, renewed=False)
"""What a listener grants a stranger, all in all; raised by `Connection.raise_windows` once it is known."""
