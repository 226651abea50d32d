"""What every datagram socket promises, checked on all of them; then what only the batching one can do."""

import errno
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import DialFailed
from connet_trio.quic import datagram_socket, dont_fragment
from connet_trio.quic.datagram_run import datagrams_of
from connet_trio.quic.datagram_socket import BatchingSocket
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.quic.plain_socket import PlainSocket
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.records.model import AddressPort
from connet_trio.testing.network import Link, open_network

Open = Callable[[str], DatagramSocket]
LOCALHOST = "127.0.0.1:0"
SO_NO_CHECK = 11

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="segmentation offload is Linux's")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def bound(address: str, kind: type[socket.socket] = socket.socket) -> socket.socket:
    host, _, port = address.rpartition(":")
    if "." in host:
        sock = kind(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, int(port)))
    else:
        sock = kind(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host.strip("[]"), int(port)))
    return sock


@asynccontextmanager
async def opener(kind: str) -> AsyncIterator[Open]:
    """Opens sockets of one kind, and closes them afterwards."""
    opened: list[DatagramSocket] = []

    def remember(new: DatagramSocket) -> DatagramSocket:
        opened.append(new)
        return new

    if kind == "simulated":
        async with open_network("contract", link=Link(delay=0.0, mtu=65_535)) as network:
            yield lambda address: remember(network.socket(address))
    else:
        make = BatchingSocket if kind == "batching" else PlainSocket
        yield lambda address: remember(make(bound(address)))
    for each in opened:
        each.close()


@pytest.fixture(params=["plain", pytest.param("batching", marks=on_linux), "simulated"])
async def open_socket(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    async with opener(request.param) as open_one:
        yield open_one


async def receive(sock: DatagramSocket, count: int) -> list[Datagram]:
    received: list[Datagram] = []
    with trio.fail_after(5):
        while len(received) < count:
            await sock.wait_readable()
            received += datagrams_of(sock.receive_batch())
    return received


async def test_a_datagram_arrives_with_the_path_to_its_sender(open_socket: Open) -> None:
    a, b = open_socket(LOCALHOST), open_socket(LOCALHOST)
    a.send_batch([(b"ping", a.path_to(b.local_address))])
    [(data, path)] = await receive(b, 1)
    assert data == b"ping"
    assert path.remote_address == a.local_address
    b.send_batch([(b"pong", path)])
    [(data, path)] = await receive(a, 1)
    assert data == b"pong"
    assert path.remote_address == b.local_address


async def test_equal_paths_are_one_object(open_socket: Open) -> None:
    a, b = open_socket(LOCALHOST), open_socket(LOCALHOST)
    there = a.path_to(b.local_address)
    assert a.path_to(AddressPort(b.local_address.address, b.local_address.port)) is there
    a.send_batch([(b"1", there)])
    [(_, first)] = await receive(b, 1)
    a.send_batch([(b"2", there)])
    [(_, second)] = await receive(b, 1)
    assert first is second


async def test_a_dialled_path_is_the_one_answers_come_on(open_socket: Open) -> None:
    a, b = open_socket(LOCALHOST), open_socket(LOCALHOST)
    there = a.path_to(b.local_address)
    b.send_batch([(b"x", b.path_to(a.local_address))])
    [(_, path)] = await receive(a, 1)
    assert path is there


async def test_a_batch_arrives_in_order_with_every_size(open_socket: Open) -> None:
    a, b, c = open_socket(LOCALHOST), open_socket(LOCALHOST), open_socket(LOCALHOST)
    to_b, to_c = a.path_to(b.local_address), a.path_to(c.local_address)
    sizes = [1200] * 30 + [700, 700, 1, 1200, 1452, 1452, 40] + [1200] * 70
    datagrams = [bytes([number]) * size for number, size in enumerate(sizes)]
    a.send_batch([(data, to_b) for data in datagrams] + [(b"c", to_c), (b"b", to_b), (b"c", to_c)])
    assert [data for data, _ in await receive(b, len(sizes) + 1)] == [*datagrams, b"b"]
    assert [data for data, _ in await receive(c, 2)] == [b"c", b"c"]


async def test_an_empty_datagram_is_dropped(open_socket: Open) -> None:
    a, b = open_socket(LOCALHOST), open_socket(LOCALHOST)
    path = a.path_to(b.local_address)
    a.send_batch([(b"", path), (b"", path), (b"after", path), (b"", path)])
    assert [data for data, _ in await receive(b, 1)] == [b"after"]


async def test_nothing_there_is_an_empty_batch(open_socket: Open) -> None:
    assert open_socket(LOCALHOST).receive_batch() == []


async def test_a_datagram_too_large_for_any_network_is_lost_alone(open_socket: Open) -> None:
    a, b = open_socket(LOCALHOST), open_socket(LOCALHOST)
    path = a.path_to(b.local_address)
    a.send_batch([(bytes(70_000), path), (b"small", path)])
    assert [data for data, _ in await receive(b, 1)] == [b"small"]


async def test_a_mapped_address_is_the_ipv4_one(open_socket: Open) -> None:
    sock = open_socket(LOCALHOST)
    mapped = AddressPort(IPv6Address("::ffff:127.0.0.1"), 4000)
    assert sock.path_to(mapped) is sock.path_to(mapped.unmapped)


async def test_an_ipv4_socket_refuses_to_dial_ipv6(open_socket: Open) -> None:
    sock = open_socket(LOCALHOST)
    with pytest.raises(DialFailed, match=r"cannot reach \[2001:db8::1\]:4000: the UDP socket on 127.* has no IPv6"):
        sock.path_to(AddressPort(IPv6Address("2001:db8::1"), 4000))


@needs_ipv6
async def test_an_ipv6_socket_refuses_to_dial_ipv4(open_socket: Open) -> None:
    sock = open_socket("[::1]:0")
    with pytest.raises(DialFailed, match=r"cannot reach 192.0.2.1:4000: .* has no IPv4"):
        sock.path_to(AddressPort(IPv4Address("192.0.2.1"), 4000))


@needs_ipv6
async def test_ipv6_goes_both_ways(open_socket: Open) -> None:
    a, b = open_socket("[::1]:0"), open_socket("[::1]:0")
    a.send_batch([(b"six", a.path_to(b.local_address))])
    [(data, path)] = await receive(b, 1)
    assert (data, path.remote_address) == (b"six", a.local_address)
    assert path is b.path_to(a.local_address)


async def test_close_lets_a_waiter_return(open_socket: Open) -> None:
    sock = open_socket(LOCALHOST)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.wait_readable)
            await trio.testing.wait_all_tasks_blocked()
            sock.close()
        await sock.wait_readable()


