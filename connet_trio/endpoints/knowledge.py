"""What an endpoint knows: who it is, its peers, its relays and the paths they make."""

import attrs

from connet_trio.endpoints.relay_link import RelayLink
from connet_trio.engine import Path, Paths
from connet_trio.forward import Traffic
from connet_trio.records.control import RemotePeer
from connet_trio.records.model import Role, Route
from connet_trio.records.text import printable


@attrs.define(kw_only=True, eq=False)
class Knowledge:
    """Filled by `Endpoint`, read by its log and its status."""

    name: str
    role: Role
    route: Route
    paths: Paths = attrs.field(factory=Paths)
    peers: dict[str, RemotePeer] = attrs.field(factory=dict)
    """Remote peers by client id, as control listed them last."""
    links: dict[str, RelayLink] = attrs.field(factory=dict)
    """Relays by id, as control offered them last."""
    traffic: Traffic = attrs.field(factory=Traffic)
    announced: bool = False
    """Whether control has accepted the announcement in the present session."""

    @property
    def label(self) -> str:
        """The name as logs show it."""
        return printable(self.name)

    def rtt_of(self, path: Path) -> float:
        """Round trip of a path in seconds, `inf` when it is down."""
        link = self.links.get(path.id)
        return float("inf") if link is None else link.smoothed_rtt
