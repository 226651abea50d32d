"""What a control server needs to know, read from a file by `config` or written in code by a program that embeds one."""

from pathlib import Path

import attrs
from attrs.validators import gt, in_, min_len, optional

from connet_trio.engine.admission import NetworkRule, Restriction
from connet_trio.identity.certificates import Credential
from connet_trio.quic import (
    DEFAULT_CONGESTION_CONTROL,
    DEFAULT_QUIC_ENGINE,
    LARGEST_DATAGRAM_BYTES,
    PACKET_SIZES,
    CongestionControl,
    QuicEngine,
)
from connet_trio.records.model import HostPort

CLIENTS_PORT = 19_190
"""Where control accepts clients."""

RELAYS_PORT = 19_189
"""Where control accepts relays."""

DEFAULT_ENDPOINT_EXPIRY: float | None = 30.0


@attrs.frozen(kw_only=True)
class IngressSettings:
    """One UDP socket on which control accepts clients, or relays."""

    address: HostPort
    """Where to listen; an empty host means all addresses, port 0 any free port."""

    credential: Credential = attrs.field(repr=False)
    """The certificate chain presented there, and its key."""

    networks: NetworkRule = NetworkRule()
    """Which addresses may connect; everyone unless said."""


@attrs.frozen(kw_only=True)
class ControlSettings:
    """A control server. It needs at least one ingress for clients and, to admit anyone, tokens."""

    client_ingresses: tuple[IngressSettings, ...] = attrs.field(validator=min_len(1))
    """The sockets for clients."""

    client_tokens: tuple[tuple[str, Restriction], ...] = attrs.field(repr=False)
    """The tokens of clients, each with what it may be used for."""

    relay_ingresses: tuple[IngressSettings, ...] = ()
    """The sockets for relays; without one no relay can join."""

    relay_tokens: tuple[tuple[str, Restriction], ...] = attrs.field(default=(), repr=False)
    """The tokens of relays. Only the networks of a restriction matter to them."""

    endpoint_expiry: float | None = attrs.field(default=DEFAULT_ENDPOINT_EXPIRY, validator=optional(gt(0)))
    """Seconds for which the endpoints of a lost client stay listed; None takes them off at once."""

    congestion_control: CongestionControl = DEFAULT_CONGESTION_CONTROL
    """How what control sends reacts to loss."""

    quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE
    """What drives the connections."""

    max_packet_size: int = attrs.field(default=LARGEST_DATAGRAM_BYTES, validator=in_(PACKET_SIZES))
    """Bytes of UDP payload up to which the MTU of each path is searched for; 1200, the smallest, is no search."""

    status_address: HostPort | None = None
    """Where the status is served over plain HTTP; None turns it off."""

    store_directory: Path | None = None
    """Where identity and registrations are kept; None means a temporary directory, so both are lost on restart."""
