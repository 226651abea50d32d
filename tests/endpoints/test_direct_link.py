"""A direct link: when it dials, what becomes a path and for how long, and what ends with the peer."""

from contextlib import AsyncExitStack, suppress

import attrs
import pytest
import trio

from connet_trio.endpoints.checking import CHECK_SECONDS, answer_check, ask_check
from connet_trio.endpoints.direct_link import (
    RACE_SECONDS,
    RELAXED_SECONDS,
    REPLACED,
    SILENCE_SECONDS,
    UNCHECKED,
    VAIN_ATTEMPTS,
)
from connet_trio.engine import PathKind
from connet_trio.errors import ConnetError
from connet_trio.quic import Connection, Stream, open_transport
from tests.endpoints.conftest import IN, OUT, Bench, address, open_link, simulate, the_peer
from tests.quic.conftest import NEAR, STRANGER, dialing, open_streams, wall_clock

NOWHERE, ELSEWHERE = "192.0.2.77:7000", "192.0.2.78:7000"


async def accept_and_check(bench: Bench, held: list[Connection] | None = None) -> None:
    """Play a peer that answers every check, for ever."""
    async with trio.open_nursery() as nursery:
        while True:
            connection = await bench.pair.dialer.accept()
            if held is not None:
                held.append(connection)
            nursery.start_soon(answer_check, connection)


async def serve_link(bench: Bench, held: list[Connection] | None = None) -> None:
    """Let the peer be dialled."""
    bench.listen()
    bench.holding.start_soon(accept_and_check, bench, held)


# --- outgoing


def test_the_peer_is_dialled_and_is_a_path_once_it_has_answered_the_check() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE, NEAR) as bench:
            await serve_link(bench)
            await bench.wait_change(OUT, True)
            assert bench.changes == [(OUT, True)]
            assert str(bench.link.connections[PathKind.OUTGOING].remote_address) == NEAR
            assert bench.link.last_error == ""
            await trio.sleep(600)  # and stays one
            assert bench.changes == [(OUT, True)]
            assert len(bench.dialled) == 1

    simulate(scenario)


def test_a_peer_that_does_not_answer_is_dialled_ever_more_slowly() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            await trio.sleep(1200)
            assert bench.changes == []
            assert "no answer from 192.0.2.77:7000" in bench.link.last_error
            assert 1200 / (10 + 15) <= len(bench.dialled) <= 1200 / 5
            assert len(bench.silences) == 1

    simulate(scenario)


def test_a_peer_that_accepts_and_closes_again_and_again_is_dialled_ever_more_slowly() -> None:
    async def scenario() -> None:
        async with open_link(NEAR) as bench:
            bench.listen()

            async def hang_up() -> None:
                while True:
                    connection = await bench.pair.dialer.accept()
                    await answer_check(connection)
                    connection.close(0, "connection closed")

            bench.holding.start_soon(hang_up)
            await trio.sleep(600)
            assert 10 <= len(bench.dialled) <= 300
            assert dict(bench.changes) == {OUT: False}

    simulate(scenario)


def test_a_peer_without_an_address_to_try_is_not_dialled() -> None:
    async def scenario() -> None:
        async with open_link() as bench:
            await trio.sleep(60)
            assert bench.link.last_error == "none of its addresses can be reached from here"
            assert not bench.pair.far.sent

    simulate(scenario)


def test_new_addresses_are_tried_at_once() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            await serve_link(bench)
            await trio.sleep(300)  # long enough for the longest delays
            moved = trio.current_time()
            bench.link.handle_peer(the_peer(NEAR))
            assert await bench.wait_change(OUT, True) - moved < 1

    simulate(scenario)


def test_the_same_addresses_in_another_order_are_no_reason_to_dial() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE, ELSEWHERE) as bench:
            await trio.sleep(1)
            bench.link.handle_peer(the_peer(ELSEWHERE, NOWHERE))
            await trio.sleep(1)
            assert len(bench.dialled) == 1

    simulate(scenario)


def test_new_addresses_of_a_peer_that_is_connected_change_nothing() -> None:
    async def scenario() -> None:
        async with open_link(NEAR) as bench:
            await serve_link(bench)
            await bench.wait_change(OUT, True)
            bench.link.handle_peer(the_peer(NOWHERE))
            await trio.sleep(60)
            assert bench.changes == [(OUT, True)]

    simulate(scenario)


