"""Throughput over simulated wide-area links: `scripts/bench-wan`. Virtual time, no CPU in the figures, repeatable.

Between two hosts lies a bottleneck with a rate, a queue, a round trip and some bad luck; a flow is one connection that
carries bulk data over it, on several streams so that the flow control of one is not what is measured. Goodput is what
the receivers read, from the end of the handshake on; IP and UDP headers take 2.3 % of the rate.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from multiprocessing import get_context
from typing import Any

import attrs
import trio

from connet_trio.identity import EndpointIdentity, PinnedServer, Realm, check_client, issue_identity
from connet_trio.quic import (
    Answer,
    CongestionControl,
    CongestionTrace,
    Connection,
    Dialing,
    Listening,
    QuicEngine,
    Stream,
    Windows,
    open_transport,
)
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import Fate, Link, SimulatedNetwork, open_network

ALPN = "connet-trio-bench/1"
WALL_NOW = 1_800_000_000.0
CHUNK = bytes(1 << 16)
STREAMS = 4
WINDOWS = Windows(stream=6 << 20, connection=24 << 20)
HANDSHAKE_SECONDS = 30.0
SENDER, RECEIVER = "192.0.2.1", "192.0.2.2"


@attrs.frozen(kw_only=True)
class Wan:
    """A bottleneck, the same both ways."""

    megabits: float = 100.0
    """10^6 bits per second, IP headers included."""
    rtt_ms: float = 40.0
    queue_kib: int = 256
    loss: float = 0.0
    reordering: float = 0.0

    @property
    def link(self) -> Link:
        """As the simulated network takes it."""
        return Link(
            delay=self.rtt_ms / 2000,
            rate=self.megabits * 125_000,
            queue_bytes=self.queue_kib << 10,
            loss=self.loss,
            reordering=self.reordering,
        )


@attrs.frozen(kw_only=True)
class Run:
    """What to simulate."""

    wan: Wan
    flows: tuple[CongestionControl, ...]
    seconds: float = 10.0
    """From the handshake of the first flow."""
    lag: float = 0.0
    """Seconds by which each flow begins after the one before; figures count from the last."""
    seed: int = 1
    engine: QuicEngine = QuicEngine.FAST


@attrs.frozen(kw_only=True)
class Outcome:
    """What came out of a run."""

    megabits: tuple[float, ...]
    """Of each flow, 10^6 bits of stream data per second."""
    dropped: float
    """Share of the datagrams that found the queue full."""
    traces: tuple[CongestionTrace, ...]
    """Of each sender, at the end."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Of each flow, in all that was carried."""
        return tuple(each / sum(self.megabits) for each in self.megabits)


