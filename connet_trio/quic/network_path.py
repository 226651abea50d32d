"""Where a datagram comes from and goes to."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from connet_trio.records.model import AddressPort

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""A remote address as the kernel writes it for this socket: IPv4-mapped on a dual-stack one, scope and all."""


class NetworkPath(NamedTuple):
    """A remote address together with the local one a datagram came to (RFC 9000 section 9: both make a path)."""

    remote: SocketAddress
    local: bytes | None = None
    """What the socket needs to answer from the same address (its packed packet-info record); None lets it choose."""

    @property
    def remote_address(self) -> AddressPort:
        """The remote address and port, IPv4-mapped addresses written as IPv4, without a zone."""
        return _address_port(self.remote[0], self.remote[1])


Datagram = tuple[bytes, NetworkPath]


@lru_cache(maxsize=4096)
def _address_port(host: str, port: int) -> AddressPort:
    address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    return AddressPort(address, port).unmapped
