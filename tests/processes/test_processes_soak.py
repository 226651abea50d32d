"""A soak of seconds; `scripts/soak` is for minutes and hours."""

import attrs
import pytest
import trio

from connet_trio.testing.local_site import LocalSite
from connet_trio.testing.soak import PROGRAM, SoakPlan, complaints, open_soak

TURNS, TURN_SECONDS = 3, 2.0


@pytest.mark.reliability(line=18)
async def test_connections_come_and_go_and_leave_nothing_behind(site: LocalSite) -> None:
    plan = SoakPlan(seconds=TURNS * TURN_SECONDS, interval=TURN_SECONDS)
    with trio.fail_after(90):
        async with open_soak(attrs.evolve(site, program=PROGRAM), plan) as soaking:
            looks = [await soaking.turn(plan.interval) for _ in range(TURNS)]
    assert looks[-1].served == plan.rate * plan.seconds
    assert all(sample.tasks > 0 and sample.files > 0 for sample in looks[-1].samples.values())
    assert complaints(looks) == []