class Flow:
    """One connection, with bulk data on it."""

    def __init__(self, control: CongestionControl, engine: QuicEngine, number: int, seed: int) -> None:
        self._control, self._engine = control, engine
        self._number = number
        self._entropy = random.Random(f"{seed} flow {number}").randbytes
        self.received = 0
        """Bytes of stream data that the receiver has read."""
        self.connection: Connection | None = None

    async def run(
        self, network: SimulatedNetwork, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Send until cancelled; started once the handshake is done."""
        sender, receiver = _identities()
        async with AsyncExitStack() as stack:
            open_end = partial(
                open_transport,
                wall_clock=lambda: WALL_NOW,
                congestion_control=self._control,
                quic_engine=self._engine,
            )
            there = await stack.enter_async_context(
                open_end(network.socket(f"{RECEIVER}:{4000 + self._number}"), listening=_listening(sender, receiver))
            )
            here = await stack.enter_async_context(
                open_end(network.socket(f"{SENDER}:{5000 + self._number}"), entropy=self._entropy)
            )
            with trio.fail_after(HANDSHAKE_SECONDS):
                self.connection = await here.dial(there.local_address, _dialing(sender, receiver))
                accepted = await there.accept()
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive_all, accepted, nursery)
                for _ in range(STREAMS):
                    nursery.start_soon(_send, await self.connection.open_stream())

    async def _receive_all(self, accepted: Connection, nursery: trio.Nursery) -> None:
        while True:
            nursery.start_soon(self._receive, await accepted.accept_stream())

    async def _receive(self, stream: Stream) -> None:
        while data := await stream.receive_some():
            self.received += len(data)


def simulate(run: Run) -> Outcome:
    """Carry out `run` in virtual time."""
    return run_simulated(_simulate, run, seed=run.seed)


async def _simulate(run: Run) -> Outcome:
    flows = [Flow(control, run.engine, number, run.seed) for number, control in enumerate(run.flows)]
    async with open_network(run.seed, link=run.wan.link) as network, trio.open_nursery() as nursery:
        for flow in flows:
            if flow is not flows[0]:
                await trio.sleep(run.lag)
            await nursery.start(flow.run, network)
        before, began = [flow.received for flow in flows], trio.current_time()
        await trio.sleep(run.seconds)
        elapsed = trio.current_time() - began
        received = [flow.received - start for flow, start in zip(flows, before, strict=True)]
        traces = [flow.connection.congestion_trace() for flow in flows if flow.connection is not None]
        nursery.cancel_scope.cancel()
    return Outcome(
        megabits=tuple(count * 8 / 1e6 / elapsed for count in received),
        dropped=network.fates[Fate.QUEUE_FULL] / network.fates.total(),
        traces=tuple(traces),
    )


async def _send(stream: Stream) -> None:
    while True:
        await stream.send_all(CHUNK)


def main() -> None:
    """Print a table, row by row as it comes."""
    options = _parser().parse_args()
    runs = list(_runs(options))
    with get_context("spawn").Pool(options.processes) as pool:
        outcomes = []
        if not options.json:
            print(HEADER)
        for run, outcome in zip(runs, pool.imap(simulate, runs), strict=True):
            outcomes.append({"run": _plain(run), "outcome": _plain(outcome)})
            if not options.json:
                print(_row(run, outcome), flush=True)
    if options.json:
        print(json.dumps(outcomes, indent=1))


HEADER = f"{'flows':<22}  Mbit/s     RTT   queue    loss  reord.  seed    s {'Mbit/s of each':>25}  least    drops"


def _row(run: Run, outcome: Outcome) -> str:
    wan = run.wan
    flows = "+".join(control.value for control in run.flows)
    goodput = " + ".join(f"{each:.1f}" for each in outcome.megabits)
    share = f"{min(outcome.shares):.0%}" if len(run.flows) > 1 else ""
    return (
        f"{flows:<22} {wan.megabits:>7g} {wan.rtt_ms:>4g} ms {wan.queue_kib:>3} KiB {wan.loss:>7.1%} "
        f"{wan.reordering:>7.1%} {run.seed:>5} {run.seconds:>4g} {goodput:>25} {share:>6} {outcome.dropped:>8.2%}"
    )


def _plain(record: Run | Outcome) -> object:
    return attrs.asdict(record, value_serializer=lambda _, __, value: getattr(value, "value", value))


def _runs(options: argparse.Namespace) -> Iterator[Run]:
    """Each control alone under each loss, without loss and with reordering, then each beside cubic."""
    path = Wan(megabits=options.rate, rtt_ms=options.rtt, queue_kib=options.queue)
    paths = [attrs.evolve(path, loss=percent / 100) for percent in options.loss]
    paths += [attrs.evolve(path, reordering=percent / 100) for percent in options.reordering]
    for control in options.control:
        for wan in paths:
            for seed in options.seeds:
                yield Run(wan=wan, flows=(control,), seconds=options.seconds, seed=seed, engine=options.engine)
    if options.beside_seconds:
        for control in options.control:
            if control is not CongestionControl.CUBIC:
                flows = (control, CongestionControl.CUBIC)
                yield Run(
                    wan=path,
                    flows=flows,
                    seconds=options.beside_seconds,
                    lag=1.0,
                    seed=options.seeds[0],
                    engine=options.engine,
                )


def _parser() -> argparse.ArgumentParser:
    def listed(parse: Callable[[str], Any]) -> Callable[[str], list[Any]]:
        return lambda text: [parse(each) for each in text.split(",") if each]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    names = ", ".join(control.value for control in CongestionControl)
    add("--control", type=listed(CongestionControl), default=list(CongestionControl), help=f"any of {names}")
    add("--engine", type=QuicEngine, default=QuicEngine.FAST, help="fast or stock (default fast)")
    add("--rate", type=float, default=100.0, help="Mbit/s of the bottleneck (default 100)")
    add("--rtt", type=float, default=40.0, help="ms there and back, without a queue (default 40)")
    add("--queue", type=int, default=256, help="KiB that wait before the bottleneck (default 256)")
    add("--loss", type=listed(float), default=[0.0, 0.5, 2.0], help="percent, each on its own (default 0,0.5,2)")
    add(
        "--reordering", type=listed(float), default=[1.0], help="percent late by 1 to 5 ms, each on its own (default 1)"
    )
    add("--seconds", type=float, default=15.0, help="of virtual time for each figure (default 15)")
    add("--beside-seconds", type=float, default=60.0, help="for two flows on one bottleneck, 0: none (default 60)")
    add("--seeds", type=listed(int), default=[1], help="of the network's luck (default 1)")
    add("--processes", type=int, default=1, help="that simulate, side by side (default 1)")
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _listening(sender: EndpointIdentity, receiver: EndpointIdentity) -> Listening:
    answer = Answer(
        credential=receiver.server,
        alpns=(ALPN,),
        client_trust=lambda leaf, wall_now: check_client(leaf, {sender.client.der}, wall_now),
    )
    return Listening(choose=lambda name: answer, windows=WINDOWS)


def _dialing(sender: EndpointIdentity, receiver: EndpointIdentity) -> Dialing:
    return Dialing(
        alpns=(ALPN,),
        trust=PinnedServer(receiver.server.der, receiver.name),
        server_name=receiver.name,
        credential=sender.client,
    )


def _identities() -> tuple[EndpointIdentity, EndpointIdentity]:
    issue = partial(issue_identity, Realm.PEER, wall_now=WALL_NOW)
    return issue(entropy=random.Random("sender").randbytes), issue(entropy=random.Random("receiver").randbytes)


if __name__ == "__main__":
    main()
