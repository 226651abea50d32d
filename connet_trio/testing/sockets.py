"""The UDP sockets of simulated hosts."""

from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

import trio

from connet_trio.errors import DialFailed
from connet_trio.quic.datagram_run import DatagramRun, datagrams_of
from connet_trio.quic.network_path import Datagram, NetworkPath, SocketAddress
from connet_trio.records.model import AddressPort

INBOX_DATAGRAMS = 1024
"""What a socket holds unread; past that it drops what arrives, as a full kernel buffer does."""

RECEIVE_DATAGRAMS = 64
"""What one `receive_batch` takes."""


class SocketHost(Protocol):
    """What a socket needs of the host it is on."""

    def source_of(self, bound: AddressPort, path: NetworkPath) -> AddressPort:
        """The source of what a socket bound to `bound` sends on `path`."""

    def send(self, source: AddressPort, destination: AddressPort, data: bytes) -> None:
        """Hand a datagram to the network."""

    def release(self, closed: "SimulatedSocket") -> None:
        """Take the port back."""


class SimulatedSocket:
    """A `DatagramSocket` of a simulated host, made by it.

    Bound to one address it uses that alone. Bound to `::` it has all addresses of its host, those of later too, and
    reaches both families; `0.0.0.0` is every IPv4 address. As on a real one, the path of what arrives on such a
    wildcard has the local address it came to, and answers leave from that one while the host still has it.
    """

    def __init__(self, host: SocketHost, local_address: AddressPort) -> None:
        self._host = host
        self._local_address = local_address
        self._wildcard = local_address.address.is_unspecified
        self._reaches_ipv6 = isinstance(local_address.address, IPv6Address)
        self._reaches_ipv4 = self._wildcard or not self._reaches_ipv6
        self._inbox: deque[Datagram] = deque()
        self._waiters = trio.lowlevel.ParkingLot()
        self._paths: dict[tuple[AddressPort, bytes | None, int], NetworkPath] = {}
        self._sources: dict[NetworkPath, AddressPort] = {}
        self._closed = False
        self._abandoned = False

    @property
    def local_address(self) -> AddressPort:
        """The address and port it is bound to."""
        return self._local_address

    @property
    def forbids_fragments(self) -> bool:
        """Always: the network carries no fragments."""
        return True

    async def wait_readable(self) -> None:
        """Return when `receive_batch` has something, or at once after `close`."""
        if self._abandoned:
            await trio.sleep_forever()
        if self._inbox or self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await self._waiters.park()

    def receive_batch(self) -> list[Datagram]:
        """Take what has arrived, at most `RECEIVE_DATAGRAMS`."""
        return [self._inbox.popleft() for _ in range(min(len(self._inbox), RECEIVE_DATAGRAMS))]

    def send_batch(self, batch: Sequence[Datagram | DatagramRun]) -> None:
        """Hand datagrams to the network; after `close` they are lost."""
        if self._closed:
            return
        for data, path in datagrams_of(batch):
            source = self._sources.get(path)
            if source is None:
                source = self._sources[path] = self._host.source_of(self._local_address, path)
            self._host.send(source, path.remote_address, data)

    def path_to(self, remote: AddressPort, *, zone: int = 0) -> NetworkPath:
        """The path on which this socket reaches `remote`.

        Args:
          zone: the interface, by number, of a link-local IPv6 address; of any other address it means nothing.

        Raises:
          DialFailed: the socket does not reach the address family of `remote`.
        """
        remote = remote.unmapped
        if not self.reaches(remote.address):
            family = "IPv4" if isinstance(remote.address, IPv4Address) else "IPv6"
            raise DialFailed(f"cannot reach {remote}: the UDP socket on {self._local_address} has no {family}")
        return self._path(remote, None, zone if remote.address.is_link_local else 0)

    def reaches(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether the socket has the family of `address`."""
        return self._reaches_ipv4 if isinstance(address, IPv4Address) else self._reaches_ipv6

    def close(self) -> None:
        """Give the port back, and let a waiter return. Idempotent."""
        if self._abandoned:
            return
        self._closed = True
        self._inbox.clear()
        self._host.release(self)
        self._waiters.unpark_all()

    def abandon(self) -> None:
        """Be as the socket of a process that was killed: the port is free, and whoever still uses it is not heard.

        `wait_readable` returns no more, so that its waiters, who are to be cancelled, do not find it closed.
        """
        self._closed = self._abandoned = True
        self._inbox.clear()
        self._host.release(self)

    def put(self, data: bytes, source: AddressPort, local: AddressPort, zone: int) -> bool:
        """Take a datagram from the network; False when the inbox is full. An empty one is dropped, as elsewhere.

        Args:
          local: where it was sent to.
          zone: the number of the interface it came in by.
        """
        if not data:
            return True
        if len(self._inbox) >= INBOX_DATAGRAMS:
            return False
        path = self._path(
            source, local.address.packed if self._wildcard else None, zone if source.address.is_link_local else 0
        )
        self._inbox.append((data, path))
        self._waiters.unpark_all()
        return True

    def handle_addresses_changed(self) -> None:
        """The host has other addresses: choose again what each path leaves from."""
        self._sources.clear()

    def _path(self, remote: AddressPort, local: bytes | None, zone: int) -> NetworkPath:
        path = self._paths.get((remote, local, zone))
        if path is None:
            host = str(remote.address)
            written: SocketAddress = (host, remote.port)
            if isinstance(remote.address, IPv6Address):
                written = (host, remote.port, 0, zone)
            path = self._paths[remote, local, zone] = NetworkPath(written, local)
        return path
