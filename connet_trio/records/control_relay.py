"""Relay ↔ control, and what control seals for relays to open (protocol section 3.4)."""

import attrs

from connet_trio.records.model import Endpoint, Error, HostPort, Role, numbered


@attrs.frozen(kw_only=True)
class Authenticate:
    """Only record of a relay: where clients reach it and with which leaf, and a fresh X25519 public key."""

    token: str = numbered(1, default="", secret=True)
    reconnect_token: bytes = numbered(3, default=b"", secret=True)
    build_version: str = numbered(4, default="")
    addresses: tuple[HostPort, ...] = numbered(5, default=(), max_items=256)
    metadata: str = numbered(6, default="")
    server_certificate: bytes = numbered(7, default=b"")
    relay_authentication_key: bytes = numbered(8, default=b"")


@attrs.frozen(kw_only=True)
class Authenticated:
    """Control's answer: its lasting id and its half of the key that seals client tokens."""

    control_id: str = numbered(2, default="")
    reconnect_token: bytes = numbered(3, default=b"", secret=True)
    control_authentication_key: bytes = numbered(4, default=b"")


AuthenticateReply = Error | Authenticated


@attrs.frozen(kw_only=True)
class ClientAuthentication:
    """The plaintext of a sealed client token: which endpoint may connect, with which leaf."""

    endpoint: Endpoint | None = numbered(1, default=None)
    role: Role = numbered(2, default=Role.UNKNOWN)
    certificate_key: str = numbered(3, default="")
