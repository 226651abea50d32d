"""Everything a service takes from outside: sockets, names, clocks, luck and entropy.

Handed to each root once, so that a whole deployment runs in one process, in virtual time, from one seed.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from random import Random

import attrs

from connet_trio.engine import InterfaceAddress
from connet_trio.quic.open_socket import open_udp_socket
from connet_trio.quic.resolving import resolve_host
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.store import Runner


@attrs.frozen(kw_only=True)
class Surroundings:
    """The real world by default; the monotonic clock is trio's."""

    wall_clock: Callable[[], float] = time.time
    """Unix seconds; may jump."""
    luck: Random = attrs.field(factory=Random)
    """Jitter and order, nothing secret."""
    entropy: Callable[[int], bytes] = secrets.token_bytes
    """Everything secret or unique."""
    open_udp_socket: Callable[[HostPort], Awaitable[DatagramSocket]] = open_udp_socket
    """Binds a UDP socket; raises BindFailed."""
    resolve: Callable[[HostPort], Awaitable[tuple[AddressPort, ...]]] = resolve_host
    """Addresses of a host; raises DialFailed."""
    interfaces: Callable[[], tuple[InterfaceAddress, ...]] | None = None
    """The addresses of this machine, read without blocking; None: those of the operating system."""
    store_runner: Runner | None = None
    """Where blocking calls of the store run; None for a worker thread."""
