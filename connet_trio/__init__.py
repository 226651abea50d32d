"""Reach a service behind a NAT from another device, without exposing it: connet, for trio programs.

`open_client`, `open_server`, `open_control` and `open_relay` are async context managers that run a service for the
length of a block; `run_client` and its like are the same as tasks for a nursery. They install no signal handler,
print nothing, and log through the standard library under `connet_trio`.
"""

import logging

from connet_trio.client import (
    Client,
    ClientSettings,
    DestinationSettings,
    SourceSettings,
    open_client,
    run_client,
)
from connet_trio.control import ControlServer, ControlSettings, IngressSettings, open_control, run_control
from connet_trio.endpoints import Destination, Source
from connet_trio.engine import BalancePolicy, BalanceRetry, Balancing, NetworkRule, Restriction
from connet_trio.errors import (
    BindFailed,
    CertificateRejected,
    ConfigError,
    ConnectFailed,
    ConnetError,
    DialFailed,
    EndpointClosed,
    LocalProtocolError,
    NoActivePeers,
    PathLost,
    PeersUnreachable,
    Refused,
    RemoteProtocolError,
    StoreError,
)
from connet_trio.identity import Credential, load_credential, load_roots
from connet_trio.records.model import AddressPort, HostPort, Role, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption
from connet_trio.records.proxy import ClientAddresses
from connet_trio.relay import RelayIngressSettings, RelayServer, RelaySettings, open_relay, run_relay
from connet_trio.server import Server, ServerSettings, open_server, run_server

__all__ = [
    "AddressPort",
    "BalancePolicy",
    "BalanceRetry",
    "Balancing",
    "BindFailed",
    "CertificateRejected",
    "Client",
    "ClientAddresses",
    "ClientSettings",
    "ConfigError",
    "ConnectFailed",
    "ConnetError",
    "ControlServer",
    "ControlSettings",
    "Credential",
    "Destination",
    "DestinationSettings",
    "DialFailed",
    "EndpointClosed",
    "HostPort",
    "IngressSettings",
    "LocalProtocolError",
    "NetworkRule",
    "NoActivePeers",
    "PathLost",
    "PeersUnreachable",
    "ProxyVersion",
    "Refused",
    "RelayEncryption",
    "RelayIngressSettings",
    "RelayServer",
    "RelaySettings",
    "RemoteProtocolError",
    "Restriction",
    "Role",
    "Route",
    "Server",
    "ServerSettings",
    "Source",
    "SourceSettings",
    "StoreError",
    "load_credential",
    "load_roots",
    "open_client",
    "open_control",
    "open_relay",
    "open_server",
    "run_client",
    "run_control",
    "run_relay",
    "run_server",
]

# a guest prints nothing: without it, logging would write warnings of a program that has not set it up to stderr
logging.getLogger(__name__).addHandler(logging.NullHandler())
