"""Path MTU discovery over the kernel's network: interfaces that know their MTU, and cables that drop in silence."""

import errno
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from connet_trio.quic import Connection, QuicEngine, open_transport
from connet_trio.quic.datagram_socket import BatchingSocket
from connet_trio.testing.namespaces import Lan, namespaces_permitted, open_lan
from tests.quic.conftest import dialing, listening, open_streams, wall_clock

pytestmark = [
    pytest.mark.needs_netns,
    pytest.mark.skipif(not namespaces_permitted(), reason="needs root and iproute2"),
]

NEAR, FAR = "10.77.4.1", "10.77.4.2"
DATA = random.Random(4).randbytes(4_000_000)


@pytest.fixture
def lan() -> Iterator[Lan]:
    with open_lan({"n": NEAR, "f": FAR}) as made:
        yield made


@attrs.frozen
class Site:
    """A connection from one host to the other."""

    lan: Lan
    socket: BatchingSocket
    dialled: Connection
    accepted: Connection

    async def carry_until(self, size: int) -> None:
        """Carry `DATA` again and again, until the dialer's datagrams have a size."""
        with trio.fail_after(30):
            await self.carry()
            while self.dialled.datagram_size != size:
                await self.carry()

    async def carry(self, half_way: Callable[[], None] = lambda: None) -> None:
        """Send `DATA`, and see it arrive; `half_way` is called when half of it has."""
        ours, theirs = await open_streams(self.dialled, self.accepted)
        digest, received = hashlib.sha256(), 0

        async def send() -> None:
            await ours.send_all(DATA)
            await ours.send_eof()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                while data := await theirs.receive_some():
                    digest.update(data)
                    if received <= len(DATA) // 2 < received + len(data):
                        half_way()
                    received += len(data)
        ours.close()
        theirs.close()
        assert digest.digest() == hashlib.sha256(DATA).digest()


@pytest.fixture(params=QuicEngine, ids=lambda engine: engine.value)
def quic_engine(request: pytest.FixtureRequest) -> QuicEngine:
    engine: QuicEngine = request.param
    return engine


@asynccontextmanager
async def open_site(lan: Lan, quic_engine: QuicEngine) -> AsyncIterator[Site]:
    near, far = BatchingSocket(lan.udp_socket("n")), BatchingSocket(lan.udp_socket("f"))
    async with (
        open_transport(far, wall_clock=wall_clock, listening=listening(), quic_engine=quic_engine) as listener,
        open_transport(near, wall_clock=wall_clock, quic_engine=quic_engine) as dialer,
    ):
        dialled = await dialer.dial(listener.local_address, dialing())
        yield Site(lan, near, dialled, await listener.accept())


async def test_an_ethernet_is_filled(lan: Lan, quic_engine: QuicEngine) -> None:
    async with open_site(lan, quic_engine) as site:
        await site.carry_until(1472)


async def test_a_cable_that_drops_what_is_too_large_is_measured(lan: Lan, quic_engine: QuicEngine) -> None:
    lan.narrow("f", 1400)
    async with open_site(lan, quic_engine) as site:
        await site.carry_until(1357)


async def test_what_the_interface_refuses_counts_as_lost(lan: Lan, quic_engine: QuicEngine) -> None:
    lan.set_mtu("n", 1400)
    async with open_site(lan, quic_engine) as site:
        await site.carry_until(1357)
        assert site.socket.counters.send_errors[errno.EMSGSIZE] >= 3


@pytest.mark.parametrize("where", ["cable", "interface"])
async def test_a_transfer_outlives_an_mtu_that_is_lowered_in_its_middle(
    lan: Lan, quic_engine: QuicEngine, where: str
) -> None:
    lower = partial(lan.narrow, "f", 1400) if where == "cable" else partial(lan.set_mtu, "n", 1400)
    async with open_site(lan, quic_engine) as site:
        await site.carry_until(1472)
        await site.carry(lower)
        await site.carry_until(1357)
        assert site.dialled.lost is None


async def test_jumbo_frames_are_used(lan: Lan, quic_engine: QuicEngine) -> None:
    for host in ("n", "f"):
        lan.narrow(host, 9000)
        lan.set_mtu(host, 9000)
    async with open_site(lan, quic_engine) as site:
        await site.carry_until(8952)
