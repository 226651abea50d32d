"""PROXY headers, byte by byte as HAProxy's document has them."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from connet_trio.records.model import AddressPort
from connet_trio.records.peer import ProxyVersion
from connet_trio.records.proxy import ClientAddresses
from connet_trio.wire import encode_proxy_header

V1, V2 = ProxyVersion.V1, ProxyVersion.V2
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def place(host: str, port: int) -> AddressPort:
    return AddressPort(IPv6Address(host) if ":" in host else IPv4Address(host), port)


FOUR = ClientAddresses(place("192.0.2.7", 50_000), place("198.51.100.1", 443))
SIX = ClientAddresses(place("2001:db8::7", 50_000), place("2001:db8::1", 443))
MAPPED = ClientAddresses(place("::ffff:192.0.2.7", 50_000), place("::ffff:198.51.100.1", 443))
MIXED = ClientAddresses(place("192.0.2.7", 1), place("2001:db8::1", 2))
LINK_LOCAL = ClientAddresses(place("fe80::7%eth0", 1), place("fe80::1%eth0", 2))


@pytest.mark.parametrize(
    ("addresses", "header"),
    [
        (FOUR, b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n"),
        (MAPPED, b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n"),
        (SIX, b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 443\r\n"),
        (LINK_LOCAL, b"PROXY TCP6 fe80::7 fe80::1 1 2\r\n"),
        (None, b"PROXY UNKNOWN\r\n"),
    ],
)
def test_version_1_is_a_line(addresses: ClientAddresses | None, header: bytes) -> None:
    assert encode_proxy_header(V1, addresses) == header


@pytest.mark.parametrize(
    ("addresses", "rest"),
    [
        (FOUR, "21 11 000c c0000207 c6336401 c350 01bb"),
        (MAPPED, "21 11 000c c0000207 c6336401 c350 01bb"),
        (SIX, "21 21 0024 20010db8000000000000000000000007 20010db8000000000000000000000001 c350 01bb"),
        (MIXED, "21 21 0024 00000000000000000000ffffc0000207 20010db8000000000000000000000001 0001 0002"),
        (None, "20 00 0000"),
    ],
)
def test_version_2_is_binary(addresses: ClientAddresses | None, rest: str) -> None:
    assert encode_proxy_header(V2, addresses) == SIGNATURE + bytes.fromhex(rest)


@pytest.mark.parametrize("addresses", [FOUR, SIX, None])
def test_who_wants_none_gets_none(addresses: ClientAddresses | None) -> None:
    assert encode_proxy_header(ProxyVersion.NONE, addresses) == b""


def test_no_line_of_version_1_is_longer_than_its_readers_expect() -> None:
    longest = place("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65_535)
    assert len(encode_proxy_header(V1, ClientAddresses(longest, longest))) <= 107
