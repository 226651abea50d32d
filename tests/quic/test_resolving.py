"""Names to addresses, with a resolver of the test in place of the system's."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
import trio
import trio.testing

from connet_trio.errors import DialFailed
from connet_trio.quic.resolving import resolve_host
from connet_trio.records.model import AddressPort, HostPort


class Resolver(trio.abc.HostnameResolver):
    """Knows the addresses of every name, or fails to."""

    def __init__(self, *addresses: str, error: Exception | None = None) -> None:
        self.addresses = addresses
        self.error = error
        self.asked: list[tuple[Any, ...]] = []
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, *others: int) -> Any:  # noqa: A002
        await trio.lowlevel.checkpoint()
        self.asked.append((host, port, type))
        if self.error is not None:
            raise self.error
        return [self._entry(address, port) for address in self.addresses]

    def _entry(self, address: str, port: object) -> tuple[Any, ...]:
        if ":" in address:
            return socket.AF_INET6, socket.SOCK_DGRAM, 17, "", (address, port, 0, 2)
        return socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@pytest.mark.parametrize("literal", ["192.0.2.7", "2001:db8::7", "::1"])
async def test_a_literal_is_looked_up_nowhere(literal: str) -> None:
    resolver = Resolver(error=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    with trio.testing.assert_checkpoints():
        found = await resolve_host(HostPort(literal, 19_190))
    assert found == (AddressPort(ip_address(literal), 19_190),)
    assert resolver.asked == []


async def test_ipv4_comes_first_and_otherwise_the_order_of_the_resolver_is_kept() -> None:
    resolver = Resolver("2001:db8::2", "192.0.2.9", "2001:db8::1", "192.0.2.1")
    found = await resolve_host(HostPort("control.example", 19_190))
    assert [str(entry.address) for entry in found] == ["192.0.2.9", "192.0.2.1", "2001:db8::2", "2001:db8::1"]
    assert {entry.port for entry in found} == {19_190}
    assert resolver.asked == [(b"control.example", 19_190, socket.SOCK_DGRAM)]


async def test_an_address_found_twice_is_returned_once_and_without_its_zone() -> None:
    Resolver("192.0.2.1", "fe80::1%eth0", "192.0.2.1", "fe80::1%eth1")
    found = await resolve_host(HostPort("control.example", 1))
    assert found == (AddressPort(IPv4Address("192.0.2.1"), 1), AddressPort(IPv6Address("fe80::1"), 1))


async def test_a_name_that_does_not_resolve_says_why() -> None:
    Resolver(error=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    with pytest.raises(DialFailed) as failed:
        await resolve_host(HostPort("nowhere.example", 19_190))
    assert str(failed.value) == "cannot resolve nowhere.example: Name or service not known"


@pytest.mark.parametrize("name", ["bad\u0378.example", "ü" * 70 + ".example"])
async def test_a_name_that_is_none_is_refused_before_anybody_is_asked(name: str) -> None:
    resolver = Resolver()
    with pytest.raises(DialFailed, match="not a host name"):
        await resolve_host(HostPort(name, 19_190))
    assert resolver.asked == []


async def test_a_label_that_the_resolver_cannot_write_is_no_host_name() -> None:
    Resolver(error=UnicodeError("label empty or too long"))
    with pytest.raises(DialFailed, match=r"cannot resolve a\.\.b: not a host name"):
        await resolve_host(HostPort("a..b", 19_190))


async def test_a_name_that_came_over_the_wire_is_printable_in_the_error() -> None:
    Resolver(error=socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    with pytest.raises(DialFailed) as failed:
        await resolve_host(HostPort("a\x1b[2J\r\nb" + "c" * 1000, 19_190))
    assert str(failed.value).isprintable()
    assert len(str(failed.value)) < 300


async def test_a_lack_of_file_descriptors_is_a_failed_dial() -> None:
    Resolver(error=OSError(24, "Too many open files"))  # what CPython makes of EAI_SYSTEM
    with pytest.raises(DialFailed, match=r"cannot resolve control\.example: Too many open files"):
        await resolve_host(HostPort("control.example", 19_190))
