"""One chaos run: a plan is drawn, carried out in virtual time, and judged."""

import logging
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from connet_trio.quic import QuicEngine
from connet_trio.testing.chaos import invariants
from connet_trio.testing.chaos.drawing import DEFAULT_MINUTES, draw_plan
from connet_trio.testing.chaos.faults import carry_out
from connet_trio.testing.chaos.plan import Plan, TransferPlan
from connet_trio.testing.chaos.transfers import Traffic
from connet_trio.testing.chaos.world import World
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import open_network
from connet_trio.testing.trace import readable_trace

LOOK_SECONDS = 0.5
"""Between two looks at something that is to become true."""
TRACE_DATAGRAMS = 500_000
"""The last of them, in a trace."""
GONE_SECONDS = 3.0
"""After which nobody knows of a client that said goodbye, or of a relay."""
UNHEARD_SECONDS = 60.0
"""The same where the goodbye may be lost: the idle timeout, and the expiry."""
ENDED_SECONDS = 20.0
"""What everybody needs at most to come to an end."""
FIRST_FINAL_TRANSFER = 1000


@attrs.frozen(kw_only=True)
class Run:
    """What is to be run."""

    seed: int
    scenario: str = "mixed"
    minutes: float = DEFAULT_MINUTES
    engine: QuicEngine = QuicEngine.FAST


@attrs.define(kw_only=True)
class Outcome:
    """What has come of a run."""

    run: Run
    violations: list[str] = attrs.field(factory=list)
    """What was not as it should be, a sentence each; empty for a run that passed."""
    connected_after: float = 0.0
    """Seconds after the last fault until everybody had found everybody."""
    whole: int = 0
    """Transfers that arrived whole on both sides."""
    transfers: int = 0
    datagrams: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    trace: tuple[str, ...] = ()
    """Lines for people, if asked for."""


def run_plan(run: Run, *, traced: bool = False) -> Outcome:
    """Draw the plan of a run, carry it out and judge it; raises nothing that the product could cause."""
    plan = draw_plan(run.seed, scenario=run.scenario, minutes=run.minutes)
    outcome = Outcome(run=run)
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="connet-chaos-") as directory, _logs() as logs:
        conduct = partial(_conduct, plan, run.engine, Path(directory), outcome, logs, TRACE_DATAGRAMS if traced else 0)
        try:
            run_simulated(conduct, seed=run.seed)
        except Exception:  # noqa: BLE001  # a defect of the product is what is looked for, and the next seed is to run
            outcome.violations.append(f"crashed: {traceback.format_exc()}")
    outcome.violations += invariants.remains()
    outcome.violations += logs.errors
    outcome.cpu_seconds = time.process_time() - began
    return outcome


async def _conduct(
    plan: Plan, engine: QuicEngine, directory: Path, outcome: Outcome, logs: "_Logs", trace_limit: int
) -> None:
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    async with (
        open_network(plan.seed, link=plan.link, trace_limit=trace_limit) as network,
        trio.open_nursery() as tasks,
    ):
        world = World(plan, engine, network, directory, tasks)
        logs.note = world.note
        try:
            await _Story(world, outcome).tell()
        finally:
            if trace_limit:
                outcome.trace = tuple(readable_trace(network.trace, world.notes, names=world.names))
            outcome.datagrams = network.fates.total()
            outcome.virtual_seconds = trio.current_time()
        tasks.cancel_scope.cancel()
    tasks_left = trio.lowlevel.current_statistics().tasks_living - tasks_before
    if tasks_left:
        outcome.violations.append(f"{tasks_left} tasks are left")


