"""Streams through a relay that must not read them, and one that tries to change them."""

import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from connet_trio.concurrency import AbortableStream, StreamBroken, Told, splice
from connet_trio.endpoints import Destination, Source
from connet_trio.errors import ConfigError, PeersUnreachable
from connet_trio.records.model import Route
from connet_trio.records.peer import RelayEncryption
from connet_trio.relay import forwarding
from connet_trio.secure import LayeredStream, TlsStream
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CONTROL_HOST,
    Deployment,
    echo_stream,
    exchange,
    relay_bytes,
    simulated_deployment,
)
from connet_trio.testing.network import Link
from tests.scenarios.test_clocks import YEAR, Clock, client_at

NONE, TLS, DHXCP = RelayEncryption.NONE, RelayEncryption.TLS, RelayEncryption.DHXCP
pytestmark = pytest.mark.long
ENCRYPTED = pytest.mark.parametrize("scheme", [TLS, DHXCP], ids=["tls", "dhxcp"])
MEDDLERS: dict[str, Callable[[bytes], bytes]] = {
    "altered": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "repeated": lambda data: data * 2,
}
SECRET = b"the quick brown fox jumps over the lazy dog"
WINDOW = 16
"""Bytes of known plaintext that are looked for, at every offset."""


@attrs.define
class ReadingRelay:
    """What the relay of a test does with the payload it forwards."""

    seen: bytearray = attrs.field(factory=bytearray)
    meddle: Callable[[bytes], bytes] = attrs.field(default=lambda data: data)

    async def splice(self, left: AbortableStream, right: AbortableStream, **counts: Any) -> None:
        await splice(Tapped(left, self), Tapped(right, self), **counts)


class Tapped(AbortableStream):
    """A stream whose bytes are seen, and perhaps changed, as they arrive."""

    def __init__(self, below: AbortableStream, relay: ReadingRelay) -> None:
        self._below = below
        self._relay = relay

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = bytes(await self._below.receive_some(max_bytes))
        self._relay.seen += data
        return self._relay.meddle(data) if data else data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._below.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._below.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._below.send_eof()

    def reset(self, code: int = 0) -> None:
        self._below.reset(code)

    def stop(self, code: int = 0) -> None:
        self._below.stop(code)

    def on_stopped(self, tell: Told) -> None:
        self._below.on_stopped(tell)

    def on_reset(self, tell: Told) -> None:
        self._below.on_reset(tell)

    async def aclose(self) -> None:
        await self._below.aclose()


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> ReadingRelay:
    reading = ReadingRelay()
    monkeypatch.setattr(forwarding, "splice", reading.splice)
    return reading


def simulate(scenario: Callable[[Deployment], Awaitable[None]], *, relays: int = 1, link: Link | None = None) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=1, relays=relays, link=link or Link(delay=0.01)) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0
            assert all(relay.status().handler_errors == 0 for relay in deployment.relays.values())

    run_simulated(run, seed=1)


