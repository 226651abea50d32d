"""When a client logs in anew because peers fall silent."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import trio
from trio.testing import MockClock

from connet_trio.client.reachability import Reachability
from connet_trio.client.upkeep import SILENCE_RENEWAL_SECONDS, VAIN_RENEWAL_SECONDS, Upkeep
from connet_trio.records.model import AddressPort
from connet_trio.testing import open_network, simulated_surroundings


class Session:
    """Notes when it is to log in anew."""

    def __init__(self) -> None:
        self.renewals: list[float] = []

    def renew(self, reason: str) -> None:
        self.renewals.append(round(trio.current_time() - self.began, 3))

    began = 0.0


@asynccontextmanager
async def watching() -> AsyncIterator[tuple[Upkeep, Session]]:
    async with open_network(1) as network, trio.open_nursery() as nursery:
        surroundings = simulated_surroundings(network, "192.0.2.1", 1)
        assert surroundings.interfaces is not None
        session = Session()
        session.began = trio.current_time()
        reachability = Reachability(AddressPort(ip_address("0.0.0.0"), 1), surroundings.interfaces, random.Random(1))
        nothing: Any = None
        stand_in: Any = session
        upkeep = Upkeep(nothing, stand_in, reachability, surroundings, lambda wall_now: None)
        nursery.start_soon(upkeep.run)
        yield upkeep, session
        nursery.cancel_scope.cancel()


async def test_a_peer_that_falls_silent_soon_after_another_is_not_forgotten(autojump_clock: MockClock) -> None:
    async with watching() as (upkeep, session):
        upkeep.handle_silence(was_there=True)
        await trio.sleep(2)
        upkeep.handle_silence(was_there=True)  # the other connection of that peer
        await trio.sleep(19)
        upkeep.handle_silence(was_there=True)
        upkeep.handle_silence(was_there=True)
        await trio.sleep(100)
        assert session.renewals == [0.0, SILENCE_RENEWAL_SECONDS]
        upkeep.handle_silence(was_there=True)
        await trio.sleep(100)
        assert session.renewals == [0.0, SILENCE_RENEWAL_SECONDS, 121.0]


async def test_peers_that_never_answered_ask_seldom_and_are_not_remembered(autojump_clock: MockClock) -> None:
    async with watching() as (upkeep, session):
        upkeep.handle_silence(was_there=False)
        await trio.sleep(VAIN_RENEWAL_SECONDS - 1)
        upkeep.handle_silence(was_there=False)
        await trio.sleep(2)
        assert session.renewals == [0.0]
        upkeep.handle_silence(was_there=False)
        await trio.sleep(1)
        assert session.renewals == [0.0, VAIN_RENEWAL_SECONDS + 1]
