"""What the status page shows (protocol section 13): records, and the JSON they become.

Keys are the original's, where it has them. Keys of our own are `last-error`, `handler-errors`, `bytes-in`, `bytes-out`,
`bytes-forwarded`, `streams`, `streams-total`, for each endpoint `relay-encryptions`, for each peer `path`, `relay-id`,
`rtt-ms`, `since` and `why`, and for each of its connections `rtt-ms`, `bytes-in`, `bytes-out` and `mtu`; they are
always there, `null` when there is nothing to say, and readers of the original ignore them.
"""

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from connet_trio.records.model import AddressPort, HostPort

KEY = "key"
"""Key under which a field's name in JSON lives in its attrs metadata; without it, the field's own name is used."""

OMIT_EMPTY = "omit-empty"
"""Key under which it is written that a field without a value is left out."""


def keyed(key: str, *, default: Any = attrs.NOTHING, omit_empty: bool = False, converter: Any = None) -> Any:
    """An attrs field that is called `key` in JSON, left out when empty if `omit_empty`."""
    return attrs.field(default=default, converter=converter, metadata={KEY: key, OMIT_EMPTY: omit_empty})


class Status(enum.Enum):
    """How a service, or one of its endpoints, stands with control."""

    NOT_CONNECTED = "not_connected"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    DISCONNECTED = "disconnected"


