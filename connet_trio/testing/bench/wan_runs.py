"""Throughput over simulated wide-area links. Virtual time, no CPU in the figures, repeatable; see `scripts/bench wan`.

Between two hosts lies a bottleneck with a rate, a queue, a round trip and some bad luck; a flow is one connection that
carries bulk data over it, on several streams so that the flow control of one is not what is measured. Goodput is what
the receivers read, from the end of the handshake on; IP and UDP headers take 2.3 % of the rate.
"""

import random
from contextlib import AsyncExitStack
from functools import partial

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
