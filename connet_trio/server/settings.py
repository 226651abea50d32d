"""What a server (control and a relay in one process) needs to know, from a file by `config` or written in code."""

from pathlib import Path

import attrs
from attrs.validators import ge, gt, in_, min_len, optional

from connet_trio.control.settings import DEFAULT_ENDPOINT_EXPIRY, IngressSettings
from connet_trio.engine.admission import Restriction
from connet_trio.quic import (
    DEFAULT_CONGESTION_CONTROL,
    DEFAULT_QUIC_ENGINE,
    LARGEST_DATAGRAM_BYTES,
    PACKET_SIZES,
    CongestionControl,
    QuicEngine,
)
from connet_trio.records.model import HostPort
from connet_trio.relay.settings import DEFAULT_DRAIN_TIMEOUT, RelayIngressSettings, default_relay_ingresses


@attrs.frozen(kw_only=True)
class ServerSettings:
    """Control and one relay together; the relay joins control on a loopback address with a token of its own."""

    client_ingresses: tuple[IngressSettings, ...] = attrs.field(validator=min_len(1))
    """The sockets on which control accepts clients."""

    client_tokens: tuple[tuple[str, Restriction], ...] = attrs.field(repr=False)
    """The tokens of clients, each with what it may be used for."""

    endpoint_expiry: float | None = attrs.field(default=DEFAULT_ENDPOINT_EXPIRY, validator=optional(gt(0)))
    """Seconds for which the endpoints of a lost client stay listed; None takes them off at once."""

    relay_ingresses: tuple[RelayIngressSettings, ...] = attrs.field(factory=default_relay_ingresses)
    """The sockets on which the relay accepts clients."""

    congestion_control: CongestionControl = DEFAULT_CONGESTION_CONTROL
    """How what the server sends reacts to loss."""

    quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE
    """What drives the connections."""

    max_packet_size: int = attrs.field(default=LARGEST_DATAGRAM_BYTES, validator=in_(PACKET_SIZES))
    """Bytes of UDP payload up to which the MTU of each path is searched for; 1200, the smallest, is no search."""

    status_address: HostPort | None = None
    """Where the status of both is served over plain HTTP; None turns it off."""

    store_directory: Path | None = None
    """Parent of the directories `control` and `relay`; None means a temporary one, so identity is lost on restart."""

    drain_timeout: float = attrs.field(default=DEFAULT_DRAIN_TIMEOUT, validator=ge(0))
    """Seconds that streams on the relay get to end when the server stops; 0 ends them at once."""
