"""What the plain socket does beyond the contract in test_datagram_socket.py."""

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
import trio

from connet_trio.errors import DialFailed
from connet_trio.quic import plain_socket
from connet_trio.quic.datagram_run import datagrams_of
from connet_trio.quic.plain_socket import WANTED_BUFFER_BYTES, PlainSocket
from connet_trio.records.model import AddressPort

SMALL_BUFFER_BYTES = 100_000


@pytest.fixture
def opened() -> Iterator[list[PlainSocket]]:
    sockets: list[PlainSocket] = []
    yield sockets
    for each in sockets:
        each.close()


def plain(opened: list[PlainSocket], host: str = "127.0.0.1", kind: type[socket.socket] = socket.socket) -> PlainSocket:
    sock = kind(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    opened.append(PlainSocket(sock))
    return opened[-1]


@pytest.fixture
def dual(opened: list[PlainSocket]) -> PlainSocket:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    opened.append(PlainSocket(sock))
    return opened[-1]


async def test_a_dual_stack_socket_writes_ipv4_as_the_kernel_does(opened: list[PlainSocket], dual: PlainSocket) -> None:
    four = plain(opened)
    there = dual.path_to(four.local_address)
    assert there.remote == ("::ffff:127.0.0.1", four.local_address.port, 0, 0)
    dual.send_batch([(b"x", there)])
    with trio.fail_after(5):
        await four.wait_readable()
        [(_, back)] = datagrams_of(four.receive_batch())
        four.send_batch([(b"y", back)])
        await dual.wait_readable()
    assert dual.receive_batch() == [(b"y", there)]
    assert there.remote_address == four.local_address


def test_an_ipv6_address_is_written_as_the_kernel_does(dual: PlainSocket) -> None:
    compatible = IPv6Address("::1.2.3.4")  # str() says ::102:304
    assert dual.path_to(AddressPort(compatible, 1)).remote == ("::1.2.3.4", 1, 0, 0)


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("fe80::1", ("fe80::1", 1, 0, 7)),
        ("2001:db8::1", ("2001:db8::1", 1, 0, 0)),  # the kernel gives none either, and answers would not match
        ("fd00::1", ("fd00::1", 1, 0, 0)),
        ("192.0.2.1", ("::ffff:192.0.2.1", 1, 0, 0)),
    ],
)
def test_only_a_link_local_address_takes_a_zone(dual: PlainSocket, address: str, written: object) -> None:
    path = dual.path_to(AddressPort(ip_address(address), 1), zone=7)
    assert path.remote == written
    assert path.remote_address == AddressPort(ip_address(address), 1)


def test_one_link_local_address_in_two_zones_is_two_paths(dual: PlainSocket) -> None:
    place = AddressPort(IPv6Address("fe80::1"), 1)
    assert dual.path_to(place, zone=7) is dual.path_to(place, zone=7)
    assert dual.path_to(place, zone=7) != dual.path_to(place, zone=8)


def test_an_ipv6_only_wildcard_socket_has_no_ipv4(opened: list[PlainSocket], dual: PlainSocket) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("::", 0))
    opened.append(PlainSocket(sock))
    with pytest.raises(DialFailed, match="has no IPv4"):
        opened[-1].path_to(AddressPort(IPv4Address("192.0.2.1"), 1))


def test_a_socket_bound_to_a_mapped_address_is_an_ipv4_one(opened: list[PlainSocket], dual: PlainSocket) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::ffff:127.0.0.1", 0))
    opened.append(PlainSocket(sock))
    assert opened[-1].local_address.address == IPv4Address("127.0.0.1")
    assert opened[-1].path_to(AddressPort(IPv4Address("127.0.0.1"), 1)).remote == ("::ffff:127.0.0.1", 1, 0, 0)
    with pytest.raises(DialFailed, match="has no IPv6"):
        opened[-1].path_to(AddressPort(IPv6Address("::1"), 1))


