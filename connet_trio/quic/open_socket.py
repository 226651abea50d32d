"""Binding the UDP socket of a client, a control server or a relay."""

import errno
import os
import socket
import sys

import trio

from connet_trio.errors import BindFailed
from connet_trio.quic.datagram_socket import BatchingSocket
from connet_trio.quic.plain_socket import PlainSocket
from connet_trio.records.model import HostPort

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


async def open_udp_socket(address: HostPort) -> PlainSocket:
    """A UDP socket bound to `address`, with the batching this system has. The caller closes it.

    An empty host, or `::`, is every address of the host in both families; without IPv6 an empty host is `0.0.0.0`.
    Any other address is bound alone; a name is looked up and its first address taken. Port 0 is any free one.

    Raises:
      BindFailed: the address is in use (`in_use`), not ours, not permitted, or the name is unknown.
    """
    if not address.host:
        await trio.lowlevel.checkpoint()
        return _open_wildcard(address.port)
    try:
        found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as exc:
        reason = (exc.strerror or str(exc)) if isinstance(exc, OSError) else "not a host name"
        raise BindFailed(f"cannot listen on UDP {address}: {reason}") from exc
    family, _, _, _, socket_address = found[0]
    try:
        return _open(family, socket_address)
    except OSError as exc:
        raise _bind_failed(address, exc) from exc


def _open_wildcard(port: int) -> PlainSocket:
    try:
        return _open(socket.AF_INET6, ("::", port))
    except OSError as exc:
        if exc.errno not in _NO_IPV6:
            raise _bind_failed(HostPort("::", port), exc) from exc
    try:
        return _open(socket.AF_INET, ("0.0.0.0", port))
    except OSError as exc:
        raise _bind_failed(HostPort("0.0.0.0", port), exc) from exc


def _open(family: int, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> PlainSocket:
    """Bind, without SO_REUSEADDR: two processes on one UDP port would each get some of the datagrams."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        return BatchingSocket(sock) if sys.platform == "linux" else PlainSocket(sock)
    except BaseException:
        sock.close()
        raise


def _bind_failed(address: HostPort, exc: OSError) -> BindFailed:
    reason = os.strerror(exc.errno or 0)
    return BindFailed(
        f"cannot listen on UDP {address}: {reason[:1].lower()}{reason[1:]}", in_use=exc.errno == errno.EADDRINUSE
    )
