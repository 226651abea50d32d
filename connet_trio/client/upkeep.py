"""What keeps a client right while its machine sleeps, moves, or has its clock set.

upkeep ─┬─ reachability: reads the interfaces
        ├─ moves: after one, log in to control anew and see which connections still work
        ├─ silence of peers: the login that one asks for too soon after another, when it may be
        ├─ clock: after a jump, the same connections, and the certificates
        └─ certificates: looked at each hour, replaced before they expire
"""

import logging
import math
from collections.abc import Callable

import trio

from connet_trio.client.control_session import ControlSession
from connet_trio.client.reachability import Reachability
from connet_trio.concurrency import Watched, watch_wall_clock
from connet_trio.quic import Surroundings, Transport

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 3.0
"""What a connection gets to show a sign of life after the machine slept or moved."""
CERTIFICATES_SECONDS = 3600.0
SILENCE_RENEWAL_SECONDS = 25.0
"""Between two logins for no better reason than that a peer which was there has gone silent."""
SAME_CAUSE_SECONDS = 10.0
"""After a login, what falls silent does so for the reason that led to it: the connections of a peer notice apart."""
VAIN_RENEWAL_SECONDS = 300.0
"""Between two for the still lesser one that a peer has never answered, as many behind NATs never will."""


class Upkeep:
    """Watches the machine for one client."""

    def __init__(
        self,
        transport: Transport,
        session: ControlSession,
        reachability: Reachability,
        surroundings: Surroundings,
        handle_clock: Callable[[float], None],
    ) -> None:
        """Prepare.

        Args:
          handle_clock: told the wall time (Unix seconds) now and then and after each jump, to look at certificates.
        """
        self._transport = transport
        self._session = session
        self._reachability = reachability
        self._wall_clock = surroundings.wall_clock
        self._handle_clock = handle_clock
        self._jumps = Watched(0)
        self._renewed = -math.inf
        self._owes_renewal = Watched(False)

    async def run(self) -> None:
        """Watch, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reachability.run)
            nursery.start_soon(self._follow_moves)
            nursery.start_soon(self._follow_silence)
            nursery.start_soon(watch_wall_clock, self._wall_clock, self._handle_jump)
            nursery.start_soon(self._follow_jumps)
            nursery.start_soon(self._look_at_certificates)

    def handle_silence(self, was_there: bool) -> None:
        """A peer does not answer any more, or never did: a NAT may have given us another port, which control sees."""
        since = trio.current_time() - self._renewed
        if since >= (SILENCE_RENEWAL_SECONDS if was_there else VAIN_RENEWAL_SECONDS):
            self._renew(was_there=was_there)
        elif was_there and since >= SAME_CAUSE_SECONDS:
            # not in vain: the last login knows nothing of an address that has changed since
            self._owes_renewal.set(True)

    def _renew(self, *, was_there: bool) -> None:
        self._renewed = trio.current_time()
        self._session.renew("a peer does not answer directly" + (" any more" if was_there else ""))

    async def _follow_silence(self) -> None:
        async for owes in self._owes_renewal.changes():
            if owes:
                await trio.sleep_until(self._renewed + SILENCE_RENEWAL_SECONDS)
                self._owes_renewal.set(False)
                self._renew(was_there=True)

    async def _follow_moves(self) -> None:
        async for moves in self._reachability.moved.changes():
            if moves:
                self._session.renew("the network of this machine changed")
                await self._transport.check_alive(ALIVE_SECONDS)

    def _handle_jump(self, seconds: float) -> None:
        logger.info(
            "the clock moved by %.0f s, or this machine slept: looking at connections and certificates", seconds
        )
        self._jumps.set(self._jumps.value + 1)

    async def _follow_jumps(self) -> None:
        async for jumps in self._jumps.changes():
            if jumps:
                self._reachability.read_now()
                self._handle_clock(self._wall_clock())
                await self._transport.check_alive(ALIVE_SECONDS)

    async def _look_at_certificates(self) -> None:
        while True:
            await trio.sleep(CERTIFICATES_SECONDS)
            self._handle_clock(self._wall_clock())
