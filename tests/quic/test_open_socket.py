import errno
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import trio

from connet_trio.errors import BindFailed
from connet_trio.quic.datagram_run import datagrams_of
from connet_trio.quic.datagram_socket import BatchingSocket
from connet_trio.quic.open_socket import open_udp_socket
from connet_trio.quic.plain_socket import PlainSocket
from connet_trio.records.model import AddressPort, HostPort


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def opened() -> Iterator[list[PlainSocket]]:
    sockets: list[PlainSocket] = []
    yield sockets
    for each in sockets:
        each.close()


class Hosts(trio.abc.HostnameResolver):
    """Knows `box.example` at two addresses, and nothing else."""

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        if host != b"box.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port)) for address in ("127.0.0.3", "127.0.0.4")]

    async def getnameinfo(self, *_: Any) -> tuple[str, str]:
        raise AssertionError("not asked")


@needs_ipv6
@pytest.mark.parametrize("host", ["", "::"])
async def test_an_empty_host_listens_in_both_families(opened: list[PlainSocket], host: str) -> None:
    sock = await open_udp_socket(HostPort(host, 0))
    opened.append(sock)
    assert sock.local_address.address == IPv6Address("::")
    for address in (IPv4Address("127.0.0.1"), IPv6Address("::1")):
        client = await open_udp_socket(HostPort(str(address), 0))
        opened.append(client)
        client.send_batch([(b"x", client.path_to(AddressPort(address, sock.local_address.port)))])
        with trio.fail_after(5):
            await sock.wait_readable()
        [(_, path)] = datagrams_of(sock.receive_batch())
        assert path.remote_address == client.local_address


@pytest.mark.parametrize("refusal", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_without_ipv6_an_empty_host_listens_on_ipv4(
    opened: list[PlainSocket], monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    class FourOnly(socket.socket):
        def __init__(self, family: int = -1, *args: Any, **kwargs: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(refusal, "injected")
            super().__init__(family, *args, **kwargs)

    monkeypatch.setattr(socket, "socket", FourOnly)
    opened.append(await open_udp_socket(HostPort("", 0)))
    assert opened[0].local_address.address == IPv4Address("0.0.0.0")


@pytest.mark.parametrize("host", ["127.0.0.2", pytest.param("::1", marks=needs_ipv6)])
async def test_a_literal_is_bound_alone(opened: list[PlainSocket], host: str) -> None:
    opened.append(await open_udp_socket(HostPort(host, 0)))
    assert str(opened[0].local_address.address) == host
    assert opened[0].local_address.port != 0


async def test_a_name_is_looked_up_and_its_first_address_taken(opened: list[PlainSocket]) -> None:
    trio.socket.set_custom_hostname_resolver(Hosts())
    opened.append(await open_udp_socket(HostPort("box.example", 0)))
    assert opened[0].local_address.address == IPv4Address("127.0.0.3")


async def test_an_unknown_name_says_so() -> None:
    trio.socket.set_custom_hostname_resolver(Hosts())
    with pytest.raises(
        BindFailed, match=r"cannot listen on UDP other.example:19192: Name or service not known"
    ) as caught:
        await open_udp_socket(HostPort("other.example", 19_192))
    assert not caught.value.in_use


async def test_a_name_no_resolver_can_be_asked_says_so() -> None:
    with pytest.raises(BindFailed, match="not a host name"):
        await open_udp_socket(HostPort("a" * 70 + ".example", 19_192))


@pytest.mark.parametrize(("host", "shown"), [pytest.param("", r"\[::\]", marks=needs_ipv6), ("127.0.0.1", "127.0.0.1")])
async def test_a_port_in_use_is_not_shared(opened: list[PlainSocket], host: str, shown: str) -> None:
    opened.append(await open_udp_socket(HostPort(host, 0)))
    port = opened[0].local_address.port
    with pytest.raises(BindFailed, match=f"^cannot listen on UDP {shown}:{port}: address already in use$") as caught:
        await open_udp_socket(HostPort(host, port))
    assert caught.value.in_use


async def test_an_address_of_another_machine_says_so() -> None:
    with pytest.raises(BindFailed, match=r"cannot listen on UDP 203.0.113.1:4000: .*assign") as caught:
        await open_udp_socket(HostPort("203.0.113.1", 4000))
    assert not caught.value.in_use


async def test_a_failed_bind_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Remembered(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(socket, "socket", Remembered)
    with pytest.raises(BindFailed):
        await open_udp_socket(HostPort("203.0.113.1", 4000))
    assert [sock.fileno() for sock in made] == [-1]


@pytest.mark.skipif(sys.platform != "linux", reason="segmentation offload is Linux's")
async def test_linux_gets_the_batching_socket(opened: list[PlainSocket]) -> None:
    opened.append(await open_udp_socket(HostPort("127.0.0.1", 0)))
    assert isinstance(opened[0], BatchingSocket)
