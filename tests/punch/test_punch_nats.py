"""Which NATs a hole can be opened through, how soon, and what is said where it cannot."""

from functools import partial
from itertools import product

import attrs
import pytest
import trio

from connet_trio.punch import Cause, OpenHole, PunchFailed, Side
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.testing import (
    ADDRESS_RESTRICTED,
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    OPEN,
    PORT_RESTRICTED,
    SYMMETRIC,
    NatBehavior,
    PortAllocation,
)
from connet_trio.testing.punch_lab import CONTROL, PunchLab, check_hole, simulate, together

KINDS: dict[str, NatBehavior | None] = {
    "open": OPEN,
    "full": FULL_CONE,
    "addr": ADDRESS_RESTRICTED,
    "port": PORT_RESTRICTED,
    "adm": ADDRESS_SYMMETRIC,
    "sym": SYMMETRIC,
    "fw": FIREWALL,
    "remap": attrs.evolve(PORT_RESTRICTED, ports=PortAllocation.RANDOM),
}
VARYING = {"adm", "sym"}
"""Those whose mapping depends on the destination."""
FILTERING = {"port", "adm", "sym", "fw", "remap"}
"""Those that let in only the ports that were written to."""

HAIRPINNING = attrs.evolve(PORT_RESTRICTED, hairpinning=True)


def can_be_joined(one: str, other: str) -> bool:
    """Unless one is never where the other expects it."""
    return not ((one in VARYING and other in FILTERING) or (other in VARYING and one in FILTERING))


def culprit(ours: str, partners: str) -> Side:
    """Whose NAT is symmetric."""
    if ours in VARYING and partners in VARYING:
        return Side.BOTH
    return Side.OURS if ours in VARYING else Side.PARTNERS


async def both(lab: PunchLab, one: NatBehavior | None, other: NatBehavior | None) -> list[OpenHole | PunchFailed]:
    """What becomes of two sites that start together."""
    sites = lab.add_site(one), lab.add_site(other)
    outcomes = await together(partial(lab.outcome, sites[0], "a"), partial(lab.outcome, sites[1], "b"))
    if isinstance(outcomes[0], OpenHole) and isinstance(outcomes[1], OpenHole):
        await check_hole(sites[0], outcomes[0], sites[1], outcomes[1])
    return outcomes


@pytest.mark.parametrize(("one", "other"), list(product(KINDS, KINDS)))
def test_every_pair_of_nats_is_joined_or_told_whose_nat_is_in_the_way(one: str, other: str) -> None:
    async def scenario(lab: PunchLab) -> float:
        await lab.start_control()
        outcomes = await both(lab, KINDS[one], KINDS[other])
        if can_be_joined(one, other):
            assert all(isinstance(outcome, OpenHole) for outcome in outcomes), outcomes
            return trio.current_time()
        for outcome, ours, partners in zip(outcomes, (one, other), (other, one), strict=True):
            assert isinstance(outcome, PunchFailed)
            found = outcome.diagnosis
            assert (found.cause, found.side) == (Cause.SYMMETRIC_NAT, culprit(ours, partners))
            assert "suspected" not in found.text
        return 0.0

    # 25 ms each way: enrolment, report, ping, pong, close; 300 ms in which a lost confirmation is repeated; a check
    assert simulate(scenario, seed=f"{one} {other}") < 0.6


@pytest.mark.parametrize(("second", "side"), [(HostPort("", 0), Side.UNKNOWN), (None, Side.UNKNOWN)])
def test_a_control_node_with_one_address_names_no_wrong_side(second: HostPort | None, side: Side) -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control(second=second and HostPort(CONTROL, 0))
        for outcome in await both(lab, ADDRESS_SYMMETRIC, PORT_RESTRICTED):
            assert isinstance(outcome, PunchFailed)
            assert (outcome.diagnosis.cause, outcome.diagnosis.side) == (Cause.SYMMETRIC_NAT, side)
            assert "suspected" in outcome.diagnosis.text

    simulate(scenario)


def test_a_second_port_of_one_address_shows_a_nat_that_changes_ports_for_each() -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control(second=HostPort(CONTROL, 0))
        outcomes = await both(lab, SYMMETRIC, PORT_RESTRICTED)
        sides = [outcome.diagnosis.side for outcome in outcomes if isinstance(outcome, PunchFailed)]
        assert sides == [Side.OURS, Side.PARTNERS]

    simulate(scenario)


@pytest.mark.parametrize("home", [PORT_RESTRICTED, SYMMETRIC, HAIRPINNING], ids=["port", "sym", "hairpinning"])
def test_neighbors_behind_one_nat_meet_at_their_own_addresses(home: NatBehavior) -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        router = lab.network.add_router(home, "203.0.113.77")
        hosts = [lab.network.host(address, behind=router) for address in ("10.0.0.2", "10.0.0.3")]
        holes = await together(partial(lab.punch, hosts[0], "a"), partial(lab.punch, hosts[1], "b"))
        assert [str(hole.remote) for hole in holes] == ["10.0.0.3:5000", "10.0.0.2:5000"]
        await check_hole(hosts[0], holes[0], hosts[1], holes[1])

    simulate(scenario)


@pytest.mark.parametrize("hairpinning", [True, False])
def test_homes_of_one_carrier_meet_only_through_its_hairpin(hairpinning: bool) -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        carrier = lab.network.add_router(attrs.evolve(PORT_RESTRICTED, hairpinning=hairpinning), "203.0.113.77")
        routers = [lab.network.add_router(PORT_RESTRICTED, f"100.64.0.{n}", behind=carrier) for n in (2, 3)]
        hosts = [lab.network.host("10.0.0.2", behind=router) for router in routers]
        outcomes = await together(
            partial(lab.outcome, hosts[0], "a", port=5000), partial(lab.outcome, hosts[1], "b", port=5001)
        )
        if hairpinning:
            assert all(isinstance(outcome, OpenHole) for outcome in outcomes)
            return
        for outcome in outcomes:
            assert isinstance(outcome, PunchFailed)
            assert outcome.diagnosis.cause is Cause.UNREACHABLE

    simulate(scenario)


def test_two_hosts_with_ipv6_meet_through_their_firewalls() -> None:
    async def scenario(lab: PunchLab) -> None:
        hosts = [
            lab.network.host(f"2001:db8:{n}::2", behind=lab.network.add_router(None, ipv6=FIREWALL)) for n in (1, 2)
        ]
        await lab.start_control(address="2001:db8::1")
        holes = await together(
            partial(lab.punch, hosts[0], "a", control="2001:db8::1"),
            partial(lab.punch, hosts[1], "b", control="2001:db8::1"),
        )
        assert [str(hole.remote) for hole in holes] == ["[2001:db8:2::2]:5000", "[2001:db8:1::2]:5000"]
        await check_hole(hosts[0], holes[0], hosts[1], holes[1])

    simulate(scenario)


def test_the_address_told_is_the_one_outside() -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        outcomes = await both(lab, KINDS["remap"], PORT_RESTRICTED)
        remotes = [outcome.remote for outcome in outcomes if isinstance(outcome, OpenHole)]
        assert [str(remote.address) for remote in remotes] == ["203.0.113.2", "203.0.113.1"]
        assert isinstance(remotes[1], AddressPort)
        assert (remotes[0].port, remotes[1].port != 5000) == (5000, True)

    simulate(scenario)
