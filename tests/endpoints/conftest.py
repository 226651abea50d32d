"""A direct link on one simulated machine, and the peer it is for on another."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import attrs
import trio
import trio.testing

from connet_trio.concurrency import Watched
from connet_trio.endpoints.checking import ask_check
from connet_trio.endpoints.direct_link import DirectContext, DirectLink
from connet_trio.endpoints.direct_port import DirectPort
from connet_trio.engine import Candidate, Path, PathKind
from connet_trio.quic import Connection, Faults, Stream, serve_connections
from connet_trio.records.control import Peer
from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import simulated_surroundings
from tests.quic.conftest import DIALER, FAR, LISTENER, Pair, dialing, listening, open_pair

PEER_ID = "the peer"
OUT, IN = Path(PathKind.OUTGOING, PEER_ID), Path(PathKind.INCOMING, PEER_ID)


def simulate(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run `scenario` in virtual time, at most two hours of it: keepalives would keep a stuck one going for ever."""

    async def run() -> None:
        with trio.fail_after(7200):
            await scenario()

    run_simulated(run, seed=1)


@attrs.define(kw_only=True, eq=False)
class Bench:
    """A link of the endpoint LISTENER to the peer DIALER, who is played by the test."""

    pair: Pair
    port: DirectPort
    holding: trio.Nursery
    link: DirectLink
    said: Watched[tuple[tuple[Path, bool], ...]]
    streams: trio.MemoryReceiveChannel[Stream]
    """Those handed to the endpoint."""
    dialled: list[tuple[float, Sequence[AddressPort]]]
    """When the link began to dial, and where."""
    silences: list[float]
    """When the link said that somebody does not answer."""

    @property
    def changes(self) -> list[tuple[Path, bool]]:
        """What the link has said of its paths."""
        return list(self.said.value)

    async def dial_in(self) -> Connection:
        """The peer's own dial, checked: it is the incoming path of the link when this returns."""
        before = self.said.value.count((IN, True))
        connection = await self.pair.dialer.dial(self.pair.address, dialing())
        await ask_check(connection)
        await self.said.wait_value(lambda said: said.count((IN, True)) > before)
        return connection

    def listen(self) -> None:
        """The peer can be dialled from now on; what it accepts has to be taken from `pair.dialer.accept`."""
        self.pair.dialer.listening = listening(
            expected=LISTENER,
            credential=DIALER.server,
            choose=lambda name: THE_PEERS_ANSWER if name == DIALER.name else None,
        )

    async def wait_change(self, path: Path, stands: bool) -> float:
        """Wait until the link has said so last of all it said of `path`; returns the time."""
        await self.said.wait_value(lambda said: dict(said).get(path) is stands)
        return trio.current_time()


THE_PEERS_ANSWER = listening(expected=LISTENER, credential=DIALER.server).choose(LISTENER.name)


def the_peer(*directs: str) -> Peer:
    """DIALER as control lists it."""
    places = tuple(map(address, directs))
    return Peer(directs=places, server_certificate=DIALER.server.der, client_certificate=DIALER.client.der)


def address(text: str) -> AddressPort:
    """An IPv4 address and port as people write it."""
    host, _, port = text.partition(":")
    return AddressPort(IPv4Address(host), int(port))


@asynccontextmanager
async def open_link(*directs: str) -> AsyncIterator[Bench]:
    """A link that runs for the length of the block; nothing may have gone wrong in it without a word."""
    port, faults = DirectPort(), Faults()
    said: Watched[tuple[tuple[Path, bool], ...]] = Watched(())
    handed_over, streams = trio.open_memory_channel[Stream](math.inf)
    dialled: list[tuple[float, Sequence[AddressPort]]] = []
    silences: list[float] = []

    def candidates(places: Sequence[AddressPort]) -> tuple[Candidate, ...]:
        dialled.append((trio.current_time(), places))
        return tuple(map(Candidate, places))

    async def handle_stream(stream: Stream) -> None:
        await handed_over.send(stream)

    async with open_pair(listen=port.listening) as pair, trio.open_nursery() as serving:
        context = DirectContext(
            transport=pair.listener,
            surroundings=simulated_surroundings(pair.network, FAR.partition(":")[0], 1),
            port=port,
            candidates=candidates,
            handshake_idle_timeout=5.0,
            handle_silence=lambda was_there: silences.append(trio.current_time()),
        )
        await serving.start(serve_connections, pair.listener, port.serve, faults)
        with port.answer_for(LISTENER.name, LISTENER.server):
            async with trio.open_nursery() as holding:
                link = DirectLink(
                    PEER_ID,
                    the_peer(*directs),
                    label="db",
                    context=context,
                    identity=LISTENER,
                    holding=holding,
                    on_change=lambda path, stands: said.set((*said.value, (path, stands))),
                    handle_stream=handle_stream,
                )
                holding.start_soon(link.run)
                await trio.testing.wait_all_tasks_blocked()
                yield Bench(
                    pair=pair,
                    port=port,
                    holding=holding,
                    link=link,
                    said=said,
                    streams=streams,
                    dialled=dialled,
                    silences=silences,
                )
                holding.cancel_scope.cancel()
        serving.cancel_scope.cancel()
    assert faults.count == 0
