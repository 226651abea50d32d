"""Which of two connections to a relay of the original leads to a destination (trap T2, part d)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from connet_trio.endpoints.older_relay_path import OLDER_NAMES, OlderRelayPath, connect_either_way
from connet_trio.errors import DialFailed, PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection, RecordStream
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.records.peer import Connect, Connected, PeerResponse, RelayEncryption
from connet_trio.wire import WireVersion, codecs
from tests.endpoints.conftest import simulate
from tests.quic.conftest import Pair, open_pair

FAREWELL = (302, "keepalive closed")
YES = Connected()
NOT_UNDERSTOOD = Error(ErrorCode.DESTINATION_DIAL_FAILED, "could not dial destinations: []")
REFUSED = Error(ErrorCode.DESTINATION_DIAL_FAILED, "could not dial destinations: [the destination is stopping (501)]")
NOBODY = Error(ErrorCode.DESTINATION_NOT_FOUND, "could not find destination")
HANGS_UP = None
"""The relay ends the stream without an answer."""


@attrs.define(kw_only=True, eq=False)
class Bench:
    """A source with both connections to a relay, which is played by the test."""

    pair: Pair
    newer: Connection
    older: OlderRelayPath = attrs.field(init=False)
    answers: dict[WireVersion, PeerResponse | None]
    """What the relay says on each connection."""
    asked: list[WireVersion] = attrs.field(factory=list)
    """On which connections it was asked, in order."""
    dials: int = 0
    dial_error: DialFailed | None = None
    relayed: list[Connection] = attrs.field(factory=list)
    """The relay's ends: of the newer connection, then of each older one."""
    dial_seconds: float = 0.0
    nursery: trio.Nursery

    async def dial(self) -> Connection:
        self.dials += 1
        await trio.sleep(self.dial_seconds)
        if self.dial_error is not None:
            raise self.dial_error
        connection, relayed = await self.pair.connect()
        self.relayed.append(relayed)
        self.nursery.start_soon(self.answer, relayed, WireVersion.V1)
        return connection

    async def answer(self, relayed: Connection, version: WireVersion) -> None:
        """Answer each request on a connection, in its version."""
        while True:
            try:
                stream = await relayed.accept_stream()
            except PathLost:
                return
            self.asked.append(version)
            records = RecordStream(stream, version)
            assert await records.receive(codecs.PEER_REQUEST) == Connect(source_encryption=(RelayEncryption.NONE,))
            answer = self.answers[version]
            if answer is not None:
                await records.send(codecs.PEER_RESPONSE, answer)
            if answer != YES:
                stream.close()

    async def connect(self) -> WireVersion:
        """Make a stream; returns on which connection it is."""
        stream = (await connect_either_way(self.newer, self.older)).carrier
        assert stream.connection is not self.newer or self.asked[-1] is WireVersion.V2
        stream.close()
        return WireVersion.V2 if stream.connection is self.newer else WireVersion.V1


@asynccontextmanager
async def open_bench(newer: PeerResponse | None, older: PeerResponse | None) -> AsyncIterator[Bench]:
    async with open_pair() as pair, trio.open_nursery() as nursery:
        connection, relayed = await pair.connect()
        bench = Bench(
            pair=pair,
            newer=connection,
            answers={WireVersion.V2: newer, WireVersion.V1: older},
            relayed=[relayed],
            nursery=nursery,
        )
        bench.older = OlderRelayPath(bench.dial)
        nursery.start_soon(bench.answer, relayed, WireVersion.V2)
        yield bench
        nursery.cancel_scope.cancel()