def test_a_peer_that_has_dialled_us_is_soon_left_alone_until_it_is_gone_or_elsewhere() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            incoming = await bench.dial_in()
            await trio.sleep(100)
            assert len(bench.dialled) == VAIN_ATTEMPTS
            bench.link.handle_peer(the_peer(ELSEWHERE))
            await trio.sleep(1)
            assert bench.dialled[-1][1] == (address(ELSEWHERE),)
            await trio.sleep(RELAXED_SECONDS - 50)
            assert len(bench.dialled) == VAIN_ATTEMPTS + 1
            incoming.close(0, "connection closed")
            await trio.sleep(30)
            assert len(bench.dialled) > VAIN_ATTEMPTS + 1

    simulate(scenario)


def test_a_peer_that_reaches_us_is_no_reason_to_doubt_our_address() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            await bench.dial_in()
            await trio.sleep(RELAXED_SECONDS)
            assert len(bench.dialled) >= VAIN_ATTEMPTS
            assert bench.silences == []

    simulate(scenario)


def test_a_peer_that_completes_handshakes_and_answers_nothing_does_not_keep_its_turn() -> None:
    async def scenario() -> None:
        many = [f"192.0.2.2:{5000 + number}" for number in range(10)]
        async with open_link(*many) as bench, AsyncExitStack() as stack:
            bench.listen()
            for place in many[1:]:
                socket = bench.pair.network.socket(place)
                listening = bench.pair.dialer.listening
                await stack.enter_async_context(open_transport(socket, wall_clock=wall_clock, listening=listening))
            await trio.sleep(RACE_SECONDS + 1)
            assert len(bench.dialled) == 2
            assert "answered the check within 20 s" in bench.link.last_error

    simulate(scenario)


# --- incoming


def test_the_peers_own_dial_is_a_path_once_it_has_asked_for_the_check() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            await bench.dial_in()
            assert bench.changes == [(IN, True)]
            await trio.sleep(600)
            assert bench.changes == [(IN, True)]

    simulate(scenario)


def test_a_newer_connection_takes_the_place_of_one_without_streams_which_is_closed() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            older = await bench.dial_in()
            newer = await bench.dial_in()
            lost = await older.wait_closed()
            assert (lost.code, lost.reason) == (401, "keepalive closed")
            await trio.sleep(600)
            assert not newer.is_closed
            assert dict(bench.changes) == {IN: True}

    simulate(scenario)


def test_what_runs_on_the_older_connection_goes_on_and_it_is_closed_after() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            older = await bench.dial_in()
            stream, served = await open_stream_to(bench, older)
            await bench.dial_in()
            await trio.sleep(600)
            await stream.send_all(b"still here")
            assert await served.receive_some() == b"still here"
            for end in (stream, served):
                await end.aclose()
            lost = await older.wait_closed()
            assert lost.code == 401
            assert dict(bench.changes) == {IN: True}

    simulate(scenario)


async def open_stream_to(bench: Bench, connection: Connection) -> tuple[Stream, Stream]:
    """A stream of the peer, as the peer and as the endpoint see it."""
    stream = await connection.open_stream()
    await stream.send_all(b"!")
    handed_over = await bench.streams.receive()
    assert await handed_over.receive_some() == b"!"
    return stream, handed_over


def test_a_connection_that_breaks_off_after_its_check_takes_nobodys_place() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            older = await bench.dial_in()
            fickle = await bench.pair.dialer.dial(bench.pair.address, dialing())
            stream = await fickle.open_stream()
            await stream.send_all(bytes(4))
            assert await stream.receive_some() == bytes(4)
            fickle.close(401, "keepalive closed")  # lost its race at the last moment
            await trio.sleep(10)
            assert not older.is_closed
            assert bench.changes == [(IN, True)]

    simulate(scenario)


def test_a_failed_check_costs_the_connection_and_nothing_else() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            older = await bench.dial_in()
            rude, silent = [await bench.pair.dialer.dial(bench.pair.address, dialing()) for _ in range(2)]
            await (await rude.open_stream()).send_all(b"\x00\x00\x00\x02\x0a\x00")
            lost = await rude.wait_closed()
            assert (lost.code, lost.reason) == (2, "connection check failed")
            lost = await silent.wait_closed()
            assert (lost.code, lost.reason) == (2, "connection check failed")
            assert trio.current_time() == pytest.approx(CHECK_SECONDS, abs=1)
            assert not older.is_closed

    simulate(scenario)


def test_only_so_many_connections_of_a_peer_may_wait_for_their_check() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            waiting = [await bench.pair.dialer.dial(bench.pair.address, dialing()) for _ in range(UNCHECKED + 1)]
            await trio.sleep(0.5)
            assert [connection.is_closed for connection in waiting] == [False] * UNCHECKED + [True]
            await trio.sleep(CHECK_SECONDS)
            assert all(connection.is_closed for connection in waiting)
            await bench.dial_in()  # there is room again

    simulate(scenario)


