"""Client ↔ control (protocol section 3.3)."""

import attrs

from connet_trio.records.model import AddressPort, Endpoint, Error, HostPort, Role, Unrecognized, numbered


@attrs.frozen(kw_only=True)
class Authenticate:
    """First record of a client: who it is. A reconnect token, when it opens, keeps the client id."""

    token: str = numbered(1, default="", secret=True)
    reconnect_token: bytes = numbered(2, default=b"", secret=True)
    build_version: str = numbered(3, default="")
    metadata: str = numbered(4, default="")


@attrs.frozen(kw_only=True)
class Authenticated:
    """Control's answer: how it sees the client (`public`), and the token to come back with."""

    public: AddressPort | None = numbered(2, default=None)
    reconnect_token: bytes = numbered(3, default=b"", secret=True)


AuthenticateReply = Error | Authenticated


@attrs.frozen(kw_only=True)
class Peer:
    """How to reach one endpoint of one client: addresses, relays it is on, and its two leaves (DER)."""

    directs: tuple[AddressPort, ...] = numbered(3, default=(), max_items=1024)
    server_certificate: bytes = numbered(4, default=b"")
    client_certificate: bytes = numbered(5, default=b"")
    relay_ids: tuple[str, ...] = numbered(6, default=(), max_items=1024)


@attrs.frozen(kw_only=True)
class Announce:
    """Offers or seeks `endpoint`; later ones on the same stream need only `peer`, always complete."""

    endpoint: Endpoint | None = numbered(1, default=None)
    role: Role = numbered(2, default=Role.UNKNOWN)
    peer: Peer | None = numbered(3, default=None)


@attrs.frozen(kw_only=True)
class SubscribeRelays:
    """Asks for the relays that `endpoint` may use, with tokens sealed for `client_certificate` (DER)."""

    endpoint: Endpoint | None = numbered(1, default=None)
    role: Role = numbered(2, default=Role.UNKNOWN)
    client_certificate: bytes = numbered(3, default=b"")


ControlRequest = Announce | SubscribeRelays | Unrecognized


@attrs.frozen(kw_only=True)
class RemotePeer:
    """Another client's endpoint; `id` is the client's, not the endpoint's."""

    id: str = numbered(1, default="")
    peer: Peer | None = numbered(8, default=None)
    metadata: str = numbered(9, default="")


@attrs.frozen(kw_only=True)
class Peers:
    """The complete list of opposite endpoints; replaces the one before."""

    peers: tuple[RemotePeer, ...] = numbered(1, default=(), max_items=100_000)


@attrs.frozen(kw_only=True)
class Relay:
    """A relay this endpoint may use, and the sealed token (`authentication`) that admits it there."""

    id: str = numbered(1, default="")
    addresses: tuple[HostPort, ...] = numbered(2, default=(), max_items=256)
    server_certificate: bytes = numbered(3, default=b"")
    authentication: bytes = numbered(4, default=b"", secret=True)
    metadata: str = numbered(5, default="")


@attrs.frozen(kw_only=True)
class Relays:
    """The complete list of relays; replaces the one before. Field 2, where `Peers` uses 1."""

    relays: tuple[Relay, ...] = numbered(2, default=(), max_items=100_000)


ControlResponse = Error | Peers | Relays | Unrecognized
