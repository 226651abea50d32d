"""What a transport needs of a UDP socket."""

from collections.abc import Sequence
from typing import Protocol

from connet_trio.quic.datagram_run import DatagramRun
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.records.model import AddressPort


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

    def receive_batch(self) -> Sequence[Datagram | DatagramRun]:
        """Take what has arrived, up to a bound that keeps one turn short; empty when nothing has."""

    def send_batch(self, batch: Sequence[Datagram | DatagramRun]) -> None:
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
