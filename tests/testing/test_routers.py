"""Hosts behind routers on the simulated network: what passes, what it looks like, and what links and cuts apply to."""

from collections.abc import Sequence
from ipaddress import ip_address

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.nat import (
    FIREWALL,
    FULL_CONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    UDP_BLOCKED,
    NatBehavior,
    PortAllocation,
)
from connet_trio.testing.network import Fate, Host, Link, Sighting, SimulatedNetwork, SimulatedSocket, open_network

SERVER = "198.51.100.1:3478"
REMAP = attrs.evolve(PORT_RESTRICTED, ports=PortAllocation.RANDOM)


def at(address: str, port: int) -> AddressPort:
    return AddressPort(ip_address(address), port)


def home(network: SimulatedNetwork, outside: str, behavior: NatBehavior = PORT_RESTRICTED) -> Host:
    """10.0.0.2 behind a NAT of its own."""
    return network.host("10.0.0.2", behind=network.add_router(behavior, outside))


async def say(sock: SimulatedSocket, data: bytes, *destinations: SimulatedSocket | AddressPort) -> None:
    """Send it to each, and wait until it has come wherever it comes."""
    for destination in destinations:
        place = destination if isinstance(destination, AddressPort) else destination.local_address
        sock.send_batch([(data, sock.path_to(place))])
    await trio.sleep(1)


def heard(sock: SimulatedSocket) -> list[tuple[bytes, AddressPort]]:
    return [(data, path.remote_address) for data, path in sock.receive_batch()]


