"""Tokens that only those who hold a key can open: NaCl boxes, the nonce before the box.

A *client authentication* is sealed by control and opened by the relay it names, under a key that both compute from a
fresh X25519 pair of each (protocol sections 5.1 and 5.3). A *reconnect token* is sealed and opened by control alone and
opaque to whoever carries it (section 4.1). Both travel as 24 bytes of nonce, then the box: 16 bytes more than its text.
"""

from collections.abc import Callable

import attrs
from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
    crypto_scalarmult_base,
    crypto_secretbox,
    crypto_secretbox_open,
)
from nacl.exceptions import CryptoError

from connet_trio.errors import RemoteProtocolError

KEY_BYTES = 32
NONCE_BYTES = 24


@attrs.frozen
class X25519Pair:
    """One side's fresh half of a key agreement."""

    public: bytes
    secret: bytes = attrs.field(repr=False)


def new_key_pair(entropy: Callable[[int], bytes]) -> X25519Pair:
    """A fresh pair of 32 bytes each."""
    secret = entropy(KEY_BYTES)
    return X25519Pair(crypto_scalarmult_base(secret), secret)


def shared_key(peer_public: bytes, secret: bytes) -> bytes:
    """The 32 bytes that both sides compute (protocol section 5.1): HSalsa20 of the X25519 shared secret.

    Raises:
      RemoteProtocolError: `invalid key`: not 32 bytes, or a point of low order, which would give a key anybody knows.
    """
    if len(peer_public) != KEY_BYTES:
        raise RemoteProtocolError("invalid key")
    try:
        return crypto_box_beforenm(peer_public, secret)
    except CryptoError as exc:
        raise RemoteProtocolError("invalid key") from exc


def seal_client_authentication(payload: bytes, key: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """What a client shows a relay: the encoded `ClientAuthentication`, under the key control shares with that relay."""
    nonce = entropy(NONCE_BYTES)
    return nonce + crypto_box_afternm(payload, nonce, key)


def open_client_authentication(token: bytes, key: bytes) -> bytes:
    """The encoded `ClientAuthentication` in `token`.

    Raises:
      RemoteProtocolError: with the very text the client is to be told (protocol section 6.1).
    """
    if len(token) < NONCE_BYTES:
        raise RemoteProtocolError("authentication data too short")
    try:
        return crypto_box_open_afternm(token[NONCE_BYTES:], token[:NONCE_BYTES], key)
    except CryptoError as exc:
        raise RemoteProtocolError("invalid authentication") from exc


def seal_reconnect_token(identity: str, secret: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """A token that brings `identity` (ASCII) back; `secret` is the 32 bytes control keeps for this kind of peer."""
    nonce = entropy(NONCE_BYTES)
    return nonce + crypto_secretbox(identity.encode("ascii"), nonce, secret)


def open_reconnect_token(token: bytes, secret: bytes) -> str | None:
    """The id inside, or None for whatever was not sealed here, which counts as no token (protocol section 4.1)."""
    if len(token) < NONCE_BYTES:
        return None
    try:
        return crypto_secretbox_open(token[NONCE_BYTES:], token[:NONCE_BYTES], secret).decode("ascii")
    except (CryptoError, UnicodeDecodeError):
        return None
