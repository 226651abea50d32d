"""The direct port: whom it answers as whom, and whom it turns away in which words (protocol section 2.3)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from connet_trio.endpoints.checking import ask_check
from connet_trio.endpoints.direct_port import DirectPort, Welcome
from connet_trio.errors import DialFailed
from connet_trio.identity import Credential, EndpointIdentity, PinnedServer
from connet_trio.quic import Connection, Faults, serve_connections
from connet_trio.quic.ending import ALERTS
from tests.endpoints.conftest import simulate
from tests.quic.conftest import DIALER, LISTENER, STRANGER, WALL_NOW, Pair, dialing, open_pair

YEARS_LATER = WALL_NOW + 3 * 365 * 86_400


@asynccontextmanager
async def open_port(listener_clock: Callable[[], float] = lambda: WALL_NOW) -> AsyncIterator[tuple[Pair, DirectPort]]:
    """A port that answers for LISTENER and expects nobody; connections wait for the test to accept them."""
    port = DirectPort()
    async with open_pair(listen=port.listening, listener_clock=listener_clock) as pair:
        with port.answer_for(LISTENER.name, LISTENER.server):
            yield pair, port


def welcoming(name: str, guests: list[str]) -> Welcome:
    async def welcome(connection: Connection) -> None:
        guests.append(name)
        await connection.wait_closed()

    return welcome


async def dial(pair: Pair, identity: EndpointIdentity = LISTENER, **changes: object) -> Connection:
    """A connection of DIALER to an endpoint, complete on its side."""
    trust = PinnedServer(identity.server.der, identity.name)
    return await pair.dialer.dial(pair.address, dialing(**{"trust": trust, "server_name": identity.name, **changes}))


def test_the_server_name_picks_the_endpoint() -> None:
    async def scenario() -> None:
        guests: list[str] = []
        async with open_port() as (pair, port), trio.open_nursery() as nursery:
            await nursery.start(serve_connections, pair.listener, port.serve, Faults())
            with (
                port.answer_for(STRANGER.name, STRANGER.server),
                port.expect(LISTENER.name, DIALER.client.der, welcoming("first", guests)),
                port.expect(STRANGER.name, DIALER.client.der, welcoming("second", guests)),
            ):
                for identity in (STRANGER, LISTENER):
                    connection = await dial(pair, identity)
                    assert connection.peer_certificate == identity.server.der
                    await trio.sleep(1)
                    assert not connection.is_closed
            nursery.cancel_scope.cancel()
        assert guests == ["second", "first"]

    simulate(scenario)


def test_a_server_name_is_the_same_in_capitals() -> None:
    async def scenario() -> None:
        guests: list[str] = []
        async with open_port() as (pair, port), trio.open_nursery() as nursery:
            await nursery.start(serve_connections, pair.listener, port.serve, Faults())
            with port.expect(LISTENER.name, DIALER.client.der, welcoming("it", guests)):
                await dial(pair, server_name=LISTENER.name.upper())
                await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert guests == ["it"]

    simulate(scenario)


@pytest.mark.parametrize("asked", ["nobody.connet.peer.invalid", "192.0.2.1", STRANGER.name])
def test_a_server_name_that_is_not_ours_is_refused(asked: str) -> None:
    async def scenario() -> None:
        async with open_port() as (pair, port):
            with port.answer_for(STRANGER.name, STRANGER.server):
                pass  # an endpoint that was here
            with (
                port.expect(LISTENER.name, DIALER.client.der, welcoming("nobody", [])),
                pytest.raises(DialFailed, match=ALERTS[0x150]),
            ):
                await dial(pair, server_name=asked)

    simulate(scenario)


@pytest.mark.reliability(line=27)
@pytest.mark.parametrize(
    ("shown", "wall_now", "quic_error"),
    [
        (STRANGER.client, WALL_NOW, 0x130),  # expected by another endpoint
        (LISTENER.client, WALL_NOW, 0x130),  # the endpoint's own
        (DIALER.server, WALL_NOW, 0x130),  # expected, but not made for dialling
        (DIALER.client, YEARS_LATER, 0x130),
        (DIALER.client, WALL_NOW - 86_400, 0x130),
        (None, WALL_NOW, 0x174),
    ],
    ids=["of somebody else", "our own", "of a server", "expired", "not yet valid", "none"],
)
def test_a_dialer_without_the_expected_certificate_is_refused(
    shown: Credential | None, wall_now: float, quic_error: int
) -> None:
    async def scenario() -> None:
        guests: list[str] = []
        async with open_port(lambda: wall_now) as (pair, port), trio.open_nursery() as nursery:
            await nursery.start(serve_connections, pair.listener, port.serve, Faults())
            with (
                port.answer_for(STRANGER.name, STRANGER.server),
                port.expect(STRANGER.name, STRANGER.client.der, welcoming("elsewhere", guests)),
                port.expect(LISTENER.name, DIALER.client.der, welcoming("it", guests)),
                port.expect(LISTENER.name, DIALER.server.der, welcoming("a server", guests)),
            ):
                # the dialer's handshake is complete before its certificate is judged: the check tells
                connection = await dial(pair, credential=shown)
                with pytest.raises(Exception, match=ALERTS[quic_error].partition("(")[0].strip()):
                    await ask_check(connection)
                assert (await connection.wait_closed()).quic_error == quic_error
            nursery.cancel_scope.cancel()
        assert guests == []

    simulate(scenario)


async def refused_late(spoil: Callable[[Pair, DirectPort], Awaitable[tuple[Connection, Connection]]]) -> str:
    async with open_port() as (pair, port):
        dialled, accepted = await spoil(pair, port)
        await port.serve(accepted)
        lost = await dialled.wait_closed()
        assert lost.code == 100
        return lost.reason


def test_a_peer_withdrawn_after_its_handshake_is_an_unknown_client() -> None:
    async def spoil(pair: Pair, port: DirectPort) -> tuple[Connection, Connection]:
        with port.expect(LISTENER.name, DIALER.client.der, welcoming("nobody", [])):
            return await dial(pair), await pair.listener.accept()

    async def scenario() -> None:
        assert await refused_late(spoil) == "unknown client"

    simulate(scenario)


def test_an_endpoint_closed_after_the_handshake_is_an_unknown_server() -> None:
    async def spoil(pair: Pair, port: DirectPort) -> tuple[Connection, Connection]:
        with (
            port.answer_for(STRANGER.name, STRANGER.server),
            port.expect(STRANGER.name, DIALER.client.der, welcoming("nobody", [])),
        ):
            return await dial(pair, STRANGER), await pair.listener.accept()

    async def scenario() -> None:
        assert await refused_late(spoil) == "unknown server"

    simulate(scenario)


def test_of_two_who_expect_one_certificate_the_later_gets_the_peer_and_the_earlier_after_it() -> None:
    async def scenario() -> None:
        guests: list[str] = []
        async with open_port() as (pair, port), trio.open_nursery() as nursery:
            await nursery.start(serve_connections, pair.listener, port.serve, Faults())

            async def visit() -> None:
                await dial(pair)
                await trio.sleep(1)

            with port.expect(LISTENER.name, DIALER.client.der, welcoming("earlier", guests)):
                with port.expect(LISTENER.name, DIALER.client.der, welcoming("later", guests)):
                    await visit()
                await visit()
            nursery.cancel_scope.cancel()
        assert guests == ["later", "earlier"]

    simulate(scenario)