def check(newer: PeerResponse | None, older: PeerResponse | None, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    """Run `scenario` with a relay that answers so on each of the two connections."""

    async def run() -> None:
        async with open_bench(newer, older) as bench:
            await scenario(bench)

    simulate(run)


def test_the_older_connection_offers_the_older_name_alone() -> None:
    assert OLDER_NAMES == ("connet-peer-relay/0.2",)


def test_the_newer_connection_is_asked_first_and_the_older_not_even_dialled() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(3):
            assert await bench.connect() is WireVersion.V2
        assert bench.dials == 0

    check(YES, YES, scenario)


@pytest.mark.parametrize("answer", [NOT_UNDERSTOOD, HANGS_UP], ids=["no destination answered", "the stream ended"])
def test_where_no_destination_understood_the_older_is_asked_and_preferred_from_then_on(
    answer: PeerResponse | None,
) -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(3):
            assert await bench.connect() is WireVersion.V1
        assert bench.asked == [WireVersion.V2, WireVersion.V1, WireVersion.V1, WireVersion.V1]
        assert bench.dials == 1
        assert bench.older.preferred

    check(answer, YES, scenario)


def test_a_destination_whose_choice_cannot_be_followed_is_not_asked_twice() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(RemoteProtocolError, match="relay encryption: the destination chose tls"):
            await bench.connect()
        assert bench.dials == 0

    check(Connected(destination_encryption=RelayEncryption.TLS), YES, scenario)


@pytest.mark.parametrize("answer", [REFUSED, NOBODY], ids=["it is stopping", "there is none"])
def test_a_destination_that_understood_is_not_asked_twice(answer: Error) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(Refused, match=answer.message.partition("[")[0]):
            await bench.connect()
        assert bench.dials == 0

    check(answer, YES, scenario)


def test_the_newer_connection_is_preferred_again_when_the_older_leads_nowhere_any_more() -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.connect() is WireVersion.V1
        bench.answers = {WireVersion.V2: YES, WireVersion.V1: NOT_UNDERSTOOD}  # the destination was updated
        assert await bench.connect() is WireVersion.V2
        assert not bench.older.preferred
        bench.asked.clear()
        assert await bench.connect() is WireVersion.V2
        assert bench.asked == [WireVersion.V2]

    check(NOT_UNDERSTOOD, YES, scenario)


def test_where_neither_is_understood_the_first_answer_counts_and_the_preference_stays() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(Refused, match="could not dial"):
            await bench.connect()
        assert bench.asked == [WireVersion.V2, WireVersion.V1]
        assert not bench.older.preferred

    check(NOT_UNDERSTOOD, HANGS_UP, scenario)


def test_an_older_connection_that_cannot_be_made_leaves_the_first_answer() -> None:
    async def scenario(bench: Bench) -> None:
        bench.dial_error = DialFailed("no")
        with pytest.raises(RemoteProtocolError, match="ended"):
            await bench.connect()
        assert bench.dials == 1

    check(HANGS_UP, YES, scenario)


def test_a_preferred_older_connection_that_cannot_be_made_any_more_gives_way_to_the_newer() -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.connect() is WireVersion.V1
        bench.relayed[1].close(0, "connection closed")  # the relay was updated to a release without the older name
        await trio.sleep(1)
        bench.dial_error = DialFailed("no")
        bench.answers[WireVersion.V2] = YES
        assert await bench.connect() is WireVersion.V2
        assert not bench.older.preferred

    check(NOT_UNDERSTOOD, YES, scenario)


def test_an_older_connection_that_was_lost_is_dialled_again() -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.connect() is WireVersion.V1
        bench.relayed[1].close(0, "connection closed")
        await trio.sleep(1)
        assert await bench.connect() is WireVersion.V1
        assert bench.dials == 2

    check(NOT_UNDERSTOOD, YES, scenario)


def test_many_streams_at_once_dial_once_and_agree_which_connection_is_preferred() -> None:
    async def scenario(bench: Bench) -> None:
        bench.dial_seconds = 0.1

        async def connect() -> None:
            assert await bench.connect() is WireVersion.V1

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(connect)
        assert bench.dials == 1
        assert bench.older.preferred

    check(NOT_UNDERSTOOD, YES, scenario)


def test_a_newer_connection_that_is_lost_is_no_reason_to_try_the_older() -> None:
    async def scenario(bench: Bench) -> None:
        bench.newer.close(0, "connection closed")
        with pytest.raises(PathLost):
            await bench.connect()
        assert bench.dials == 0

    check(YES, YES, scenario)


def test_closing_ends_the_connection_and_none_is_made_after() -> None:
    async def scenario(bench: Bench) -> None:
        assert await bench.connect() is WireVersion.V1
        bench.older.close(FAREWELL)
        lost = await bench.relayed[1].wait_closed()
        assert (lost.code, lost.reason) == FAREWELL
        with pytest.raises(PathLost):
            await bench.older.connect()
        assert bench.dials == 1

    check(NOT_UNDERSTOOD, YES, scenario)


def test_what_is_being_dialled_when_it_ends_does_not_stay_open() -> None:
    async def scenario(bench: Bench) -> None:
        bench.dial_seconds = 1.0

        async def connect() -> None:
            with pytest.raises(PathLost):
                await bench.older.connect()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            await trio.sleep(0.5)
            bench.older.close(FAREWELL)
        lost = await bench.relayed[1].wait_closed()
        assert (lost.code, lost.reason) == FAREWELL

    check(YES, YES, scenario)


def test_a_retired_connection_waits_for_its_streams() -> None:
    async def scenario(bench: Bench) -> None:
        stream = await connect_either_way(bench.newer, bench.older)
        bench.nursery.start_soon(bench.older.retire, FAREWELL)
        await trio.sleep(60)
        assert not bench.relayed[1].is_closed
        stream.stream.abort()
        lost = await bench.relayed[1].wait_closed()
        assert (lost.code, lost.reason) == FAREWELL

    check(NOT_UNDERSTOOD, YES, scenario)
