"""Sources that dial and give up: nothing of it stays with the destination."""

import pytest
import trio

from connet_trio.records.model import Route
from connet_trio.testing import Link, run_simulated, simulated_deployment


@pytest.mark.parametrize("route", [Route.RELAY, Route.DIRECT])
def test_streams_that_nobody_accepted_are_gone_once_their_source_has_given_them_up(route: Route) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=1, link=Link(delay=0.01)) as deployment:
            _, source = await deployment.add_pair(route=route)
            await trio.sleep(30)
            before = trio.lowlevel.current_statistics().tasks_living
            for _ in range(120):
                (await source.dial()).abort()
            await trio.sleep(5)
            assert trio.lowlevel.current_statistics().tasks_living <= before

    run_simulated(run, seed=1)
