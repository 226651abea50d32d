"""Forbidding fragments (DF, RFC 9000 section 14): a datagram larger than the path's MTU is dropped, not cut in pieces.

On Linux it is `PMTUDISC_PROBE`: what fits the interface is sent, whatever an ICMP message claims of the path. What does
not fit is refused with EMSGSIZE, which is a loss like any other.
"""

import socket
import sys

# linux/in.h, linux/in6.h; netinet/in.h and netinet6/in6.h; ws2ipdef.h. The socket module lacks most of them
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 23, 3
_OPTIONS = {
    "linux": ((IP_MTU_DISCOVER, IP_PMTUDISC_PROBE), (IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE)),
    "darwin": ((28, 1), (62, 1)),
    "freebsd": ((67, 1), (62, 1)),
    "win32": ((14, 1), (14, 1)),
}
"""By `sys.platform`: option and value for IPv4, and for IPv6. Elsewhere there is none."""


def forbid_fragments(sock: socket.socket) -> bool:
    """Set DF for every family that `sock` may send by; False where the system cannot."""
    found = next((options for system, options in _OPTIONS.items() if sys.platform.startswith(system)), None)
    if found is None:
        return False
    ipv4, ipv6 = found
    wanted = [(socket.IPPROTO_IP, *ipv4)]
    if sock.family == socket.AF_INET6:
        wanted.append((socket.IPPROTO_IPV6, *ipv6))
    done = [_set(sock, level, option, value) for level, option, value in wanted]
    return all(done)


def _set(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:  # an older kernel, a sandbox that imitates one, or IPv4 by an IPv6 socket of a BSD
        return False
    return True
