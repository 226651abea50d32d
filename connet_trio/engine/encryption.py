"""Relayed streams, kept from the relay: choice of scheme, key agreement, sealing (protocol sections 8.2 to 8.5).

The source offers the schemes it is configured with, and with each what the destination needs to take part in it. The
destination chooses one that both have, and answers with its own part. Who the other side is, control has told each of
them: the server leaf of every peer. Its first DNS name stands in the offer, and its key has signed the offer.

`dhxcp` in short: X25519 between keys made for this stream alone, both signed with the time; from the shared secret a
key for each direction; then records sealed by ChaCha20-Poly1305 under a counter, so that a record that is altered, left
out, repeated or moved does not open. The end of a direction is not sealed: a relay can cut a stream short between two
records, and that goes unnoticed.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from functools import partial

import attrs
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connet_trio.errors import LocalProtocolError, RemoteProtocolError
from connet_trio.identity import Credential, X25519Pair, parse_certificate
from connet_trio.records.peer import EcdhOffer, RelayEncryption

# --- choice of scheme

PREFERENCE = (RelayEncryption.TLS, RelayEncryption.DHXCP, RelayEncryption.NONE)
"""The first one that both sides have is taken, however either of them ordered its own."""


def choose_scheme(offered: Sequence[RelayEncryption | int], allowed: Iterable[RelayEncryption]) -> RelayEncryption:
    """What a destination that allows `allowed` answers a source that offers `offered`; nothing offered means none.

    Raises:
      RemoteProtocolError: there is no such scheme, or one that nobody knows is offered.
    """
    for scheme in offered:
        if not isinstance(scheme, RelayEncryption):
            raise RemoteProtocolError(f"unknown relay encryption scheme {int(scheme)}")
    theirs, ours = set(offered) or {RelayEncryption.NONE}, set(allowed)
    for scheme in PREFERENCE:
        if scheme in theirs and scheme in ours:
            return scheme
    sides = f"source: {scheme_names(theirs)}; destination: {scheme_names(ours)}"
    raise RemoteProtocolError(f"select encryption scheme: no shared encryption schemes ({sides})")


def check_choice(chosen: RelayEncryption | int, offered: Iterable[RelayEncryption]) -> RelayEncryption:
    """`chosen`, if this source has offered it.

    Raises:
      RemoteProtocolError: it has not.
    """
    if not isinstance(chosen, RelayEncryption) or chosen not in offered:
        name = chosen.name.lower() if isinstance(chosen, RelayEncryption) else str(int(chosen))
        raise RemoteProtocolError(f"the destination chose {name}, which was not offered")
    return chosen


def scheme_names(schemes: Iterable[RelayEncryption | int]) -> str:
    """For people, in the order of preference: `tls, none`."""
    present = frozenset(schemes)
    return ", ".join(scheme.name.lower() for scheme in PREFERENCE if scheme in present)


# --- key agreement of dhxcp

CLOCK_TOLERANCE_SECONDS = 300.0
"""By how much the clocks of the two sides may differ, and how old a recorded offer may be."""
KEY_BYTES = 32
TIME_BYTES = 8
NANOSECONDS = 1_000_000_000


def make_offer(pair: X25519Pair, name: str, server: Credential, wall_now: float) -> EcdhOffer:
    """Our part of the agreement: a public key made for this stream, and the time, under our server leaf's key.

    Args:
      name: the first DNS name of `server`.
      wall_now: Unix seconds, not negative.
    """
    if not isinstance(server.private_key, Ed25519PrivateKey):
        raise LocalProtocolError("dhxcp needs an Ed25519 key")
    key_time = pair.public + int(wall_now * NANOSECONDS).to_bytes(TIME_BYTES, "big")
    return EcdhOffer(client_name=name, key_time=key_time, signature=server.private_key.sign(key_time))


def check_offer(offer: EcdhOffer, server_leaf: bytes, wall_now: float) -> bytes:
    """The public key in an offer of the peer whose server leaf (DER) is given.

    Args:
      wall_now: Unix seconds.

    Raises:
      RemoteProtocolError: the offer is malformed, not the peer's, or of another time.
      CertificateRejected: the leaf does not parse.
    """
    key = parse_certificate(server_leaf).public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise RemoteProtocolError("the certificate of the peer has no Ed25519 key")
    if len(offer.key_time) != KEY_BYTES + TIME_BYTES:
        raise RemoteProtocolError(f"key and time of {len(offer.key_time)} bytes, not {KEY_BYTES + TIME_BYTES}")
    try:
        key.verify(offer.signature, offer.key_time)
    except InvalidSignature:
        raise RemoteProtocolError("the signature of the key is not the peer's") from None
    ahead = int.from_bytes(offer.key_time[KEY_BYTES:], "big") / NANOSECONDS - wall_now
    if abs(ahead) > CLOCK_TOLERANCE_SECONDS:
        raise RemoteProtocolError(
            f"the key was made {abs(ahead) / 60:.1f} minutes {'ahead of' if ahead > 0 else 'before'} the time here, "
            f"at most {CLOCK_TOLERANCE_SECONDS / 60:g}; is one of the clocks wrong?"
        )
    return offer.key_time[:KEY_BYTES]


@attrs.frozen
class StreamKeys:
    """What the two directions of one stream are sealed with."""

    to_destination: bytes = attrs.field(repr=False)
    to_source: bytes = attrs.field(repr=False)


_CHAINING = b"connet-chaining".ljust(KEY_BYTES, b"\0")
_HASHING = b"connet-hashing".ljust(KEY_BYTES, b"\0")
_hash = partial(hashlib.blake2s, key=b"connet-hash")


def agree_as_source(pair: X25519Pair, destination_public: bytes) -> StreamKeys:
    """The keys of a stream, from our secret and the other side's public key (protocol section 8.4).

    Raises:
      RemoteProtocolError: `destination_public` is of low order, which would give keys that anybody knows.
    """
    return _derive_keys(pair.public, destination_public, _agree(pair.secret, destination_public))


def agree_as_destination(pair: X25519Pair, source_public: bytes) -> StreamKeys:
    """The same keys on the other side; raises as `agree_as_source`."""
    return _derive_keys(source_public, pair.public, _agree(pair.secret, source_public))


def _agree(secret: bytes, public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise RemoteProtocolError("unusable public key") from None


def _derive_keys(source_public: bytes, destination_public: bytes, shared: bytes) -> StreamKeys:
    transcript = _hash(_hash(_HASHING + source_public).digest() + destination_public).digest()
    chaining = _hkdf(shared, _CHAINING, KEY_BYTES)
    both = _hkdf(transcript, chaining, 2 * KEY_BYTES)
    return StreamKeys(both[:KEY_BYTES], both[KEY_BYTES:])


def _hkdf(secret: bytes, salt: bytes, length: int) -> bytes:
    """RFC 5869 over the keyed hash, without info."""
    extracted = _hmac(salt, secret)
    output = block = b""
    while len(output) < length:
        block = _hmac(extracted, block + bytes([len(output) // KEY_BYTES + 1]))
        output += block
    return output[:length]


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, _hash).digest()


# --- records of dhxcp

LENGTH_BYTES = 2
TAG_BYTES = 16
NONCE_BYTES = 12
MAX_SEALED_BYTES = 65_517
"""Plaintext of the records we make; up to two bytes more are accepted."""


class Sealer:
    """Makes the records of one direction."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0

    def seal(self, data: bytes | memoryview) -> bytes:
        """The next record: at most `MAX_SEALED_BYTES` of plaintext behind its length, sealed."""
        if len(data) > MAX_SEALED_BYTES:
            raise LocalProtocolError(f"record of {len(data)} bytes, at most {MAX_SEALED_BYTES}")
        sealed = self._cipher.encrypt(self._count.to_bytes(NONCE_BYTES, "big"), data, None)
        self._count += 1
        return len(sealed).to_bytes(LENGTH_BYTES, "big") + sealed


