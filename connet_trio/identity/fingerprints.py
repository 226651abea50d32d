"""Names made of bytes: fingerprints of certificates, ids, and the DNS names of generated leaves.

All are base32hex in lower case without padding, so 32 bytes make 52 characters and sort as text like the bytes do.
"""

import base64
import enum
import hashlib
from collections.abc import Callable

UNIQUE_BYTES = 32


class Realm(enum.Enum):
    """What a generated name is for; its middle part (protocol section 2.4)."""

    PEER = "connet.peer"
    """The server leaf of an endpoint."""
    RELAY = "reserve.relay"
    """The server leaf of a relay."""
    CONTROL = "relay.control"
    """The id of a control server, and the relay token inside the combined server."""


def base32hex(data: bytes) -> str:
    """`data` in the alphabet 0-9a-v, lower case, without padding."""
    return base64.b32hexencode(data).rstrip(b"=").decode("ascii").lower()


def certificate_key(der: bytes) -> str:
    """The 52 characters by which a certificate is known: its BLAKE2s-256, unkeyed, of the whole DER."""
    return base32hex(hashlib.blake2s(der).digest())


def new_id(entropy: Callable[[int], bytes]) -> str:
    """A fresh id of a client or relay (protocol section 4.1): 52 characters."""
    return base32hex(entropy(UNIQUE_BYTES))


def new_connection_id(entropy: Callable[[int], bytes], wall_now: float) -> str:
    """A fresh id of one connection to control: later connections have later ids, as text (protocol section 4.1).

    Args:
      wall_now: Unix seconds, not negative.
    """
    nanoseconds = int(wall_now * 1_000_000_000).to_bytes(8, "big")
    return base32hex(nanoseconds + entropy(UNIQUE_BYTES - len(nanoseconds)))


def new_name(realm: Realm, entropy: Callable[[int], bytes]) -> str:
    """A fresh DNS name under `.invalid`, which no resolver knows; 72 characters for peers (protocol section 2.4)."""
    return f"{base32hex(entropy(UNIQUE_BYTES))}.{realm.value}.invalid"
