"""What a relay server needs to know, read from a file by `config` or written in code by a program that embeds one."""

from pathlib import Path

import attrs
from attrs.validators import ge, gt, in_

from connet_trio.engine.admission import NetworkRule
from connet_trio.quic import (
    DEFAULT_CONGESTION_CONTROL,
    DEFAULT_QUIC_ENGINE,
    LARGEST_DATAGRAM_BYTES,
    PACKET_SIZES,
    CongestionControl,
    QuicEngine,
)
from connet_trio.records.model import HostPort

RELAY_PORT = 19_191
"""Where relays accept clients."""

DEFAULT_CONTROL_OF_RELAYS = HostPort("localhost", 19_189)
DEFAULT_HANDSHAKE_IDLE_TIMEOUT = 5.0
DEFAULT_DRAIN_TIMEOUT = 2.0


def _advertised_by_default(ingress: "RelayIngressSettings") -> tuple[HostPort, ...]:
    return (HostPort("localhost", ingress.address.port),)


@attrs.frozen(kw_only=True)
class RelayIngressSettings:
    """One UDP socket on which a relay accepts clients."""

    address: HostPort = HostPort("", RELAY_PORT)
    """Where to listen; an empty host means all addresses, port 0 any free port."""

    hostports: tuple[HostPort, ...] = attrs.field(default=attrs.Factory(_advertised_by_default, takes_self=True))
    """What clients are told to dial, `localhost` with the port of `address` unless said. Port 0 stands for the port
    that was bound."""

    networks: NetworkRule = NetworkRule()
    """Which addresses may connect."""


def default_relay_ingresses() -> tuple[RelayIngressSettings, ...]:
    """One ingress on every address, port 19191, advertised as `localhost:19191`."""
    return (RelayIngressSettings(),)


def _host_of_control(relay: "RelaySettings") -> str:
    return relay.control.host


@attrs.frozen(kw_only=True)
class RelaySettings:
    """A relay server. Only the token has no default."""

    token: str = attrs.field(repr=False)
    """What control admits this relay by."""

    metadata: str = ""
    """Shown in the status of control, and to clients."""

    control: HostPort = DEFAULT_CONTROL_OF_RELAYS
    """The relay port of the control server."""

    control_roots: tuple[bytes, ...] | None = attrs.field(default=None, repr=False)
    """The certificates (DER) that vouch for control; None means the operating system's."""

    control_name: str = attrs.field(default=attrs.Factory(_host_of_control, takes_self=True))
    """The name in control's certificate: the host of `control` unless said."""

    ingresses: tuple[RelayIngressSettings, ...] = attrs.field(factory=default_relay_ingresses)
    """The sockets for clients. Control is dialled from the first of them that reaches it."""

    handshake_idle_timeout: float = attrs.field(default=DEFAULT_HANDSHAKE_IDLE_TIMEOUT, validator=gt(0))
    """Seconds of silence after which dialling control is given up; a whole handshake may take twice as long."""

    congestion_control: CongestionControl = DEFAULT_CONGESTION_CONTROL
    """How what this relay sends reacts to loss."""

    quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE
    """What drives the connections."""

    max_packet_size: int = attrs.field(default=LARGEST_DATAGRAM_BYTES, validator=in_(PACKET_SIZES))
    """Bytes of UDP payload up to which the MTU of each path is searched for; 1200, the smallest, is no search."""

    status_address: HostPort | None = None
    """Where the status is served over plain HTTP; None turns it off."""

    store_directory: Path | None = None
    """Where identity is kept; None means a temporary directory, so identity is lost on restart."""

    drain_timeout: float = attrs.field(default=DEFAULT_DRAIN_TIMEOUT, validator=ge(0))
    """Seconds that streams in progress get to end when the relay stops; 0 ends them at once."""
