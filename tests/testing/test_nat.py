"""The NAT of RFC 4787 as a table: what goes out looks like what, and who may answer until when."""

from ipaddress import IPv4Address, ip_address
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.records.model import AddressPort
from connet_trio.testing.nat import (
    ADDRESS_RESTRICTED,
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    Dependence,
    Nat,
    NatBehavior,
    PortAllocation,
)

OUTSIDE = IPv4Address("203.0.113.4")
KINDS = {
    "full": FULL_CONE,
    "addr": ADDRESS_RESTRICTED,
    "port": PORT_RESTRICTED,
    "adm": ADDRESS_SYMMETRIC,
    "sym": SYMMETRIC,
    "fw": FIREWALL,
}
REMAP = attrs.evolve(PORT_RESTRICTED, ports=PortAllocation.RANDOM)


def at(address: str, port: int) -> AddressPort:
    return AddressPort(ip_address(address), port)


INSIDE, NEIGHBOR = at("10.0.0.2", 5000), at("10.0.0.3", 5000)
SERVER, OTHER_PORT, OTHER_ADDRESS = at("198.51.100.1", 3478), at("198.51.100.1", 3479), at("198.51.100.2", 3478)


def nat_of(behavior: NatBehavior, seed: int = 1, address: IPv4Address = OUTSIDE) -> Nat:
    return Nat(behavior, Random(seed), address if behavior.translates else None)


@pytest.mark.parametrize(
    ("kind", "ports"), [("full", 1), ("addr", 1), ("port", 1), ("fw", 1), ("adm", 2), ("sym", 3)], ids=str
)
def test_a_mapping_is_reused_as_far_as_its_kind_says(kind: str, ports: int) -> None:
    nat = nat_of(KINDS[kind])
    seen = [nat.outbound(INSIDE, destination, 0.0) for destination in (SERVER, OTHER_PORT, OTHER_ADDRESS)]
    assert len(set(seen)) == ports
    assert {place.address for place in seen} == {INSIDE.address if kind == "fw" else OUTSIDE}
    assert [nat.outbound(INSIDE, destination, 1.0) for destination in (SERVER, OTHER_PORT, OTHER_ADDRESS)] == seen


@pytest.mark.parametrize(
    ("kind", "admitted"),
    [
        ("full", [SERVER, OTHER_PORT, OTHER_ADDRESS]),
        ("addr", [SERVER, OTHER_PORT]),
        ("port", [SERVER]),
        ("adm", [SERVER]),
        ("sym", [SERVER]),
        ("fw", [SERVER]),
    ],
)
def test_a_contacted_server_opens_the_filter_as_far_as_its_kind_says(kind: str, admitted: list[AddressPort]) -> None:
    nat = nat_of(KINDS[kind])
    seen = nat.outbound(INSIDE, SERVER, 0.0)
    senders = (SERVER, OTHER_PORT, OTHER_ADDRESS)
    assert [sender for sender in senders if nat.inbound(seen, sender, 1.0) == INSIDE] == admitted
    assert [sender for sender in senders if nat.inbound(seen, sender, 1.0) is not None] == admitted


@pytest.mark.parametrize("behavior", KINDS.values(), ids=KINDS)
def test_nobody_gets_in_where_nothing_went_out(behavior: NatBehavior) -> None:
    nat = nat_of(behavior)
    nat.outbound(NEIGHBOR, SERVER, 0.0)
    unmapped = AddressPort(INSIDE.address if behavior is FIREWALL else OUTSIDE, 4999)
    assert nat.inbound(unmapped, SERVER, 0.0) is None


@pytest.mark.parametrize("behavior", KINDS.values(), ids=KINDS)
def test_a_mapping_without_use_lapses_at_the_end_of_its_lifetime(behavior: NatBehavior) -> None:
    nat = nat_of(attrs.evolve(behavior, lifetime=30.0, inbound_refreshes=False))
    seen = nat.outbound(INSIDE, SERVER, 100.0)
    assert nat.inbound(seen, SERVER, 129.9) == INSIDE
    assert nat.inbound(seen, SERVER, 130.0) is None
    seen = nat.outbound(INSIDE, SERVER, 131.0)
    assert nat.outbound(INSIDE, SERVER, 160.0) == seen
    assert nat.inbound(seen, SERVER, 189.9) == INSIDE