async def echo(destination: Destination, source: Source, data: bytes) -> bytes:
    async def answer() -> None:
        await echo_stream(await destination.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        return await exchange(await source.dial(), data)
    raise AssertionError("unreachable")


def pieces_in(seen: bytes) -> int:
    """How many windows of the known plaintext are in what the relay has seen."""
    return sum(SECRET[begin : begin + WINDOW] in seen for begin in range(len(SECRET) - WINDOW + 1))


@pytest.mark.parametrize("scheme", RelayEncryption, ids=lambda scheme: scheme.name.lower())
def test_the_relay_reads_nothing_of_what_is_encrypted_and_all_of_what_is_not(
    relay: ReadingRelay, scheme: RelayEncryption
) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(relay_encryptions=(scheme,))
        data = SECRET * 3000 + random.Random(1).randbytes(100_000) + SECRET
        assert await echo(destination, source, data) == data
        assert len(relay.seen) >= 2 * len(data)
        assert relay_bytes(deployment) == {1: len(relay.seen)}
        assert pieces_in(bytes(relay.seen)) == (len(SECRET) - WINDOW + 1 if scheme is NONE else 0)

    simulate(scenario)


@ENCRYPTED
def test_half_close_survives(scheme: RelayEncryption) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(relay_encryptions=(scheme,))
        stream = await source.dial()
        accepted = await destination.accept()
        await stream.send_all(b"question")
        await stream.send_eof()
        assert [chunk async for chunk in accepted] == [b"question"]
        await accepted.send_all(b"answer")
        await accepted.send_eof()
        assert [chunk async for chunk in stream] == [b"answer"]

    simulate(scenario)


@pytest.mark.parametrize("scheme", [DHXCP], ids=["dhxcp"])
def test_a_reader_that_stops_holds_the_sender(scheme: RelayEncryption) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(relay_encryptions=(scheme,))
        stream = await source.dial()
        accepted = await destination.accept()
        sent = 0

        async def push() -> None:
            nonlocal sent
            while True:
                await stream.send_all(bytes(65_536))
                sent += 65_536

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            await trio.sleep(30)
            held = sent
            assert held <= 6 << 20  # two windows, two send buffers and a chunk on the way, as without encryption
            received = 0
            while received < held:
                received += len(await accepted.receive_some())
            nursery.cancel_scope.cancel()

    simulate(scenario)


@ENCRYPTED
def test_who_gives_up_is_heard(scheme: RelayEncryption) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(relay_encryptions=(scheme,))
        stream = await source.dial()
        accepted = await destination.accept()
        stream.abort(7)
        with pytest.raises(StreamBroken) as reset:
            await accepted.receive_some()
        assert reset.value.code == 7

    simulate(scenario)


@ENCRYPTED
@pytest.mark.parametrize("meddle", MEDDLERS)
def test_a_relay_that_changes_what_it_forwards_ends_the_stream(
    relay: ReadingRelay, scheme: RelayEncryption, meddle: str
) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair(relay_encryptions=(scheme,))
        stream = await source.dial()
        accepted = await destination.accept()
        await stream.send_all(b"pay 5 to alice")
        assert await accepted.receive_some() == b"pay 5 to alice"
        relay.meddle = MEDDLERS[meddle]
        await stream.send_all(b"pay 5 to bob")
        with pytest.raises(StreamBroken, match=r"does not open|TLS: "):
            await accepted.receive_some()
        with pytest.raises(StreamBroken):
            await accepted.send_all(b"paid")
        with pytest.raises(StreamBroken):
            await stream.receive_some()

    simulate(scenario)


def test_the_destination_chooses_and_both_know_the_stream_for_what_it_is() -> None:
    async def scenario(deployment: Deployment) -> None:
        offering, using = await deployment.add_client(), await deployment.add_client()
        for name, source_has, destination_has, kind in (
            ("best", (NONE, DHXCP, TLS), (NONE, DHXCP, TLS), TlsStream),
            ("common", (TLS, DHXCP), (NONE, DHXCP), LayeredStream),
        ):
            destination = await offering.add_destination(name, route=Route.RELAY, relay_encryptions=destination_has)
            source = await using.add_source(name, route=Route.RELAY, relay_encryptions=source_has)
            await source.wait_reachable()
            stream = await source.dial()
            assert type(stream) is kind
            assert type(await destination.accept()) is kind

    simulate(scenario)


@pytest.mark.parametrize(("source_has", "destination_has"), [((NONE,), (TLS,)), ((TLS,), (NONE,))])
def test_sides_that_share_no_scheme_say_so_and_are_not_connected(
    source_has: tuple[RelayEncryption], destination_has: tuple[RelayEncryption], caplog: pytest.LogCaptureFixture
) -> None:
    names = [schemes[0].name.lower() for schemes in (source_has, destination_has)]

    async def scenario(deployment: Deployment) -> None:
        offering, using = await deployment.add_client(), await deployment.add_client()
        await offering.add_destination("db", route=Route.RELAY, relay_encryptions=destination_has)
        source = await using.add_source("db", route=Route.RELAY, relay_encryptions=source_has)
        await source.wait_reachable()
        for _ in range(3):
            began = trio.current_time()
            with pytest.raises(PeersUnreachable) as refused:
                await source.dial()
            assert "select encryption scheme: no shared encryption schemes" in str(refused.value)
            assert "source: {}; destination: {}".format(*names) in str(refused.value)
            assert trio.current_time() - began < 0.5  # it answered: no path is suspect for that

    caplog.set_level(logging.WARNING)
    simulate(scenario)
    told = [record.getMessage() for record in caplog.records if "turned away behind a relay" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("db: a source was turned away behind a relay: select encryption scheme: ")


@pytest.mark.parametrize("ahead", [240.0, 420.0])
def test_dhxcp_goes_with_clocks_up_to_five_minutes_apart(ahead: float) -> None:
    async def scenario(deployment: Deployment) -> None:
        source = await (await deployment.add_client()).add_source("db", route=Route.RELAY, relay_encryptions=(DHXCP,))
        async with client_at(deployment, "203.0.113.50", Clock(ahead=ahead)) as offering:
            destination = await offering.add_destination("db", route=Route.RELAY, relay_encryptions=(DHXCP,))
            await source.wait_reachable()
            if ahead < 300:
                assert await echo(destination, source, b"in time") == b"in time"
                return
            with pytest.raises(PeersUnreachable, match=r"made 7.0 minutes before the time here.*wrong\?"):
                await source.dial()

    simulate(scenario)


@ENCRYPTED
def test_a_source_that_control_is_only_just_telling_of_is_waited_for(scheme: RelayEncryption) -> None:
    async def scenario(deployment: Deployment) -> None:
        offering = await deployment.add_client("203.0.113.50", behind=None)
        destination = await offering.add_destination("db", route=Route.RELAY, relay_encryptions=(scheme,))
        await trio.sleep(2)
        deployment.network.set_link("203.0.113.50", CONTROL_HOST, Link(delay=0.5))
        using = await deployment.add_client()
        source = await using.add_source("db", route=Route.RELAY, relay_encryptions=(scheme,))
        await source.wait_reachable()
        assert not destination.known.paths.peers
        assert await echo(destination, source, b"early") == b"early"

    simulate(scenario)


@ENCRYPTED
def test_certificates_that_are_made_anew_are_those_that_count(scheme: RelayEncryption) -> None:
    async def scenario(deployment: Deployment) -> None:
        clock = Clock()
        async with (
            client_at(deployment, "203.0.113.50", clock) as offering,
            client_at(deployment, "203.0.113.51", clock) as using,
        ):
            destination = await offering.add_destination("db", route=Route.RELAY, relay_encryptions=(scheme,))
            source = await using.add_source("db", route=Route.RELAY, relay_encryptions=(scheme,))
            await source.wait_reachable()
            assert await echo(destination, source, b"before") == b"before"
            clock.ahead = 1.95 * YEAR
            await trio.sleep(20)
            await source.wait_reachable()
            assert await echo(destination, source, b"after") == b"after"

    simulate(scenario)


@ENCRYPTED
def test_whoever_of_several_destinations_answers_is_known(scheme: RelayEncryption) -> None:
    """A relay chooses by distance, whichever peer the source thought of (trap T26)."""

    async def scenario(deployment: Deployment) -> None:
        destinations = [
            await (await deployment.add_client()).add_destination("db", route=Route.RELAY, relay_encryptions=(scheme,))
            for _ in range(3)
        ]
        using = await deployment.add_client()
        source = await using.add_source("db", route=Route.RELAY, relay_encryptions=(scheme,))
        await source.wait_reachable()
        async with trio.open_nursery() as nursery:
            for destination in destinations:
                nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            for number in range(6):
                assert await exchange(await source.dial(), bytes([number])) == bytes([number])
            nursery.cancel_scope.cancel()

    simulate(scenario)


def test_an_endpoint_without_any_scheme_is_refused() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        with pytest.raises(ConfigError, match="no relay encryption is allowed"):
            await client.add_source("db", relay_encryptions=())

    simulate(scenario)
