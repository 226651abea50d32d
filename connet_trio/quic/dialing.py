"""Dialling somebody who may be at several places: a server's one after the other, a peer's all at once."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

from connet_trio.concurrency import single_error
from connet_trio.engine import Candidate
from connet_trio.errors import ConnetError, DialFailed, PathLost, Refused, RemoteProtocolError
from connet_trio.quic.connection import Connection
from connet_trio.quic.dial_failures import describe_failures
from connet_trio.quic.handshake import Dialing
from connet_trio.quic.surroundings import Surroundings
from connet_trio.quic.transport import Transport
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, HostPort

DIAL_STAGGER_SECONDS = 0.03
"""Between the starts of a race: the best candidate is ahead of the next where both work, and 32 start in a second."""
OUTRUN = (ErrorCode.DIRECT_KEEPALIVE_CLOSED, "keepalive closed")


async def dial_first(
    transport: Transport, surroundings: Surroundings, places: Iterable[HostPort], dialing: Dialing
) -> Connection:
    """The first connection that any address of any place leads to, tried in order.

    A name is looked up each time, and only when its turn has come; an address that two places share is tried once.

    Raises:
      DialFailed: none does; the text says of each why.
    """
    failures: list[str] = []
    tried: set[AddressPort] = set()
    for place in places:
        try:
            addresses = await surroundings.resolve(place)
        except DialFailed as exc:
            failures.append(str(exc))
            continue
        for address in addresses:
            if address in tried:
                continue
            tried.add(address)
            try:
                return await transport.dial(address, dialing)
            except DialFailed as exc:
                failures.append(str(exc))
    raise DialFailed("; ".join(failures) or "no address to dial")


async def dial_race(
    transport: Transport,
    candidates: Sequence[Candidate],
    dialing: Dialing,
    prove: Callable[[Connection], Awaitable[None]],
    *,
    stagger: float = DIAL_STAGGER_SECONDS,
    closing: tuple[ErrorCode | int, str] = OUTRUN,
) -> Connection:
    """The first connection to any of `candidates` that is proved; every other one is closed at once.

    Args:
      candidates: the best first; the dials start in this order, `stagger` seconds apart. Twins are dialled once.
      prove: shows that the listener wants the connection, in bounded time; raises DialFailed, PathLost, Refused or
        RemoteProtocolError where it does not. Runs on one connection at a time, in the order in which the handshakes
        were done, for a listener takes a later proof for the better.
      closing: application code and text for the connections that do not win.

    Raises:
      DialFailed: there is none; the text groups the candidates by reason, and is no longer than a few lines.
    """
    race = _Race(transport, dialing, prove, closing)
    with single_error():
        await race.run(tuple(dict.fromkeys(candidates)), stagger)
    if race.winner is None:
        raise DialFailed(describe_failures(race.failures))
    return race.winner


class _Race:
    """One call of `dial_race`."""

    def __init__(
        self,
        transport: Transport,
        dialing: Dialing,
        prove: Callable[[Connection], Awaitable[None]],
        closing: tuple[ErrorCode | int, str],
    ) -> None:
        self._transport = transport
        self._dialing = dialing
        self._prove = prove
        self._closing = closing
        self._turn = trio.Lock()  # the first to ask is the first to have it
        self.winner: Connection | None = None
        self.failures: dict[Candidate, ConnetError] = {}

    async def run(self, candidates: Sequence[Candidate], stagger: float) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for index, candidate in enumerate(candidates):
                    if index:
                        await trio.sleep(stagger)
                    nursery.start_soon(self._try_one, candidate, nursery.cancel_scope)
        except BaseException:
            if self.winner is not None:
                self.winner.close(*self._closing)  # nobody will hear of it
            raise
        # from here on in the order of the candidates, not in that of their failures
        self.failures = {each: self.failures[each] for each in candidates if each in self.failures}

    async def _try_one(self, candidate: Candidate, scope: trio.CancelScope) -> None:
        try:
            connection = await self._transport.dial(candidate.address, self._dialing, zone=candidate.zone)
            try:
                async with self._turn:
                    await self._prove(connection)
                    self.winner = connection
                    scope.cancel()
            except BaseException:
                connection.close(*self._closing)
                raise
        except (DialFailed, PathLost, Refused, RemoteProtocolError) as failure:
            self.failures[candidate] = failure