class _Story:
    """Begin, trouble, peace, and an end that leaves nothing."""

    def __init__(self, world: World, outcome: Outcome) -> None:
        self._world = world
        self._plan = world.plan
        self._outcome = outcome
        self._traffic = Traffic(world)
        self._finals = 0

    async def tell(self) -> None:
        """All of it."""
        world, plan = self._world, self._plan
        world.start(self._traffic.serve)
        async with trio.open_nursery() as trouble:
            for fault in plan.faults:
                trouble.start_soon(carry_out, world, fault)
            for transfer in plan.transfers:
                trouble.start_soon(self._transfer, transfer)
            await trio.sleep_until(plan.quiet_at)
            world.note("nothing is wrong any more")
            await self._find_peace()
            trouble.cancel_scope.cancel()
        await self._leave()
        self._outcome.violations += self._traffic.violations
        self._outcome.transfers = len(plan.transfers)
        done = [self._traffic.transfers.get(transfer.number) for transfer in plan.transfers]
        self._outcome.whole = sum(transfer is not None and transfer.is_whole for transfer in done)

    async def _transfer(self, plan: TransferPlan) -> None:
        await trio.sleep_until(plan.at)
        self._world.note(
            f"transfer {plan.number} begins at {plan.source} for {plan.service}: "
            f"{plan.bytes_up} bytes up, {plan.bytes_down} down"
        )
        self._world.note(str(await self._traffic.run(plan)))

    async def _find_peace(self) -> None:
        """What is to be true again, each by its time."""
        world, quiet_at = self._world, self._plan.quiet_at
        connected = quiet_at + invariants.CONNECTED_SECONDS
        await self._of_each_source(self._talk_again, connected)
        await self._expect("not connected", connected, partial(invariants.unconnected, world))
        self._outcome.connected_after = trio.current_time() - quiet_at
        world.note("everybody has found everybody")
        await trio.sleep_until(quiet_at + invariants.NOTICED_SECONDS)
        await self._of_each_source(self._talk_once, trio.current_time() + invariants.TALKED_SECONDS)
        last_begin = max((plan.at for plan in self._plan.transfers), default=0.0)
        talked = max(quiet_at, last_begin) + invariants.TALKED_SECONDS
        await trio.sleep_until(last_begin + LOOK_SECONDS)
        await self._expect("hangs", talked, lambda: map(str, self._traffic.open))
        known = partial(invariants.registrations_left, world)
        await self._expect("not as it is", quiet_at + invariants.FORGOTTEN_SECONDS, known)
        await self._expect("indirect", quiet_at + invariants.DIRECT_SECONDS, partial(invariants.indirect, world))
        settled = trio.current_time() + invariants.FORGOTTEN_SECONDS
        await self._expect("left over", settled, partial(invariants.connections_left, world), look=5.0)
        settled = trio.current_time() + invariants.FORGOTTEN_SECONDS
        await self._expect("left over", settled, partial(invariants.memory_left, world), look=5.0)

    async def _of_each_source(self, talk: Callable[[TransferPlan], Awaitable[None]], until: float) -> None:
        """Have every source talk; who is not done at the bound is a violation."""
        async with trio.open_nursery() as nursery:
            for service in self._plan.services:
                for source in service.sources:
                    nursery.start_soon(self._bounded, talk, service.name, source, until)

    async def _bounded(
        self, talk: Callable[[TransferPlan], Awaitable[None]], service: str, source: str, until: float
    ) -> None:
        self._finals += 1
        plan = TransferPlan(
            number=FIRST_FINAL_TRANSFER * self._finals,
            at=trio.current_time(),
            service=service,
            source=source,
            bytes_up=3000,
            bytes_down=20_000,
            chunk_bytes=8000,
            write_pause=0.0,
            read_pause=0.0,
        )
        with trio.move_on_at(until) as scope:
            await talk(plan)
        if scope.cancelled_caught:
            latest = list(self._traffic.transfers.values())[-1]
            self._violate(f"{source} does not reach {service} when all is well; the latest: {latest}")

    async def _talk_again(self, plan: TransferPlan) -> None:
        """Try until it works."""
        while True:
            transfer = await self._traffic.run(plan)
            await self._traffic.wait_served(transfer)
            if transfer.is_whole:
                return
            self._world.note(f"not yet: {transfer}")
            await trio.sleep(LOOK_SECONDS)
            plan = attrs.evolve(plan, number=plan.number + 1)

    async def _talk_once(self, plan: TransferPlan) -> None:
        transfer = await self._traffic.run(plan)
        await self._traffic.wait_served(transfer)
        if not transfer.is_whole:
            self._violate(f"when all was well: {transfer}")

    async def _leave(self) -> None:
        """Everybody goes, clients first, and nobody knows of them any more."""
        world = self._world
        seconds = GONE_SECONDS if world.plan.link.loss == 0 else UNHEARD_SECONDS
        for client in world.clients.values():
            client.stop()
        known = partial(invariants.clients_left, world)
        await self._expect("when all clients had left", trio.current_time() + seconds, known)
        for relay in world.relays.values():
            relay.stop()
        known = partial(invariants.relays_left, world)
        await self._expect("when all relays had left", trio.current_time() + seconds, known)
        world.control.stop()
        await trio.sleep(ENDED_SECONDS)
        self._outcome.violations += invariants.things_left(world)

    async def _expect(
        self, what: str, until: float, check: Callable[[], Iterable[str]], *, look: float = LOOK_SECONDS
    ) -> None:
        """Look again and again until `check` finds nothing; what it finds at the bound are violations."""
        while found := list(check()):
            if trio.current_time() >= until:
                for text in found:
                    self._violate(f"{what}: {text}")
                return
            await trio.sleep(look)

    def _violate(self, text: str) -> None:
        self._world.note(f"VIOLATION {text}")
        self._outcome.violations.append(f"at {trio.current_time():.3f} s, {text}")


class _Logs(logging.Handler):
    """What the product logs, as notes; errors as violations."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.errors: list[str] = []
        self.note: Callable[[str], None] = lambda text: None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self.note(f"{record.name.rpartition('.')[2]}: {record.getMessage()}")
        if record.levelno >= logging.ERROR:
            self.errors.append(f"logged as an error: {logging.Formatter().format(record)}")


@contextmanager
def _logs() -> Iterator[_Logs]:
    product, logs = logging.getLogger("connet_trio"), _Logs()
    level, propagate = product.level, product.propagate
    product.addHandler(logs)
    product.setLevel(logging.INFO)
    product.propagate = False
    try:
        yield logs
    finally:
        product.removeHandler(logs)
        product.setLevel(level)
        product.propagate = propagate