async def test_a_closed_socket_is_silent_and_its_port_is_free(open_socket: Open) -> None:
    a, b = open_socket(LOCALHOST), open_socket(LOCALHOST)
    path = a.path_to(b.local_address)
    a.close()
    a.close()
    a.send_batch([(b"late", path), (b"late", path)])
    assert a.receive_batch() == []
    again = open_socket(str(a.local_address))
    again.send_batch([(b"again", again.path_to(b.local_address))])
    assert [data for data, _ in await receive(b, 1)] == [b"again"]


# --- what the batching socket adds


@pytest.fixture
def batching() -> Iterator[Callable[..., BatchingSocket]]:
    opened: list[BatchingSocket] = []

    def make(address: str = LOCALHOST, kind: type[socket.socket] = socket.socket) -> BatchingSocket:
        opened.append(BatchingSocket(bound(address, kind)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


Make = Callable[..., BatchingSocket]


def raising(method: str, number: int, *, times: int = 1, when_segmenting: bool = False) -> type[socket.socket]:
    """A real UDP socket whose `method` fails `times` times with errno `number`."""

    class Refusing(socket.socket):
        refusals = times

        def _call(self, *args: Any) -> Any:
            if Refusing.refusals and not (when_segmenting and len(args[0]) == 1):
                Refusing.refusals -= 1
                raise OSError(number, "injected")
            return getattr(super(), method)(*args)

    setattr(Refusing, method, Refusing._call)
    return Refusing


@on_linux
async def test_equal_datagrams_share_system_calls_both_ways(batching: Make) -> None:
    a, b = batching(), batching()
    path = a.path_to(b.local_address)
    datagrams = [number.to_bytes(2, "big") * 600 for number in range(100)]
    a.send_batch([(data, path) for data in datagrams])
    assert (a.counters.segmented_sends, a.counters.sent) == (2, 100)
    assert [data for data, _ in await receive(b, 100)] == datagrams
    assert b.counters.received == 100
    assert b.counters.coalesced_receives >= 1


@on_linux
@pytest.mark.parametrize(
    ("listening", "asked"),
    [
        ("0.0.0.0:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.2"),
        pytest.param("[::]:0", "127.0.0.1", marks=needs_ipv6),
        pytest.param("[::]:0", "127.0.0.2", marks=needs_ipv6),
        pytest.param("[::]:0", "::1", marks=needs_ipv6),
    ],
)
async def test_answers_leave_from_the_address_that_was_asked(batching: Make, listening: str, asked: str) -> None:
    server = batching(listening)
    client = batching("[::1]:0" if asked == "::1" else "127.0.0.1:0")
    address = AddressPort(ip_address(asked), server.local_address.port)
    client.send_batch([(b"who", client.path_to(address))])
    [(_, path)] = await receive(server, 1)
    assert path.remote_address == client.local_address
    server.send_batch([(b"me", path)])
    server.send_batch([(bytes(1200), path)] * 3)
    answers = await receive(client, 4)
    assert {path.remote_address for _, path in answers} == {address}
    assert server.counters.segmented_sends == 1


@on_linux
@needs_ipv6
async def test_a_dual_stack_socket_dials_both_families(batching: Make) -> None:
    dual, four, six = batching("[::]:0"), batching(), batching("[::1]:0")
    dual.send_batch([(b"4", dual.path_to(four.local_address)), (b"6", dual.path_to(six.local_address))])
    [(_, path)] = await receive(four, 1)
    assert path.remote_address == AddressPort(IPv4Address("127.0.0.1"), dual.local_address.port)
    [(_, path)] = await receive(six, 1)
    assert path.remote_address == AddressPort(IPv6Address("::1"), dual.local_address.port)


@on_linux
@pytest.mark.parametrize(
    ("listening", "asked", "gone"),
    [
        ("0.0.0.0:0", "127.0.0.1", bytes(4) + IPv4Address("203.0.113.9").packed + bytes(4)),
        pytest.param("[::]:0", "::1", IPv6Address("2001:db8::9").packed + bytes(4), marks=needs_ipv6),
    ],
)
async def test_a_path_whose_local_address_went_away_is_still_answered(
    batching: Make, listening: str, asked: str, gone: bytes
) -> None:
    server, client = batching(listening), batching(listening)
    path = server.path_to(AddressPort(ip_address(asked), client.local_address.port))
    stale = NetworkPath(path.remote, gone)
    server.send_batch([(b"alone", stale)])
    server.send_batch([(bytes(1200), stale)] * 3)
    assert [len(data) for data, _ in await receive(client, 4)] == [5, 1200, 1200, 1200]
    assert server.counters.send_errors.total() == 4
    server.send_batch([(bytes(1200), path)] * 3)
    assert server.counters.segmented_sends == 1  # the segmentation was not what failed


@on_linux
async def test_refused_segmentation_is_given_up_and_nothing_is_lost(batching: Make) -> None:
    sock = bound(LOCALHOST)
    sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # without checksums this kernel refuses to segment: EINVAL
    receiver = batching()
    sender = BatchingSocket(sock)
    path = sender.path_to(receiver.local_address)
    for _ in range(2):
        sender.send_batch([(bytes(1200), path)] * 10)
        assert len(await receive(receiver, 10)) == 10
    assert sender.counters.segmented_sends == 0
    assert sender.counters.send_errors.total() == 0
    sender.close()


@on_linux
@pytest.mark.parametrize(("number", "batches"), [(errno.EIO, 0), (errno.EINVAL, 0), (errno.EMSGSIZE, 1)])
async def test_only_a_size_refused_leaves_segmentation_on(batching: Make, number: int, batches: int) -> None:
    sender, receiver = batching(LOCALHOST, raising("sendmsg", number, when_segmenting=True)), batching()
    path = sender.path_to(receiver.local_address)
    sender.send_batch([(bytes(1200), path)] * 3)
    sender.send_batch([(bytes(1200), path)] * 3)
    assert len(await receive(receiver, 6)) == 6
    assert sender.counters.segmented_sends == batches


@on_linux
async def test_a_run_too_large_for_the_interface_does_not_cost_segmentation(batching: Make) -> None:
    class SmallInterface(socket.socket):
        """As kernels before 6.9 answer: EINVAL to the run, EMSGSIZE to each of its datagrams."""

        def sendmsg(self, buffers: Any, *args: Any) -> int:
            if len(buffers[0]) > 1400:
                raise OSError(errno.EINVAL, "injected")
            return super().sendmsg(buffers, *args)

        def sendto(self, data: Any, *args: Any) -> int:
            if len(data) > 1400:
                raise OSError(errno.EMSGSIZE, "injected")
            return super().sendto(data, *args)

    sender, receiver = batching(LOCALHOST, SmallInterface), batching()
    path = sender.path_to(receiver.local_address)
    sender.send_batch([(bytes(1452), path)] * 2 + [(b"shorter", path)])
    sender.send_batch([(bytes(1200), path)] * 3)
    assert [len(data) for data, _ in await receive(receiver, 4)] == [7, 1200, 1200, 1200]
    assert sender.counters.segmented_sends == 1
    assert sender.counters.send_errors == {errno.EMSGSIZE: 2}


@on_linux
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENETUNREACH, errno.ENOBUFS, errno.ECONNREFUSED, errno.EAGAIN])
@pytest.mark.parametrize("method", ["sendto", "sendmsg"])
async def test_what_the_kernel_refuses_is_lost_and_counted(batching: Make, method: str, number: int) -> None:
    sender, receiver = batching(LOCALHOST, raising(method, number)), batching()
    path = sender.path_to(receiver.local_address)
    lost = [(b"1", path)] if method == "sendto" else [(b"lost", path)] * 2
    sender.send_batch([*lost, (b"after that", path)])
    assert [data for data, _ in await receive(receiver, 1)] == [b"after that"]
    assert sender.counters.send_errors == {number: 1}


