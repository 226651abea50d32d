"""Hosts with several addresses, and hosts that move: sockets stay, addresses do not."""

from ipaddress import ip_address

import pytest
import trio
from trio.testing import MockClock

from connet_trio.engine import InterfaceAddress
from connet_trio.errors import BindFailed, DialFailed
from connet_trio.quic import NetworkPath
from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.hosts import LOOPBACK
from connet_trio.testing.nat import FULL_CONE, PORT_RESTRICTED
from connet_trio.testing.network import Fate, Link, SimulatedNetwork, SimulatedSocket, open_network

FOUR, SIX = "192.0.2.1", "2001:db8::1"


def at(address: str, port: int) -> AddressPort:
    return AddressPort(ip_address(address), port)


async def say(sock: SimulatedSocket, data: bytes, path: NetworkPath) -> None:
    sock.send_batch([(data, path)])
    await trio.sleep(1)


async def seen_from(sock: SimulatedSocket, receiver: SimulatedSocket) -> AddressPort:
    """The source of what `sock` sends to `receiver`."""
    await say(sock, b"x", sock.path_to(receiver.local_address))
    [(_, path)] = receiver.receive_batch()
    return path.remote_address


def addresses_of(*interfaces: InterfaceAddress) -> list[str]:
    return [f"{each.address}/{each.prefix_bits}%{each.interface}" for each in interfaces]


async def test_a_wildcard_socket_reaches_both_families_and_is_reached_at_every_address(
    autojump_clock: MockClock,
) -> None:
    async with open_network(1) as network:
        sock = network.host(FOUR, SIX, "192.0.2.7").socket(5000)
        assert sock.local_address == at("::", 5000)
        four, six = network.socket("198.51.100.1:1"), network.socket("[2001:db8:1::1]:1")
        assert await seen_from(sock, four) == at(FOUR, 5000)
        assert await seen_from(sock, six) == at(SIX, 5000)
        for asking, asked in ((four, FOUR), (four, "192.0.2.7"), (six, SIX)):
            await say(asking, b"who", asking.path_to(at(asked, 5000)))
            [(data, path)] = sock.receive_batch()
            assert (data, path.remote_address, path.local) == (b"who", asking.local_address, ip_address(asked).packed)
            await say(sock, b"me", path)
            assert [(data, path.remote_address) for data, path in asking.receive_batch()] == [(b"me", at(asked, 5000))]


async def test_the_source_is_the_one_in_the_network_of_the_destination_else_the_first(
    autojump_clock: MockClock,
) -> None:
    async with open_network(1) as network:
        router = network.add_router(PORT_RESTRICTED, "203.0.113.4")
        sock = network.host("10.0.0.2/24", "10.9.0.2/16", behind=router).socket(5000)
        near = network.host("10.9.7.7/16", behind=router).socket(1, "10.9.7.7")
        assert await seen_from(sock, near) == at("10.9.0.2", 5000)
        third = network.host("10.8.0.1", behind=router).socket(1, "10.8.0.1")
        assert await seen_from(sock, third) == at("10.0.0.2", 5000)
        assert await seen_from(sock, network.socket("198.51.100.1:1")) == at("203.0.113.4", 5000)


