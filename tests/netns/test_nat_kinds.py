"""The kernel's NATs are what the lab calls them, in the words of RFC 4787, and as their simulated twins are."""

import socket

import pytest
import trio

from connet_trio.testing import Dependence, Link, NatBehavior, PortAllocation
from connet_trio.testing.natlab.kinds import BEHAVIORS, NatKind, Neighbours
from connet_trio.testing.natlab.sites import build_sites
from connet_trio.testing.natlab.topology import SERVER, SERVER_ADDRESSES, NatLab, open_natlab, why_no_natlab
from tests.netns.conftest import FIRST, PORTS, Reflector, udp_socket

pytestmark = [pytest.mark.needs_netns, pytest.mark.skipif(bool(why_no_natlab()), reason=why_no_natlab())]

(S1, S2), (P1, P2) = SERVER_ADDRESSES, PORTS
INSIDE_PORT = 19_192
TRANSLATING = [kind for kind in NatKind if kind not in (NatKind.OPEN, NatKind.FIREWALL, NatKind.BLOCKED)]


def mapping_seen(reflector: Reflector, client: socket.socket) -> Dependence:
    """What the outside port depends on."""
    first, other_port, other_address = (reflector.seen(client, place) for place in ((S1, P1), (S1, P2), (S2, P1)))
    if first == other_port == other_address:
        return Dependence.ENDPOINT_INDEPENDENT
    return Dependence.ADDRESS_DEPENDENT if first == other_port else Dependence.ADDRESS_AND_PORT_DEPENDENT


def filtering_seen(reflector: Reflector, client: socket.socket) -> Dependence:
    """Who may send to a client that has written to one place only."""
    outside = reflector.seen(client)
    if reflector.is_let_in(client, outside, reflector.sockets[S2, P2]):
        return Dependence.ENDPOINT_INDEPENDENT
    if reflector.is_let_in(client, outside, reflector.sockets[S1, P2]):
        return Dependence.ADDRESS_DEPENDENT
    return Dependence.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize("kind", TRANSLATING, ids=lambda kind: kind.value)
def test_a_nat_of_the_kernel_behaves_as_its_simulated_twin(natlab: NatLab, reflector: Reflector, kind: NatKind) -> None:
    natlab.add_site("a", kind)
    with udp_socket(natlab, "a", port=INSIDE_PORT) as one, udp_socket(natlab, "a") as other:
        ports = PortAllocation.PRESERVED if reflector.seen(one)[1] == INSIDE_PORT else PortAllocation.RANDOM
        found = NatBehavior(
            mapping=mapping_seen(reflector, one), filtering=filtering_seen(reflector, other), ports=ports
        )
    assert found == BEHAVIORS[kind]


def test_a_firewall_lets_in_who_was_written_to_and_translates_nothing(natlab: NatLab, reflector: Reflector) -> None:
    natlab.add_site("a", NatKind.FIREWALL)
    with udp_socket(natlab, "a") as client:
        assert reflector.seen(client) == (str(natlab.addresses["a"]), client.getsockname()[1])
        assert filtering_seen(reflector, client) is Dependence.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize("neighbours", [Neighbours.ONE_CARRIER, Neighbours.ONE_HAIRPINNING_CARRIER])
def test_homes_of_a_carrier_reach_each_other_by_its_address_only_if_it_hairpins(
    natlab: NatLab, reflector: Reflector, neighbours: Neighbours
) -> None:
    ends = build_sites(natlab, (), (neighbours,))[neighbours]
    with udp_socket(natlab, ends.first, port=1001) as one, udp_socket(natlab, ends.second, port=1002) as other:
        places = reflector.seen(one), reflector.seen(other)
        assert places[0][0] == places[1][0]
        other.sendto(b"opens the home", places[0])
        hairpins = neighbours is Neighbours.ONE_HAIRPINNING_CARRIER
        assert reflector.is_let_in(other, places[1], one) is hairpins


def test_where_udp_is_blocked_tcp_still_passes(natlab: NatLab, reflector: Reflector) -> None:
    natlab.add_site("a", NatKind.BLOCKED)
    natlab.add_site("b", NatKind.PORT)
    with udp_socket(natlab, "a") as blocked, udp_socket(natlab, "b") as free:
        blocked.sendto(b"lost", FIRST)
        assert reflector.seen(free)[0] != str(natlab.addresses["a"])
    listener = natlab.listen(SERVER, S1, 80)

    async def connect() -> None:
        with trio.fail_after(5):
            await (await natlab.connect("a", S1, 80)).aclose()
            await listener.aclose()

    trio.run(connect)


async def test_a_wire_delays_both_ways() -> None:
    with open_natlab(Link(delay=0.02)) as lab, trio.fail_after(5):
        lab.add_site("a", NatKind.PORT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lab.run)
            listener = lab.listen(SERVER, S1, 80)
            began = trio.current_time()
            stream = await lab.connect("a", S1, 80)
            assert trio.current_time() - began >= 0.04
            await stream.aclose()
            await listener.aclose()
            nursery.cancel_scope.cancel()
