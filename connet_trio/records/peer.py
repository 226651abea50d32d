"""Source ↔ destination, direct or through a relay (protocol section 3.6)."""

import enum

import attrs

from connet_trio.records.model import Error, numbered


class RelayEncryption(enum.IntEnum):
    """How a relayed stream is kept from the relay."""

    NONE = 0
    TLS = 1
    DHXCP = 2


class ProxyVersion(enum.IntEnum):
    """Which PROXY header the destination wants first."""

    NONE = 0
    V1 = 1
    V2 = 2


@attrs.frozen(kw_only=True)
class TlsOffer:
    """Names the server leaf that the `tls` layer will present."""

    client_name: str = numbered(1, default="")


@attrs.frozen(kw_only=True)
class EcdhOffer:
    """One side of the `dhxcp` key agreement: 40 bytes of key and time, signed by the server leaf's key."""

    client_name: str = numbered(1, default="")
    key_time: bytes = numbered(2, default=b"")
    signature: bytes = numbered(3, default=b"")


@attrs.frozen(kw_only=True)
class Connect:
    """A source asks for a byte stream. A scheme this release does not know keeps its number."""

    source_encryption: tuple[RelayEncryption | int, ...] = numbered(1, default=(), max_items=16)
    source_tls: TlsOffer | None = numbered(2, default=None)
    source_dh_x25519: EcdhOffer | None = numbered(3, default=None)


@attrs.frozen(kw_only=True)
class Check:
    """The empty record: proves a direct connection works, asked and answered alike."""


PeerRequest = Connect | Check


@attrs.frozen(kw_only=True)
class Connected:
    """The destination accepts; what follows on the stream is payload."""

    proxy_proto: ProxyVersion | int = numbered(1, default=ProxyVersion.NONE)
    destination_encryption: RelayEncryption | int = numbered(2, default=RelayEncryption.NONE)
    destination_tls: TlsOffer | None = numbered(3, default=None)
    destination_dh_x25519: EcdhOffer | None = numbered(4, default=None)


PeerResponse = Error | Connected | Check
