"""One UDP socket, one system call per datagram: what every system has.

`datagram_socket.BatchingSocket` adds what Linux can do better. Both own a bound, non-blocking socket of the standard
library, because a socket of trio costs four times as much per datagram; only the wait is trio's.

Nothing here raises for one bad datagram or one bad path. What the kernel refuses is lost, as the network would have
lost it, and counted by errno, so that a status page can say why nothing arrives.
"""

import errno
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs
import trio

from connet_trio.errors import DialFailed
from connet_trio.quic.datagram_run import DatagramRun, datagrams_of
from connet_trio.quic.dont_fragment import forbid_fragments
from connet_trio.quic.network_path import Datagram, NetworkPath, SocketAddress
from connet_trio.records.model import AddressPort

WANTED_BUFFER_BYTES = 4 * 1024 * 1024
"""What is asked of the kernel per direction: with its usual 208 KiB a burst overflows and throughput halves."""

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # Linux, asm-generic/socket.h; the socket module lacks both

RECEIVE_CALLS = 64
"""Datagrams taken per turn: about a tenth of a millisecond, so that a flood cannot keep timers from running."""

RECEIVE_BYTES = 65_535

MAX_PATHS = 4096
"""Paths kept so that equal ones are one object; past that the oldest is forgotten, which costs only a new object."""


@attrs.define
class SocketCounters:
    """What one socket has done. A refusal is counted under its errno; a full send buffer is `EAGAIN`."""

    received: int = 0
    coalesced_receives: int = 0
    """Calls that brought several datagrams."""
    sent: int = 0
    segmented_sends: int = 0
    """Calls that took several datagrams."""
    send_errors: Counter[int] = attrs.field(factory=Counter)
    receive_errors: Counter[int] = attrs.field(factory=Counter)


class PlainSocket:
    """A `DatagramSocket` over a bound UDP socket, which it owns from now on."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._closed = False
        self._paths: dict[tuple[SocketAddress, bytes | None], NetworkPath] = {}
        host, port = sock.getsockname()[:2]
        bound = ip_address(host.partition("%")[0])
        self._local_address = AddressPort(bound, port).unmapped
        mapped = isinstance(bound, IPv6Address) and bound.ipv4_mapped is not None
        self._reaches_ipv6 = sock.family == socket.AF_INET6 and not mapped
        self._reaches_ipv4 = not self._reaches_ipv6 or (bound.is_unspecified and _is_dual_stack(sock))
        self._forbids_fragments = forbid_fragments(sock)
        self.counters = SocketCounters()
        self.receive_buffer_bytes = _ask_for_buffer(sock, socket.SO_RCVBUF, SO_RCVBUFFORCE)
        self.send_buffer_bytes = _ask_for_buffer(sock, socket.SO_SNDBUF, SO_SNDBUFFORCE)

    @property
    def local_address(self) -> AddressPort:
        """The address and port it is bound to."""
        return self._local_address

    @property
    def forbids_fragments(self) -> bool:
        """Whether a datagram larger than the path's MTU is dropped, so that probing for that MTU can work."""
        return self._forbids_fragments

    async def wait_readable(self) -> None:
        """Return when `receive_batch` has something, or at once after `close`."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        with suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(self._socket)

    def receive_batch(self) -> Sequence[Datagram | DatagramRun]:
        """Take what has arrived, at most `RECEIVE_CALLS` datagrams; empty ones and failed reads are skipped."""
        batch: list[Datagram] = []
        if self._closed:
            return batch
        for _ in range(RECEIVE_CALLS):
            try:
                data, address = self._socket.recvfrom(RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as exc:  # Windows reports here what an earlier datagram met
                self.counters.receive_errors[exc.errno or 0] += 1
                continue
            if data:
                batch.append((data, self._paths.get((address, None)) or self._remember(address, None)))
        self.counters.received += len(batch)
        return batch

    def send_batch(self, batch: Sequence[Datagram | DatagramRun]) -> None:
        """Send what the kernel takes; the rest is lost and counted."""
        for data, path in datagrams_of(batch):
            self._send_one(data, path)

    def path_to(self, remote: AddressPort, *, zone: int = 0) -> NetworkPath:
        """The path on which this socket reaches `remote`, from whichever local address the kernel chooses.

        Args:
          zone: the interface, by number, of a link-local IPv6 address.

        Raises:
          DialFailed: the socket has no such address family.
        """
        host, port = remote.unmapped.address, remote.port
        if isinstance(host, IPv4Address):
            if not self._reaches_ipv4:
                raise DialFailed(f"cannot reach {remote}: the UDP socket on {self.local_address} has no IPv4")
            if self._socket.family == socket.AF_INET:
                return self._remember((str(host), port), None)
            return self._remember((f"::ffff:{host}", port, 0, 0), None)
        if not self._reaches_ipv6:
            raise DialFailed(f"cannot reach {remote}: the UDP socket on {self.local_address} has no IPv6")
        # as the kernel writes it when the answer comes, which `str` does not always
        written = socket.inet_ntop(socket.AF_INET6, host.packed)
        return self._remember((written, port, 0, zone if host.is_link_local else 0), None)

    def close(self) -> None:
        """Give the port back, and let a waiter return. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def _send_one(self, data: bytes | memoryview, path: NetworkPath) -> bool:
        """Send one datagram; False when the kernel refused it."""
        if self._closed:
            return False
        try:
            self._socket.sendto(data, path.remote)
        except OSError as exc:
            self.counters.send_errors[exc.errno or 0] += 1
            return False
        self.counters.sent += 1
        return True

    def _remember(self, remote: SocketAddress, local: bytes | None) -> NetworkPath:
        path = self._paths.get((remote, local))
        if path is None:
            if len(self._paths) >= MAX_PATHS:
                del self._paths[next(iter(self._paths))]
            path = self._paths[remote, local] = NetworkPath(remote, local)
        return path


def _is_dual_stack(sock: socket.socket) -> bool:
    return not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _ask_for_buffer(sock: socket.socket, option: int, forced_option: int) -> int:
    """Ask for `WANTED_BUFFER_BYTES`, past the system's limit where we may; returns the bytes that were granted."""
    if sys.platform == "linux" and _buffer_bytes(sock, option) < WANTED_BUFFER_BYTES:
        with suppress(OSError):  # needs CAP_NET_ADMIN
            sock.setsockopt(socket.SOL_SOCKET, forced_option, WANTED_BUFFER_BYTES)
    wanted = WANTED_BUFFER_BYTES
    while _buffer_bytes(sock, option) < wanted:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, wanted)
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:  # the BSDs refuse what Linux would cap
                break
            wanted //= 2
        else:
            break
    return _buffer_bytes(sock, option)


def _buffer_bytes(sock: socket.socket, option: int) -> int:
    size = sock.getsockopt(socket.SOL_SOCKET, option)
    return size // 2 if sys.platform == "linux" else size  # Linux says twice what was asked for, socket(7)
