"""For our tests and for those who embed us: a network that a seed decides about, and whole deployments on it."""

from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    Deployment,
    EndpointPaths,
    paths_of,
    simulated_deployment,
    simulated_surroundings,
)
from connet_trio.testing.hosts import Host
from connet_trio.testing.links import Link
from connet_trio.testing.nat import (
    ADDRESS_RESTRICTED,
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    OPEN,
    PORT_RESTRICTED,
    SYMMETRIC,
    UDP_BLOCKED,
    Dependence,
    Nat,
    NatBehavior,
    PortAllocation,
)
from connet_trio.testing.network import Fate, SimulatedNetwork, open_network
from connet_trio.testing.routers import Router
from connet_trio.testing.trace import readable_trace

__all__ = [
    "ADDRESS_RESTRICTED",
    "ADDRESS_SYMMETRIC",
    "FIREWALL",
    "FULL_CONE",
    "OPEN",
    "PORT_RESTRICTED",
    "SYMMETRIC",
    "UDP_BLOCKED",
    "Dependence",
    "Deployment",
    "EndpointPaths",
    "Fate",
    "Host",
    "Link",
    "Nat",
    "NatBehavior",
    "PortAllocation",
    "Router",
    "SimulatedNetwork",
    "open_network",
    "paths_of",
    "readable_trace",
    "run_simulated",
    "simulated_deployment",
    "simulated_surroundings",
]
