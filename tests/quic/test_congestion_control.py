"""Congestion control of real connections over a simulated bottleneck that changes while they send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import attrs
import pytest
import trio

from connet_trio.quic import CongestionControl, CongestionTrace, Connection, Stream, open_transport
from connet_trio.quic.pacing import WINDOW_GAIN
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import Fate, Link, SimulatedNetwork, open_network
from tests.quic.conftest import FAR, NEAR, dialing, listening, wall_clock

RATE = 500_000
BOTTLENECK = Link(delay=0.03, rate=RATE, queue_bytes=40_000)
"""4 Mbit/s and 60 ms, whose product is 30 kB."""
CONTROLS = [CongestionControl.CUBIC, CongestionControl.BBR]


@attrs.define
class Bulk:
    """A connection whose dialer sends all it may."""

    network: SimulatedNetwork
    dialled: Connection
    received: int = 0
    trickles: bool = False
    """Whether the application writes 40 kB/s only."""

    @property
    def trace(self) -> CongestionTrace:
        return self.dialled.congestion_trace()

    async def rate(self, seconds: float) -> float:
        """Bytes per second that arrive in the next `seconds`."""
        before = self.received
        await trio.sleep(seconds)
        return (self.received - before) / seconds

    def change(self, **changes: object) -> None:
        """Another link from now on."""
        link = attrs.evolve(BOTTLENECK, **changes)  # type: ignore[arg-type]
        self.network.set_link(FAR.partition(":")[0], NEAR.partition(":")[0], link)

    async def send(self, stream: Stream) -> None:
        while True:
            await stream.send_all(bytes(2000 if self.trickles else 20_000))
            if self.trickles:
                await trio.sleep(0.05)

    async def receive(self, stream: Stream) -> None:
        while data := await stream.receive_some():
            self.received += len(data)


@asynccontextmanager
async def open_bulk(
    control: CongestionControl, link: Link = BOTTLENECK, seed: int = 1, *, trickles: bool = False
) -> AsyncIterator[Bulk]:
    async with (
        open_network(seed, link=link) as network,
        open_transport(network.socket(FAR), wall_clock=wall_clock, listening=listening()) as listener,
        open_transport(
            network.socket(NEAR), wall_clock=wall_clock, congestion_control=control, entropy=Random(seed).randbytes
        ) as dialer,
        trio.open_nursery() as nursery,
    ):
        bulk = Bulk(network, await dialer.dial(listener.local_address, dialing()), trickles=trickles)
        nursery.start_soon(bulk.send, await bulk.dialled.open_stream())
        nursery.start_soon(bulk.receive, await (await listener.accept()).accept_stream())
        yield bulk
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("control", CongestionControl)
def test_a_rate_that_falls_and_rises_again_is_followed(control: CongestionControl) -> None:
    async def scenario() -> tuple[list[float], list[CongestionTrace]]:
        rates, traces = [], []
        async with open_bulk(control) as bulk:
            # BBR is sure that a rate is gone when it has probed for it twice; what waits behind a loss is read late
            for link, settling, seconds in ((RATE, 3, 1), (RATE / 5, 13, 8), (RATE, 6, 1)):
                bulk.change(rate=link)
                await trio.sleep(settling)
                rates.append(await bulk.rate(seconds))
                traces.append(bulk.trace)
        return rates, traces

    (full, slow, again), traces = run_simulated(scenario, seed=1)
    assert full > 0.85 * RATE
    assert slow == pytest.approx(0.95 * RATE / 5, rel=0.1)
    assert again > 0.75 * RATE
    for rate, trace in zip((full, slow, again), traces, strict=True):
        assert trace.datagram_bytes == 1472, "the path MTU has nothing to do with it"
        assert trace.pacing_rate == pytest.approx(rate, rel=0.5)
        if control is CongestionControl.CUBIC:
            assert trace.state == "avoidance"
        else:
            assert trace.state.startswith("probe-")
            assert trace.bandwidth == pytest.approx(rate, rel=0.25)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_link_that_takes_smaller_datagrams_goes_on_when_it_takes_ours_again(control: CongestionControl) -> None:
    async def scenario() -> float:
        async with open_bulk(control) as bulk:
            await trio.sleep(2)
            bulk.change(mtu=1000)
            assert await bulk.rate(1.5) < 0.2 * RATE
            assert bulk.network.fates[Fate.TOO_BIG] > 0
            bulk.change()
            await trio.sleep(4)
            return await bulk.rate(1)

    assert run_simulated(scenario, seed=1) > 0.7 * RATE


def test_bbr_reports_its_states_rate_and_round_trip_as_they_come() -> None:
    async def scenario() -> set[str]:
        states: set[str] = set()
        async with open_bulk(CongestionControl.BBR) as bulk:
            assert bulk.trace.state == "startup"
            for _ in range(650):
                await trio.sleep(0.01)
                states.add(bulk.trace.state)
            trace = bulk.trace
            assert trace.bandwidth == pytest.approx(RATE, rel=0.1)
            assert trace.min_rtt == pytest.approx(0.062, abs=0.003)
            assert (trace.control, trace.datagram_bytes) == (CongestionControl.BBR, 1472)
        return states

    states = run_simulated(scenario, seed=1)
    assert {"startup", "drain", "probe-cruise", "probe-refill", "probe-up", "probe-rtt"} <= states


def test_cubic_reports_its_phase_and_measures_no_rate() -> None:
    async def scenario() -> None:
        async with open_bulk(CongestionControl.CUBIC) as bulk:
            assert (bulk.trace.state, bulk.trace.bandwidth) == ("slow-start", None)
            await trio.sleep(3)
            trace = bulk.trace
            assert trace.state == "avoidance"
            assert trace.window > 30_000
            assert trace.pacing_rate == pytest.approx(WINDOW_GAIN * trace.window / trace.smoothed_rtt, rel=0.1)

    run_simulated(scenario, seed=1)


@pytest.mark.parametrize("control", CONTROLS)
def test_light_reordering_costs_next_to_nothing(control: CongestionControl) -> None:
    async def scenario() -> float:
        link = attrs.evolve(BOTTLENECK, reordering=0.01, rate=8 * RATE, queue_bytes=8 * 40_000)
        async with open_bulk(control, link) as bulk:
            await trio.sleep(1)
            rate = await bulk.rate(2)
            assert bulk.trace.spurious_losses > 0
            assert (bulk.trace.packet_threshold or 0) > 3
            return rate

    assert run_simulated(scenario, seed=1) > 0.8 * 8 * RATE


def test_bbr_bears_random_loss_that_stops_cubic() -> None:
    def scenario_of(control: CongestionControl) -> float:
        async def scenario() -> float:
            async with open_bulk(control, attrs.evolve(BOTTLENECK, loss=0.01, rate=2 * RATE)) as bulk:
                await trio.sleep(2)
                return await bulk.rate(4)

        return run_simulated(scenario, seed=1)

    cubic, bbr, tolerant = map(scenario_of, CongestionControl)
    assert tolerant > 0.8 * 2 * RATE
    assert bbr > 0.6 * 2 * RATE
    assert cubic < 0.6 * bbr


@pytest.mark.parametrize("control", CONTROLS)
def test_a_blackout_is_over_when_it_is_over(control: CongestionControl) -> None:
    async def scenario() -> float:
        async with open_bulk(control) as bulk:
            await trio.sleep(2)
            bulk.network.cut("192.0.2.1", "192.0.2.2")
            await trio.sleep(2)
            bulk.network.heal("192.0.2.1", "192.0.2.2")
            await trio.sleep(4)
            return await bulk.rate(2)

    assert run_simulated(scenario, seed=1) > 0.7 * RATE


@pytest.mark.parametrize("control", CONTROLS)
def test_after_a_trickle_bulk_does_not_flood_the_queue(control: CongestionControl) -> None:
    async def scenario() -> int:
        async with open_bulk(control, trickles=True) as bulk:
            assert await bulk.rate(20) == pytest.approx(40_000, rel=0.05)
            dropped = bulk.network.fates[Fate.QUEUE_FULL]
            bulk.trickles = False
            assert await bulk.rate(2) > 0.7 * RATE
            return bulk.network.fates[Fate.QUEUE_FULL] - dropped

    assert run_simulated(scenario, seed=1) < 100


def test_a_trickle_does_not_make_bbr_believe_that_the_pipe_is_full() -> None:
    async def scenario() -> str:
        async with open_bulk(CongestionControl.BBR, trickles=True) as bulk:
            await trio.sleep(4)
            return bulk.trace.state

    assert run_simulated(scenario, seed=1) == "startup"


@pytest.mark.parametrize("control", CONTROLS)
def test_a_request_and_its_answer_teach_a_path_that_has_become_slow_at_once(control: CongestionControl) -> None:
    async def scenario() -> None:
        async with (
            open_network(1, link=Link(delay=0.05)) as network,
            open_transport(network.socket(FAR), wall_clock=wall_clock, listening=listening()) as listener,
            open_transport(network.socket(NEAR), wall_clock=wall_clock, congestion_control=control) as dialer,
            trio.open_nursery() as nursery,
        ):
            dialled = await dialer.dial(listener.local_address, dialing())
            stream = await dialled.open_stream()
            nursery.start_soon(answer, stream)
            await stream.send_all(b"?")
            nursery.start_soon(answer, await (await listener.accept()).accept_stream())
            await trio.sleep(3)
            network.set_link("192.0.2.1", "192.0.2.2", Link(delay=0.5))
            await trio.sleep(3)
            before = network.fates.total()
            await trio.sleep(5)
            assert dialled.smoothed_rtt > 0.5
            # request, answer, an acknowledgement of each; and what the last probes on either side brought
            assert network.fates.total() - before <= 5 * 6
            nursery.cancel_scope.cancel()

    async def answer(stream: Stream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    run_simulated(scenario, seed=1)


def test_the_same_seed_gives_the_same_figures() -> None:
    async def scenario() -> tuple[int, int]:
        async with open_bulk(CongestionControl.BBR, attrs.evolve(BOTTLENECK, loss=0.01), seed=5) as bulk:
            await trio.sleep(4)
            return bulk.received, bulk.trace.window

    assert run_simulated(scenario, seed=5) == run_simulated(scenario, seed=5)