class PathStyle(enum.Enum):
    """How a path to a peer came about: it dialled us, we dialled it, or both are on a relay."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"
    RELAY = "relay"


@attrs.frozen(kw_only=True)
class PathStatus:
    """One connection that reaches a peer; `relay_id` only for a relayed one."""

    style: PathStyle
    address: str
    relay_id: str | None = keyed("relay-id", default=None, omit_empty=True)
    rtt_ms: float | None = keyed("rtt-ms", default=None)
    """Smoothed round trip, milliseconds."""
    bytes_in: int = keyed("bytes-in", default=0)
    """Stream bytes received on the connection, whatever streams they were for."""
    bytes_out: int = keyed("bytes-out", default=0)
    """Stream bytes sent on it."""
    mtu: int | None = None
    """Bytes of UDP payload in a full datagram we send on it: what the path has shown to carry so far."""


def _sorted_by_style(paths: tuple[PathStatus, ...]) -> tuple[PathStatus, ...]:
    return tuple(sorted(paths, key=lambda path: path.style.value))


@attrs.frozen(kw_only=True)
class PeerStatus:
    """One remote peer of an endpoint: what it told about itself, and how it is reached."""

    id: str
    metadata: str = ""
    direct_addresses: tuple[AddressPort, ...] = keyed("direct-addresses", default=())
    connections: tuple[PathStatus, ...] = attrs.field(default=(), converter=_sorted_by_style)
    """Every path that stands, by style."""
    path: PathStyle | None = None
    """The selected path; None while there is none."""
    relay_id: str | None = keyed("relay-id", default=None)
    """The relay of the selected path, None for a direct one."""
    rtt_ms: float | None = keyed("rtt-ms", default=None)
    """Smoothed round trip of the selected path, milliseconds."""
    since: float | None = None
    """When the selected path was selected, Unix seconds."""
    why: str = ""
    """Why there is no better path, or none; for people."""


@attrs.frozen(kw_only=True)
class RelayLinkStatus:
    """One relay offered to an endpoint; `connection` is its remote address, empty while not connected."""

    id: str
    hostports: tuple[HostPort, ...] = ()
    metadata: str = ""
    connection: str = ""


@attrs.frozen(kw_only=True)
class EndpointStatus:
    """One source or destination of a client."""

    status: Status
    relays: Mapping[str, RelayLinkStatus] = attrs.field(factory=dict)
    """By relay id."""
    peers: Mapping[str, PeerStatus] = attrs.field(factory=dict)
    """By client id."""
    relay_encryptions: tuple[str, ...] = keyed("relay-encryptions", default=())
    """How streams may be kept from a relay, in the words of the configuration."""
    bytes_in: int = keyed("bytes-in", default=0)
    """Payload received from peers since the start."""
    bytes_out: int = keyed("bytes-out", default=0)
    """Payload sent to peers since the start."""


@attrs.frozen(kw_only=True)
class ClientStatus:
    """A client. Addresses are empty while unknown."""

    status: Status
    metadata: str = ""
    build_version: str = keyed("build-version", default="")
    server_address: str = keyed("server-address", default="")
    direct_address: str = keyed("direct-address", default="")
    local_addresses: tuple[AddressPort, ...] = keyed("local-addresses", default=())
    stun_addresses: tuple[AddressPort, ...] = keyed("stun-addresses", default=())
    natpmp_addresses: tuple[AddressPort, ...] = keyed("natpmp-addresses", default=())
    destinations: Mapping[str, EndpointStatus] = attrs.field(factory=dict)
    """By endpoint name."""
    sources: Mapping[str, EndpointStatus] = attrs.field(factory=dict)
    """By endpoint name."""
    last_error: str = keyed("last-error", default="")
    """The latest trouble with control, for people, without secrets; empty when there was none."""
    handler_errors: int = keyed("handler-errors", default=0)
    """Unexpected errors in tasks of accepted connections since the start: bugs of ours."""


@attrs.frozen(kw_only=True)
class Restrictions:
    """The networks that may connect, and those that may not."""

    allows: tuple[str, ...] = keyed("allows", default=(), omit_empty=True)
    denies: tuple[str, ...] = keyed("denies", default=(), omit_empty=True)


@attrs.frozen(kw_only=True)
class IngressStatus:
    """One address control listens on."""

    address: str
    restrictions: Restrictions = attrs.field(factory=Restrictions)


@attrs.frozen(kw_only=True)
class ControlClientStatus:
    """One client as control knows it."""

    id: str
    conn_id: str
    address: str
    metadata: str = ""


@attrs.frozen(kw_only=True)
class AnnouncedStatus:
    """One announcement of an endpoint: by which client, on which of its connections."""

    id: str
    conn_id: str


@attrs.frozen(kw_only=True)
class ControlEndpointStatus:
    """Who announces an endpoint, those whose announcement is about to expire included."""

    endpoint: str
    destinations: tuple[AnnouncedStatus, ...] = ()
    sources: tuple[AnnouncedStatus, ...] = ()


@attrs.frozen(kw_only=True)
class ControlRelayStatus:
    """One relay as control knows it; the key of its addresses is singular, as in the original."""

    id: str
    hostports: tuple[HostPort, ...] = keyed("hostport", default=())
    metadata: str = ""


@attrs.frozen(kw_only=True)
class ControlStatus:
    """A control server."""

    build_version: str = keyed("build-version", default="")
    control_id: str = keyed("relay-server-id", default="")
    client_ingresses: tuple[IngressStatus, ...] = keyed("client-ingresses", default=())
    relay_ingresses: tuple[IngressStatus, ...] = keyed("relay-ingresses", default=())
    clients: Mapping[str, ControlClientStatus] = attrs.field(factory=dict)
    """By client id."""
    endpoints: Mapping[str, ControlEndpointStatus] = attrs.field(factory=dict)
    """By name."""
    relays: Mapping[str, ControlRelayStatus] = attrs.field(factory=dict)
    """By relay id."""
    last_error: str = keyed("last-error", default="")
    """The latest trouble of the service itself, for people, without secrets."""
    handler_errors: int = keyed("handler-errors", default=0)
    """Unexpected errors in tasks of accepted connections since the start: bugs of ours."""


@attrs.frozen(kw_only=True)
class RelayClientStatus:
    """One client of a relay: the key of its certificate and what it said about itself."""

    key: str
    metadata: str = ""


@attrs.frozen(kw_only=True)
class RelayEndpointStatus:
    """Who is connected to a relay for one endpoint, by certificate key."""

    endpoint: str
    destinations: Mapping[str, RelayClientStatus] = attrs.field(factory=dict)
    sources: Mapping[str, RelayClientStatus] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RelayStatus:
    """A relay. Its addresses are written `host:port`, not as the debug text of the original."""

    status: Status
    build_version: str = keyed("build-version", default="")
    hostports: tuple[HostPort, ...] = ()
    server_address: str = keyed("server-address", default="")
    control_id: str = keyed("server-id", default="")
    endpoints: Mapping[str, RelayEndpointStatus] = attrs.field(factory=dict)
    """By name."""
    bytes_forwarded: int = keyed("bytes-forwarded", default=0)
    """Payload carried in both directions since the start."""
    streams: int = 0
    """Streams of sources being served now, those that still wait for a destination included."""
    streams_total: int = keyed("streams-total", default=0)
    """Streams of sources served since the start."""
    last_error: str = keyed("last-error", default="")
    """The latest trouble with control, for people, without secrets; empty when there was none."""
    handler_errors: int = keyed("handler-errors", default=0)
    """Unexpected errors in tasks of accepted connections since the start: bugs of ours."""


@attrs.frozen(kw_only=True)
class ServerStatus:
    """Control and relay in one process."""

    control: ControlStatus
    relay: RelayStatus


ServiceStatus = ClientStatus | ControlStatus | RelayStatus | ServerStatus


def to_json(status: ServiceStatus) -> dict[str, Any]:
    """The page of `status`: dictionaries, lists, strings, numbers and None, fit for `json.dumps`."""
    return _object(status)


def _object(record: Any) -> dict[str, Any]:
    members = {}
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        if value or not field.metadata.get(OMIT_EMPTY):
            members[field.metadata.get(KEY, field.name)] = _value(value)
    return members


def _value(value: Any) -> Any:
    match value:
        case enum.Enum():
            return value.value
        case AddressPort() | HostPort():
            return str(value)
        case tuple():
            return [_value(item) for item in value]
        case Mapping():
            return {name: _value(item) for name, item in value.items()}
        case _ if attrs.has(type(value)):
            return _object(value)
        case _:
            return value
