"""Where others can reach us: our interfaces, and what stands between them and the world."""

from connet_trio.nat.interfaces import read_interfaces

__all__ = ["read_interfaces"]
