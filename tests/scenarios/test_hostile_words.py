"""Everything that others may write, with line ends and escapes in it, at every service: what the logs make of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address

import attrs
import pytest
import trio

from connet_trio.errors import ConnetError, DialFailed
from connet_trio.quic import Dialing, Transport, open_transport
from connet_trio.records import control, relay
from connet_trio.records.model import AddressPort, Route
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CLIENT_PORT,
    CLIENTS_PORT,
    CONTROL_HOST,
    RELAY_PORT,
    RELAYS_PORT,
    START,
    Deployment,
    simulated_deployment,
)
from connet_trio.wire import ConnectionKind, codecs, encode_frame, protocol_names, wire_version
from tests.quic.conftest import STRANGER

HOSTILE = "a\r\nlevel=error msg=\x1b[2J\x9b31mforged\u2028\u202e"
RELAY_HOST, CLIENT_HOST, HOST = "198.51.100.1", "203.0.113.1", "203.0.113.66"
PORTS = {
    ConnectionKind.CLIENT_TO_CONTROL: (CONTROL_HOST, CLIENTS_PORT),
    ConnectionKind.RELAY_TO_CONTROL: (CONTROL_HOST, RELAYS_PORT),
    ConnectionKind.CLIENT_TO_RELAY: (RELAY_HOST, RELAY_PORT),
    ConnectionKind.PEER_TO_PEER: (CLIENT_HOST, CLIENT_PORT),
}


class Raw(str):
    """Goes out as its bytes, whatever QUIC wants of such a name."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("utf-8", errors)


class AnyServer:
    """Trust in everybody."""

    def check(self, chain: Sequence[bytes], wall_now: float) -> None:
        pass


class Impostor:
    """Dials every service with words of its own."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._dialing = Dialing(alpns=(), trust=AnyServer(), server_name=CONTROL_HOST, credential=STRANGER.client)

    async def dial(self, kind: ConnectionKind, **changes: object) -> None:
        """Dial, say what can be said, and close with words as hostile."""
        host, port = PORTS[kind]
        dialing = attrs.evolve(self._dialing, **{"alpns": protocol_names(kind), **changes})  # type: ignore[arg-type]
        try:
            connection = await self._transport.dial(AddressPort(ip_address(host), port), dialing)
        except DialFailed:
            return
        with suppress(ConnetError, trio.BrokenResourceError, trio.TooSlowError), trio.fail_after(3):
            stream = await connection.open_stream()
            version = wire_version(kind, connection.alpn)
            for request in self._requests(kind):
                await stream.send_all(encode_frame(request, version))
            await stream.receive_some()
        connection.close(7, HOSTILE)

    def _requests(self, kind: ConnectionKind) -> list[bytes]:
        match kind:
            case ConnectionKind.CLIENT_TO_CONTROL:
                authenticate = control.Authenticate(
                    token=HOSTILE, reconnect_token=HOSTILE.encode(), build_version=HOSTILE, metadata=HOSTILE
                )
                return [codecs.CONTROL_AUTHENTICATE.encode(authenticate)]
            case ConnectionKind.CLIENT_TO_RELAY:
                request = relay.Authenticate(
                    authentication=HOSTILE.encode() * 3, metadata=HOSTILE, build_version=HOSTILE
                )
                return [codecs.RELAY_AUTHENTICATE.encode(request)]
            case _:
                return [HOSTILE.encode()]


@asynccontextmanager
async def open_impostor(deployment: Deployment) -> AsyncIterator[Impostor]:
    socket = deployment.network.socket(f"{HOST}:0")
    async with open_transport(socket, wall_clock=lambda: START + trio.current_time()) as transport:
        yield Impostor(transport)


def simulate(scenario: Callable[[Deployment], Awaitable[None]]) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=32) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0
            assert deployment.relays[1].status().handler_errors == 0

    run_simulated(run, seed=32)


@pytest.mark.reliability(line=32)
@pytest.mark.reliability(line=25)
@pytest.mark.parametrize("kind", PORTS)
def test_no_word_of_a_stranger_reaches_a_log_raw(kind: ConnectionKind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1, "connet_trio")

    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client(CLIENT_HOST, behind=None)
        await client.add_destination("db", route=Route.ANY)
        async with open_impostor(deployment) as impostor:
            await impostor.dial(kind)
            await impostor.dial(kind, alpns=(Raw(HOSTILE),))
            for server_name in (Raw(HOSTILE), "\x1b[2J.connet.peer.invalid", "x" * 250):
                await impostor.dial(kind, server_name=server_name)
        await trio.sleep(60)

    simulate(scenario)
    assert [record.getMessage() for record in caplog.records if not record.getMessage().isprintable()] == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert "connected from" in caplog.text


@pytest.mark.reliability(line=32)
def test_no_word_of_a_peer_that_was_let_in_reaches_a_log_raw(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1, "connet_trio")

    async def scenario(deployment: Deployment) -> None:
        using = await deployment.add_client(CLIENT_HOST, behind=None, metadata=HOSTILE)
        offering = await deployment.add_client(metadata=HOSTILE)
        destination = await offering.add_destination("db")
        source = await using.add_source("db")
        await source.wait_reachable()
        stream = await source.dial()
        await (await destination.accept()).aclose()
        await stream.aclose()
        await destination.aclose()
        with pytest.raises(ConnetError):
            await source.dial()
        await trio.sleep(60)

    simulate(scenario)
    assert [record.getMessage() for record in caplog.records if not record.getMessage().isprintable()] == []
    assert "forged" in caplog.text