async def test_a_socket_of_one_address_has_no_other(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        host = network.host(FOUR, SIX, "192.0.2.7")
        narrow, four = host.socket(5000, "192.0.2.7"), host.socket(6000, "0.0.0.0")
        other = network.socket("198.51.100.1:1")
        assert await seen_from(narrow, other) == at("192.0.2.7", 5000)
        await say(other, b"x", other.path_to(at(FOUR, 5000)))
        assert network.fates[Fate.NOBODY] == 1
        assert await seen_from(four, other) == at(FOUR, 6000)
        for sock in (narrow, four):
            with pytest.raises(DialFailed, match="has no IPv6"):
                sock.path_to(at(SIX, 1))


def test_one_port_has_one_owner_where_addresses_overlap() -> None:
    host = SimulatedNetwork(1).host(FOUR, SIX, "192.0.2.7")
    for first, second, free in [
        ("::", FOUR, False),
        (FOUR, "::", False),
        ("::", "0.0.0.0", False),
        ("0.0.0.0", "192.0.2.7", False),
        ("0.0.0.0", SIX, True),
        (FOUR, "192.0.2.7", True),
        (SIX, SIX, False),
    ]:
        taken = host.socket(5000, first)
        if free:
            host.socket(5000, second).close()
        else:
            with pytest.raises(BindFailed, match="already in use") as caught:
                host.socket(5000, second)
            assert caught.value.in_use
        taken.close()
    with pytest.raises(BindFailed, match=r"192\.0\.2\.9:5000: cannot assign requested address") as missing:
        host.socket(5000, "192.0.2.9")
    assert not missing.value.in_use


async def test_a_family_without_an_address_is_lost_and_not_refused(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        sock = network.host(FOUR).socket(5000)
        await say(sock, b"x", sock.path_to(at(SIX, 1)))
        assert network.fates == {Fate.NO_ROUTE: 1}


def test_interfaces_are_listed_with_their_names_and_numbers() -> None:
    network = SimulatedNetwork(1)
    given = InterfaceAddress(address=ip_address("192.0.2.9"), prefix_bits=30, interface="wlan0", index=7)
    host = network.host("192.0.2.1/25", SIX, "172.17.0.1/16%docker0", "fe80::1%docker0", "10.8.0.2%tun0", given)
    listed = host.interfaces()
    assert listed[: len(LOOPBACK)] == LOOPBACK
    assert addresses_of(*listed[len(LOOPBACK) :]) == [
        "192.0.2.1/25%eth0",
        "2001:db8::1/64%eth0",
        "172.17.0.1/16%docker0",
        "fe80::1/64%docker0",
        "10.8.0.2/24%tun0",
        "192.0.2.9/30%wlan0",
    ]
    assert [each.index for each in listed[len(LOOPBACK) :]] == [2, 2, 3, 3, 4, 7]
    host.set_addresses()
    assert host.interfaces() == LOOPBACK


async def test_addresses_off_the_uplink_lead_nowhere_and_may_be_anybodys(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        bridge = "172.17.0.1/16%docker0"
        a, b = network.host(bridge, FOUR).socket(5000), network.host("192.0.2.2", bridge).socket(5000)
        await say(a, b"x", a.path_to(at("172.17.0.9", 5000)))
        network.host("172.17.0.9").socket(5000)  # there is somebody, but not on that bridge
        await say(a, b"x", a.path_to(at("172.17.0.9", 5000)))
        assert network.fates == {Fate.NOBODY: 2}
        await say(a, b"to myself", a.path_to(at("172.17.0.1", 5000)))
        assert [data for data, _ in a.receive_batch()] == [b"to myself"]
        assert b.receive_batch() == []
        assert await seen_from(a, network.socket("198.51.100.1:1")) == at(FOUR, 5000)


async def test_link_local_addresses_mean_something_on_their_link_with_its_number(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        router = network.add_router(FULL_CONE, "203.0.113.4")
        one, other = (network.host(f"10.0.0.{n}", f"fe80::{n}", behind=router) for n in (2, 3))
        elsewhere = network.host(FOUR, "fe80::3", "fe80::4").socket(5000)
        a, b = one.socket(5000), other.socket(5000)
        there = at("fe80::3", 5000)
        await say(a, b"without", a.path_to(there))
        assert network.fates == {Fate.NO_ROUTE: 1}
        await say(a, b"with", a.path_to(there, zone=2))
        [(data, path)] = b.receive_batch()
        assert (data, path.remote) == (b"with", ("fe80::2", 5000, 0, 2))
        await say(b, b"back", path)
        assert [data for data, _ in a.receive_batch()] == [b"back"]
        await say(a, b"not here", a.path_to(at("fe80::4", 5000), zone=2))
        assert network.fates[Fate.NOBODY] == 1
        assert elsewhere.receive_batch() == []


async def test_a_host_that_moves_keeps_its_sockets_and_sends_from_where_it_is(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        cafe, office = (network.add_router(PORT_RESTRICTED, f"203.0.113.{n}") for n in (4, 8))
        host, server = network.host("10.0.0.2", behind=cafe), network.socket("198.51.100.1:1")
        wildcard, bound = host.socket(5000), host.socket(6000, "10.0.0.2")
        assert await seen_from(wildcard, server) == at("203.0.113.4", 5000)
        await say(server, b"x", server.path_to(at("203.0.113.4", 5000)))
        [(_, path)] = wildcard.receive_batch()

        host.change_uplink(office, "192.168.1.7/24")
        assert host.router is office
        assert await seen_from(wildcard, server) == at("203.0.113.8", 5000)
        await say(wildcard, b"on the old path", path)
        assert server.receive_batch()[0][1].remote_address == at("203.0.113.8", 5000)
        await say(bound, b"x", bound.path_to(server.local_address))
        assert network.fates[Fate.NO_ROUTE] == 1
        await say(server, b"late", server.path_to(at("203.0.113.4", 5000)))
        assert network.fates[Fate.NOBODY] == 1

        host.change_uplink(None, "203.0.113.77")
        assert host.router is None
        assert await seen_from(wildcard, server) == at("203.0.113.77", 5000)
        host.change_uplink(cafe, "10.0.0.2")
        assert await seen_from(bound, server) == at("203.0.113.4", 6000)
        assert network.host("10.0.0.2", behind=cafe) is host


async def test_what_is_under_way_to_an_address_that_went_is_lost(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(delay=0.1)) as network:
        host, other = network.host(FOUR), network.socket("198.51.100.1:1")
        sock = host.socket(5000)
        other.send_batch([(b"x", other.path_to(at(FOUR, 5000)))])
        host.set_addresses("192.0.2.9")
        await trio.sleep(1)
        assert sock.receive_batch() == []
        assert network.fates == {Fate.NOBODY: 1}
        host.set_addresses()
        await say(sock, b"x", sock.path_to(other.local_address))
        assert network.fates[Fate.NO_ROUTE] == 1


def test_addresses_that_cannot_be_had_change_nothing() -> None:
    network = SimulatedNetwork(1)
    host, other = network.host(FOUR, SIX), network.host("192.0.2.2")
    for wrong in (["192.0.2.2"], ["192.0.2.9", "192.0.2.9"], ["nowhere"]):
        with pytest.raises(ValueError):
            host.set_addresses(*wrong)
    assert network.host(FOUR, SIX) is host
    assert network.host("192.0.2.2") is other
    with pytest.raises(ValueError, match=r"does not have 192\.0\.2\.2"):
        network.host(FOUR, "192.0.2.2")


def test_what_a_killed_process_still_sends_is_not_heard_and_its_ports_are_free() -> None:
    async def scenario() -> None:
        async with open_network(1, link=Link(delay=0.1)) as network:
            victim, witness = network.host("192.0.2.1"), network.socket("192.0.2.2:2000")
            killed = victim.socket(1000)
            victim.kill()
            assert not victim.sockets
            successor = victim.socket(1000)
            assert list(victim.sockets) == [successor]
            killed.send_batch([(b"last words", killed.path_to(witness.local_address))])
            with trio.move_on_after(1) as scope:  # whoever waits is to be cancelled, not told
                await killed.wait_readable()
            assert scope.cancelled_caught
            killed.close()
            assert list(victim.sockets) == [successor]
            assert not network.fates
            assert network.hosts == (victim, network.host("192.0.2.2"))

    run_simulated(scenario, seed=1)
