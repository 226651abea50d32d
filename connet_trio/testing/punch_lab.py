"""Control nodes of punching, and its peers, as real code on simulated networks."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.punch import OpenHole, PunchControlSettings, PunchFailed, PunchSettings, punch, run_punch_control
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import PunchName
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import simulated_surroundings
from connet_trio.testing.hosts import LOOPBACK, Host
from connet_trio.testing.links import Link
from connet_trio.testing.nat import NatBehavior
from connet_trio.testing.network import SimulatedNetwork, open_network

CONTROL, CONTROL_PORT = "198.51.100.1", 7777
SECOND = HostPort("198.51.100.2", 7778)
SECRET = b"TheSecretWord"
LINK = Link(delay=0.025)
T = TypeVar("T")


@attrs.define
class PunchLab:
    """A simulated network and what runs on it."""

    network: SimulatedNetwork
    nursery: trio.Nursery
    sites: int = 0
    _kept: list[OpenHole | PunchFailed] = attrs.field(factory=list)
    _ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def control(self) -> AddressPort:
        """Where the control node is, if it is where it usually is."""
        return AddressPort(ip_address(CONTROL), CONTROL_PORT)

    async def start_control(
        self,
        *,
        address: str = CONTROL,
        second: HostPort | None = SECOND,
        secret: bytes = SECRET,
        hidden: bool = False,
    ) -> None:
        """A control node of ours on a host with two addresses."""
        if address != CONTROL:
            second = None
        settings = PunchControlSettings(
            local=HostPort(address, CONTROL_PORT), secret=secret, second=second, answers_strangers=not hidden
        )
        host = self.network.host(address) if second is None else self.network.host(address, SECOND.host)
        surroundings = simulated_surroundings(self.network, host, 1)
        await self.nursery.start(partial(run_punch_control, settings, surroundings=surroundings))

    def add_site(self, behavior: NatBehavior | None) -> Host:
        """A host on the internet, behind a firewall there, or at 10.0.0.2 behind a NAT."""
        self.sites += 1
        outside = f"203.0.113.{self.sites}"
        if behavior is None:
            return self.network.host(outside)
        if not behavior.translates:
            return self.network.host(outside, behind=self.network.add_router(behavior))
        return self.network.host("10.0.0.2", behind=self.network.add_router(behavior, outside))

    async def punch(
        self,
        host: Host,
        name: str,
        *,
        port: int = 5000,
        control: str = CONTROL,
        secret: bytes = SECRET,
        time_limit: float | None = 20.0,
    ) -> OpenHole:
        """What `punch` returns on `host`, or raises."""
        settings = PunchSettings(
            name=PunchName.parse(name),
            local=HostPort("", port),
            control=HostPort(control, CONTROL_PORT),
            secret=secret,
            time_limit=time_limit,
        )
        return await punch(settings, surroundings=simulated_surroundings(self.network, host, name))

    async def outcome(self, host: Host, name: str, *, after: float = 0.0, **options: object) -> OpenHole | PunchFailed:
        """The same, with a failure as a value."""
        await trio.sleep(after)
        try:
            return await self.punch(host, name, **options)  # type: ignore[arg-type]
        except PunchFailed as failure:
            return failure

    async def punch_until_asleep(self, host: Host, name: str) -> None:
        """Start a peer that finds no partner, and return when it waits for one."""
        self.nursery.start_soon(self._keep, host, name)
        await trio.sleep(1)

    async def kept_outcome(self) -> OpenHole | PunchFailed:
        """What has become of that peer, when something has."""
        await self._ended.wait()
        return self._kept[0]

    async def _keep(self, host: Host, name: str) -> None:
        self._kept.append(await self.outcome(host, name))
        self._ended.set()

    @staticmethod
    def place(host: Host, port: int = 5000) -> AddressPort:
        """Where a peer on a host is, inside."""
        return AddressPort(host.interfaces()[len(LOOPBACK)].address, port)


async def check_hole(one: Host, hole: OpenHole, other: Host, back: OpenHole) -> None:
    """Send through a hole both ways, from the ports that made it, without delay.

    Raises:
      AssertionError: something does not arrive, or from elsewhere than was told.
    """
    sockets = one.socket(hole.port), other.socket(back.port)
    for sender, receiver, to, source in (
        (sockets[0], sockets[1], hole.remote, back.remote),
        (sockets[1], sockets[0], back.remote, hole.remote),
    ):
        sender.send_batch([(b"through", sender.path_to(to))])
        with trio.fail_after(1):
            await receiver.wait_readable()
        [(data, path)] = receiver.receive_batch()
        assert (data, path.remote_address) == (b"through", source)
    for socket in sockets:
        socket.close()


async def together(*tasks: Callable[[], Awaitable[T]]) -> list[T]:
    """What several tasks return, in their order."""
    results: dict[int, T] = {}

    async def run(number: int, task: Callable[[], Awaitable[T]]) -> None:
        results[number] = await task()

    async with trio.open_nursery() as nursery:
        for number, task in enumerate(tasks):
            nursery.start_soon(run, number, task)
    return [results[number] for number in range(len(tasks))]


@asynccontextmanager
async def open_lab(seed: str, link: Link) -> AsyncIterator[PunchLab]:
    """A network on which nothing runs yet."""
    with single_error():
        async with open_network(seed, link=link) as network, trio.open_nursery() as nursery:
            yield PunchLab(network, nursery)
            nursery.cancel_scope.cancel()


def simulate(scenario: Callable[[PunchLab], Awaitable[T]], *, seed: str = "1", link: Link = LINK) -> T:
    """What `scenario` returns, in virtual time."""

    async def run() -> T:
        async with open_lab(seed, link) as lab:
            return await scenario(lab)

    return run_simulated(run, seed=seed)
