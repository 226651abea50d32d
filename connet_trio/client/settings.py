"""What a client needs to know, read from a file by `config` or written in code by a program that embeds one."""

from collections.abc import Sequence
from pathlib import Path

import attrs
from attrs.validators import ge, gt, in_, min_len, optional

from connet_trio.client.endpoint_names import check_endpoint_name
from connet_trio.engine import NO_BALANCING, Balancing
from connet_trio.quic import (
    DEFAULT_CONGESTION_CONTROL,
    DEFAULT_QUIC_ENGINE,
    LARGEST_DATAGRAM_BYTES,
    PACKET_SIZES,
    CongestionControl,
    QuicEngine,
)
from connet_trio.records.model import HostPort, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption

DEFAULT_SERVER = HostPort("127.0.0.1", 19_190)
DEFAULT_HANDSHAKE_IDLE_TIMEOUT = 5.0
DEFAULT_DRAIN_TIMEOUT = 2.0
DEFAULT_RELAY_ENCRYPTIONS = (RelayEncryption.NONE,)
RESET_KEY_BYTES = 32


def _may_be_called(_endpoint: object, _field: object, name: str) -> None:
    check_endpoint_name(name)


@attrs.frozen(kw_only=True)
class DestinationSettings:
    """A service offered under `name`: each stream that arrives is joined to a TCP connection to `target`."""

    name: str = attrs.field(validator=_may_be_called)
    """What sources know it by, at most 1000 bytes of UTF-8; names match when their bytes are equal."""

    target: HostPort
    """The service, as this client reaches it."""

    proxy_version: ProxyVersion = ProxyVersion.NONE
    """The PROXY header that sources are to write first, for a service that wants one."""

    route: Route = Route.ANY
    """Which kinds of path sources may take to it."""

    relay_encryptions: tuple[RelayEncryption, ...] | None = attrs.field(default=None, validator=optional(min_len(1)))
    """How streams may be kept from a relay; None means those of the client."""

    dial_timeout: float | None = attrs.field(default=None, validator=optional(gt(0)))
    """Seconds in which `target` has to answer; None waits as long as the operating system does."""


@attrs.frozen(kw_only=True)
class SourceSettings:
    """A service consumed under `name`: each TCP connection to `listen` is carried to one of its destinations."""

    name: str = attrs.field(validator=_may_be_called)
    """What destinations offer it as, at most 1000 bytes of UTF-8; names match when their bytes are equal."""

    listen: HostPort
    """Where to accept TCP connections; an empty host means all addresses, port 0 any free port."""

    route: Route = Route.ANY
    """Which kinds of path to take."""

    relay_encryptions: tuple[RelayEncryption, ...] | None = attrs.field(default=None, validator=optional(min_len(1)))
    """How streams may be kept from a relay, in the order they are offered; None means those of the client."""

    dial_timeout: float | None = attrs.field(default=None, validator=optional(gt(0)))
    """Seconds in which a destination has to answer; None sets no bound of its own."""

    balancing: Balancing = NO_BALANCING
    """How to choose among several destinations."""


def _names_differ(
    _client: object, _field: object, endpoints: Sequence[DestinationSettings] | Sequence[SourceSettings]
) -> None:
    names = [endpoint.name for endpoint in endpoints]
    if len(set(names)) < len(names):
        raise ValueError("two endpoints of one role have the same name")


def _is_reset_key(_client: object, _field: object, key: bytes | None) -> None:
    if key is not None and len(key) != RESET_KEY_BYTES:
        raise ValueError(f"stateless reset key of {len(key)} bytes, expected {RESET_KEY_BYTES}")


def _host_of_server(client: "ClientSettings") -> str:
    return client.server.host


@attrs.frozen(kw_only=True)
class ClientSettings:
    """A client and its endpoints. Only the token has no default."""

    token: str = attrs.field(repr=False)
    """What control admits this client by."""

    metadata: str = ""
    """Shown in the status of control, of relays and of peers."""

    server: HostPort = DEFAULT_SERVER
    """The client port of the control server."""

    server_roots: tuple[bytes, ...] | None = attrs.field(default=None, repr=False)
    """The certificates (DER) that vouch for control; None means the operating system's."""

    server_name: str = attrs.field(default=attrs.Factory(_host_of_server, takes_self=True))
    """The name in control's certificate: the host of `server` unless said."""

    direct_address: HostPort | None = None
    """Where the one UDP socket is bound; an empty host means all addresses. None: port 19192, or any free one where
    that is taken."""

    stateless_reset_key: bytes | None = attrs.field(default=None, repr=False, validator=_is_reset_key)
    """32 secret bytes by which peers learn of a restart at once; None leaves it to `stateless_reset_key_directory`."""

    stateless_reset_key_directory: Path | None = None
    """Where such a key is kept, and made when there is none yet (protocol section 12.5); with neither, there is no
    key and peers learn of a restart by their idle timeout."""

    status_address: HostPort | None = None
    """Where the status is served over plain HTTP; None turns it off."""

    handshake_idle_timeout: float = attrs.field(default=DEFAULT_HANDSHAKE_IDLE_TIMEOUT, validator=gt(0))
    """Seconds of silence after which dialling is given up; a whole handshake may take twice as long."""

    quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE
    """What drives the connections."""

    max_packet_size: int = attrs.field(default=LARGEST_DATAGRAM_BYTES, validator=in_(PACKET_SIZES))
    """Bytes of UDP payload up to which the MTU of each path is searched for; 1200, the smallest, is no search."""

    drain_timeout: float = attrs.field(default=DEFAULT_DRAIN_TIMEOUT, validator=ge(0))
    """Seconds that streams in progress get to end when the client stops; 0 ends them at once."""

    congestion_control: CongestionControl = DEFAULT_CONGESTION_CONTROL
    """How what this client sends reacts to loss."""

    relay_encryptions: tuple[RelayEncryption, ...] = attrs.field(
        default=DEFAULT_RELAY_ENCRYPTIONS, validator=min_len(1)
    )
    """How streams of every endpoint may be kept from a relay, unless the endpoint says; `NONE` among them allows the
    relay to read along where the other side wants it so."""

    destinations: tuple[DestinationSettings, ...] = attrs.field(default=(), validator=_names_differ)
    """The services offered."""

    sources: tuple[SourceSettings, ...] = attrs.field(default=(), validator=_names_differ)
    """The services consumed. The same name may be offered as well."""
