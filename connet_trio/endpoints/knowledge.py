"""What an endpoint knows: who it is, its peers, its relays and the paths they make."""

import attrs

from connet_trio.endpoints.direct_link import DirectLink
from connet_trio.endpoints.relay_link import RelayLink
from connet_trio.engine import Path, Paths
from connet_trio.forward import Traffic
from connet_trio.quic import Connection
from connet_trio.records.model import Role, Route
from connet_trio.records.peer import RelayEncryption
from connet_trio.records.text import printable


@attrs.define(kw_only=True, eq=False)
class Knowledge:
    """Filled by `Endpoint`, read by its log and its status."""

    name: str
    role: Role
    route: Route
    relay_encryptions: tuple[RelayEncryption, ...]
    """How streams may be kept from a relay, in the order they are offered."""
    paths: Paths = attrs.field(factory=Paths)
    links: dict[str, RelayLink] = attrs.field(factory=dict)
    """Relays by id, as control offered them last."""
    direct: dict[str, DirectLink] = attrs.field(factory=dict)
    """Links to the peers that may be reached directly, by client id."""
    unusable: dict[str, str] = attrs.field(factory=dict)
    """Why there is no direct link to a peer that announces addresses, by client id."""
    traffic: Traffic = attrs.field(factory=Traffic)
    announced: bool = False
    """Whether control has accepted the announcement in the present session."""

    @property
    def label(self) -> str:
        """The name as logs show it."""
        return printable(self.name)

    def connection_of(self, path: Path) -> Connection | None:
        """The connection that is a path now."""
        if path.kind.is_direct:
            peer = self.direct.get(path.id)
            return None if peer is None else peer.connections.get(path.kind)
        link = self.links.get(path.id)
        return None if link is None else link.connection

    def rtt_of(self, path: Path) -> float:
        """Round trip of a path in seconds, `inf` when it is down."""
        connection = self.connection_of(path)
        return float("inf") if connection is None else connection.smoothed_rtt
