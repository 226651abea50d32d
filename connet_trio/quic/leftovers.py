"""What a connection of aioquic's keeps for nothing; a server with thousands of idle ones pays for it in memory.

Most of a handshake is of no use once it is done: three buffers of 16 KiB for what TLS writes, the key schedule,
ephemeral keys, certificates as objects. Besides, each connection fills a table of the frames it takes with sets of the
epochs in which they may come, 33 sets of which five are different.
"""

from functools import cache
from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic import connection as aioquic_connection
from aioquic.quic.connection import QuicConnection

# one set of each kind for all connections of the process: 7 KiB of each, and 3 % of its handshake
aioquic_connection.EPOCHS = cache(aioquic_connection.EPOCHS)


def forget_handshake(connection: QuicConnection) -> None:
    """Drop what `connection`, whose handshake is complete, needed for that alone.

    What was written and may be lost is kept, in its crypto streams. TLS writes nothing more: what may still come,
    session tickets that nobody asked for, it ignores, and anything else it refuses.
    """
    connection._crypto_buffers = {epoch: Buffer(capacity=0) for epoch in connection._crypto_buffers}
    context: Any = connection.tls
    context.key_schedule = context._key_schedule_psk = context._key_schedule_proxy = None
    context._x25519_private_key, context._ec_private_keys = None, []
    context.certificate, context.certificate_chain, context.certificate_private_key = None, [], None
    context._peer_certificate, context._peer_certificate_chain = None, []
    context.received_extensions, context.handshake_extensions = None, []
    context._certificate_request = None
