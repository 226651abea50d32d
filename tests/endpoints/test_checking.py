"""The check of a direct connection, as it is asked and as it is answered (protocol section 7.4)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from connet_trio.endpoints.checking import CHECK_SECONDS, MAX_CHECK_BYTES, answer_check, ask_check
from connet_trio.errors import DialFailed, PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection, Stream
from connet_trio.quic.authentication import GOODBYE_SECONDS
from connet_trio.quic.limits import STREAMS_ALLOWED
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.records.peer import Check, Connect, Connected, PeerResponse
from connet_trio.wire import WireVersion, codecs, encode_frame
from tests.endpoints.conftest import simulate
from tests.quic.conftest import dialing, listening, open_pair

NAMES = {WireVersion.V1: "connet-peer/0.1", WireVersion.V2: "connet-peer/0.2"}
EMPTY = {WireVersion.V1: bytes(8), WireVersion.V2: bytes(4)}
"""A check on the wire: the length of nothing."""
VERSIONS = pytest.mark.parametrize("version", WireVersion)


@asynccontextmanager
async def connected(version: WireVersion = WireVersion.V2) -> AsyncIterator[tuple[Connection, Connection]]:
    """The dialer's end and the listener's."""
    alpns = (NAMES[version],)
    async with open_pair(listen=listening(alpns=alpns)) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(alpns=alpns))
        yield dialled, await pair.listener.accept()


@VERSIONS
def test_asker_and_answerer_understand_each_other(version: WireVersion) -> None:
    async def scenario() -> None:
        async with connected(version) as (asker, answerer):
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_check, asker)
                nursery.start_soon(answer_check, answerer)
            assert trio.current_time() - began < 1  # nobody waits out a timeout
            assert not asker.is_closed
            assert not answerer.is_closed
            await trio.sleep(1)
            assert asker.stream_count == answerer.stream_count == 0

    simulate(scenario)


@VERSIONS
def test_the_question_is_an_empty_record_and_so_is_the_answer(version: WireVersion) -> None:
    async def scenario() -> None:
        async with connected(version) as (asker, answerer), trio.open_nursery() as nursery:
            nursery.start_soon(ask_check, asker)
            stream = await answerer.accept_stream()
            assert await stream.receive_some() == EMPTY[version]
            await stream.send_all(EMPTY[version])
            await stream.send_eof()
            assert await stream.receive_some() == b""

    simulate(scenario)


@VERSIONS
def test_an_empty_record_is_answered_by_one_and_the_end(version: WireVersion) -> None:
    async def scenario() -> None:
        async with connected(version) as (asker, answerer), trio.open_nursery() as nursery:
            nursery.start_soon(answer_check, answerer)
            stream = await asker.open_stream()
            await stream.send_all(EMPTY[version])
            answer = b""
            async for data in stream:
                answer += data
            assert answer == EMPTY[version]
            await stream.send_eof()

    simulate(scenario)


def test_what_a_later_release_says_in_a_check_is_ignored() -> None:
    tomorrow = encode_frame(bytes.fromhex("4a00"), WireVersion.V2)  # field 9, present and empty

    async def scenario() -> None:
        async with connected() as (asker, answerer), trio.open_nursery() as nursery:
            nursery.start_soon(answer_check, answerer)
            stream = await asker.open_stream()
            await stream.send_all(tomorrow)
            assert await stream.receive_some() == EMPTY[WireVersion.V2]
            await stream.send_eof()
        async with connected() as (asker, answerer), trio.open_nursery() as nursery:
            nursery.start_soon(ask_check, asker)
            await (await answerer.accept_stream()).send_all(tomorrow)

    simulate(scenario)


def test_a_listener_that_does_not_answer_is_given_up() -> None:
    async def scenario() -> None:
        async with connected() as (asker, _):
            began = trio.current_time()
            with pytest.raises(DialFailed, match="connected, and no answer to the check within 5 s"):
                await ask_check(asker)
            assert trio.current_time() - began == pytest.approx(CHECK_SECONDS, abs=0.1)
            assert not asker.is_closed  # that is for whoever dialled it

    simulate(scenario)


def test_a_listener_that_allows_no_stream_is_given_up() -> None:
    async def scenario() -> None:
        async with connected() as (asker, _):
            for _ in range(STREAMS_ALLOWED):
                await asker.open_stream()
            with pytest.raises(DialFailed, match="no answer to the check"):
                await ask_check(asker)
            assert trio.current_time() == pytest.approx(CHECK_SECONDS, abs=0.5)

    simulate(scenario)


@pytest.mark.parametrize("said", [None, b"", b"\x00"], ids=["no stream", "an empty stream", "a part of a record"])
def test_a_dialer_that_does_not_ask_is_given_up(said: bytes | None) -> None:
    async def scenario() -> None:
        async with connected() as (asker, answerer):
            if said is not None:
                await (await asker.open_stream()).send_all(said)
            began = trio.current_time()
            with pytest.raises(DialFailed, match="did not ask"):
                await answer_check(answerer)
            assert trio.current_time() - began == pytest.approx(CHECK_SECONDS, abs=0.1)

    simulate(scenario)


def test_a_dialer_that_does_not_end_its_side_is_asked_to_after_a_second() -> None:
    async def scenario() -> None:
        async with connected() as (asker, answerer):
            stream = await asker.open_stream()
            await stream.send_all(EMPTY[WireVersion.V2])
            began = trio.current_time()
            await answer_check(answerer)
            assert trio.current_time() - began == pytest.approx(GOODBYE_SECONDS, abs=0.2)
            assert await stream.wait_stopped() == 0

    simulate(scenario)


@pytest.mark.parametrize(
    "answer", [Error(ErrorCode.REQUEST_UNKNOWN, "what?"), Connected()], ids=["an error", "the answer to a connect"]
)
def test_another_answer_is_none(answer: PeerResponse) -> None:
    async def scenario() -> None:
        async with connected() as (asker, answerer), trio.open_nursery() as nursery:

            async def respond() -> None:
                stream = await answerer.accept_stream()
                await stream.send_all(encode_frame(codecs.PEER_RESPONSE.encode(answer), WireVersion.V2))

            nursery.start_soon(respond)
            with pytest.raises(RemoteProtocolError, match="answered with something else"):
                await ask_check(asker)

    simulate(scenario)


@pytest.mark.parametrize(
    ("payload", "end"),
    [
        (b"", True),
        (b"\x00\x00", True),
        (b"\x00\x00\x00\x02\xff\xff", False),
        ((MAX_CHECK_BYTES + 1).to_bytes(4, "big"), False),
    ],
    ids=["nothing", "a part", "garbage", "too long"],
)
def test_what_is_no_record_breaks_the_protocol(payload: bytes, end: bool) -> None:
    async def scenario() -> None:
        async with connected() as (asker, answerer), trio.open_nursery() as nursery:
            nursery.start_soon(lambda: say_first(answerer.accept_stream))
            with pytest.raises(RemoteProtocolError):
                await ask_check(asker)
        async with connected() as (asker, answerer), trio.open_nursery() as nursery:
            nursery.start_soon(lambda: say_first(asker.open_stream))
            with pytest.raises(RemoteProtocolError):
                await answer_check(answerer)

    async def say_first(get_stream: Callable[[], Awaitable[Stream]]) -> None:
        stream = await get_stream()
        await stream.send_all(payload)
        if end:
            await stream.send_eof()

    simulate(scenario)


def test_a_connection_that_begins_with_a_connect_request_is_refused() -> None:
    async def scenario() -> None:
        async with connected() as (asker, answerer):
            request = encode_frame(codecs.PEER_REQUEST.encode(Connect()), WireVersion.V2)
            await (await asker.open_stream()).send_all(request)
            with pytest.raises(RemoteProtocolError, match="begins with its check"):
                await answer_check(answerer)

    simulate(scenario)


def test_a_refusal_comes_as_the_close_of_the_connection() -> None:
    async def scenario() -> None:
        async with connected() as (asker, answerer), trio.open_nursery() as nursery:

            async def refuse() -> None:
                await answerer.accept_stream()
                answerer.close(100, "unknown client")

            nursery.start_soon(refuse)
            with pytest.raises(Refused, match="unknown client") as refused:
                await ask_check(asker)
            assert refused.value.code == 100

    simulate(scenario)


@pytest.mark.parametrize("check", [ask_check, answer_check])
def test_a_connection_that_ends_meanwhile_is_lost(check: Callable[[Connection], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with connected() as (asker, answerer), trio.open_nursery() as nursery:
            ours, theirs = (asker, answerer) if check is ask_check else (answerer, asker)

            async def leave() -> None:
                await trio.sleep(1)
                theirs.close(0, "connection closed")

            nursery.start_soon(leave)
            with pytest.raises(PathLost, match="connection closed"):
                await check(ours)

    simulate(scenario)


def test_both_are_the_check() -> None:
    assert codecs.PEER_REQUEST.encode(Check()) == codecs.PEER_RESPONSE.encode(Check()) == b""