class Opener:
    """Opens the records of one direction, however their bytes are cut. Holds less than one record."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0
        self._held = bytearray()

    def open(self, data: bytes) -> bytes:
        """The plaintext of every record that is complete now, in order.

        Raises:
          RemoteProtocolError: one is too short, or not the next that was sealed with our key. Nothing after it opens.
        """
        self._held += data
        opened: list[bytes] = []
        position = 0
        with memoryview(self._held) as held:
            while (end := self._record_end(held, position)) is not None:
                opened.append(self._open_record(held[position + LENGTH_BYTES : end]))
                position = end
        del self._held[:position]
        return opened[0] if len(opened) == 1 else b"".join(opened)

    @property
    def is_between_records(self) -> bool:
        """Whether the stream may end here without cutting a record short."""
        return not self._held

    def _record_end(self, held: memoryview, position: int) -> int | None:
        """Where the record that begins at `position` ends; None while it is incomplete."""
        begin = position + LENGTH_BYTES
        if len(held) < begin:
            return None
        length = int.from_bytes(held[position:begin], "big")
        if length < TAG_BYTES:
            raise RemoteProtocolError(f"sealed record of {length} bytes, at least {TAG_BYTES}")
        return begin + length if len(held) >= begin + length else None

    def _open_record(self, sealed: memoryview) -> bytes:
        try:
            opened = self._cipher.decrypt(self._count.to_bytes(NONCE_BYTES, "big"), sealed, None)
        except InvalidTag:
            text = f"record {self._count} does not open: it was altered, repeated, moved or sealed with another key"
            raise RemoteProtocolError(text) from None
        self._count += 1
        return opened


def seals_of_source(keys: StreamKeys) -> tuple[Sealer, Opener]:
    """What a source sends and receives with."""
    return Sealer(keys.to_destination), Opener(keys.to_source)


def seals_of_destination(keys: StreamKeys) -> tuple[Sealer, Opener]:
    """What a destination sends and receives with."""
    return Sealer(keys.to_source), Opener(keys.to_destination)
