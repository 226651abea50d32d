"""Where a datagram comes from and goes to, and what a transport needs of a socket."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, Protocol

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


class DatagramSocket(Protocol):
    """One UDP socket, real or simulated. Only `wait_readable` waits; nothing here raises for one bad datagram."""

    @property
    def local_address(self) -> AddressPort:
        """The address and port it is bound to."""

    @property
    def forbids_fragments(self) -> bool:
        """Whether a datagram larger than the path's MTU is dropped, so that probing for that MTU can work."""

    async def wait_readable(self) -> None:
        """Return when `receive_batch` has something, or at once after `close`."""

    def receive_batch(self) -> list[Datagram]:
        """Take what has arrived, up to a bound that keeps one turn short; empty when nothing has."""

    def send_batch(self, datagrams: Sequence[Datagram]) -> None:
        """Send what the network takes; the rest is lost, as datagrams are."""

    def path_to(self, remote: AddressPort, *, zone: int = 0) -> NetworkPath:
        """The path on which this socket reaches `remote`, answers included: theirs compare equal.

        Args:
          zone: the interface, by number, of a link-local IPv6 address; of any other address it means nothing.

        Raises:
          DialFailed: the socket has no such address family (IPv6 asked of an IPv4 socket).
        """

    def close(self) -> None:
        """Give the port back. Idempotent."""


@lru_cache(maxsize=4096)
def _address_port(host: str, port: int) -> AddressPort:
    address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    return AddressPort(address, port).unmapped
