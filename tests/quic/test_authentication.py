"""The first exchange of a connection, both sides of it: good, refused, silent and nonsensical."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any

import attrs
import pytest
import trio

from connet_trio.errors import DialFailed, PathLost, Refused, RemoteProtocolError
from connet_trio.quic import (
    CLIENT_TO_CONTROL,
    CLIENT_TO_RELAY,
    RELAY_TO_CONTROL,
    UNAUTHENTICATED_WINDOWS,
    Admitted,
    Connection,
    RecordStream,
    RefusalLog,
    authenticate,
    check_metadata,
    introduce,
    let_finish,
)
from connet_trio.quic import authentication as authentication_module
from connet_trio.quic.authentication import (
    AUTHENTICATION_SECONDS,
    GOODBYE_SECONDS,
    MAX_FRAME_BYTES,
    MAX_METADATA_BYTES,
    NOT_AUTHENTICATED,
    REFUSALS_SECONDS,
    REFUSALS_WARNED,
    Exchange,
)
from connet_trio.records import control, control_relay, relay
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Error, HostPort
from connet_trio.wire import encode_frame, protocol_names, wire_version
from tests.quic.conftest import Pair, dialing, listening, open_pair, open_streams, virtual_time

pytestmark = virtual_time

Judge = Callable[[Any], tuple[Any, Any]]

TALKS: list[tuple[Exchange[Any, Any], Any, Any]] = [
    (
        CLIENT_TO_CONTROL,
        control.Authenticate(token="a client's token", metadata="laptop"),
        control.Authenticated(public=AddressPort(IPv4Address("192.0.2.2"), 5000), reconnect_token=b"come back"),
    ),
    (
        RELAY_TO_CONTROL,
        control_relay.Authenticate(token="a relay's token", addresses=(HostPort("relay.example", 19_191),)),
        control_relay.Authenticated(control_id="control 1"),
    ),
    (CLIENT_TO_RELAY, relay.Authenticate(authentication=b"sealed"), relay.Authenticated(passes_on_resets=1)),
]
EXCHANGES: list[Exchange[Any, Any]] = [CLIENT_TO_CONTROL, RELAY_TO_CONTROL, CLIENT_TO_RELAY]
REQUEST, ANSWER = TALKS[0][1:]


@attrs.frozen(kw_only=True)
class Meeting:
    """A connection on which nothing has been said, as each side sees it."""

    pair: Pair
    exchange: Exchange[Any, Any]
    dialled: Connection
    accepted: Connection

    async def dialer_records(self) -> RecordStream:
        """What a dialer says by hand."""
        return self._records(await self.dialled.open_stream())

    async def listener_records(self) -> RecordStream:
        """What a listener answers by hand."""
        return self._records(await self.accepted.accept_stream())

    def _records(self, stream: Any) -> RecordStream:
        return RecordStream(stream, wire_version(self.exchange.kind, self.dialled.alpn))


@asynccontextmanager
async def open_meeting(
    exchange: Exchange[Any, Any] = CLIENT_TO_CONTROL, alpn: str | None = None
) -> AsyncIterator[Meeting]:
    alpns = protocol_names(exchange.kind) if alpn is None else (alpn,)
    async with open_pair(listen=listening(UNAUTHENTICATED_WINDOWS, alpns=alpns)) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(alpns=alpns))
        accepted = await pair.listener.accept()
        yield Meeting(pair=pair, exchange=exchange, dialled=dialled, accepted=accepted)


@pytest.fixture
async def meeting() -> AsyncIterator[Meeting]:
    async with open_meeting() as made:
        yield made


def admitting(request: Any) -> tuple[Any, Any]:
    return request, ANSWER


def refusing(code: ErrorCode | int, message: str) -> Judge:
    def judge(request: object) -> tuple[object, object]:
        raise Refused(code, message)

    return judge


async def refuse_by_hand(meeting: Meeting, error: Error) -> None:
    records = await meeting.listener_records()
    await records.receive(meeting.exchange.request)
    await records.send(meeting.exchange.reply, error)


async def run_authenticate(meeting: Meeting, judge: Judge, results: list[Admitted[Any] | None]) -> None:
    results.append(await authenticate(meeting.accepted, meeting.exchange, judge, RefusalLog()))


# --- it goes well


@pytest.mark.parametrize(
    ("exchange", "request_", "answer", "alpn"),
    [(*talk, alpn) for talk in TALKS for alpn in protocol_names(talk[0].kind)],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_who_says_the_right_thing_is_let_in(
    exchange: Exchange[Any, Any], request_: Any, answer: Any, alpn: str
) -> None:
    results: list[Admitted[Any] | None] = []
    async with open_meeting(exchange, alpn) as meeting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_authenticate, meeting, lambda request: (request, answer), results)
            assert await introduce(meeting.dialled, exchange, request_, seconds=5) == answer
        (admitted,) = results
        assert admitted is not None
        assert admitted.who == request_
        assert admitted.version is wire_version(exchange.kind, alpn)
        assert await admitted.stream.receive_some() == b""
        await trio.sleep(1)
        assert not meeting.dialled.is_closed
        assert not meeting.accepted.is_closed


async def test_afterwards_the_connection_carries_streams(meeting: Meeting) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_authenticate, meeting, admitting, [])
        await introduce(meeting.dialled, meeting.exchange, REQUEST, seconds=5)
    ours, theirs = await open_streams(meeting.dialled, meeting.accepted)
    assert (ours.id, theirs.id) == (4, 4)


async def test_the_answer_is_all_that_comes_on_its_stream(meeting: Meeting, nursery: trio.Nursery) -> None:
    nursery.start_soon(run_authenticate, meeting, admitting, [])
    records = await meeting.dialer_records()
    await records.send(meeting.exchange.request, REQUEST)
    assert await records.receive(meeting.exchange.reply) == ANSWER
    with trio.fail_after(1):
        assert await records.receive_or_end(meeting.exchange.reply) is None


# --- it is refused


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.kind.name)
async def test_who_is_refused_learns_the_code_and_the_text(
    exchange: Exchange[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (request,) = (talk[1] for talk in TALKS if talk[0] is exchange)
    results: list[Admitted[Any] | None] = []
    async with open_meeting(exchange) as meeting, trio.open_nursery() as nursery:
        judge = refusing(ErrorCode.ENDPOINT_NOT_ALLOWED, "db is not yours")
        nursery.start_soon(run_authenticate, meeting, judge, results)
        with pytest.raises(Refused) as refused:
            await introduce(meeting.dialled, exchange, request, seconds=5)
    assert (refused.value.code, refused.value.message) == (ErrorCode.ENDPOINT_NOT_ALLOWED, "db is not yours")
    assert meeting.dialled.is_closed
    assert results == [None]
    (record,) = (record for record in caplog.records if record.name == authentication_module.__name__)
    assert record.getMessage() == f"{exchange.kind.value} refused, from 192.0.2.2:5000: db is not yours"


async def test_a_refusal_is_said_as_a_record_and_again_with_the_close(meeting: Meeting) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_authenticate, meeting, refusing(ErrorCode.ROLE_NOT_ALLOWED, "not as a source"), [])
        records = await meeting.dialer_records()
        await records.send(meeting.exchange.request, REQUEST)
        error = Error(ErrorCode.ROLE_NOT_ALLOWED, "not as a source")
        assert await records.receive_or_end(meeting.exchange.reply) == error
        lost = await meeting.dialled.wait_closed()
    assert (lost.code, lost.reason) == (102, "not as a source")


async def test_the_close_alone_says_as_much_as_the_record(meeting: Meeting, nursery: trio.Nursery) -> None:
    async def close() -> None:
        await meeting.listener_records()
        meeting.accepted.close(ErrorCode.AUTHENTICATION_FAILED, "token not known")

    nursery.start_soon(close)
    with pytest.raises(Refused) as refused:
        await introduce(meeting.dialled, meeting.exchange, REQUEST, seconds=5)
    assert (refused.value.code, refused.value.message) == (100, "token not known")


@pytest.mark.reliability(line=32)
async def test_the_words_of_a_refusal_are_printable_on_both_sides(
    meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_authenticate, meeting, refusing(101, "not\r\n\x1b[2J you"), [])
        with pytest.raises(Refused) as refused:
            await introduce(meeting.dialled, meeting.exchange, REQUEST, seconds=5)
    assert refused.value.message == r"not\r\n\x1b[2J you"
    assert any("not" in record.getMessage() for record in caplog.records)
    assert all(record.getMessage().isprintable() for record in caplog.records)


async def test_a_refused_dialer_that_is_gone_or_deaf_costs_a_second(meeting: Meeting) -> None:
    results: list[Admitted[Any] | None] = []
    records = await meeting.dialer_records()
    await records.send(meeting.exchange.request, REQUEST)
    await trio.sleep(1)
    meeting.pair.cut()
    began = trio.current_time()
    await run_authenticate(meeting, refusing(100, "no"), results)
    assert trio.current_time() - began == pytest.approx(GOODBYE_SECONDS)
    assert results == [None]
    assert meeting.accepted.is_closed


@pytest.mark.parametrize(
    ("code", "closed_with"),
    [(0, 0), (1, 1), (777, 777), (2**31 - 1, 2**31 - 1), (-1, 100), (-(2**31), 100)],
)
async def test_a_dialer_takes_any_code_and_closes_with_one_that_quic_can_carry(
    nursery: trio.Nursery, code: int, closed_with: int
) -> None:
    async with open_meeting(RELAY_TO_CONTROL) as meeting:
        nursery.start_soon(refuse_by_hand, meeting, Error(code, "odd"))
        with pytest.raises(Refused) as refused:
            await introduce(meeting.dialled, meeting.exchange, TALKS[1][1], seconds=5)
        assert (refused.value.code, refused.value.message) == (code, "odd")
        assert (await meeting.accepted.wait_closed()).code == closed_with


@pytest.mark.parametrize(
    ("exchange", "closed_with"),
    [
        (CLIENT_TO_CONTROL, (100, "authentication failed")),
        (RELAY_TO_CONTROL, (777, "not today")),
        (CLIENT_TO_RELAY, (777, "not today")),
    ],
    ids=lambda value: value.kind.name if isinstance(value, Exchange) else "",
)
async def test_who_is_refused_takes_note_in_the_words_of_section_3_8(
    nursery: trio.Nursery, exchange: Exchange[Any, Any], closed_with: tuple[int, str]
) -> None:
    (request,) = (talk[1] for talk in TALKS if talk[0] is exchange)
    async with open_meeting(exchange) as meeting:
        nursery.start_soon(refuse_by_hand, meeting, Error(777, "not today"))
        with pytest.raises(Refused, match="not today"):
            await introduce(meeting.dialled, exchange, request, seconds=5)
        lost = await meeting.accepted.wait_closed()
    assert (lost.code, lost.reason) == closed_with


async def test_of_many_refusals_the_first_of_a_minute_are_warnings(
    meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, authentication_module.__name__)
    refusals = RefusalLog()
    for _ in range(2):
        caplog.clear()
        for number in range(1000):
            refusals.add(meeting.accepted, meeting.exchange.kind, f"no {number}")
            await trio.sleep(REFUSALS_SECONDS / 1001)
        warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert warned[:-1] == [
            f"client → control refused, from 192.0.2.2:5000: no {number}" for number in range(REFUSALS_WARNED)
        ]
        assert "level debug" in warned[-1]
        assert len(caplog.records) == 1001
        await trio.sleep(1)


@pytest.mark.parametrize(
    "said", [None, b"\xff\xff", control.Authenticate(token="t")], ids=["nothing", "nonsense", "no"]
)
async def test_every_kind_of_refusal_counts_towards_the_limit_of_its_log(
    meeting: Meeting, caplog: pytest.LogCaptureFixture, said: Any
) -> None:
    refusals = RefusalLog()
    for _ in range(REFUSALS_WARNED):
        refusals.add(meeting.accepted, meeting.exchange.kind, "no")
    caplog.clear()
    records = await meeting.dialer_records()
    if said is not None:
        await records.send_payload(said if isinstance(said, bytes) else meeting.exchange.request.encode(said))
    assert await authenticate(meeting.accepted, meeting.exchange, refusing(100, "no"), refusals) is None
    assert caplog.records == []


# --- silence


@pytest.mark.parametrize("said", [None, b"", b"\x00", (100).to_bytes(4, "big") + bytes(99)])
async def test_a_dialer_that_does_not_say_who_it_is_gets_five_seconds(
    meeting: Meeting, said: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    results: list[Admitted[Any] | None] = []
    if said is not None:
        await (await meeting.dialled.open_stream()).send_all(said)
    began = trio.current_time()
    await run_authenticate(meeting, admitting, results)
    assert trio.current_time() - began == pytest.approx(AUTHENTICATION_SECONDS)
    assert results == [None]
    lost = await meeting.dialled.wait_closed()
    assert (lost.code, lost.reason) == (100, "Error while authenticating")
    assert "nothing said within 5 s" in caplog.text


async def test_saying_it_byte_by_byte_earns_no_more_time(meeting: Meeting, nursery: trio.Nursery) -> None:
    async def trickle() -> None:
        stream = await meeting.dialled.open_stream()
        for byte in encode_frame(bytes(100), wire_version(meeting.exchange.kind, meeting.dialled.alpn)):
            await stream.send_all(bytes([byte]))
            await trio.sleep(1)

    nursery.start_soon(trickle)
    began = trio.current_time()
    assert await authenticate(meeting.accepted, meeting.exchange, admitting, RefusalLog()) is None
    assert trio.current_time() - began == pytest.approx(AUTHENTICATION_SECONDS)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [0.5, 7.0])
async def test_a_listener_that_does_not_answer_is_given_up(meeting: Meeting, seconds: float) -> None:
    began = trio.current_time()
    with pytest.raises(DialFailed, match=f"192.0.2.1:4000: no answer to authentication within {seconds:g} s"):
        await introduce(meeting.dialled, meeting.exchange, REQUEST, seconds=seconds)
    assert trio.current_time() - began == pytest.approx(seconds)
    lost = await meeting.accepted.wait_closed()
    assert (lost.code, lost.reason) == (100, "authentication failed")


async def test_a_cancelled_introduction_closes_the_connection(meeting: Meeting) -> None:
    with trio.move_on_after(1) as scope:
        await introduce(meeting.dialled, meeting.exchange, REQUEST, seconds=60)
    assert scope.cancelled_caught
    assert meeting.dialled.is_closed


# --- nonsense


async def test_the_longest_honest_request_is_read(nursery: trio.Nursery) -> None:
    request = control_relay.Authenticate(
        token="t" * 200,
        reconnect_token=bytes(100),
        addresses=(HostPort(f"{'relay' * 10}.example", 19_191),) * 64,
        metadata="m" * MAX_METADATA_BYTES,
        server_certificate=bytes(1 << 14),
        relay_authentication_key=bytes(32),
    )
    async with open_meeting(RELAY_TO_CONTROL) as meeting:
        nursery.start_soon(run_authenticate, meeting, lambda request: (request, TALKS[1][2]), [])
        assert await introduce(meeting.dialled, RELAY_TO_CONTROL, request, seconds=5) == TALKS[1][2]


@pytest.mark.parametrize("nonsense", ["no message", "too long", "an end", "half a record"])
async def test_nonsense_of_a_dialer_is_answered_with_code_100(
    meeting: Meeting, nonsense: str, caplog: pytest.LogCaptureFixture
) -> None:
    version = wire_version(meeting.exchange.kind, meeting.dialled.alpn)
    said = {
        "no message": encode_frame(b"\xff\xff", version),
        "too long": (MAX_FRAME_BYTES + 1).to_bytes(version.prefix_bytes, "big"),
        "an end": b"",
        "half a record": encode_frame(bytes(10), version)[:-3],
    }[nonsense]
    stream = await meeting.dialled.open_stream()
    await stream.send_all(said)
    if nonsense in ("an end", "half a record"):
        await stream.send_eof()
    with trio.fail_after(1):
        assert await authenticate(meeting.accepted, meeting.exchange, admitting, RefusalLog()) is None
        lost = await meeting.dialled.wait_closed()
    assert (lost.code, lost.reason) == (100, "Error while authenticating")
    assert "unreadable request" in caplog.text


@pytest.mark.parametrize(
    ("exchange", "code"),
    [(CLIENT_TO_CONTROL, 100), (RELAY_TO_CONTROL, 100), (CLIENT_TO_RELAY, 2)],
    ids=lambda value: value.kind.name if isinstance(value, Exchange) else "",
)
@pytest.mark.parametrize("whole", [True, False])
async def test_nonsense_of_a_listener_ends_the_connection_with_the_code_of_its_kind(
    exchange: Exchange[Any, Any], code: int, whole: bool, nursery: trio.Nursery
) -> None:
    (request,) = (talk[1] for talk in TALKS if talk[0] is exchange)
    async with open_meeting(exchange) as meeting:

        async def answer() -> None:
            records = await meeting.listener_records()
            if whole:
                await records.send_payload(b"\xff\xff")
            else:
                await records.stream.send_all(b"\x00")
                await records.stream.send_eof()

        nursery.start_soon(answer)
        with pytest.raises(RemoteProtocolError):
            await introduce(meeting.dialled, exchange, request, seconds=5)
        assert (await meeting.accepted.wait_closed()).code == code


# --- the connection ends meanwhile


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(("code", "error"), [(0, PathLost), (400, Refused)])
async def test_a_dialer_that_leaves_is_no_refusal_of_ours(
    meeting: Meeting, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, opened: bool, code: int, error: Any
) -> None:
    if opened:
        await (await meeting.dialled.open_stream()).send_all(b"\x00")

    async def leave() -> None:
        await trio.sleep(1)
        meeting.dialled.close(code, "leaving")

    nursery.start_soon(leave)
    expected = PathLost if not opened else error  # without a stream there is nothing to explain
    with pytest.raises(expected, match="leaving"):
        await authenticate(meeting.accepted, meeting.exchange, admitting, RefusalLog())
    assert caplog.records == []


async def test_a_dialer_that_gives_its_stream_up_has_not_authenticated(
    meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    stream = await meeting.dialled.open_stream()
    await stream.send_all(b"\x00")
    await trio.sleep(1)
    stream.reset(3)
    assert await authenticate(meeting.accepted, meeting.exchange, admitting, RefusalLog()) is None
    lost = await meeting.dialled.wait_closed()
    assert (lost.code, lost.reason) == NOT_AUTHENTICATED
    assert "code 3" in caplog.text


async def test_a_dialer_that_does_not_want_the_answer_has_not_authenticated(meeting: Meeting) -> None:
    records = await meeting.dialer_records()
    await records.send(meeting.exchange.request, REQUEST)
    records.stream.stop(3)
    await trio.sleep(1)
    assert await authenticate(meeting.accepted, meeting.exchange, admitting, RefusalLog()) is None
    lost = await meeting.dialled.wait_closed()
    assert (lost.code, lost.reason) == NOT_AUTHENTICATED


async def test_a_connection_lost_before_the_answer_is_a_lost_path(meeting: Meeting) -> None:
    meeting.pair.cut()
    with pytest.raises(PathLost, match="no sign of life"):
        await introduce(meeting.dialled, meeting.exchange, REQUEST, seconds=600)


# --- what goes with it


async def test_letting_finish_ends_with_the_other_side(pair: Pair, nursery: trio.Nursery) -> None:
    ours, theirs = await pair.open_streams()
    theirs.finish()
    began = trio.current_time()
    await let_finish(ours)
    assert trio.current_time() - began < 0.1
    assert repr(ours) == f"<Stream {ours.id}: sending OPEN, receiving ENDED>"


@pytest.mark.parametrize("said", [b"", b"more"])
async def test_who_does_not_finish_is_asked_to_so_that_the_stream_is_given_back(pair: Pair, said: bytes) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_all(said)
    began = trio.current_time()
    await let_finish(ours)
    assert trio.current_time() - began <= GOODBYE_SECONDS
    assert await theirs.wait_stopped() == 0


async def test_letting_finish_takes_a_broken_stream_for_finished(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    theirs.reset(5)
    await let_finish(ours)
    ours.connection.close(0, "")
    await let_finish(ours)


async def test_metadata_is_measured_in_bytes() -> None:
    check_metadata("x" * 4096)
    for long in ("x" * 4097, "ü" * 2049):
        with pytest.raises(Refused, match=r"at most 4096 \(AUTHENTICATION_FAILED\)"):
            check_metadata(long)
