"""A relay link whose relay gives no answer: the original's is connected anew, and what runs on it goes on (trap T6)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from connet_trio.endpoints.relay_link import RelayLink
from connet_trio.quic import (
    CLIENT_TO_RELAY,
    Answer,
    Connection,
    Faults,
    Listening,
    RefusalLog,
    Stream,
    any_client,
    authenticate,
    serve_connections,
)
from connet_trio.records import relay as records
from connet_trio.records.control import Relay
from connet_trio.records.model import HostPort
from connet_trio.testing.deployment import simulated_surroundings
from connet_trio.wire import ConnectionKind, protocol_names
from tests.endpoints.conftest import simulate
from tests.quic.conftest import DIALER, LISTENER, NEAR, STRANGER, WALL_NOW, Pair, open_pair, open_streams, wall_clock

BEGIN_SECONDS = 20.0
"""After so long a life a connection that is lost is made again at once."""


@attrs.define(kw_only=True, eq=False)
class Bench:
    """A link, and the ends of its connections at the relay, which is played by the test."""

    pair: Pair
    link: RelayLink
    relayed: list[Connection]
    changes: list[bool]
    """Whether the link stood, each time it said that something has changed."""

    async def open_stream(self) -> tuple[Stream, Stream]:
        assert self.link.connection is not None
        return await open_streams(self.link.connection, self.relayed[-1])


@asynccontextmanager
async def open_link(
    *, passes_on_resets: int, announced: bytes = LISTENER.server.der, clock: Callable[[], float] = wall_clock
) -> AsyncIterator[Bench]:
    """A link after so long that it stands if it ever will; of a relay of ours (1) or of the original (0).

    Args:
      announced: the certificate that control has told of.
      clock: the client's.
    """
    answer = Answer(
        credential=LISTENER.server,
        alpns=protocol_names(ConnectionKind.CLIENT_TO_RELAY),
        client_trust=any_client,
    )
    relayed: list[Connection] = []
    changes: list[bool] = []

    async def relay(connection: Connection) -> None:
        reply = records.Authenticated(passes_on_resets=passes_on_resets)
        await authenticate(connection, CLIENT_TO_RELAY, lambda request: (None, reply), RefusalLog())
        relayed.append(connection)
        await connection.wait_closed()

    async def handle_stream(stream: Stream) -> None:
        raise AssertionError("a source is asked for no stream")

    async with (
        open_pair(listen=Listening(choose=lambda name: answer), dialer_clock=clock) as pair,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(serve_connections, pair.listener, relay, Faults())
        link = RelayLink(
            Relay(
                id="eu1",
                addresses=(HostPort(str(pair.address.address), pair.address.port),),
                server_certificate=announced,
                authentication=b"token",
            ),
            label="db",
            transport=pair.dialer,
            surroundings=simulated_surroundings(pair.network, NEAR.partition(":")[0], 1),
            credential=DIALER.client,
            handshake_idle_timeout=5.0,
            metadata="",
            holding=nursery,
            on_change=lambda link: changes.append(link.connection is not None),
            handle_stream=handle_stream,
        )
        nursery.start_soon(link.run)
        await trio.sleep(BEGIN_SECONDS)
        yield Bench(pair=pair, link=link, relayed=relayed, changes=changes)
        nursery.cancel_scope.cancel()


def test_a_relay_of_the_original_that_gives_no_answer_is_connected_anew_and_streams_go_on() -> None:
    async def scenario() -> None:
        async with open_link(passes_on_resets=0) as bench:
            assert bench.changes == [True]
            ours, theirs = await bench.open_stream()
            bench.link.handle_no_answer()
            await trio.sleep(60)
            assert bench.changes == [True, False, True]
            older, newer = bench.relayed
            await ours.send_all(b"still here")
            assert await theirs.receive_some() == b"still here"
            for end in (ours, theirs):
                await end.aclose()
            lost = await older.wait_closed()
            assert (lost.code, lost.reason) == (302, "keepalive closed")
            assert not newer.is_closed

    simulate(scenario)


def test_a_relay_of_ours_keeps_its_connection() -> None:
    async def scenario() -> None:
        async with open_link(passes_on_resets=1) as bench:
            bench.link.handle_no_answer()
            await trio.sleep(60)
            assert bench.changes == [True]
            assert len(bench.relayed) == 1

    simulate(scenario)


@pytest.mark.parametrize("answered", [True, False])
def test_a_relay_that_is_withdrawn_is_told_so(answered: bool) -> None:
    """Also when it gave no answer at the very moment, which is a reason to let the connection live on."""

    async def scenario() -> None:
        async with open_link(passes_on_resets=0) as bench:
            bench.link.scope.cancel()
            if not answered:
                bench.link.handle_no_answer()
            lost = await bench.relayed[0].wait_closed()
            assert (lost.code, lost.reason) == (302, "keepalive closed")
            await trio.sleep(60)
            assert len(bench.relayed) == 1
            assert bench.link.connection is None

    simulate(scenario)


YEARS_SECONDS = 3 * 365 * 86_400.0


@pytest.mark.reliability(line=27)
@pytest.mark.parametrize(
    ("announced", "wall_now", "words"),
    [
        (STRANGER.server.der, WALL_NOW, "is not the one announced"),
        (LISTENER.client.der, WALL_NOW, "unusable certificate"),
        (b"", WALL_NOW, "unusable certificate"),
        (LISTENER.server.der, WALL_NOW + YEARS_SECONDS, "expired"),
        (LISTENER.server.der, WALL_NOW - YEARS_SECONDS, "is not valid before"),
    ],
    ids=["another", "of a client", "none", "expired", "not yet valid"],
)
def test_a_relay_with_another_certificate_than_control_told_of_learns_nothing(
    announced: bytes, wall_now: float, words: str
) -> None:
    async def scenario() -> None:
        async with open_link(passes_on_resets=1, announced=announced, clock=lambda: wall_now) as bench:
            assert bench.changes == []
            assert bench.relayed == []
            assert words in bench.link.last_error

    simulate(scenario)
