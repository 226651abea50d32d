"""An endpoint's streams to control: opened in each session, and again when they alone are lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

import attrs
import pytest
import trio

from connet_trio.concurrency import Watched, single_error
from connet_trio.endpoints.announcing import FIRST_LIST_SECONDS
from connet_trio.endpoints.attendance import Attendance, Listeners
from connet_trio.endpoints.control_link import ControlLink
from connet_trio.endpoints.knowledge import Knowledge
from connet_trio.endpoints.relay_encryption import PLAIN
from connet_trio.errors import DialFailed, PathLost, Refused
from connet_trio.quic import Connection, RecordStream
from connet_trio.records.control import (
    Announce,
    ControlRequest,
    Peer,
    Peers,
    Relay,
    Relays,
    RemotePeer,
    SubscribeRelays,
)
from connet_trio.records.model import Error, Role, Route
from connet_trio.wire import WireVersion, codecs
from tests.endpoints.conftest import simulate
from tests.quic.conftest import Pair, open_pair

PEERS = Peers(peers=(RemotePeer(id="laptop"),))
RELAYS = Relays(relays=(Relay(id="eu1"),))
NOT_ALLOWED = Error(101, "endpoint not allowed: db")


@attrs.define(kw_only=True, eq=False)
class Bench:
    """An attendance, and the control server, which is played by the test."""

    pair: Pair
    nursery: trio.Nursery
    attendance: Attendance
    announcement: Watched[Peer]
    sessions: Watched[ControlLink | None] = attrs.field(factory=lambda: Watched(None))
    answers: dict[type[ControlRequest], Peers | Relays | Error | None] = attrs.field(
        factory=lambda: {Announce: PEERS, SubscribeRelays: RELAYS}
    )
    """What control says to the first request of each stream; None says nothing."""
    hangs_up: bool = False
    """Whether control ends each stream after its answer."""
    requests: list[tuple[float, ControlRequest]] = attrs.field(factory=list)
    streams: dict[type[ControlRequest], RecordStream] = attrs.field(factory=dict)
    """The latest stream of each kind, at control."""
    told: list[object] = attrs.field(factory=list)
    """What the endpoint was told: its peers and whether that is the first list, its relays, or that it is offline."""

    async def log_in(self) -> Connection:
        """Begin a session; returns control's end of it."""
        ours, theirs = await self.pair.connect()
        self.nursery.start_soon(self.serve, theirs)
        self.sessions.set(ControlLink(connection=ours, version=WireVersion.V2))
        return theirs

    async def serve(self, connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await connection.accept_stream()
                except PathLost:
                    nursery.cancel_scope.cancel()
                    return
                nursery.start_soon(self.serve_stream, RecordStream(stream, WireVersion.V2))

    async def serve_stream(self, records: RecordStream) -> None:
        with suppress(PathLost, trio.ClosedResourceError):
            await self.answer_requests(records)

    async def answer_requests(self, records: RecordStream) -> None:
        answered = False
        while (request := await records.receive_or_end(codecs.CONTROL_REQUEST)) is not None:
            self.requests.append((trio.current_time(), request))
            self.streams[type(request)] = records
            answer = self.answers[type(request)]
            if answer is not None and not answered:
                await records.send(codecs.CONTROL_RESPONSE, answer)
                answered = True
            if self.hangs_up:
                records.stream.close()

    def count(self, kind: type[ControlRequest]) -> int:
        return sum(isinstance(request, kind) for _, request in self.requests)

    async def start(self) -> None:
        """Run the attendance; returns once control has accepted it."""
        with single_error():
            await self.nursery.start(self.attendance.run, self.sessions)


@asynccontextmanager
async def open_bench(route: Route = Route.ANY) -> AsyncIterator[Bench]:
    announcement = Watched(Peer(server_certificate=b"server", client_certificate=b"client"))
    told: list[object] = []
    listeners = Listeners(
        handle_peers=lambda peers, first: told.append((peers, first)),
        handle_relays=told.append,
        handle_unannounced=lambda: told.append("offline"),
    )
    known = Knowledge(name="db", role=Role.SOURCE, route=route, relay_encryptions=PLAIN)
    async with open_pair() as pair, trio.open_nursery() as nursery:
        attendance = Attendance(known, announcement, listeners, Random(1))
        yield Bench(pair=pair, nursery=nursery, attendance=attendance, announcement=announcement, told=told)
        nursery.cancel_scope.cancel()


def test_it_starts_when_control_has_accepted_the_announcement() -> None:
    async def scenario() -> None:
        async with open_bench() as bench:
            await bench.log_in()
            await bench.start()
            await trio.sleep(1)
            assert (PEERS, True) in bench.told
            assert RELAYS in bench.told
            assert bench.count(Announce) == bench.count(SubscribeRelays) == 1

    simulate(scenario)


def test_a_direct_route_asks_for_no_relays() -> None:
    async def scenario() -> None:
        async with open_bench(Route.DIRECT) as bench:
            await bench.log_in()
            await bench.start()
            await trio.sleep(60)
            assert bench.count(SubscribeRelays) == 0

    simulate(scenario)


def test_a_refusal_of_the_first_announcement_is_the_callers() -> None:
    async def scenario() -> None:
        async with open_bench(Route.DIRECT) as bench:
            bench.answers[Announce] = NOT_ALLOWED
            await bench.log_in()
            with pytest.raises(Refused, match="endpoint not allowed"):
                await bench.start()

    simulate(scenario)


def test_silence_on_the_first_announcement_is_the_callers() -> None:
    async def scenario() -> None:
        async with open_bench(Route.DIRECT) as bench:
            bench.answers[Announce] = None
            await bench.log_in()
            with pytest.raises(DialFailed, match="did not answer the announcement in 5 s"):
                await bench.start()

    simulate(scenario)


@pytest.mark.parametrize("answer", [NOT_ALLOWED, None], ids=["refused", "no answer"])
def test_whatever_control_says_later_is_tried_again(answer: Error | None) -> None:
    async def scenario() -> None:
        async with open_bench() as bench:
            session = await bench.log_in()
            await bench.start()
            await trio.sleep(1)
            bench.answers[Announce] = answer
            session.close(0, "connection closed")
            await bench.log_in()
            await trio.sleep(60)
            assert 3 <= bench.count(Announce) <= 14  # two that were answered, and one for each 5 s of silence
            bench.answers[Announce] = PEERS
            bench.told.clear()
            await trio.sleep(30)
            assert (PEERS, True) in bench.told

    simulate(scenario)


@pytest.mark.parametrize("answer", [NOT_ALLOWED, None], ids=["refused", "no answer"])
def test_the_first_announcement_of_new_certificates_is_a_later_one(answer: Error | None) -> None:
    async def scenario() -> None:
        async with open_bench() as bench:
            await bench.log_in()
            with trio.CancelScope() as with_the_former_certificates:
                async with trio.open_nursery() as nursery:
                    await nursery.start(bench.attendance.run, bench.sessions)
                    with_the_former_certificates.cancel()
            assert bench.told[-1] == "offline"
            bench.answers = {Announce: answer, SubscribeRelays: answer}
            bench.nursery.start_soon(bench.attendance.run, bench.sessions)
            await trio.sleep(60)
            bench.answers = {Announce: PEERS, SubscribeRelays: RELAYS}
            await trio.sleep(30)
            assert bench.told[-2:] in ([(PEERS, True), RELAYS], [RELAYS, (PEERS, True)])

    simulate(scenario)


def test_certificates_renewed_before_control_has_answered_delay_the_start_and_do_not_prevent_it() -> None:
    async def scenario() -> None:
        async with open_bench() as bench:

            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                with trio.move_on_after(1):
                    await bench.attendance.run(bench.sessions, task_status=task_status)
                bench.answers[Announce] = PEERS
                await bench.attendance.run(bench.sessions, task_status=task_status)

            bench.answers[Announce] = None
            await bench.log_in()
            began = trio.current_time()
            await bench.nursery.start(run)
            assert 1 <= trio.current_time() - began < FIRST_LIST_SECONDS

    simulate(scenario)


def test_a_stream_that_is_lost_alone_is_opened_again() -> None:
    async def scenario() -> None:
        async with open_bench() as bench:
            await bench.log_in()
            await bench.start()
            await trio.sleep(30)
            for kind in (Announce, SubscribeRelays):
                bench.streams[kind].stream.abort()
            await trio.sleep(1)
            assert bench.count(Announce) == bench.count(SubscribeRelays) == 2
            assert bench.told.count("offline") == 1
            assert bench.told.count((PEERS, True)) == 2

    simulate(scenario)


def test_a_control_that_ends_each_stream_at_once_is_asked_ever_more_slowly() -> None:
    async def scenario() -> None:
        async with open_bench(Route.DIRECT) as bench:
            bench.hangs_up = True
            await bench.log_in()
            await bench.start()
            await trio.sleep(600)
            assert 600 / 15 <= bench.count(Announce) <= 300
            late = [moment for moment, _ in bench.requests if moment > 300]
            assert len(late) <= 150

    simulate(scenario)


def test_what_changes_is_announced_at_once_and_later_lists_are_no_first_ones() -> None:
    async def scenario() -> None:
        async with open_bench(Route.DIRECT) as bench:
            await bench.log_in()
            await bench.start()
            await trio.sleep(1)
            moved = attrs.evolve(bench.announcement.value, relay_ids=("eu1",))
            bench.announcement.set(moved)
            await bench.streams[Announce].send(codecs.CONTROL_RESPONSE, Peers())
            await trio.sleep(1)
            announced = bench.requests[-1][1]
            assert isinstance(announced, Announce)
            assert announced.peer == moved
            assert bench.told == [(PEERS, True), (Peers(), False)]

    simulate(scenario)
