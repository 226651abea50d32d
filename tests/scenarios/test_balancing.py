"""A source and several destinations of one name, over direct paths."""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import pytest
import trio

from connet_trio.concurrency import AbortableStream
from connet_trio.endpoints import Source
from connet_trio.engine import BalancePolicy, BalanceRetry, Balancing
from connet_trio.errors import PeersUnreachable
from connet_trio.records.model import Route
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import Deployment, simulated_deployment
from connet_trio.testing.network import Link

HOSTS = ("203.0.113.51", "203.0.113.52", "203.0.113.53")
SOURCE_HOST = "203.0.113.50"


@attrs.frozen
class Site:
    deployment: Deployment
    source: Source
    streams: list[AbortableStream] = attrs.field(factory=list)

    async def dial(self) -> str:
        """The last digit of the destination that answers; the stream stays."""
        stream = await self.source.dial()
        self.streams.append(stream)
        return (await stream.receive_some()).decode()

    async def dial_many(self, count: int) -> str:
        return "".join([await self.dial() for _ in range(count)])


async def serve(name: str, stream: AbortableStream) -> None:
    """Say who it is, and leave the rest to the source."""
    await stream.send_all(name.encode())
    await trio.sleep_forever()


def simulate(balancing: Balancing, scenario: Callable[[Site], Awaitable[None]]) -> None:
    """Run `scenario` with three destinations, the first the nearest."""

    async def run() -> None:
        async with simulated_deployment(seed=1, relays=0) as deployment:
            destinations = []
            for number, host in enumerate(HOSTS, start=1):
                deployment.network.set_link(SOURCE_HOST, host, Link(delay=0.01 * number))
                client = await deployment.add_client(host, behind=None)
                destinations.append(await client.add_destination("db", route=Route.DIRECT))
            client = await deployment.add_client(SOURCE_HOST, behind=None)
            source = await client.add_source("db", route=Route.DIRECT, balancing=balancing)
            await trio.sleep(5)
            async with trio.open_nursery() as nursery:
                for number, destination in enumerate(destinations, start=1):
                    handler = partial(serve, str(number))
                    nursery.start_soon(partial(trio.serve_listeners, handler, [destination]))
                await scenario(Site(deployment, source))
                nursery.cancel_scope.cancel()

    run_simulated(run, seed=1)


def test_without_a_policy_the_nearest_gets_all() -> None:
    async def scenario(site: Site) -> None:
        assert await site.dial_many(4) == "1111"

    simulate(Balancing(), scenario)


def test_round_robin_gives_each_its_turn() -> None:
    async def scenario(site: Site) -> None:
        dialled = await site.dial_many(6)
        assert Counter(dialled) == {"1": 2, "2": 2, "3": 2}
        assert dialled[:3] == dialled[3:]

    simulate(Balancing(policy=BalancePolicy.ROUND_ROBIN), scenario)


def test_least_conns_counts_streams_until_they_are_over() -> None:
    async def scenario(site: Site) -> None:
        assert await site.dial_many(4) == "1231"
        for stream in site.streams:
            await stream.send_eof()  # one direction, so they are not over
        assert await site.dial() == "2"
        site.streams[0].abort()
        site.streams[3].abort()
        assert await site.dial_many(3) == "113"

    simulate(Balancing(policy=BalancePolicy.LEAST_CONNS), scenario)


def test_random_reaches_them_all() -> None:
    async def scenario(site: Site) -> None:
        assert set(await site.dial_many(12)) == {"1", "2", "3"}

    simulate(Balancing(policy=BalancePolicy.RANDOM), scenario)


def cut_off_the_nearest(site: Site) -> None:
    site.deployment.network.cut(SOURCE_HOST, HOSTS[0])


def test_one_that_is_asked_alone_fails_alone_and_is_asked_last_after_that() -> None:
    async def scenario(site: Site) -> None:
        cut_off_the_nearest(site)
        began = trio.current_time()
        with pytest.raises(PeersUnreachable, match="no answer directly"):
            await site.source.dial()
        assert trio.current_time() - began == pytest.approx(2.0, abs=0.1)
        assert await site.dial_many(2) == "22"

    simulate(Balancing(policy=BalancePolicy.LEAST_LATENCY), scenario)


@pytest.mark.parametrize("retry", [BalanceRetry.COUNT, BalanceRetry.ALL])
def test_the_next_one_is_asked_where_the_retry_says_so(retry: BalanceRetry) -> None:
    async def scenario(site: Site) -> None:
        cut_off_the_nearest(site)
        began = trio.current_time()
        assert await site.dial() == "2"
        assert trio.current_time() - began == pytest.approx(2.1, abs=0.1)

    simulate(Balancing(policy=BalancePolicy.LEAST_LATENCY, retry=retry), scenario)


def test_no_more_time_is_spent_than_timed_says_and_the_next_dial_begins_elsewhere() -> None:
    async def scenario(site: Site) -> None:
        cut_off_the_nearest(site)
        began = trio.current_time()
        with pytest.raises(PeersUnreachable, match=r"no answer directly .* until the 0.5 s of lb-retry-max were over"):
            await site.source.dial()
        assert trio.current_time() - began == pytest.approx(0.5, abs=0.01)
        assert await site.dial() == "2"

    simulate(Balancing(policy=BalancePolicy.LEAST_LATENCY, retry=BalanceRetry.TIMED, retry_max=500), scenario)