async def test_what_an_earlier_datagram_met_is_skipped_when_reading(opened: list[PlainSocket]) -> None:
    class Resetting(socket.socket):
        resets = 2

        def recvfrom(self, *args: Any) -> Any:
            if Resetting.resets:
                Resetting.resets -= 1
                raise ConnectionResetError(errno.ECONNRESET, "injected")
            return super().recvfrom(*args)

    receiver, sender = plain(opened, kind=Resetting), plain(opened)
    sender.send_batch([(b"after", sender.path_to(receiver.local_address))])
    with trio.fail_after(5):
        await receiver.wait_readable()
    assert [data for data, _ in receiver.receive_batch()] == [b"after"]
    assert receiver.counters.receive_errors == {errno.ECONNRESET: 2}


async def test_what_the_kernel_refuses_is_counted(opened: list[PlainSocket]) -> None:
    sender, receiver = plain(opened, "0.0.0.0"), plain(opened)
    broadcast = sender.path_to(AddressPort(IPv4Address("255.255.255.255"), 9))
    sender.send_batch([(b"x", broadcast), (b"here", sender.path_to(receiver.local_address))])
    with trio.fail_after(5):
        await receiver.wait_readable()
    assert len(receiver.receive_batch()) == 1
    assert sender.counters.sent == 1
    [(number, times)] = sender.counters.send_errors.items()
    assert number in {errno.EACCES, errno.ENETUNREACH}  # the second where no interface can broadcast
    assert times == 1


async def test_one_turn_takes_a_bounded_number_of_datagrams(
    opened: list[PlainSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_socket, "RECEIVE_CALLS", 3)
    receiver, sender = plain(opened), plain(opened)
    sender.send_batch([(bytes([n]), sender.path_to(receiver.local_address)) for n in range(5)])
    sizes: list[int] = []
    with trio.fail_after(5):
        while sum(sizes) < 5:
            await receiver.wait_readable()
            sizes.append(len(receiver.receive_batch()))
    assert max(sizes) <= 3


def test_paths_are_forgotten_oldest_first(opened: list[PlainSocket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_socket, "MAX_PATHS", 3)
    sock = plain(opened)
    address = IPv4Address("192.0.2.1")
    paths = [sock.path_to(AddressPort(address, port)) for port in range(1, 5)]
    assert len(sock._paths) == 3
    assert sock.path_to(AddressPort(address, 4)) is paths[3]
    again = sock.path_to(AddressPort(address, 1))
    assert again == paths[0]
    assert again is not paths[0]


def test_buffers_are_raised_as_far_as_the_system_allows(opened: list[PlainSocket]) -> None:
    sock = plain(opened)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as untouched:
        usual = plain_socket._buffer_bytes(untouched, socket.SO_RCVBUF)
    assert min(usual, WANTED_BUFFER_BYTES) <= sock.receive_buffer_bytes
    assert sock.receive_buffer_bytes == plain_socket._buffer_bytes(sock._socket, socket.SO_RCVBUF)
    assert sock.send_buffer_bytes == plain_socket._buffer_bytes(sock._socket, socket.SO_SNDBUF)


def test_a_system_that_refuses_large_buffers_is_asked_for_smaller_ones(opened: list[PlainSocket]) -> None:
    class Limited(socket.socket):
        """As the BSDs: past the limit ENOBUFS, where Linux would cap."""

        def setsockopt(self, level: int, option: int, *args: Any) -> None:
            if args[0] > SMALL_BUFFER_BYTES * 5:
                raise OSError(errno.ENOBUFS, "injected")
            super().setsockopt(level, option, *args)

    sock = plain(opened, kind=Limited)
    assert SMALL_BUFFER_BYTES * 2 <= sock.receive_buffer_bytes <= SMALL_BUFFER_BYTES * 5


def test_a_buffer_that_is_already_larger_is_left_alone(
    opened: list[PlainSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_socket, "WANTED_BUFFER_BYTES", 5000)
    assert plain(opened).receive_buffer_bytes > 5000


def test_close_works_outside_trio(opened: list[PlainSocket]) -> None:
    sock = plain(opened)
    sock.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", sock.local_address.port))