def test_inbound_traffic_keeps_a_mapping_alive_if_the_kind_says_so() -> None:
    for refreshes in (True, False):
        nat = nat_of(attrs.evolve(FULL_CONE, lifetime=30.0, inbound_refreshes=refreshes))
        seen = nat.outbound(INSIDE, SERVER, 0.0)
        assert nat.inbound(seen, OTHER_ADDRESS, 20.0) == INSIDE
        assert (nat.inbound(seen, SERVER, 40.0) == INSIDE) is refreshes


def test_what_is_filtered_keeps_nothing_alive() -> None:
    nat = nat_of(attrs.evolve(PORT_RESTRICTED, lifetime=30.0))
    seen = nat.outbound(INSIDE, SERVER, 0.0)
    assert nat.inbound(seen, OTHER_PORT, 20.0) is None
    assert nat.inbound(seen, SERVER, 40.0) is None


def test_a_contact_lapses_alone_while_others_keep_the_mapping() -> None:
    nat = nat_of(attrs.evolve(PORT_RESTRICTED, lifetime=30.0))
    seen = nat.outbound(INSIDE, SERVER, 0.0)
    assert nat.outbound(INSIDE, OTHER_ADDRESS, 20.0) == seen
    assert nat.inbound(seen, SERVER, 35.0) is None
    assert nat.inbound(seen, OTHER_ADDRESS, 35.0) == INSIDE


def test_a_port_is_preserved_unless_a_neighbor_has_it() -> None:
    nat = nat_of(PORT_RESTRICTED)
    first, second = nat.outbound(INSIDE, SERVER, 0.0), nat.outbound(NEIGHBOR, SERVER, 0.0)
    assert first == AddressPort(OUTSIDE, 5000)
    assert second.address == OUTSIDE
    assert second.port != 5000
    assert nat.inbound(second, SERVER, 0.0) == NEIGHBOR
    assert nat.inbound(first, SERVER, 0.0) == INSIDE
    lapsed = 121.0
    assert nat.outbound(NEIGHBOR, SERVER, lapsed) == first


@pytest.mark.parametrize(("behavior", "same"), [(PORT_RESTRICTED, True), (REMAP, False), (SYMMETRIC, False)])
def test_after_a_reboot_the_inside_has_to_begin_and_may_be_seen_from_another_port(
    behavior: NatBehavior, same: bool
) -> None:
    nat = nat_of(behavior)
    seen = nat.outbound(INSIDE, SERVER, 0.0)
    nat.forget()
    assert nat.inbound(seen, SERVER, 1.0) is None
    again = nat.outbound(INSIDE, SERVER, 2.0)
    assert (again == seen) is same
    assert nat.inbound(again, SERVER, 3.0) == INSIDE


def test_a_firewall_forgets_its_holes() -> None:
    nat = nat_of(FIREWALL)
    six, server = at("2001:db8::2", 5000), at("2001:db8:1::1", 3478)
    assert nat.outbound(six, server, 0.0) == six
    assert nat.inbound(six, server, 1.0) == six
    nat.forget()
    assert nat.inbound(six, server, 2.0) is None


def test_another_outside_address_ends_what_was_mapped_to_the_old_one() -> None:
    nat = nat_of(FULL_CONE)
    seen = nat.outbound(INSIDE, SERVER, 0.0)
    nat.change_address(IPv4Address("203.0.113.9"))
    assert nat.outbound(INSIDE, SERVER, 1.0) == at("203.0.113.9", 5000)
    assert nat.inbound(seen, SERVER, 1.0) is None


