"""What happens next: state machines fed with events and time. Pure."""

from connet_trio.engine.admission import NetworkRule, Restriction, TokenGrant, TokenTable, parse_networks
from connet_trio.engine.announce_pace import AnnouncePace
from connet_trio.engine.balancing import NO_BALANCING, Attempt, BalancePolicy, Balancer, BalanceRetry, Balancing
from connet_trio.engine.candidates import (
    Candidate,
    InterfaceAddress,
    announced_addresses,
    dial_order,
    host_addresses,
    network_addresses,
)
from connet_trio.engine.path_mtu import PathMtu
from connet_trio.engine.paths import (
    ConnectedVia,
    NoCommonRelay,
    NoRelayUp,
    NotAnswering,
    Path,
    PathKind,
    Paths,
    PeerState,
)
from connet_trio.engine.registry import Announcement, ClientConnection, PeersChanged, Registry
from connet_trio.engine.relay_roster import RelayEntry, RelayRoster
from connet_trio.engine.switchboard import Registration, Switchboard, destination_not_found, dial_failed_error
from connet_trio.engine.window_growth import WindowGrowth

__all__ = [
    "NO_BALANCING",
    "AnnouncePace",
    "Announcement",
    "Attempt",
    "BalancePolicy",
    "BalanceRetry",
    "Balancer",
    "Balancing",
    "Candidate",
    "ClientConnection",
    "ConnectedVia",
    "InterfaceAddress",
    "NetworkRule",
    "NoCommonRelay",
    "NoRelayUp",
    "NotAnswering",
    "Path",
    "PathKind",
    "PathMtu",
    "Paths",
    "PeerState",
    "PeersChanged",
    "Registration",
    "Registry",
    "RelayEntry",
    "RelayRoster",
    "Restriction",
    "Switchboard",
    "TokenGrant",
    "TokenTable",
    "WindowGrowth",
    "announced_addresses",
    "destination_not_found",
    "dial_failed_error",
    "dial_order",
    "host_addresses",
    "network_addresses",
    "parse_networks",
]
