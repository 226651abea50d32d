"""For our tests and for those who embed us: a network that a seed decides about, and whole deployments on it."""

from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import Deployment, simulated_deployment, simulated_surroundings
from connet_trio.testing.network import Fate, Link, SimulatedNetwork, open_network

__all__ = [
    "Deployment",
    "Fate",
    "Link",
    "SimulatedNetwork",
    "open_network",
    "run_simulated",
    "simulated_deployment",
    "simulated_surroundings",
]
