"""Constants of every QUIC connection we make (protocol section 2.1), with the reason where it is ours."""

import attrs

IDLE_TIMEOUT_SECONDS = 20.0
"""Advertised; the smaller of both sides counts."""
SMALLEST_IDLE_TIMEOUT_SECONDS = 5.0
"""A peer that asks for less gets this."""
HANDSHAKE_IDLE_SECONDS = 5.0
"""Silence that ends a handshake; a dialer may be configured otherwise, a listener not."""
KEEPALIVE_SECONDS = 10.0
LISTENER_PATIENCE = 1.1
"""A listener asks that much later, so as to ask only where its dialer does not: both would ask at once, and a server
would do it for each of its clients."""
SILENCE_SECONDS = 1.0
"""After that much silence a packet that brings nothing is a keepalive, and answered at once: nothing will join the
answer, and to be woken again for it costs as much as all the rest."""
MAX_DATAGRAM_BYTES = 1200
"""What every path carries; larger needs path MTU discovery."""
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
"""Unacknowledged bytes of one stream at which its sender blocks; it goes on at half of that."""
RESET_TOKEN_BYTES = 16
SMALLEST_RESET_BYTES = 21
"""RFC 9000 section 10.3: anything shorter is no stateless reset."""
RESET_BYTES = 42
"""Size of a stateless reset we send, as the original's; shorter in answer to what is no longer itself, which the
original leaves unanswered: acknowledgements and probes of a client, the first thing a restarted server hears."""


@attrs.frozen(kw_only=True)
class Windows:
    """Flow control credit in bytes. The connection's is what bounds memory; sixteen stalled streams fit into it."""

    stream: int = 1 << 20
    connection: int = 16 << 20
    streams: int = STREAMS_ALLOWED
    """How many bidirectional streams the peer may have open; settled when the connection begins."""
    renewed: bool = True
    """Whether what has been read is granted again."""


WINDOWS = Windows()
UNAUTHENTICATED_WINDOWS = Windows(stream=1 << 16, connection=1 << 16, renewed=False)
"""What a listener grants a stranger, all in all; raised by `Connection.raise_windows` once it is known."""
