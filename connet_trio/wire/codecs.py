"""One codec for each thing said: records ⇄ payloads, without the length before them.

A codec is either plain, the payload being one record, or an envelope: a message whose fields are the variants of a
union (the original's "soft one-of", protocol section 3.3). Presence is what counts, so an empty variant (`12 00`) is
one, and a payload without any is another record, given as `otherwise`: nothing recognized, or what success looks like.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar, cast

import attrs

from connet_trio.errors import LocalProtocolError
from connet_trio.records import control, control_relay, peer, relay
from connet_trio.records.model import FIELD_NUMBER, Error, Unrecognized
from connet_trio.wire.addresses import WRITTEN_AS
from connet_trio.wire.converter import make_converter
from connet_trio.wire.protobuf import MessagePool

T = TypeVar("T")

REMEMBERED = 16
"""Records, and payloads, that a remembering codec keeps of each kind."""
SHORT_BYTES = 64
"""Payloads above are never kept: they come from others, who choose their length."""


class Codec(Protocol[T]):
    """Writes and reads the payload of one kind of record."""

    def encode(self, record: T) -> bytes:
        """The payload for `record`.

        Raises:
          LocalProtocolError: a value does not fit its field, or this is not said in this conversation.
        """

    def decode(self, payload: bytes) -> T:
        """The record in `payload`; what this release does not know in it is ignored.

        Raises:
          RemoteProtocolError: it is not a message of this kind.
        """


# Both only remember what follows from the records, so sharing them between codecs shares no state.
_POOL = MessagePool(WRITTEN_AS)
_CONVERTER = make_converter()


class RecordCodec(Generic[T]):
    """The codec of a payload that is one record."""

    def __init__(self, record: type[T]) -> None:
        self._record = record

    def encode(self, record: T) -> bytes:
        if not isinstance(record, self._record):
            raise LocalProtocolError(f"{type(record).__name__} is no {self._record.__name__}")
        return _POOL.encode(self._record, _CONVERTER.unstructure(record, unstructure_as=self._record))

    def decode(self, payload: bytes) -> T:
        return _CONVERTER.structure(_POOL.decode(self._record, payload), self._record)


class EnvelopeCodec(Generic[T]):
    """The codec of a payload that is one of several records.

    Args:
      name: of the message, for error texts; no two envelopes share one.
      variants: the record in each field. With several present the lowest number counts; an `Error` is always 1.
      otherwise: the record that the payload is when no variant is present.
    """

    def __init__(self, name: str, variants: Mapping[int, type[T]], *, otherwise: type[T]) -> None:
        self._names = {variants[number]: f"variant_{number}" for number in sorted(variants)}
        fields = {
            f"variant_{number}": attrs.field(
                default=None, type=cast(type, variant | None), metadata={FIELD_NUMBER: number}
            )
            for number, variant in variants.items()
        }
        self._envelope = attrs.make_class(name, fields, frozen=True)
        self._envelope_codec: RecordCodec[Any] = RecordCodec(self._envelope)
        self._otherwise = otherwise
        self._otherwise_codec = RecordCodec(otherwise)

    def encode(self, record: T) -> bytes:
        if isinstance(record, self._otherwise):
            return self._otherwise_codec.encode(record)
        if type(record) not in self._names:
            raise LocalProtocolError(f"{type(record).__name__} is no {self._envelope.__name__}")
        return self._envelope_codec.encode(self._envelope(**{self._names[type(record)]: record}))

    def decode(self, payload: bytes) -> T:
        envelope = self._envelope_codec.decode(payload)
        for name in self._names.values():
            if (variant := getattr(envelope, name)) is not None:
                return cast(T, variant)
        return self._otherwise_codec.decode(payload)


class RememberingCodec(Generic[T]):
    """A codec that remembers the last short payloads: what begins a stream is nearly always the same few bytes."""

    def __init__(self, codec: Codec[T]) -> None:
        self._codec = codec
        self.encode = lru_cache(REMEMBERED)(codec.encode)
        self._decode_short = lru_cache(REMEMBERED)(codec.decode)

    def decode(self, payload: bytes) -> T:
        return self._codec.decode(payload) if len(payload) > SHORT_BYTES else self._decode_short(payload)


CONTROL_AUTHENTICATE: Codec[control.Authenticate] = RecordCodec(control.Authenticate)
"""client → control, the first record."""

CONTROL_AUTHENTICATE_REPLY: Codec[control.AuthenticateReply] = EnvelopeCodec(
    "ControlAuthenticateReply", {1: Error}, otherwise=control.Authenticated
)
"""control → client, the answer."""

CONTROL_REQUEST: Codec[control.ControlRequest] = EnvelopeCodec(
    "ControlRequest", {1: control.Announce, 2: control.SubscribeRelays}, otherwise=Unrecognized
)
"""client → control, on announce and relay streams."""

CONTROL_RESPONSE: Codec[control.ControlResponse] = EnvelopeCodec(
    "ControlResponse", {1: Error, 2: control.Peers, 3: control.Relays}, otherwise=Unrecognized
)
"""control → client, on announce and relay streams."""

RELAY_CONTROL_AUTHENTICATE: Codec[control_relay.Authenticate] = RecordCodec(control_relay.Authenticate)
"""relay → control, the only record."""

RELAY_CONTROL_AUTHENTICATE_REPLY: Codec[control_relay.AuthenticateReply] = EnvelopeCodec(
    "RelayControlAuthenticateReply", {1: Error}, otherwise=control_relay.Authenticated
)
"""control → relay, the answer."""

CLIENT_AUTHENTICATION: Codec[control_relay.ClientAuthentication] = RecordCodec(control_relay.ClientAuthentication)
"""control → relay by way of the client: the plaintext of a sealed token, never framed."""

RELAY_AUTHENTICATE: Codec[relay.Authenticate] = RecordCodec(relay.Authenticate)
"""client → relay, the first record."""

RELAY_AUTHENTICATE_REPLY: Codec[relay.AuthenticateReply] = EnvelopeCodec(
    "RelayAuthenticateReply", {1: Error}, otherwise=relay.Authenticated
)
"""relay → client, the answer."""

PEER_REQUEST: Codec[peer.PeerRequest] = RememberingCodec(
    EnvelopeCodec("PeerRequest", {1: peer.Connect}, otherwise=peer.Check)
)
"""source → destination, or whoever dialled a direct connection and checks it."""

PEER_RESPONSE: Codec[peer.PeerResponse] = RememberingCodec(
    EnvelopeCodec("PeerResponse", {1: Error, 2: peer.Connected}, otherwise=peer.Check)
)
"""The answer to a `PEER_REQUEST`."""
