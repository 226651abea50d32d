"""Host names to addresses, for those who dial."""

import socket
from ipaddress import IPv4Address, ip_address

import trio

from connet_trio.errors import DialFailed
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.text import printable


async def resolve_host(place: HostPort) -> tuple[AddressPort, ...]:
    """Every address of a host, IPv4 first as the original prefers; an IP literal is looked up nowhere.

    Raises:
      DialFailed: the name does not resolve; the text says why.
    """
    try:
        literal = ip_address(place.host)
    except ValueError:
        pass
    else:
        await trio.lowlevel.checkpoint()
        return (AddressPort(literal, place.port),)
    try:
        found = await trio.socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as exc:  # out of file descriptors, getaddrinfo raises a bare OSError
        reason = (exc.strerror or str(exc)) if isinstance(exc, OSError) else "not a host name"
        raise DialFailed(f"cannot resolve {printable(place.host)}: {reason}") from exc
    addresses = [AddressPort(ip_address(str(entry[4][0]).partition("%")[0]), place.port) for entry in found]
    return tuple(sorted(dict.fromkeys(addresses), key=lambda entry: not isinstance(entry.address, IPv4Address)))
