"""Plans of chaos runs: the seed decides, and what is drawn makes sense."""

import pytest

from connet_trio.records.model import Route
from connet_trio.testing.chaos.drawing import SCENARIOS, draw_plan
from connet_trio.testing.chaos.plan import Down, RelaySwap, SitePlan, Storm, meet
from connet_trio.testing.nat import (
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    NatBehavior,
)

PLANS = [draw_plan(seed) for seed in range(200)]


def test_the_seed_decides_and_nothing_else() -> None:
    assert [draw_plan(seed) for seed in range(20)] == PLANS[:20]
    assert len({repr(plan) for plan in PLANS}) == len(PLANS)
    assert draw_plan(1, minutes=3.0) != PLANS[1]


def test_every_scenario_draws_only_what_it_is_about() -> None:
    plans = {name: [draw_plan(seed, scenario=name) for seed in range(30)] for name in SCENARIOS}
    assert all(not plan.faults and plan.transfers for plan in plans["calm"])
    assert {type(fault) for plan in plans["storms"] for fault in plan.faults} == {Storm}
    assert {type(fault) for plan in plans["restarts"] for fault in plan.faults} == {Down, RelaySwap}
    assert len({type(fault) for plan in plans["mixed"] for fault in plan.faults}) == 8


def test_everybody_a_plan_names_is_there() -> None:
    for plan in PLANS:
        clients = {client.name for client in plan.clients}
        for service in plan.services:
            assert set(service.destinations) <= clients
            assert set(service.sources) <= clients
            assert not set(service.sources) & set(service.destinations)
        sources = {(service.name, source) for service in plan.services for source in service.sources}
        assert {(transfer.service, transfer.source) for transfer in plan.transfers} <= sources
        assert {client.site for client in plan.clients} - {None} <= {site.name for site in plan.sites}


def test_relays_that_are_swapped_are_gone_in_the_end_and_one_is_left() -> None:
    swapped = [plan for plan in PLANS if any(isinstance(fault, RelaySwap) for fault in plan.faults)]
    assert len(swapped) > 20
    for plan in PLANS:
        assert len(plan.relays_at_last) == len(plan.relays)
        assert (plan.relays_at_last != set(plan.relays)) is (plan in swapped)


def test_only_those_who_can_meet_directly_have_to() -> None:
    direct = [(plan, service) for plan in PLANS for service in plan.services if service.route is Route.DIRECT]
    assert len(direct) > 10
    for plan, service in direct:
        for offering in service.destinations:
            assert all(meet(plan.site_of(offering), plan.site_of(using)) for using in service.sources)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (None, SYMMETRIC, True),
        (PORT_RESTRICTED, FULL_CONE, True),
        (FIREWALL, PORT_RESTRICTED, True),
        (PORT_RESTRICTED, SYMMETRIC, False),
        (FULL_CONE, ADDRESS_SYMMETRIC, False),
    ],
)
def test_who_is_sure_to_meet(one: NatBehavior | None, other: NatBehavior, expected: bool) -> None:
    first = None if one is None else SitePlan(name="site1", nat=one, carrier=None)
    assert meet(first, SitePlan(name="site2", nat=other, carrier=None)) is expected


def test_the_nat_of_a_carrier_counts_but_not_between_neighbors() -> None:
    behind_carrier = SitePlan(name="site1", nat=FULL_CONE, carrier=SYMMETRIC)
    assert not meet(behind_carrier, SitePlan(name="site2", nat=FULL_CONE, carrier=None))
    assert meet(behind_carrier, behind_carrier)