def test_only_so_many_replaced_connections_of_a_peer_are_kept_for_their_streams() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            connections = []
            for _ in range(REPLACED + 2):
                connection = await bench.dial_in()
                await open_stream_to(bench, connection)
                connections.append(connection)
            await trio.sleep(1)
            assert [connection.is_closed for connection in connections] == [True] + [False] * (REPLACED + 1)

    simulate(scenario)


# --- silence


def test_a_silent_connection_is_no_path_and_is_closed_for_want_of_streams() -> None:
    async def scenario() -> None:
        async with open_link(NEAR) as bench:
            await serve_link(bench)
            await bench.wait_change(OUT, True)
            await bench.dial_in()
            await trio.sleep(10)
            connections = tuple(bench.link.connections.values())
            bench.pair.cut()
            cut = trio.current_time()
            assert await bench.wait_change(OUT, False) - cut <= SILENCE_SECONDS + 1
            assert await bench.wait_change(IN, False) - cut <= SILENCE_SECONDS + 1
            assert bench.silences
            await trio.sleep(1)
            assert all(connection.is_closed for connection in connections)
            assert bench.link.connections == {}

    simulate(scenario)


def test_streams_outlive_a_silence_and_the_path_is_made_anew() -> None:
    async def scenario() -> None:
        async with open_link(NEAR) as bench:
            held: list[Connection] = []
            await serve_link(bench, held)
            await bench.wait_change(OUT, True)
            ours, theirs = await open_streams(bench.link.connections[PathKind.OUTGOING], held[0])
            bench.pair.cut()
            await bench.wait_change(OUT, False)
            bench.pair.heal()
            await bench.wait_change(OUT, True)
            assert len(held) == 2
            await ours.send_all(b"still here")
            assert await theirs.receive_some() == b"still here"
            for end in (ours, theirs):
                await end.aclose()
            assert (await held[0].wait_closed()).code == 401
            assert not held[1].is_closed

    simulate(scenario)


# --- the end


def test_a_peer_that_is_withdrawn_loses_its_connections_with_all_that_runs_on_them() -> None:
    async def scenario() -> None:
        async with open_link(NEAR) as bench:
            held: list[Connection] = []
            await serve_link(bench, held)
            await bench.wait_change(OUT, True)
            replaced = await bench.dial_in()
            await open_stream_to(bench, replaced)
            current = await bench.dial_in()
            unchecked = await bench.pair.dialer.dial(bench.pair.address, dialing())
            await trio.sleep(0.1)  # it is for the listener to accept it
            bench.link.scope.cancel()
            for connection in (held[0], replaced, current, unchecked):
                lost = await connection.wait_closed()
                assert (lost.code, lost.reason) == (401, "keepalive closed")
            refused = await bench.pair.dialer.dial(bench.pair.address, dialing())
            assert (await refused.wait_closed()).quic_error == 0x130
            await trio.sleep(60)
            assert len(bench.dialled) == 1
            assert not bench.pair.listener.connections

    simulate(scenario)


@pytest.mark.parametrize("ticks", range(20))
def test_whenever_a_peer_is_withdrawn_nothing_stays_open(ticks: int) -> None:
    """In the middle of a handshake, of the check, when the path begins: each tick of both sides' way there."""

    async def scenario() -> None:
        async with open_link(NEAR) as bench:
            await serve_link(bench)
            bench.holding.start_soon(dial_and_check, bench)
            await trio.sleep(ticks * 0.01)
            bench.link.scope.cancel()
            await trio.sleep(1)
            assert not [each for each in bench.pair.listener.connections if not each.is_closed]

    simulate(scenario)


async def dial_and_check(bench: Bench) -> None:
    """The peer's own dial, which may be turned away at any point."""
    with suppress(ConnetError):
        await ask_check(await bench.pair.dialer.dial(bench.pair.address, dialing()))


def test_other_certificates_are_another_peer() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            assert bench.link.is_for(the_peer(ELSEWHERE))
            peer = the_peer(NOWHERE)
            assert not bench.link.is_for(attrs.evolve(peer, server_certificate=STRANGER.server.der))
            assert not bench.link.is_for(attrs.evolve(peer, client_certificate=STRANGER.client.der))

    simulate(scenario)


def test_a_peer_may_get_another_id_while_it_is_connected() -> None:
    async def scenario() -> None:
        async with open_link(NOWHERE) as bench:
            connection = await bench.dial_in()
            bench.link.peer_id = "its new id"
            connection.close(0, "connection closed")
            await trio.sleep(1)
            assert bench.changes == [(IN, True), (attrs.evolve(IN, id="its new id"), False)]

    simulate(scenario)
