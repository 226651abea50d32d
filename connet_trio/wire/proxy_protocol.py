"""PROXY headers: how a service behind a tunnel learns who its client is (HAProxy's PROXY protocol, versions 1 and 2).

The source writes one as the first payload of a stream whose destination asks for it (protocol section 8.6).
"""

from ipaddress import IPv4Address, IPv6Address

from connet_trio.records.model import AddressPort
from connet_trio.records.peer import ProxyVersion
from connet_trio.records.proxy import ClientAddresses

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL, PROXY = 0x20, 0x21
"""Version 2 with its command: a connection of the proxy's own, or one on behalf of somebody."""
UNSPECIFIED, TCP4, TCP6 = 0x00, 0x11, 0x21


def encode_proxy_header(version: ProxyVersion, addresses: ClientAddresses | None) -> bytes:
    """What precedes the payload; nothing when no version is asked for.

    Args:
      addresses: None where they are unknown, which both versions have words for.
    """
    match version:
        case ProxyVersion.NONE:
            return b""
        case ProxyVersion.V1:
            return _version_1(addresses)
        case ProxyVersion.V2:
            return _version_2(addresses)


def _version_1(addresses: ClientAddresses | None) -> bytes:
    if addresses is None:
        return b"PROXY UNKNOWN\r\n"
    source, destination = _of_one_family(addresses)
    family = f"TCP{source.address.version}"
    line = f"PROXY {family} {source.address} {destination.address} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def _version_2(addresses: ClientAddresses | None) -> bytes:
    if addresses is None:
        return SIGNATURE + bytes([LOCAL, UNSPECIFIED, 0, 0])
    source, destination = _of_one_family(addresses)
    family = TCP4 if source.address.version == 4 else TCP6
    ports = source.port.to_bytes(2, "big") + destination.port.to_bytes(2, "big")
    body = source.address.packed + destination.address.packed + ports
    return SIGNATURE + bytes([PROXY, family]) + len(body).to_bytes(2, "big") + body


def _of_one_family(addresses: ClientAddresses) -> tuple[AddressPort, AddressPort]:
    """IPv4 where both are, if only mapped into IPv6, else both IPv6; zones are not carried."""
    source, destination = addresses.source.unmapped, addresses.destination.unmapped
    if source.address.version == destination.address.version == 4:
        return source, destination
    return _as_ipv6(source), _as_ipv6(destination)


def _as_ipv6(place: AddressPort) -> AddressPort:
    if isinstance(place.address, IPv4Address):
        return AddressPort(IPv6Address(b"\0" * 10 + b"\xff\xff" + place.address.packed), place.port)
    return AddressPort(IPv6Address(place.address.packed), place.port)