@on_linux
async def test_a_destination_that_is_forbidden_leaves_the_socket_usable(batching: Make) -> None:
    sender, receiver = batching("0.0.0.0:0"), batching()
    broadcast = sender.path_to(AddressPort(IPv4Address("255.255.255.255"), 9))
    no_port = sender.path_to(AddressPort(IPv4Address("127.0.0.1"), 0))
    here = sender.path_to(receiver.local_address)
    sender.send_batch([(b"x", broadcast), (b"x", no_port), (bytes(9), no_port), (bytes(9), no_port), (b"here", here)])
    assert [data for data, _ in await receive(receiver, 1)] == [b"here"]
    errors = sender.counters.send_errors
    assert errors[errno.EACCES] + errors[errno.ENETUNREACH] == 1  # the second where no interface can broadcast
    assert errors[errno.EINVAL] == 3
    sender.send_batch([(bytes(9), here)] * 2)
    assert sender.counters.segmented_sends == 1


@on_linux
async def test_an_error_read_from_the_socket_is_skipped(batching: Make) -> None:
    receiver, sender = batching(LOCALHOST, raising("recvmsg", errno.ECONNREFUSED, times=3)), batching()
    sender.send_batch([(b"after", sender.path_to(receiver.local_address))])
    assert [data for data, _ in await receive(receiver, 1)] == [b"after"]
    assert receiver.counters.receive_errors == {errno.ECONNREFUSED: 3}


