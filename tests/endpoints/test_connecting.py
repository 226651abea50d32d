"""The connect exchange: what a source and a destination make of each other's records."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from connet_trio.endpoints.connecting import (
    ANSWER_SECONDS,
    accept_directly,
    accept_from_relay,
    connect_directly,
    connect_through_relay,
)
from connet_trio.endpoints.relay_encryption import plain_offer
from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection, RecordStream, Stream
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.records.peer import (
    Check,
    Connect,
    Connected,
    EcdhOffer,
    PeerRequest,
    PeerResponse,
    ProxyVersion,
    RelayEncryption,
    TlsOffer,
)
from connet_trio.testing.clock import run_simulated
from connet_trio.wire import WireVersion, codecs, encode_frame
from tests.quic.conftest import dialing, listening, open_pair

VERSIONS = pytest.mark.parametrize("version", WireVersion)


def simulate(scenario: Callable[[Connection, Connection], Awaitable[None]]) -> None:
    """Run `scenario` with the source's end and the destination's end of a connection."""

    async def run() -> None:
        async with open_pair() as pair:
            await scenario(*await pair.connect())

    run_simulated(run, seed=1)


async def ask(source: Connection, request: PeerRequest, version: WireVersion) -> tuple[Stream, PeerResponse]:
    """What a destination answers to `request`."""
    stream = await source.open_stream()
    records = RecordStream(stream, version)
    await records.send(codecs.PEER_REQUEST, request)
    return stream, await records.receive(codecs.PEER_RESPONSE)


async def accept_one(destination: Connection, outcome: list[bool]) -> None:
    outcome.append(await accept_from_relay(await destination.accept_stream()) is not None)


@VERSIONS
@pytest.mark.parametrize("encryption", [(), (RelayEncryption.NONE,), (RelayEncryption.TLS, RelayEncryption.NONE)])
def test_a_destination_accepts_what_may_go_in_the_clear(
    version: WireVersion, encryption: tuple[RelayEncryption, ...]
) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        outcome: list[bool] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one, destination, outcome)
            if not encryption and version is WireVersion.V1:
                encrypted = Connect(source_encryption=(RelayEncryption.NONE,))  # an empty frame of V1 is not sent
            else:
                encrypted = Connect(source_encryption=encryption)
            _, answer = await ask(source, encrypted, version)
        assert answer == Connected()
        assert outcome == [True]

    simulate(scenario)


@VERSIONS
@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (Connect(source_encryption=(RelayEncryption.TLS,)), 502, "no shared encryption schemes"),
        (Connect(source_encryption=(RelayEncryption.NONE, 7)), 502, "unknown relay encryption scheme"),
    ],
)
def test_a_destination_refuses_what_it_cannot_do(version: WireVersion, request_: Connect, code: int, text: str) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        outcome: list[bool] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one, destination, outcome)
            stream, answer = await ask(source, request_, version)
            assert isinstance(answer, Error)
            assert answer.code == code
            assert text in answer.message
            assert await stream.receive_some() == b""
            assert await stream.wait_stopped() == 0  # so that the credit of the stream returns
        assert outcome == [False]

    simulate(scenario)


def test_a_request_without_connect_is_unknown() -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one, destination, [])
            stream = await source.open_stream()
            # present, and empty of all this release knows: field 9
            await stream.send_all(encode_frame(bytes.fromhex("4a00"), WireVersion.V2))
            answer = await RecordStream(stream, WireVersion.V2).receive(codecs.PEER_RESPONSE)
        assert isinstance(answer, Error)
        assert answer.code is ErrorCode.REQUEST_UNKNOWN

    simulate(scenario)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x00\x00\x00\x02\xff\xff", b"\x00\x01\x00\x01"])
def test_garbage_ends_the_stream_and_nothing_else(garbage: bytes) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        outcome: list[bool] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one, destination, outcome)
            stream = await source.open_stream()
            await stream.send_all(garbage)
            await stream.wait_stopped()
        assert outcome == [False]
        assert not destination.is_closed

    simulate(scenario)


def test_a_source_that_says_nothing_is_given_up() -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        stream = await source.open_stream()
        await stream.send_all(b"\x00")
        began = trio.current_time()
        assert not await accept_from_relay(await destination.accept_stream())
        assert trio.current_time() - began == pytest.approx(ANSWER_SECONDS, abs=0.1)

    simulate(scenario)


@VERSIONS
@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Error(ErrorCode.DESTINATION_NOT_FOUND, "could not find destination"), Refused, "could not find"),
        (Error(4242, "of tomorrow"), Refused, "of tomorrow"),
        (Check(), RemoteProtocolError, "neither yes nor no"),
        (Connected(destination_encryption=RelayEncryption.TLS), RemoteProtocolError, "not offered"),
        (Connected(proxy_proto=9), RemoteProtocolError, "PROXY header of version 9"),
    ],
)
def test_a_source_says_why_it_was_not_connected(
    version: WireVersion, answer: PeerResponse, error: type[Exception], text: str
) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async def respond() -> None:
            records = RecordStream(await destination.accept_stream(), version)
            assert await records.receive(codecs.PEER_REQUEST) == Connect(source_encryption=(RelayEncryption.NONE,))
            await records.send(codecs.PEER_RESPONSE, answer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(respond)
            with pytest.raises(error, match=text):
                await connect_through_relay(source, version, plain_offer())
        assert not source.is_closed

    simulate(scenario)


def test_a_connection_closed_meanwhile_is_the_reason() -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async def close() -> None:
            await destination.accept_stream()
            destination.close(302, "keepalive closed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            with pytest.raises((PathLost, Refused), match="keepalive closed"):
                await connect_through_relay(source, WireVersion.V2, plain_offer())

    simulate(scenario)


def test_a_source_that_goes_before_it_is_answered_is_no_error() -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        stream = await source.open_stream()
        request = codecs.PEER_REQUEST.encode(Connect(source_encryption=(RelayEncryption.NONE,)))
        await stream.send_all(encode_frame(request, WireVersion.V2))
        stream.stop(3)
        accepted = await destination.accept_stream()
        await accepted.wait_stopped()
        assert not await accept_from_relay(accepted)

    simulate(scenario)


def test_a_request_that_breaks_off_ends_its_stream_and_nothing_else() -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        stream = await source.open_stream()
        await stream.send_all(encode_frame(bytes(1000), WireVersion.V2)[:500])
        accepted = await destination.accept_stream()
        stream.reset(7)
        assert not await accept_from_relay(accepted)
        assert not destination.is_closed

    simulate(scenario)


@VERSIONS
def test_the_first_payload_byte_follows_the_records(version: WireVersion) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async def serve() -> None:
            stream = await destination.accept_stream()
            assert await accept_from_relay(stream)
            assert await stream.receive_some() == b"early"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            stream = await source.open_stream()
            request = codecs.PEER_REQUEST.encode(Connect(source_encryption=(RelayEncryption.NONE,)))
            await stream.send_all(encode_frame(request, version) + b"early")

    simulate(scenario)


# --- on a direct connection

EMPTY_CONNECT = bytes.fromhex("0a00")
EVERYTHING = Connect(
    source_encryption=(RelayEncryption.TLS, RelayEncryption.DHXCP, 7),
    source_tls=TlsOffer(client_name="somebody.invalid"),
    source_dh_x25519=EcdhOffer(client_name="somebody.invalid", key_time=bytes(40), signature=bytes(64)),
)


def simulate_direct(version: WireVersion, scenario: Callable[[Connection, Connection], Awaitable[None]]) -> None:
    """Run `scenario` with the source's end and the destination's end of a direct connection."""
    alpns = ("connet-peer/0.1" if version is WireVersion.V1 else "connet-peer/0.2",)

    async def run() -> None:
        async with open_pair(listen=listening(alpns=alpns)) as pair:
            source = await pair.dialer.dial(pair.address, dialing(alpns=alpns))
            await scenario(source, await pair.listener.accept())

    run_simulated(run, seed=1)


async def accept_one_directly(destination: Connection, outcome: list[bool], refusal: Error | None = None) -> None:
    outcome.append(await accept_directly(await destination.accept_stream(), refusal=refusal) is not None)


@VERSIONS
def test_a_direct_request_is_an_empty_connect(version: WireVersion) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect_directly, source)
            stream = await destination.accept_stream()
            assert await stream.receive_some() == encode_frame(EMPTY_CONNECT, version)
            await stream.send_all(encode_frame(codecs.PEER_RESPONSE.encode(Connected()), version))

    simulate_direct(version, scenario)


@VERSIONS
def test_both_ends_of_a_direct_connection_agree(version: WireVersion) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async def serve() -> None:
            stream = await destination.accept_stream()
            assert await accept_directly(stream)
            assert await stream.receive_some() == b"payload"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await (await connect_directly(source)).stream.send_all(b"payload")

    simulate_direct(version, scenario)


@VERSIONS
def test_what_a_direct_request_says_of_encryption_is_ignored(version: WireVersion) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        outcome: list[bool] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one_directly, destination, outcome)
            _, answer = await ask(source, EVERYTHING, version)
        assert answer == Connected()
        assert outcome == [True]

    simulate_direct(version, scenario)


@VERSIONS
def test_a_check_after_the_first_is_unknown(version: WireVersion) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        outcome: list[bool] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one_directly, destination, outcome)
            stream, answer = await ask(source, Check(), version)
            assert isinstance(answer, Error)
            assert answer.code is ErrorCode.REQUEST_UNKNOWN
            assert await stream.wait_stopped() == 0
        assert outcome == [False]

    simulate_direct(version, scenario)


@VERSIONS
@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Error(ErrorCode.DESTINATION_DIAL_FAILED, "the destination is stopping"), Refused, "stopping"),
        (Check(), RemoteProtocolError, "neither yes nor no"),
        (Connected(proxy_proto=9), RemoteProtocolError, "PROXY header of version 9"),
    ],
)
def test_a_direct_destination_that_says_no_is_heard(
    version: WireVersion, answer: PeerResponse, error: type[Exception], text: str
) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async def respond() -> None:
            stream = await destination.accept_stream()
            records = RecordStream(stream, version)
            assert await records.receive(codecs.PEER_REQUEST) == Connect()
            await records.send(codecs.PEER_RESPONSE, answer)
            assert await stream.wait_stopped() == 0  # nothing of the stream is left, whoever it was that said no

        async with trio.open_nursery() as nursery:
            nursery.start_soon(respond)
            with pytest.raises(error, match=text):
                await connect_directly(source)
        assert not source.is_closed

    simulate_direct(version, scenario)


@VERSIONS
@pytest.mark.parametrize("proxy", ProxyVersion)
def test_a_source_learns_which_header_the_destination_wants(version: WireVersion, proxy: ProxyVersion) -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async def serve() -> None:
            await accept_directly(await destination.accept_stream(), proxy=proxy)
            await accept_from_relay(await destination.accept_stream(), proxy=proxy)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            assert (await connect_directly(source)).proxy is proxy
            assert (await connect_through_relay(source, version, plain_offer())).proxy is proxy

    simulate_direct(version, scenario)


def test_what_a_direct_destination_says_of_encryption_is_ignored() -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        async def respond() -> None:
            records = RecordStream(await destination.accept_stream(), WireVersion.V2)
            await records.receive(codecs.PEER_REQUEST)
            await records.send(codecs.PEER_RESPONSE, Connected(destination_encryption=RelayEncryption.TLS))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(respond)
            await connect_directly(source)

    simulate_direct(WireVersion.V2, scenario)


def test_a_destination_that_is_stopping_says_so_directly() -> None:
    stopping = Error(ErrorCode.DESTINATION_DIAL_FAILED, "the destination is stopping")

    async def scenario(source: Connection, destination: Connection) -> None:
        outcome: list[bool] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_one_directly, destination, outcome, stopping)
            with pytest.raises(Refused, match="is stopping"):
                await connect_directly(source)
        assert outcome == [False]

    simulate_direct(WireVersion.V2, scenario)


def test_a_source_that_says_nothing_directly_is_given_up() -> None:
    async def scenario(source: Connection, destination: Connection) -> None:
        await (await source.open_stream()).send_all(b"\x00")
        began = trio.current_time()
        assert not await accept_directly(await destination.accept_stream())
        assert trio.current_time() - began == pytest.approx(ANSWER_SECONDS, abs=0.1)
        assert not destination.is_closed

    simulate_direct(WireVersion.V2, scenario)
