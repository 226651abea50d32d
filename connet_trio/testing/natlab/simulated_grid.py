"""The grid of the simulated network: the same clients in virtual time, each pair in a deployment of its own."""

from collections.abc import Sequence
from functools import partial

import attrs
import trio

from connet_trio.endpoints import Destination, Source
from connet_trio.errors import ConnetError, DialFailed
from connet_trio.records.status import PathStyle, PeerStatus
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import CONTROL_HOST, START, Deployment, echo_stream, exchange, simulated_deployment
from connet_trio.testing.hosts import Host
from connet_trio.testing.links import Link
from connet_trio.testing.natlab.grid import Cell, Grid, describe
from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Pair, Way
from connet_trio.testing.natlab.simulated_sites import SimulatedSites, check_simulated

SERVERS = CONTROL_HOST, "198.51.100.1"
DIRECT = (PathStyle.INCOMING, PathStyle.OUTGOING)
SETTLE_SECONDS = 10.0
ECHO_SECONDS = 15.0
DATA = b"x" * 20_000


def simulated_grid(
    kinds: Sequence[NatKind], neighbours: Sequence[Neighbours] = (), *, link: Link, seed: int | str = 0
) -> Grid:
    """Every pair of kinds, and every kind of neighbours, each from the same seed.

    Args:
      link: what each access to the internet but the servers' is like, each way.

    Raises:
      ValueError: a kind exists in the kernel only.
    """
    check_simulated(kinds)
    pairs = [(one, other) for one in kinds for other in kinds]
    return Grid(
        title=f"Simulated NATs, {describe(link)}",
        kinds=kinds,
        cells={pair: _simulate(pair, link, seed) for pair in pairs},
        neighbours={each: _simulate(each, link, seed) for each in neighbours},
    )


def _simulate(pair: Pair, link: Link, seed: int | str) -> Cell:
    async def run() -> Cell:
        async with simulated_deployment(seed=seed, link=attrs.evolve(link, delay=2 * link.delay)) as deployment:
            return await _measure(deployment, *SimulatedSites(deployment.network, link, SERVERS).add_pair(pair))

    return run_simulated(run, seed=seed)


async def _measure(deployment: Deployment, first: Host, second: Host) -> Cell:
    """What becomes of a destination on one host and a source on another."""
    try:
        offering = await deployment.add_client(first, behind=None)
        using = await deployment.add_client(second, behind=None)
    except DialFailed as exc:
        return Cell(Way.FAILED, why=str(exc))
    destination = await offering.add_destination("echo")
    source = await using.add_source("echo")
    announced = START + trio.current_time()
    with trio.move_on_after(SETTLE_SECONDS):
        await _wait_direct(source, destination)
    echoed = await _echoes(destination, source)
    peer, back = _peer(source), _peer(destination)
    if not echoed or peer is None or back is None:
        return Cell(Way.FAILED, why="" if peer is None else peer.why)
    carried = sum(path.bytes_in for path in peer.connections if path.style in DIRECT)
    if carried < len(DATA) or peer.since is None or back.since is None:
        return Cell(Way.RELAY, why=peer.why)
    return Cell(Way.DIRECT, max(peer.since, back.since) - announced)


async def _wait_direct(*ends: Source | Destination) -> None:
    while True:
        if all(map(_is_direct, ends)):
            return
        await trio.sleep(0.01)


async def _echoes(destination: Destination, source: Source) -> bool:
    """Whether bytes come back."""
    with trio.move_on_after(ECHO_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            try:
                return await exchange(await source.dial(), DATA) == DATA
            except ConnetError:
                return False
            finally:
                nursery.cancel_scope.cancel()
    return False


def _peer(endpoint: Source | Destination) -> PeerStatus | None:
    return next(iter(endpoint.log.status().peers.values()), None)


def _is_direct(endpoint: Source | Destination) -> bool:
    peer = _peer(endpoint)
    return peer is not None and peer.path in DIRECT
