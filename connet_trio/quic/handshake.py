"""What the two sides of a handshake bring: whom they expect, and what they show."""

from collections.abc import Callable

import attrs

from connet_trio.identity import Credential, ServerTrust
from connet_trio.quic.limits import HANDSHAKE_IDLE_SECONDS, UNAUTHENTICATED_WINDOWS, WINDOWS, Windows
from connet_trio.records.model import AddressPort

ClientTrust = Callable[[bytes, float], None]
"""Judges a dialer's leaf (DER) at a wall time; raises CertificateRejected."""


def any_client(leaf: bytes, wall_now: float) -> None:
    """A certificate is required and any will do; who it belongs to is proved later, by a token (section 2.3)."""


@attrs.frozen(kw_only=True)
class Dialing:
    """How to dial one kind of connection."""

    alpns: tuple[str, ...]
    """Protocol names in the order offered."""
    trust: ServerTrust
    server_name: str
    """DNS name, sent as SNI, or an IP literal, which is not."""
    credential: Credential | None = None
    """Shown if the listener asks."""
    handshake_idle_seconds: float = HANDSHAKE_IDLE_SECONDS
    initial_rtt_seconds: float | None = None
    """Round trip assumed until one is measured; None takes aioquic's 0.1. A first Initial that was lost, as at a NAT
    that waits for the other side's, is repeated after twice that, and each time twice as long after."""
    windows: Windows = WINDOWS


@attrs.frozen(kw_only=True)
class Answer:
    """What a listener answers a ClientHello with."""

    credential: Credential
    alpns: tuple[str, ...]
    """Accepted protocol names, the preferred first."""
    client_trust: ClientTrust | None = None
    """Asks for a client certificate and judges it; None asks for none."""


@attrs.frozen(kw_only=True)
class Listening:
    """How a transport answers those who dial it."""

    choose: Callable[[str | None], Answer | None]
    """Certificate and trust by server name (SNI); None refuses the name."""
    admits: Callable[[AddressPort], bool] = lambda address: True
    """Whether an address may dial at all; others get CONNECTION_REFUSED."""
    windows: Windows = UNAUTHENTICATED_WINDOWS