def test_a_port_of_chance_depends_on_the_seed_and_on_nothing_else_that_passes() -> None:
    alone = nat_of(SYMMETRIC)
    expected = [alone.outbound(INSIDE, destination, 0.0) for destination in (SERVER, OTHER_PORT)]
    busy = nat_of(SYMMETRIC)
    busy.outbound(NEIGHBOR, SERVER, 0.0)
    assert [busy.outbound(INSIDE, destination, 0.0) for destination in (OTHER_PORT, SERVER)] == expected[::-1]
    other = nat_of(SYMMETRIC, seed=2)
    assert [other.outbound(INSIDE, destination, 0.0) for destination in (SERVER, OTHER_PORT)] != expected


def test_who_is_behind_a_port_can_be_asked_without_leaving_a_trace() -> None:
    nat = nat_of(attrs.evolve(PORT_RESTRICTED, lifetime=30.0))
    seen = nat.outbound(INSIDE, SERVER, 0.0)
    assert nat.inside_of(seen, 29.0) == INSIDE
    assert nat.inside_of(seen, 30.0) is None
    assert nat_of(FIREWALL).inside_of(INSIDE, 0.0) == INSIDE


@pytest.mark.parametrize(
    ("home", "carrier", "mappings", "admitted"),
    [
        ("port", "port", 1, 1),
        ("full", "full", 1, 3),
        ("full", "port", 1, 1),
        ("port", "full", 1, 1),
        ("addr", "full", 1, 2),
        ("port", "sym", 3, 1),
        ("sym", "port", 3, 1),
        ("sym", "full", 3, 1),
    ],
)
def test_two_in_series_are_as_the_worse_of_both(home: str, carrier: str, mappings: int, admitted: int) -> None:
    inner, outer = nat_of(KINDS[home], address=IPv4Address("100.64.0.2")), nat_of(KINDS[carrier])

    def outbound(destination: AddressPort) -> AddressPort:
        return outer.outbound(inner.outbound(INSIDE, destination, 0.0), destination, 0.0)

    def inbound(seen: AddressPort, sender: AddressPort) -> AddressPort | None:
        between = outer.inbound(seen, sender, 0.0)
        return None if between is None else inner.inbound(between, sender, 0.0)

    seen = outbound(SERVER)
    assert sum(inbound(seen, sender) == INSIDE for sender in (SERVER, OTHER_PORT, OTHER_ADDRESS)) == admitted
    assert len({seen, outbound(OTHER_PORT), outbound(OTHER_ADDRESS)}) == mappings


def test_a_nat_without_an_address_translates_nothing() -> None:
    with pytest.raises(ValueError, match="needs an outside address"):
        Nat(FULL_CONE, Random(1))
    with pytest.raises(ValueError, match="only IPv4"):
        nat_of(FULL_CONE).outbound(at("2001:db8::2", 5000), SERVER, 0.0)


PLACES = st.builds(AddressPort, st.sampled_from([INSIDE.address, NEIGHBOR.address]), st.integers(5000, 5002))
REMOTES = st.sampled_from([SERVER, OTHER_PORT, OTHER_ADDRESS])
BEHAVIORS = st.builds(
    NatBehavior,
    mapping=st.sampled_from(Dependence),
    filtering=st.sampled_from(Dependence),
    ports=st.sampled_from(PortAllocation),
    inbound_refreshes=st.booleans(),
    translates=st.booleans(),
)


@given(behavior=BEHAVIORS, sent=st.lists(st.tuples(st.floats(0.0, 100.0), PLACES, REMOTES), max_size=30))
@settings(max_examples=50, deadline=None)
def test_whoever_was_written_to_can_answer_the_writer(
    behavior: NatBehavior, sent: list[tuple[float, AddressPort, AddressPort]]
) -> None:
    nat, now = nat_of(behavior), 0.0
    for pause, source, destination in sent:
        now += pause
        seen = nat.outbound(source, destination, now)
        assert nat.inbound(seen, destination, now) == source
        assert nat.inside_of(seen, now) == source