async def test_the_same_private_address_at_two_sites_is_two_hosts(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        server = network.socket(SERVER)
        one, other = home(network, "203.0.113.4"), home(network, "203.0.113.8")
        a, b = one.socket(5000), other.socket(5000)
        assert one is not other
        await say(a, b"from a", server)
        await say(b, b"from b", server)
        assert heard(server) == [(b"from a", at("203.0.113.4", 5000)), (b"from b", at("203.0.113.8", 5000))]
        await say(server, b"to a", at("203.0.113.4", 5000))
        await say(server, b"to b", at("203.0.113.8", 5000))
        assert heard(a) == [(b"to a", server.local_address)]
        assert heard(b) == [(b"to b", server.local_address)]
        await say(a, b"to myself", at("10.0.0.2", 5000))
        assert heard(a) == [(b"to myself", at("10.0.0.2", 5000))]
        assert heard(b) == []


async def test_a_stranger_is_filtered_and_that_is_its_fate(autojump_clock: MockClock) -> None:
    async with open_network(1, trace_limit=10) as network:
        server, stranger = network.socket(SERVER), network.socket("198.51.100.9:1")
        inside = home(network, "203.0.113.4").socket(5000)
        await say(stranger, b"x", at("203.0.113.4", 5000))
        await say(inside, b"x", server)
        await say(stranger, b"x", at("203.0.113.4", 5000))
        assert network.fates == {Fate.FILTERED: 2, Fate.DELIVERED: 1}
        assert heard(inside) == []
        # on the trace, datagrams look as they do on the internet
        assert [(seen.source, seen.destination) for seen in network.trace][1] == (
            at("203.0.113.4", 5000),
            server.local_address,
        )


async def test_what_the_inside_sends_while_a_datagram_travels_lets_it_in(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(delay=0.1)) as network:
        server = network.socket(SERVER)
        inside = home(network, "203.0.113.4").socket(5000)
        server.send_batch([(b"early", server.path_to(at("203.0.113.4", 5000)))])
        await trio.sleep(0.05)
        await say(inside, b"x", server)
        assert heard(inside) == [(b"early", server.local_address)]


async def test_neighbors_talk_without_their_router(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        router = network.add_router(SYMMETRIC, "203.0.113.4")
        one, other = (network.host(address, behind=router) for address in ("10.0.0.2", "10.0.0.3"))
        a, b = one.socket(5000), other.socket(5000)
        await say(a, b"hello", at("10.0.0.3", 5000))
        assert heard(b) == [(b"hello", at("10.0.0.2", 5000))]
        router.forget()
        await say(b, b"hello", at("10.0.0.2", 5000))
        assert heard(a) == [(b"hello", at("10.0.0.3", 5000))]


async def test_private_addresses_are_nobody_from_elsewhere(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        inside = home(network, "203.0.113.4").socket(5000)
        server = network.socket(SERVER)
        await say(server, b"x", at("10.0.0.2", 5000))
        await say(inside, b"x", at("10.0.1.2", 5000))
        assert network.fates == {Fate.NOBODY: 2}


async def test_a_hairpin_shows_the_outside_address_and_without_one_nothing_arrives(autojump_clock: MockClock) -> None:
    for hairpinning in (True, False):
        async with open_network(1) as network:
            behavior = attrs.evolve(FULL_CONE, hairpinning=hairpinning)
            router = network.add_router(behavior, "203.0.113.4")
            one, other = (network.host(address, behind=router) for address in ("10.0.0.2", "10.0.0.3"))
            a, b, server = one.socket(5000), other.socket(5001), network.socket(SERVER)
            await say(b, b"x", server)
            await say(a, b"round", at("203.0.113.4", 5001))
            assert heard(b) == ([(b"round", at("203.0.113.4", 5000))] if hairpinning else [])
            assert network.fates[Fate.FILTERED] == (not hairpinning)


async def test_routers_in_series_translate_twice(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        carrier = network.add_router(REMAP, "203.0.113.4")
        router = network.add_router(PORT_RESTRICTED, "100.64.0.2", behind=carrier)
        host, neighbor = network.host("10.0.0.2", behind=router), network.host("100.64.0.9", behind=carrier)
        assert (host.name, host.router) == ("10.0.0.2 behind 100.64.0.2 behind 203.0.113.4", router)
        a, b, server = host.socket(5000), neighbor.socket(5000), network.socket(SERVER)
        await say(a, b"x", server, at("100.64.0.9", 5000))
        assert heard(b) == [(b"x", at("100.64.0.2", 5000))]
        [(_, seen)] = heard(server)
        assert seen.address == carrier.address
        assert seen.port != 5000
        await say(server, b"back", seen)
        assert heard(a) == [(b"back", server.local_address)]
        carrier.forget()
        await say(server, b"lost", seen)
        assert heard(a) == []


@pytest.mark.parametrize(("inside", "outside"), [("203.0.113.4", SERVER), ("2001:db8::4", "[2001:db8:1::1]:3478")])
async def test_a_firewall_lets_answers_in_and_shows_addresses_as_they_are(
    autojump_clock: MockClock, inside: str, outside: str
) -> None:
    async with open_network(1) as network:
        router = network.add_router(FIREWALL)
        a, server = network.host(inside, behind=router).socket(5000), network.socket(outside)
        await say(server, b"early", at(inside, 5000))
        assert network.fates == {Fate.FILTERED: 1}
        await say(a, b"x", server)
        assert heard(server) == [(b"x", at(inside, 5000))]
        await say(server, b"back", at(inside, 5000))
        assert heard(a) == [(b"back", server.local_address)]


async def test_a_home_filters_ipv6_and_translates_ipv4(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        for number, firewall in (("4", FIREWALL), ("8", None)):
            router = network.add_router(PORT_RESTRICTED, f"203.0.113.{number}", ipv6=firewall)
            six = f"2001:db8:{number}::2"
            inside = network.host("10.0.0.2", six, behind=router).socket(5000)
            server4, server6 = network.socket("198.51.100.1:0"), network.socket("[2001:db8:1::1]:0")
            await say(server6, b"early", at(six, 5000))
            assert heard(inside) == ([] if firewall else [(b"early", server6.local_address)])
            await say(inside, b"x", server4, server6)
            assert heard(server4) == [(b"x", at(f"203.0.113.{number}", 5000))]
            assert heard(server6) == [(b"x", at(six, 5000))]


async def test_a_new_lease_moves_new_traffic_to_the_new_address(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        router = network.add_router(PORT_RESTRICTED, "203.0.113.4")
        a, server = network.host("10.0.0.2", behind=router).socket(5000), network.socket(SERVER)
        await say(a, b"1", server)
        router.change_address("203.0.113.99")
        await say(server, b"old", at("203.0.113.4", 5000))
        await say(server, b"new", at("203.0.113.99", 5000))
        assert network.fates == {Fate.DELIVERED: 1, Fate.NOBODY: 1, Fate.FILTERED: 1}
        await say(a, b"2", server)
        await say(server, b"back", at("203.0.113.99", 5000))
        assert [place.address for _, place in heard(server)] == [at("203.0.113.4", 1).address, router.address]
        assert heard(a) == [(b"back", server.local_address)]


# --- links and cuts


@pytest.mark.parametrize("name", ["host", "inside address", "router", "outside address"])
async def test_a_cut_may_name_the_inside_or_the_outside(autojump_clock: MockClock, name: str) -> None:
    async with open_network(1) as network:
        host, server = home(network, "203.0.113.4", FULL_CONE), network.socket(SERVER)
        router = host.router
        assert router is not None
        names = {"host": host, "inside address": "10.0.0.2", "router": router, "outside address": "203.0.113.4"}
        a = host.socket(5000)
        await say(a, b"x", server)
        for one, other in ((names[name], "198.51.100.1"), ("198.51.100.1", names[name])):
            network.cut(one, other)
            await say(a, b"x", server)
            await say(server, b"x", at("203.0.113.4", 5000))
            network.heal(one, other)
        assert network.fates == {Fate.DELIVERED: 1, Fate.CUT: 4}
        await say(server, b"x", at("203.0.113.4", 5000))
        assert network.fates[Fate.DELIVERED] == 2


async def test_a_cut_of_a_host_leaves_its_neighbor_alone_and_one_of_the_router_does_not(
    autojump_clock: MockClock,
) -> None:
    async with open_network(1) as network:
        router = network.add_router(FULL_CONE, "203.0.113.4")
        one, other = (network.host(address, behind=router) for address in ("10.0.0.2", "10.0.0.3"))
        a, b, server = one.socket(5000), other.socket(5001), network.socket(SERVER)
        network.cut(one, "198.51.100.1")
        await say(a, b"x", server)
        await say(b, b"x", server)
        assert network.fates == {Fate.CUT: 1, Fate.DELIVERED: 1}
        network.cut(router, "198.51.100.1")
        await say(b, b"x", server)
        assert network.fates == {Fate.CUT: 2, Fate.DELIVERED: 1}
        await say(a, b"x", at("10.0.0.3", 5001))
        assert network.fates[Fate.DELIVERED] == 2


async def test_a_cut_keeps_inbound_traffic_from_refreshing_a_mapping(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        a, server = home(network, "203.0.113.4").socket(5000), network.socket(SERVER)
        await say(a, b"x", server)
        seen = at("203.0.113.4", 5000)
        await trio.sleep(100)
        server.send_batch([(b"cut on its way", server.path_to(seen))])
        network.cut("10.0.0.2", "198.51.100.1")
        await say(server, b"cut at once", seen)
        network.heal("10.0.0.2", "198.51.100.1")
        await trio.sleep(30)
        await say(server, b"late", seen)
        assert network.fates == {Fate.DELIVERED: 1, Fate.CUT: 2, Fate.FILTERED: 1}


async def test_of_several_links_the_one_between_the_narrowest_names_counts(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(delay=0.9), trace_limit=10) as network:
        router = network.add_router(FULL_CONE, "203.0.113.4")
        one, other = (network.host(address, behind=router) for address in ("10.0.0.2", "10.0.0.3"))
        a, b, server = one.socket(5000), other.socket(5001), network.socket(SERVER)
        network.set_link(router, "198.51.100.1", Link(delay=0.2), back=Link(delay=0.3))
        network.set_link(one, "198.51.100.1", Link(delay=0.4), back=Link(delay=0.5))

        async def delay(sock: SimulatedSocket, destination: AddressPort) -> float:
            began = trio.current_time()
            await say(sock, b"x", destination)
            return network.trace[-1].time - began

        assert await delay(a, server.local_address) == pytest.approx(0.4)
        assert await delay(b, server.local_address) == pytest.approx(0.2)
        assert await delay(server, at("203.0.113.4", 5000)) == pytest.approx(0.5)
        assert await delay(server, at("203.0.113.4", 5001)) == pytest.approx(0.3)
        assert await delay(a, at("10.0.0.3", 5001)) == pytest.approx(0.9)


async def test_a_bottleneck_is_shared_by_all_that_goes_to_a_host_behind_a_router(autojump_clock: MockClock) -> None:
    link = Link(delay=0.0, rate=10_000.0)  # 972 + 28 bytes take a tenth of a second
    async with open_network(1, link=link, trace_limit=10) as network:
        host = home(network, "203.0.113.4", FULL_CONE)
        sockets, server = [host.socket(5000), host.socket(5001)], network.socket(SERVER)
        for sock in sockets:
            await say(sock, b"x", server)
        began = trio.current_time()
        for port in (5000, 5001):
            server.send_batch([(bytes(972), server.path_to(at("203.0.113.4", port)))])
        await trio.sleep(1)
        assert [seen.time - began for seen in network.trace][-2:] == pytest.approx([0.1, 0.2], abs=1e-5)


# --- luck


async def storm(extra: Sequence[str] = ()) -> list[Sighting]:
    """Two homes and a server that answer each other's answers over a bad network, beside other homes that do too."""
    link = Link(loss=0.05, duplication=0.1, reordering=0.2, jitter=0.01)
    async with open_network("storm", link=link, trace_limit=20_000) as network:
        hosts = [home(network, "203.0.113.4", REMAP), home(network, "203.0.113.8", FULL_CONE)]
        hosts += [home(network, outside, SYMMETRIC) for outside in extra]
        server = network.socket(SERVER)
        sockets = [host.socket(5000) for host in hosts]

        async def answer(sock: SimulatedSocket) -> None:
            while True:
                await sock.wait_readable()
                sock.send_batch([(data + b"!", path) for data, path in sock.receive_batch()])

        with trio.move_on_after(0.5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, server)
                for sock in sockets:
                    nursery.start_soon(answer, sock)
                    sock.send_batch([(b"?", sock.path_to(server.local_address))] * 3)
        return list(network.trace)


def test_the_same_seed_gives_the_same_trace_through_routers() -> None:
    first = run_simulated(storm, seed=1)
    assert len(first) > 50
    assert {sighting.fate for sighting in first} >= {Fate.DELIVERED, Fate.LOST}
    assert run_simulated(storm, seed=1) == first


def test_other_sites_change_no_fate_and_no_port() -> None:
    extra = ("203.0.113.10", "203.0.113.12")
    alone = run_simulated(storm, seed=1)
    crowded = run_simulated(storm, extra, seed=2)
    others = {ip_address(address) for address in extra}
    assert len(crowded) > len(alone)
    assert [seen for seen in crowded if not {seen.source.address, seen.destination.address} & others] == alone


async def test_hosts_that_call_themselves_the_same_have_luck_of_their_own(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(loss=0.5), trace_limit=200) as network:
        server = network.socket(SERVER)
        for outside in ("203.0.113.4", "203.0.113.8"):
            sock = home(network, outside).socket(5000)
            path = sock.path_to(server.local_address)
            sock.send_batch([(bytes(size), path) for size in range(1, 41)])
        await trio.sleep(1)
        lost = [(str(seen.source.address), seen.size) for seen in network.trace if seen.fate is Fate.LOST]
        first, second = (
            [size for address, size in lost if address == outside] for outside in ("203.0.113.4", "203.0.113.8")
        )
        assert 10 < len(first) < 30
        assert 10 < len(second) < 30
        assert first != second


# --- how it is built


def test_a_router_has_an_address_if_it_needs_one() -> None:
    network = SimulatedNetwork(1)
    with pytest.raises(ValueError, match="has an address outside if it translates"):
        network.add_router(PORT_RESTRICTED)
    with pytest.raises(ValueError, match="has an address outside if it translates"):
        network.add_router(FIREWALL, "203.0.113.4")
    with pytest.raises(ValueError, match="IPv6 is not translated"):
        network.add_router(None, ipv6=FULL_CONE)
    with pytest.raises(ValueError, match="no address to change"):
        network.add_router(FIREWALL).change_address("203.0.113.4")


def test_an_address_is_had_once_in_a_realm_and_wherever_it_is_known() -> None:
    network = SimulatedNetwork(1)
    router = network.add_router(PORT_RESTRICTED, "203.0.113.4")
    with pytest.raises(ValueError, match=r"203\.0\.113\.4 is in use by <router 203\.0\.113\.4>"):
        network.host("203.0.113.4")
    with pytest.raises(ValueError, match=r"in use"):
        network.add_router(PORT_RESTRICTED, "203.0.113.4")
    known = network.host("2001:db8::1")
    with pytest.raises(ValueError, match=r"in use by <host 2001:db8::1>"):
        network.host("10.0.0.2", "2001:db8::1", behind=router)
    known.set_addresses()
    assert network.host("10.0.0.2", "2001:db8::1", behind=router).router is router


def test_a_router_that_blocks_udp_lets_nothing_through_either_way() -> None:
    async def scenario() -> None:
        async with open_network(1, link=Link(delay=0.1), trace_limit=10) as network:
            guest = network.add_router(UDP_BLOCKED, ipv6=UDP_BLOCKED)
            inside = network.host("198.19.1.2", "2001:db8::2", behind=guest).socket(1000)
            outside = network.host("192.0.2.1", "2001:db8:1::1").socket(2000)
            for address in ("192.0.2.1", "2001:db8:1::1"):
                inside.send_batch([(b"out", inside.path_to(AddressPort(ip_address(address), 2000)))])
            for address in ("198.19.1.2", "2001:db8::2"):
                outside.send_batch([(b"in", outside.path_to(AddressPort(ip_address(address), 1000)))])
            await trio.sleep(1)
            assert network.fates == {Fate.FILTERED: 4}

    run_simulated(scenario, seed=1)
