"""Path MTU discovery over the kernel's network: interfaces that know their MTU, and cables that drop in silence."""

import errno
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from connet_trio.quic import Connection, open_transport
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

    async def carry(self) -> None:
        """Send `DATA`, and see it arrive."""
        ours, theirs = await open_streams(self.dialled, self.accepted)
        digest = hashlib.sha256()

        async def send() -> None:
            await ours.send_all(DATA)
            await ours.send_eof()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                while data := await theirs.receive_some():
                    digest.update(data)
        ours.close()
        theirs.close()
        assert digest.digest() == hashlib.sha256(DATA).digest()


@asynccontextmanager
async def open_site(lan: Lan) -> AsyncIterator[Site]:
    near, far = BatchingSocket(lan.udp_socket("n")), BatchingSocket(lan.udp_socket("f"))
    async with (
        open_transport(far, wall_clock=wall_clock, listening=listening()) as listener,
        open_transport(near, wall_clock=wall_clock) as dialer,
    ):
        dialled = await dialer.dial(listener.local_address, dialing())
        yield Site(lan, near, dialled, await listener.accept())


async def test_an_ethernet_is_filled(lan: Lan) -> None:
    async with open_site(lan) as site:
        await site.carry_until(1472)


async def test_a_cable_that_drops_what_is_too_large_is_measured(lan: Lan) -> None:
    lan.narrow("f", 1400)
    async with open_site(lan) as site:
        await site.carry_until(1357)


async def test_what_the_interface_refuses_counts_as_lost(lan: Lan) -> None:
    lan.set_mtu("n", 1400)
    async with open_site(lan) as site:
        await site.carry_until(1357)
        assert site.socket.counters.send_errors[errno.EMSGSIZE] >= 3


@pytest.mark.parametrize("where", ["cable", "interface"])
async def test_a_connection_outlives_an_mtu_that_is_lowered(lan: Lan, where: str) -> None:
    async with open_site(lan) as site:
        await site.carry_until(1472)
        lower = lan.narrow if where == "cable" else lan.set_mtu
        lower("n" if where == "interface" else "f", 1400)
        await site.carry_until(1357)
        assert site.dialled.lost is None


async def test_jumbo_frames_are_used(lan: Lan) -> None:
    for host in ("n", "f"):
        lan.narrow(host, 9000)
        lan.set_mtu(host, 9000)
    async with open_site(lan) as site:
        await site.carry_until(8952)
