"""Protocol names (ALPN) of each kind of connection, and the wire version each one means (protocol section 2.2)."""

import enum
from collections.abc import Mapping
from types import MappingProxyType

from connet_trio.errors import RemoteProtocolError
from connet_trio.wire.framing import WireVersion


class ConnectionKind(enum.Enum):
    """Who dials whom."""

    CLIENT_TO_CONTROL = "client → control"
    PEER_TO_PEER = "peer → peer"
    CLIENT_TO_RELAY = "client → relay"
    RELAY_TO_CONTROL = "relay → control"


# `connet-relay/0.3` is in two rows and means two protocols, so a name says nothing without its kind.
_VERSIONS: Mapping[ConnectionKind, Mapping[str, WireVersion]] = MappingProxyType(
    {
        ConnectionKind.CLIENT_TO_CONTROL: MappingProxyType(
            {"connet-control/0.4": WireVersion.V2, "connet-client/0.3": WireVersion.V1}
        ),
        ConnectionKind.PEER_TO_PEER: MappingProxyType(
            {"connet-peer/0.2": WireVersion.V2, "connet-peer/0.1": WireVersion.V1}
        ),
        ConnectionKind.CLIENT_TO_RELAY: MappingProxyType(
            {"connet-relay/0.3": WireVersion.V2, "connet-peer-relay/0.2": WireVersion.V1}
        ),
        ConnectionKind.RELAY_TO_CONTROL: MappingProxyType(
            {"connet-control-relays/0.4": WireVersion.V2, "connet-relay/0.3": WireVersion.V1}
        ),
    }
)


def protocol_names(kind: ConnectionKind) -> tuple[str, ...]:
    """The names a dialler offers in this order, and of which a listener takes the first that was offered."""
    return tuple(_VERSIONS[kind])


def wire_version(kind: ConnectionKind, alpn: str | None) -> WireVersion:
    """The version spoken on a connection of this kind that settled on `alpn`.

    Raises:
      RemoteProtocolError: the other side settled on none (None) or on a name that was not offered.
    """
    version = _VERSIONS[kind].get(alpn) if alpn is not None else None
    if version is None:
        raise RemoteProtocolError(f"{kind.value}: no wire version for protocol {alpn!r}")
    return version
