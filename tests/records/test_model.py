"""The words that several conversations share."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from connet_trio.records.model import AddressPort, HostPort, Role, Route


@pytest.mark.parametrize(
    ("role", "opposite"),
    [(Role.SOURCE, Role.DESTINATION), (Role.DESTINATION, Role.SOURCE), (Role.UNKNOWN, Role.UNKNOWN)],
)
def test_a_role_has_an_opposite(role: Role, opposite: Role) -> None:
    assert role.opposite is opposite


@pytest.mark.parametrize(
    ("route", "direct", "relay"), [(Route.ANY, True, True), (Route.DIRECT, True, False), (Route.RELAY, False, True)]
)
def test_a_route_allows_kinds_of_path(route: Route, direct: bool, relay: bool) -> None:
    assert route.allows_direct is direct
    assert route.allows_relay is relay


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_has_16_bits(port: int) -> None:
    with pytest.raises(ValueError, match="'port' must be"):
        AddressPort(IPv4Address("192.0.2.1"), port)


def test_an_ipv4_mapped_address_can_be_unmapped() -> None:
    mapped = AddressPort(IPv6Address("::ffff:192.0.2.1"), 9)
    assert mapped.unmapped == AddressPort(IPv4Address("192.0.2.1"), 9)


@pytest.mark.parametrize("address", [IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")])
def test_other_addresses_are_unmapped_already(address: IPv4Address | IPv6Address) -> None:
    assert AddressPort(address, 9).unmapped == AddressPort(address, 9)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (AddressPort(IPv4Address("192.0.2.1"), 9), "192.0.2.1:9"),
        (AddressPort(IPv6Address("2001:db8::1"), 9), "[2001:db8::1]:9"),
        (HostPort("relay.example.org", 9), "relay.example.org:9"),
        (HostPort("2001:db8::1", 9), "[2001:db8::1]:9"),
    ],
)
def test_places_are_shown_with_brackets_where_needed(place: AddressPort | HostPort, text: str) -> None:
    assert str(place) == text