@on_linux
async def test_a_truncated_datagram_is_dropped_and_counted(batching: Make) -> None:
    class Truncating(socket.socket):
        def recvmsg(self, *args: Any) -> Any:
            data, ancillary, flags, address = super().recvmsg(*args)
            return data, ancillary, flags | (socket.MSG_TRUNC if data == b"cut" else socket.MSG_CTRUNC), address

    receiver, sender = batching(LOCALHOST, Truncating), batching()
    path = sender.path_to(receiver.local_address)
    sender.send_batch([(b"cut", path), (b"whole", path)])
    assert [data for data, _ in await receive(receiver, 1)] == [b"whole"]
    assert receiver.counters.receive_errors == {errno.EMSGSIZE: 1}


@on_linux
async def test_a_kernel_without_any_of_it_still_carries_datagrams(batching: Make) -> None:
    class OldKernel(socket.socket):
        def setsockopt(self, level: int, option: int, *args: Any) -> None:
            if (level, option) != (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                raise OSError(errno.ENOPROTOOPT, "injected")

        def getsockopt(self, level: int, option: int, *args: Any) -> Any:
            if level == datagram_socket.SOL_UDP:
                raise OSError(errno.ENOPROTOOPT, "injected")
            return super().getsockopt(level, option, *args)

    old, new = batching("0.0.0.0:0", OldKernel), batching()
    assert not old.forbids_fragments
    new.send_batch([(bytes(1200), new.path_to(AddressPort(IPv4Address("127.0.0.1"), old.local_address.port)))] * 3)
    arrived = await receive(old, 3)
    assert {path.local for _, path in arrived} == {None}
    old.send_batch(arrived)
    assert len(await receive(new, 3)) == 3
    assert (old.counters.segmented_sends, old.counters.coalesced_receives) == (0, 0)


@on_linux
async def test_datagrams_are_sent_with_fragmentation_forbidden(batching: Make) -> None:
    assert batching().forbids_fragments
    sock = bound("0.0.0.0:0")
    with_df = BatchingSocket(sock)
    assert sock.getsockopt(socket.IPPROTO_IP, dont_fragment.IP_MTU_DISCOVER) == dont_fragment.IP_PMTUDISC_PROBE
    with_df.close()


def test_packet_info_of_a_dual_stack_socket_is_answered_as_ipv4() -> None:
    mapped = IPv6Address("::ffff:192.0.2.7").packed
    four = (socket.IPPROTO_IP, datagram_socket.IP_PKTINFO, b"\x05\0\0\0" + bytes([192, 0, 2, 7, 192, 0, 2, 255]))
    six = (socket.IPPROTO_IPV6, datagram_socket.IPV6_PKTINFO, mapped + b"\x05\0\0\0")
    expected = (0, bytes(4) + bytes([192, 0, 2, 7]) + bytes(4))
    assert datagram_socket._read_ancillary([four, six]) == expected
    assert datagram_socket._read_ancillary([six, four]) == expected
    assert datagram_socket._read_ancillary([six]) == (0, mapped + bytes(4))


def test_only_a_link_local_address_keeps_its_interface() -> None:
    def local(address: str) -> bytes | None:
        value = IPv6Address(address).packed + b"\x05\0\0\0"
        return datagram_socket._read_ancillary([(socket.IPPROTO_IPV6, datagram_socket.IPV6_PKTINFO, value)])[1]

    assert local("fe80::1") == IPv6Address("fe80::1").packed + b"\x05\0\0\0"
    assert local("2001:db8::1") == IPv6Address("2001:db8::1").packed + bytes(4)
    assert datagram_socket._read_ancillary([(socket.IPPROTO_IP, datagram_socket.IP_PKTINFO, b"short")]) == (0, None)


PATHS = [NetworkPath(("192.0.2.1", 1)), NetworkPath(("192.0.2.1", 2)), NetworkPath(("192.0.2.1", 1), bytes(12))]
SIZES = st.sampled_from([0, 1, 40, 1199, 1200, 1452, 40_000])


@given(pieces=st.lists(st.tuples(SIZES, st.sampled_from(PATHS), st.integers(1, 130)), max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_run_never_breaks_the_rules_of_segmentation(pieces: list[tuple[int, NetworkPath, int]]) -> None:
    datagrams = [(bytes(size), path) for size, path, times in pieces for _ in range(times)]
    start = 0
    while start < len(datagrams):
        end = datagram_socket._end_of_run(datagrams, start)
        run = datagrams[start:end]
        sizes = [len(data) for data, _ in run]
        assert 1 <= len(run) <= 64
        assert len({path for _, path in run}) == 1
        assert len(set(sizes[:-1])) <= 1
        assert len(run) == 1 or (0 < sizes[-1] <= sizes[0] and sum(sizes) <= 65_000)
        start = end
