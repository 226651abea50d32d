"""Dialling a peer at all its addresses at once: who wins, what becomes of the others, and what is said if none does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address

import attrs
import pytest
import trio

from connet_trio.engine import Candidate
from connet_trio.errors import ConnetError, DialFailed, PathLost, Refused, RemoteProtocolError
from connet_trio.quic import (
    Connection,
    Dialing,
    Listening,
    RecordStream,
    Transport,
    dial_race,
    open_transport,
)
from connet_trio.quic.datagram_run import DatagramRun, datagrams_of
from connet_trio.quic.dialing import DIAL_STAGGER_SECONDS
from connet_trio.quic.network_path import Datagram
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort
from connet_trio.records.peer import Check
from connet_trio.testing.network import Link
from connet_trio.wire import WireVersion, codecs
from tests.quic.conftest import STRANGER, Pair, dialing, listening, open_pair, virtual_time, wall_clock

pytestmark = virtual_time

RTT = 0.04


def candidate(text: str, port: int = 4000, zone: int = 0) -> Candidate:
    return Candidate(AddressPort(ip_address(text), port), zone)


HERE = candidate("192.0.2.1")
DEAD = [candidate(f"192.0.2.{number}") for number in range(100, 140)]


async def ask_check(connection: Connection) -> None:
    """The check exchange, as a dialer has it (protocol section 7.4)."""
    with trio.move_on_after(5):
        records = RecordStream(await connection.open_stream(), WireVersion.V2)
        await records.send(codecs.PEER_REQUEST, Check())
        assert await records.receive(codecs.PEER_RESPONSE) == Check()
        return
    raise DialFailed("no answer to the check")


@attrs.define
class Listeners:
    """The same peer at several addresses; each answers checks, and remembers on which connections they came."""

    checked: list[AddressPort] = attrs.field(factory=list)
    """Local addresses in the order the checks arrived."""
    ends: list[PathLost] = attrs.field(factory=list)
    """How the connections ended that were accepted."""

    async def serve(self, transport: Transport) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._answer, transport.local_address, await transport.accept())

    async def _answer(self, address: AddressPort, connection: Connection) -> None:
        try:
            records = RecordStream(await connection.accept_stream(), WireVersion.V2)
            await records.receive(codecs.PEER_REQUEST)
            self.checked.append(address)
            await records.send(codecs.PEER_RESPONSE, Check())
        except (PathLost, Refused):
            pass
        self.ends.append(await connection.wait_closed())


@asynccontextmanager
async def open_listeners(pair: Pair, *addresses: str, listen: Listening | None = None) -> AsyncIterator[Listeners]:
    """More addresses of the listener, which answers checks at all of them."""
    listeners = Listeners()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(listeners.serve, pair.listener)
        for address in addresses:
            socket = pair.network.socket(f"{address}:4000")
            transport = await stack.enter_async_context(
                open_transport(socket, wall_clock=wall_clock, listening=listen or listening())
            )
            nursery.start_soon(listeners.serve, transport)
        yield listeners
        nursery.cancel_scope.cancel()


async def race(pair: Pair, *candidates: Candidate, how: Dialing | None = None) -> Connection:
    return await dial_race(pair.dialer, candidates, how or dialing(), ask_check)


async def assert_only_left(pair: Pair, *connections: Connection) -> None:
    await trio.sleep(5)
    assert pair.dialer.connections == connections
    assert len(pair.listener.connections) <= len(connections)


# --- who wins


async def test_the_only_candidate_wins(pair: Pair) -> None:
    async with open_listeners(pair):
        connection = await race(pair, HERE)
        assert connection.remote_address == HERE.address
        assert trio.current_time() == pytest.approx(2 * RTT, abs=0.01)
        await assert_only_left(pair, connection)
        assert connection.is_established


async def test_addresses_that_do_not_answer_hold_up_nobody(pair: Pair) -> None:
    async with open_listeners(pair):
        connection = await race(pair, *DEAD[:30], HERE, *DEAD[30:])
        assert connection.remote_address == HERE.address
        assert trio.current_time() == pytest.approx(30 * DIAL_STAGGER_SECONDS + 2 * RTT, abs=0.01)
        await assert_only_left(pair, connection)


async def test_dials_start_best_first_and_a_little_apart(pair: Pair) -> None:
    starts: dict[AddressPort, float] = {}
    send_batch = pair.near.send_batch

    def note(batch: Sequence[Datagram | DatagramRun]) -> None:
        for _, path in datagrams_of(batch):
            starts.setdefault(path.remote_address, trio.current_time())
        send_batch(batch)

    pair.near.send_batch = note  # type: ignore[method-assign]
    with pytest.raises(DialFailed):
        await race(pair, *DEAD)
    assert list(starts) == [each.address for each in DEAD]
    assert list(starts.values()) == [pytest.approx(number * 0.03, abs=1e-3) for number in range(len(DEAD))]


async def test_of_several_that_answer_the_best_wins_and_the_others_never_hear_of_a_check(pair: Pair) -> None:
    async with open_listeners(pair, "192.0.2.3", "192.0.2.4") as listeners:
        connection = await race(pair, candidate("192.0.2.4"), HERE, candidate("192.0.2.3"))
        assert connection.remote_address == candidate("192.0.2.4").address
        await assert_only_left(pair, connection)
        assert listeners.checked == [candidate("192.0.2.4").address]


async def test_a_nearer_address_overtakes_a_better_one(pair: Pair) -> None:
    pair.network.set_link("192.0.2.2", "192.0.2.3", Link(delay=0.2))
    async with open_listeners(pair, "192.0.2.3") as listeners:
        connection = await race(pair, candidate("192.0.2.3"), HERE)
        assert connection.remote_address == HERE.address
        assert trio.current_time() < 0.15
        await assert_only_left(pair, connection)
        assert listeners.checked == [HERE.address]


async def test_proofs_come_one_at_a_time_in_the_order_of_the_handshakes_until_one_succeeds(pair: Pair) -> None:
    at_work, proved = 0, []

    async def prove(connection: Connection) -> None:
        nonlocal at_work
        at_work += 1
        assert at_work == 1
        proved.append(connection.remote_address)
        await trio.sleep(1)
        at_work -= 1
        if len(proved) < 3:
            raise DialFailed("not this one")

    pair.network.set_link("192.0.2.2", "192.0.2.3", Link(delay=0.2))
    async with open_listeners(pair, "192.0.2.3", "192.0.2.4", "192.0.2.5"):
        order = [candidate(f"192.0.2.{number}") for number in (3, 4, 5, 1)]
        connection = await dial_race(pair.dialer, order, dialing(), prove)
        assert proved == [each.address for each in (order[1], order[2], order[3])]
        assert connection.remote_address == proved[2]
        await assert_only_left(pair, connection)


@pytest.mark.parametrize(
    "failure",
    [
        DialFailed("no answer to the check"),
        PathLost("gone"),
        Refused(ErrorCode.AUTHENTICATION_FAILED, "unknown client"),
        RemoteProtocolError("nonsense"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_candidate_that_is_not_proved_ends_no_race(pair: Pair, failure: ConnetError) -> None:
    async def prove(connection: Connection) -> None:
        await trio.lowlevel.checkpoint()
        if connection.remote_address == HERE.address:
            raise failure

    async with open_listeners(pair, "192.0.2.3"):
        connection = await dial_race(pair.dialer, (HERE, candidate("192.0.2.3")), dialing(), prove)
        assert connection.remote_address == candidate("192.0.2.3").address
        await assert_only_left(pair, connection)


async def test_another_address_family_fails_alone(pair: Pair) -> None:
    async with open_listeners(pair):
        connection = await race(pair, candidate("2001:db8::1"), HERE)
        assert connection.remote_address == HERE.address


async def test_a_listener_that_does_not_expect_us_is_passed_over(pair: Pair) -> None:
    """Trap T3: it says so when we believe the handshake done."""
    unexpected = listening(expected=STRANGER)
    async with open_listeners(pair, "192.0.2.3", listen=unexpected) as listeners:
        connection = await race(pair, candidate("192.0.2.3"), HERE)
        assert connection.remote_address == HERE.address
        assert listeners.checked == [HERE.address]
        await assert_only_left(pair, connection)


async def test_twins_are_dialled_once(pair: Pair) -> None:
    async with open_listeners(pair) as listeners:
        await race(pair, HERE, HERE, HERE)
        await trio.sleep(1)
        assert len(listeners.checked) == len(pair.listener.connections) == 1
        assert listeners.ends == []


# --- what becomes of the others


@pytest.mark.parametrize("closing", [None, (ErrorCode.DIRECT_CONNECTION_CLOSED, "enough")])
async def test_connections_that_lose_are_closed_at_once_with_a_code(
    pair: Pair, closing: tuple[ErrorCode, str] | None
) -> None:
    async def prove(connection: Connection) -> None:
        await trio.sleep(1)

    others = {} if closing is None else {"closing": closing}
    async with open_listeners(pair, "192.0.2.3", "192.0.2.4") as listeners:
        order = (HERE, candidate("192.0.2.3"), candidate("192.0.2.4"))
        await dial_race(pair.dialer, order, dialing(), prove, **others)  # type: ignore[arg-type]
        await trio.sleep(RTT / 2 + 0.001)
        told = [(end.code, end.reason) for end in listeners.ends]
        assert told == [closing or (401, "keepalive closed")] * 2


async def test_a_connection_that_failed_its_proof_is_closed_before_the_next_is_tried(pair: Pair) -> None:
    seen: list[bool] = []
    first: list[Connection] = []

    async def prove(connection: Connection) -> None:
        await trio.lowlevel.checkpoint()
        seen.extend(each.is_closed for each in first)
        first.append(connection)
        if len(first) == 1:
            raise DialFailed("not this one")

    async with open_listeners(pair, "192.0.2.3"):
        await dial_race(pair.dialer, (HERE, candidate("192.0.2.3")), dialing(), prove)
    assert seen == [True]


@pytest.mark.reliability(line=34)
@pytest.mark.parametrize("seconds", [0, 0.01, 0.02, 0.05, 0.07, 0.1, 0.12, 1.0])
async def test_a_cancelled_race_leaves_nothing_behind(pair: Pair, seconds: float) -> None:
    async def prove(connection: Connection) -> None:
        await trio.sleep(2)

    async with open_listeners(pair, "192.0.2.3"):
        with trio.move_on_after(seconds) as scope:
            await dial_race(pair.dialer, (*DEAD[:2], HERE, candidate("192.0.2.3"), *DEAD[2:5]), dialing(), prove)
        assert scope.cancelled_caught
        for connection in pair.dialer.connections:
            assert connection.is_closed
        await trio.sleep(30)
        assert pair.dialer.connections == pair.listener.connections == ()


async def test_a_race_cancelled_in_the_moment_it_is_won_leaves_nothing_behind(pair: Pair) -> None:
    with trio.CancelScope() as scope:

        async def prove(connection: Connection) -> None:
            await trio.lowlevel.checkpoint()
            scope.cancel()

        async with open_listeners(pair):
            await dial_race(pair.dialer, (HERE, *DEAD), dialing(), prove)
    assert scope.cancelled_caught
    winner, *others = pair.dialer.connections
    assert winner.core.handshake_complete
    assert all(connection.is_closed for connection in (winner, *others))


async def test_an_error_that_nobody_expects_comes_out_as_itself(pair: Pair) -> None:
    async def prove(connection: Connection) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async with open_listeners(pair, "192.0.2.3"):
        with pytest.raises(ZeroDivisionError):
            await dial_race(pair.dialer, (HERE, *DEAD, candidate("192.0.2.3")), dialing(), prove)
        await assert_only_left(pair)


async def test_a_race_ends_with_its_transport(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        failures: list[DialFailed] = []

        async def lose() -> None:
            with pytest.raises(DialFailed) as failed:
                await race(pair, *DEAD[:3])
            failures.append(failed.value)

        nursery.start_soon(lose)
        await trio.sleep(0.5)
        pair.dialer.close_all(0, "over")
    assert trio.current_time() < 1
    assert len(failures) == 1


# --- what is said


async def test_without_a_candidate_there_is_nothing_to_dial(pair: Pair) -> None:
    with pytest.raises(DialFailed, match="no address to dial"):
        await race(pair)


async def test_the_error_groups_addresses_by_reason(pair: Pair) -> None:
    unexpected = listening(expected=STRANGER)
    pair.listener.listening = listening(credential=STRANGER.server)
    async with open_listeners(pair, "192.0.2.3", "192.0.2.4", "192.0.2.5", listen=unexpected):
        others = [candidate("192.0.2.3"), HERE, candidate("2001:db8::1"), candidate("2001:db8::2")]
        with pytest.raises(DialFailed) as failed:
            await race(pair, *DEAD[:32], *others)
        await assert_only_left(pair)
    silent, unexpected_text, certificate, family = str(failed.value).split("; ")
    named = "192.0.2.100:4000, 192.0.2.101:4000, 192.0.2.102:4000"
    assert silent == f"no answer from {named} and 29 more within 5 s"
    assert unexpected_text == "192.0.2.3:4000 does not expect our certificate"
    assert certificate.startswith("192.0.2.1:4000: the server certificate is not the one announced")
    assert family == ("[2001:db8::1]:4000, [2001:db8::2]:4000: the UDP socket on 192.0.2.2:5000 has no IPv6")


async def test_several_listeners_with_one_reason_are_named_together(pair: Pair) -> None:
    pair.listener.listening = unexpected = listening(expected=STRANGER)
    async with open_listeners(pair, "192.0.2.3", listen=unexpected):
        with pytest.raises(DialFailed) as failed:
            await race(pair, HERE, candidate("192.0.2.3"))
    assert str(failed.value) == "192.0.2.1:4000, 192.0.2.3:4000: the listener does not expect our certificate"


# --- a refusal after the handshake


@pytest.mark.parametrize("how", [dialing(credential=STRANGER.client), dialing(credential=None)], ids=["other", "none"])
async def test_a_certificate_refused_after_the_handshake_is_the_answer_to_the_first_question(how: Dialing) -> None:
    """Go sends alert 48 or 116 when our side believes the handshake done; ours does as Go."""
    words = {0x130: "does not expect our certificate", 0x174: "wants a client certificate"}
    async with open_pair() as pair:
        failures: list[ConnetError] = []

        async def prove(connection: Connection) -> None:
            assert connection.is_established
            try:
                await ask_check(connection)
            except ConnetError as failure:
                failures.append(failure)
                raise

        with pytest.raises(DialFailed) as failed:
            await dial_race(pair.dialer, (HERE,), how, prove)
        (failure,) = failures
        assert isinstance(failure, PathLost)
        assert failure.quic_error is not None
        assert str(failure) == f"the listener {words[failure.quic_error]}"
        assert str(failed.value) == f"192.0.2.1:4000 {words[failure.quic_error]}"
        assert trio.current_time() < 0.2
