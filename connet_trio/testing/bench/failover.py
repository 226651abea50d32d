"""How long a dial takes when the best path has just died, in virtual time."""

import statistics
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from connet_trio.endpoints import Source
from connet_trio.records.model import Route
from connet_trio.records.status import PathStyle
from connet_trio.testing.bench.plan import BenchFailed
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import echo_stream, exchange, simulated_deployment
from connet_trio.testing.links import Link

ONE_WAY_SECONDS = 0.02
DIRECT_SECONDS = 30.0
POLL_SECONDS = 0.1


@attrs.frozen(kw_only=True)
class Failover:
    """Seconds from the dial to the answer on the next path, for each seed."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the seeds."""
        return statistics.median(self.seconds)


def simulate_failover(seeds: Sequence[int]) -> Failover:
    """Two clients talk directly until nothing gets through between them; the relay is still there.

    Raises:
      BenchFailed: they never found each other.
    """
    return Failover(seconds=tuple(run_simulated(_simulate, seed, seed=seed) for seed in seeds))


async def _simulate(seed: int) -> float:
    async with simulated_deployment(seed=seed, relays=1, link=Link(delay=ONE_WAY_SECONDS)) as deployment:
        destination, source = await deployment.add_pair(route=Route.ANY)
        await _wait_direct(source)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            deployment.network.cut(*map(deployment.host_of, deployment.clients))
            began = trio.current_time()
            answer = await exchange(await source.dial(), b"?")
            seconds = trio.current_time() - began
            nursery.cancel_scope.cancel()
    if answer != b"?":
        raise BenchFailed("the stream that was opened after the best path had died carried nothing")
    return seconds


async def _wait_direct(source: Source) -> None:
    """Wait until the source would dial directly.

    Raises:
      BenchFailed: it never will.
    """
    with trio.move_on_after(DIRECT_SECONDS):
        while True:
            peers = source.log.status().peers.values()
            if any(peer.path in (PathStyle.INCOMING, PathStyle.OUTGOING) for peer in peers):
                return
            await trio.sleep(POLL_SECONDS)
    raise BenchFailed("two simulated clients do not find each other")
