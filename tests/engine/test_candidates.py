"""What we announce, and in which order the addresses of a peer are tried."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connet_trio.engine.candidates import (
    MAX_CANDIDATES,
    MAX_HOST_ADDRESSES,
    MAX_ZONES,
    Candidate,
    InterfaceAddress,
    announced_addresses,
    dial_order,
    host_addresses,
    network_addresses,
)
from connet_trio.records.model import AddressPort
from tests.strategies import address_ports

PORT = 19_192
PUBLIC = AddressPort(ip_address("198.51.100.4"), 40_000)
LOOPBACK_PUBLIC = AddressPort(ip_address("127.0.0.1"), PORT)


def card(text: str, interface: str = "eth0", index: int = 2) -> InterfaceAddress:
    """An address with its prefix, on an interface."""
    written = ip_interface(text)
    prefix_bits = written.network.prefixlen
    return InterfaceAddress(address=written.ip, prefix_bits=prefix_bits, interface=interface, index=index)


LOOPBACK = (card("127.0.0.1/8", "lo", 1), card("::1/128", "lo", 1))
HOME = (*LOOPBACK, card("192.168.1.5/24"), card("2001:db8:5::5/64"), card("fe80::5/64"))


def at(address: str, port: int = PORT) -> AddressPort:
    return AddressPort(ip_address(address), port)


def announced(interfaces: tuple[InterfaceAddress, ...], bound: str | None = None) -> list[str]:
    found = host_addresses(interfaces, PORT, None if bound is None else ip_address(bound))
    assert {place.port for place in found} <= {PORT}
    return [str(place.address) for place in found]


def order(
    directs: list[str], interfaces: tuple[InterfaceAddress, ...] = HOME, public: AddressPort | None = PUBLIC
) -> list[str]:
    """The candidates for `directs`, without port."""
    found = dial_order([at(direct) for direct in directs], interfaces, public)
    return [str(each.address.address) + (f"%{each.zone}" if each.zone else "") for each in found]


def test_every_address_is_announced_but_those_that_mean_this_machine_to_everybody() -> None:
    odd = (card("0.0.0.0/32", "odd", 3), card("224.0.0.1/32", "odd", 3), card("255.255.255.255/32", "odd", 3))
    assert announced(HOME + odd) == ["2001:db8:5::5", "192.168.1.5", "fe80::5"]


def test_link_local_addresses_are_announced_last_whatever_order_the_system_has() -> None:
    cards = (
        card("fe80::1/64", "eth0", 2),
        card("169.254.3.3/16", "eth1", 3),
        card("10.0.0.1/24", "eth1", 3),
        card("fd00::1/64", "eth0", 2),
        card("203.0.113.9/24", "eth2", 4),
    )
    assert announced(cards) == ["203.0.113.9", "fd00::1", "10.0.0.1", "fe80::1", "169.254.3.3"]
    assert announced(cards[::-1]) == announced(cards)


def test_one_address_on_two_interfaces_is_announced_once() -> None:
    assert announced((card("10.0.0.1/24", "eth0", 2), card("10.0.0.1/24", "eth1", 3))) == ["10.0.0.1"]


def test_a_machine_full_of_bridges_announces_its_cards_and_no_more_than_the_bound() -> None:
    bridges = tuple(card(f"10.{number}.0.1/16", f"br{number}", 10 + number) for number in range(60))
    found = announced((*bridges, *HOME))
    assert len(found) == MAX_HOST_ADDRESSES
    assert found[:2] == ["2001:db8:5::5", "192.168.1.5"]


def test_a_router_announces_the_address_it_keeps_on_its_loopback_interface() -> None:
    lo0 = (*LOOPBACK, card("198.51.100.1/32", "lo", 1), card("fe80::1/64", "lo", 1))
    assert announced(lo0) == ["198.51.100.1"]


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (None, ["2001:db8:5::5", "192.168.1.5", "fe80::5"]),
        ("::", ["2001:db8:5::5", "192.168.1.5", "fe80::5"]),
        ("0.0.0.0", ["192.168.1.5"]),
        ("::ffff:0.0.0.0", ["192.168.1.5"]),
        ("192.168.1.5", ["192.168.1.5"]),
        ("::ffff:192.168.1.5", ["192.168.1.5"]),
        ("10.9.9.9", ["10.9.9.9"]),
        ("fe80::5", ["fe80::5"]),
        ("127.0.0.1", []),
        ("::ffff:127.0.0.1", []),
        ("::1", []),
        ("224.0.0.251", []),
    ],
)
def test_what_is_announced_follows_what_the_socket_is_bound_to(bound: str | None, expected: list[str]) -> None:
    assert announced(HOME, bound) == expected


def test_what_is_announced_begins_with_what_control_saw() -> None:
    mapped, host = [at("203.0.113.4", 5000), at("192.168.1.5")], [at("192.168.1.5"), at("2001:db8:5::5")]
    assert announced_addresses(PUBLIC, mapped, host) == (PUBLIC, *mapped, at("2001:db8:5::5"))
    assert announced_addresses(None, [], host) == tuple(host)
    assert announced_addresses(None, [], []) == ()


def test_an_address_seen_through_a_dual_stack_socket_is_announced_as_ipv4_and_once() -> None:
    assert announced_addresses(at("::ffff:192.168.1.5"), [at("::ffff:203.0.113.4")], [at("192.168.1.5")]) == (
        at("192.168.1.5"),
        at("203.0.113.4"),
    )


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (None, {"192.168.1.5", "2001:db8:5::5"}),
        ("::", {"192.168.1.5", "2001:db8:5::5"}),
        ("0.0.0.0", {"192.168.1.5"}),
        ("::ffff:10.0.0.1", {"192.168.1.5"}),
        ("2001:db8:5::5", {"2001:db8:5::5"}),
    ],
)
def test_network_addresses_are_those_the_socket_reaches_other_networks_from(
    bound: str | None, expected: set[str]
) -> None:
    interfaces = (*HOME, card("169.254.3.3/16"), card("224.0.0.1/32"))
    found = network_addresses(interfaces, None if bound is None else ip_address(bound))
    assert {str(address) for address in found} == expected


def test_a_peer_in_our_network_is_tried_there_first_then_in_public_then_elsewhere() -> None:
    directs = ["fe80::9", "10.8.0.2", "203.0.113.4", "2001:db8:9::9", "192.168.1.9", "2001:db8:5::9"]
    assert order(directs) == [
        "192.168.1.9",
        "2001:db8:5::9",
        "203.0.113.4",
        "2001:db8:9::9",
        "10.8.0.2",
        "fe80::9%2",
    ]


@pytest.mark.parametrize("private", ["10.1.2.3", "172.31.0.1", "192.168.7.7", "100.64.0.1", "100.127.1.1", "fd12::1"])
def test_private_addresses_of_other_networks_come_after_public_ones(private: str) -> None:
    assert order([private, "203.0.113.4"]) == ["203.0.113.4", private]


@pytest.mark.parametrize("public", ["203.0.113.9", "172.32.0.1", "100.128.0.1", "11.0.0.1", "2001:db8:9::9", "fec0::1"])
def test_everything_else_counts_as_public_the_documentation_networks_too(public: str) -> None:
    assert order(["10.1.2.3", public]) == [public, "10.1.2.3"]


def test_a_peer_behind_our_nat_is_tried_at_its_private_addresses_before_the_public_one() -> None:
    same_nat = at(str(PUBLIC.address), 50_000)
    found = dial_order([same_nat, at("10.1.2.3"), at("192.168.1.9")], HOME, PUBLIC)
    assert [each.address for each in found] == [at("192.168.1.9"), at("10.1.2.3"), same_nat]


def test_a_shared_address_is_recognized_in_either_spelling() -> None:
    directs, mapped = [at("::ffff:198.51.100.4"), at("10.1.2.3")], at("::ffff:198.51.100.4", 4)
    assert [each.address for each in dial_order(directs, HOME, mapped)] == [at("10.1.2.3"), at("198.51.100.4")]


def test_a_bridge_numbered_like_ours_is_not_taken_for_a_neighbour() -> None:
    interfaces = (*HOME, card("172.17.0.1/16", "docker0", 3))
    assert order(["172.17.0.1", "203.0.113.4"], interfaces) == ["203.0.113.4", "172.17.0.1"]
    assert order(["203.0.113.4", "172.17.0.2"], interfaces) == ["172.17.0.2", "203.0.113.4"]


@pytest.mark.parametrize("prefix_bits", [-1, 0, 33, 200])
def test_a_prefix_that_cannot_be_makes_nobody_a_neighbour(prefix_bits: int) -> None:
    broken = InterfaceAddress(address=ip_address("10.1.0.1"), prefix_bits=prefix_bits, interface="tun0")
    assert order(["10.1.2.3", "203.0.113.4"], (*HOME, broken)) == ["203.0.113.4", "10.1.2.3"]


def test_equal_ones_keep_the_order_of_the_peer() -> None:
    directs = ["203.0.113.9", "203.0.113.1", "2001:db8:9::9", "203.0.113.5"]
    assert order(directs) == directs


def test_spellings_of_one_place_are_tried_once_and_ports_tell_places_apart() -> None:
    directs = [at("::ffff:203.0.113.4"), at("203.0.113.4"), at("203.0.113.4", 5)]
    assert dial_order(directs, HOME, PUBLIC) == (Candidate(at("203.0.113.4")), Candidate(at("203.0.113.4", 5)))


@pytest.mark.parametrize(
    "nowhere", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:255.255.255.255", "169.254.7.7"]
)
def test_where_no_peer_can_be_none_is_tried(nowhere: str) -> None:
    assert order([nowhere, "203.0.113.4"]) == ["203.0.113.4"]


def test_an_unconfigured_port_is_not_tried() -> None:
    assert dial_order([at("203.0.113.4", 0)], HOME, PUBLIC) == ()


@pytest.mark.parametrize("prefix", ["169.254.3.3/16", "169.254.7.5/30"])
def test_ipv4_link_local_addresses_are_tried_by_those_who_have_one(prefix: str) -> None:
    assert order(["169.254.7.6"], (*LOOPBACK, card(prefix))) == ["169.254.7.6"]


def test_loopback_is_tried_only_while_control_sees_us_there() -> None:
    directs = ["192.168.1.5", "::ffff:127.0.0.1", "::1"]
    assert order(directs, public=PUBLIC) == order(directs, public=None) == ["192.168.1.5"]
    assert order(directs, public=LOOPBACK_PUBLIC) == ["127.0.0.1", "::1", "192.168.1.5"]
    assert order(directs, LOOPBACK, at("::ffff:127.0.0.1")) == ["127.0.0.1", "::1", "192.168.1.5"]


def test_a_link_local_address_is_tried_on_each_of_our_links() -> None:
    wlan = (card("192.168.2.5/24", "wlan0", 3), card("fe80::6/64", "wlan0", 3), card("fe80::7/64", "wlan0", 3))
    assert order(["fe80::9", "fe80::8"], (*HOME, *wlan)) == ["fe80::9%2", "fe80::9%3", "fe80::8%2", "fe80::8%3"]


def test_a_link_local_address_is_not_tried_where_none_can_answer() -> None:
    no_links = (*LOOPBACK, card("192.168.1.5/24"), card("fe80::1/64", "lo", 1), card("fe80::5/64", "eth0", 0))
    assert order(["fe80::9"], no_links) == []


def test_links_with_networks_come_before_the_ends_of_containers_and_there_are_few_of_them() -> None:
    ends = tuple(card(f"fe80::{number}/64", f"veth{number}", number) for number in range(11, 20))
    wlan = (card("fe80::6/64", "wlan0", 30), card("10.3.0.1/24", "wlan0", 30))
    found = order(["fe80::9"], (*ends, *wlan))
    assert found == ["fe80::9%30", "fe80::9%11", "fe80::9%12", "fe80::9%13"]
    assert len(found) == MAX_ZONES


def test_a_candidate_shows_its_zone() -> None:
    assert str(Candidate(at("fe80::9"), 3)) == "[fe80::9%3]:19192"
    assert str(Candidate(at("fe80::9"))) == "[fe80::9]:19192"


def test_a_family_in_which_we_have_no_address_is_tried_last_but_is_tried() -> None:
    ipv4_only = (*LOOPBACK, card("192.168.1.5/24"), card("fe80::5/64"))
    directs = ["fd12::1", "2001:db8:9::9", "fe80::9", "10.1.2.3", "203.0.113.4"]
    assert order(directs, ipv4_only) == ["203.0.113.4", "10.1.2.3", "fe80::9%2", "2001:db8:9::9", "fd12::1"]
    assert order(directs, (*LOOPBACK, card("2001:db8:5::5/64")), None) == [
        "2001:db8:9::9",
        "fd12::1",
        "203.0.113.4",
        "10.1.2.3",
    ]


def test_what_control_saw_proves_a_family_that_no_interface_shows() -> None:
    directs = ["2001:db8:9::9", "10.1.2.3"]
    assert order(directs, (card("192.168.1.5/24"),), at("2001:db8:5::5")) == directs


def test_without_interfaces_a_peer_is_still_tried() -> None:
    assert order(["10.1.2.3", "fe80::9", "2001:db8:9::9", "203.0.113.4"], ()) == [
        "203.0.113.4",
        "10.1.2.3",
        "2001:db8:9::9",
    ]
    assert order(["10.1.2.3", "203.0.113.4"], (), None) == ["203.0.113.4", "10.1.2.3"]


def test_the_best_are_kept_of_a_list_without_end() -> None:
    directs = [f"10.2.{number // 256}.{number % 256}" for number in range(1, 1000)]
    found = order([*directs, "203.0.113.4", "192.168.1.9"])
    assert len(found) == MAX_CANDIDATES
    assert found[:2] == ["192.168.1.9", "203.0.113.4"]


NOTABLE = [
    ip_address(text)
    for text in (
        "0.0.0.0", "127.0.0.1", "169.254.1.1", "192.168.1.9", "192.168.1.5", "198.51.100.4", "224.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::9", "fd12::1", "ff02::1", "2001:db8:5::9",
    )
]  # fmt: skip
mapped_addresses = st.integers(0, 2**32 - 1).map(lambda number: IPv6Address(0xFFFF << 32 | number))
any_address = st.one_of(st.sampled_from(NOTABLE), st.ip_addresses(), mapped_addresses)
any_place = st.one_of(address_ports, st.builds(AddressPort, any_address, st.sampled_from([0, 1, PORT])))
any_interfaces = st.lists(
    st.one_of(
        st.sampled_from(HOME),
        st.builds(
            InterfaceAddress,
            address=any_address,
            prefix_bits=st.integers(0, 128),
            interface=st.sampled_from(["lo", "eth0", "wlan0"]),
            index=st.integers(0, 9),
        ),
    ),
    max_size=8,
).map(tuple)


@settings(max_examples=200)
@given(directs=st.lists(any_place, max_size=20), interfaces=any_interfaces, public=st.none() | any_place)
@example(directs=[at("fe80::9")] * 100, interfaces=HOME, public=None)
def test_whatever_a_peer_announces_its_candidates_are_few_distinct_and_usable(
    directs: list[AddressPort], interfaces: tuple[InterfaceAddress, ...], public: AddressPort | None
) -> None:
    candidates = dial_order(directs, interfaces, public)
    assert len(candidates) == len(set(candidates)) <= MAX_CANDIDATES
    assert {candidate.address for candidate in candidates} <= {direct.unmapped for direct in directs}
    for candidate in candidates:
        address = candidate.address.address
        assert candidate.address.port > 0
        assert candidate.address == candidate.address.unmapped
        assert not any((address.is_unspecified, address.is_multicast, str(address) == "255.255.255.255"))
        assert not address.is_loopback or (public is not None and public.unmapped.address.is_loopback)
        needs_zone = address.version == 6 and address.is_link_local
        assert needs_zone == (candidate.zone > 0)


@settings(max_examples=100)
@given(interfaces=any_interfaces, bound=st.none() | any_address)
def test_whatever_our_interfaces_are_what_is_announced_is_bounded_distinct_and_no_loopback(
    interfaces: tuple[InterfaceAddress, ...], bound: IPv4Address | IPv6Address | None
) -> None:
    found = host_addresses(interfaces, PORT, bound)
    assert len(found) == len(set(found)) <= MAX_HOST_ADDRESSES
    for place in found:
        assert not any((place.address.is_loopback, place.address.is_unspecified, place.address.is_multicast))
    assert host_addresses(interfaces[::-1], PORT, bound) == found
