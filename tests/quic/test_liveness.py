"""Who is still there: keepalives, silence, restarts, new keys, and what is left when all is over."""

import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from aioquic.quic.crypto import CryptoPair
from trio.testing import wait_all_tasks_blocked

from connet_trio.errors import DialFailed, PathLost
from connet_trio.quic import Connection, Listening, Stream, Transport, open_transport
from connet_trio.quic import core as core_module
from connet_trio.quic.engine_options import engine_configuration
from connet_trio.quic.limits import IDLE_TIMEOUT_SECONDS, RESET_BYTES, SMALLEST_RESET_BYTES
from connet_trio.quic.transport import RESETS_PER_SECOND
from connet_trio.testing.network import Fate, Link, SimulatedNetwork, SimulatedSocket
from tests.quic.conftest import (
    RESET_KEY,
    MeddlingSocket,
    Pair,
    dialing,
    listening,
    open_pair,
    open_streams,
    virtual_time,
    wall_clock,
)

pytestmark = virtual_time


async def silence_noticed(connection: Connection) -> float:
    begun = trio.current_time()
    lost = await connection.wait_closed()
    assert str(lost) == "no sign of life from the peer"
    return trio.current_time() - begun


async def talk(left: Stream, right: Stream) -> None:
    """Let both sides have heard each other, acknowledgements included, a moment ago."""
    for sender, receiver in ((left, right), (right, left)):
        await sender.send_all(b"hello")
        assert await receiver.receive_some() == b"hello"
    await trio.sleep(0.5)


async def keep_sending(stream: Stream, pause: float) -> None:
    """Send a little every `pause` seconds until that is in vain."""
    with suppress(trio.BrokenResourceError):
        while True:
            await trio.sleep(pause)
            await stream.send_all(b"anybody there?")


# --- keepalives and silence


async def test_keepalives_hold_an_idle_connection(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    await trio.sleep(600)
    assert not dialled.is_closed
    assert not accepted.is_closed
    await open_streams(dialled, accepted)


async def test_keepalives_are_few_and_long_enough_to_be_answered_with_a_reset(pair: Pair) -> None:
    await pair.connect()
    await trio.sleep(5)
    before = len(pair.near.sent)
    await trio.sleep(100)
    sizes = Counter(map(len, pair.near.sent[before:]))
    assert 10 <= sum(sizes.values()) <= 45
    assert sum(count for size, count in sizes.items() if size >= 44) >= 5


async def test_nothing_is_kept_alive_before_there_is_a_connection(pair: Pair) -> None:
    pair.cut()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.dialer.dial, pair.address, dialing())
        await trio.sleep(4)
        (connection,) = pair.dialer.connections
        assert connection.core._ping_pending == []
        nursery.cancel_scope.cancel()


async def test_each_side_asks_by_itself(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    await trio.sleep(1)
    pair.near.outgoing = lambda data: [data] if len(data) < 44 else []  # acknowledgements pass, keepalives do not
    await trio.sleep(100)
    assert not dialled.is_closed
    assert not accepted.is_closed


async def test_a_silent_peer_is_noticed_after_the_idle_timeout(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await trio.sleep(30)
    await talk(ours, theirs)
    pair.cut()
    times: list[float] = []

    async def wait(connection: Connection) -> None:
        times.append(await silence_noticed(connection))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, ours.connection)
        nursery.start_soon(wait, theirs.connection)
    assert max(times) <= IDLE_TIMEOUT_SECONDS + 0.1


@pytest.mark.parametrize("pause", [0.1, 9.0, 11.0])
async def test_sending_to_a_silent_peer_does_not_prolong_the_wait(pair: Pair, pause: float) -> None:
    ours, theirs = await pair.open_streams()
    await trio.sleep(30)
    await talk(ours, theirs)
    pair.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_sending, ours, pause)
        assert await silence_noticed(ours.connection) <= IDLE_TIMEOUT_SECONDS + 0.1


@pytest.mark.parametrize("seconds", [3, 8, 15])
async def test_a_short_outage_is_survived(pair: Pair, seconds: float) -> None:
    ours, theirs = await pair.open_streams()
    pair.cut()
    await ours.send_all(b"after the outage")
    await trio.sleep(seconds)
    pair.heal()
    with trio.fail_after(IDLE_TIMEOUT_SECONDS):
        assert await theirs.receive_some() == b"after the outage"


@pytest.mark.parametrize("asked", [0.0, 1.0])
async def test_a_peer_that_asks_for_a_shorter_silence_than_five_seconds_gets_five(
    monkeypatch: pytest.MonkeyPatch, asked: float
) -> None:
    async with open_pair() as pair:
        configure = engine_configuration

        def configure_impatient(*arguments: object) -> object:
            configuration = configure(*arguments)  # type: ignore[arg-type]
            configuration.idle_timeout = asked
            return configuration

        monkeypatch.setattr(core_module, "engine_configuration", configure_impatient)
        ours, theirs = await pair.open_streams()
        dialled = ours.connection
        assert dialled.core.idle_timeout == theirs.connection.core.idle_timeout == 5
        await trio.sleep(60)
        await talk(ours, theirs)
        pair.cut()
        assert await silence_noticed(dialled) <= 5.1


async def test_a_slow_path_gets_three_probe_timeouts_of_silence() -> None:
    async with open_pair(link=Link(delay=4)) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(handshake_idle_seconds=30))
        await pair.listener.accept()
        await trio.sleep(120)
        assert not dialled.is_closed
        await dialled.wait_heard()
        pair.cut()
        assert await silence_noticed(dialled) >= 3 * dialled.smoothed_rtt - 0.01


# --- stateless resets


@asynccontextmanager
async def open_at(
    network: SimulatedNetwork, address: str, *, listen: Listening | None = None, reset_key: bytes | None = RESET_KEY
) -> AsyncIterator[Transport]:
    """A transport that dies without a word when its block is left."""
    socket = MeddlingSocket(network.socket(address))
    async with open_transport(socket, wall_clock=wall_clock, reset_key=reset_key, listening=listen) as transport:
        yield transport
        socket.outgoing = lambda data: []


async def test_a_restarted_listener_ends_its_old_connections_with_their_next_packet(pair: Pair) -> None:
    there = "192.0.2.7:4000"
    async with open_at(pair.network, there, listen=listening()) as listener:
        dialled = await pair.dialer.dial(listener.local_address, dialing())
        await trio.sleep(1)
    async with open_at(pair.network, there, listen=listening()) as successor:
        begun = trio.current_time()
        assert "restarted and forgotten" in str(await dialled.wait_closed())
        assert trio.current_time() - begun <= 10  # its keepalive
        await pair.dialer.dial(successor.local_address, dialing())


async def test_a_stream_that_is_used_learns_of_a_restart_in_a_round_trip(pair: Pair) -> None:
    there = "192.0.2.7:4000"
    async with open_at(pair.network, there, listen=listening()) as listener:
        dialled = await pair.dialer.dial(listener.local_address, dialing())
        ours, _ = await open_streams(dialled, await listener.accept())
        await trio.sleep(1)
    async with open_at(pair.network, there, listen=listening()):
        begun = trio.current_time()
        await ours.send_all(bytes(100))
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()
        assert trio.current_time() - begun <= 0.05


async def test_a_restarted_dialer_is_noticed_too(pair: Pair) -> None:
    here = "192.0.2.3:5000"
    async with open_at(pair.network, here) as dialer:
        await dialer.dial(pair.address, dialing())
        accepted = await pair.listener.accept()
        await trio.sleep(1)
    async with open_at(pair.network, here):
        begun = trio.current_time()
        assert "stateless reset" in str(await accepted.wait_closed())
        assert trio.current_time() - begun <= 10


async def test_another_key_resets_nothing(pair: Pair) -> None:
    there = "192.0.2.7:4000"
    async with open_at(pair.network, there, listen=listening()) as listener:
        dialled = await pair.dialer.dial(listener.local_address, dialing())
    async with open_at(pair.network, there, listen=listening(), reset_key=bytes(32)):
        assert "no sign of life" in str(await dialled.wait_closed())


async def provoke(pair: Pair, datagrams: list[bytes]) -> list[bytes]:
    stranger: SimulatedSocket = pair.network.socket("192.0.2.66:0")
    path = stranger.path_to(pair.address)
    for start in range(0, len(datagrams), 500):  # within what an inbox holds
        stranger.send_batch([(datagram, path) for datagram in datagrams[start : start + 500]])
        await trio.sleep(0.001)
    await trio.sleep(0.2)
    return [data for _ in range(20) for data, _ in stranger.receive_batch()]


def short_header(size: int, seed: int = 0) -> bytes:
    return b"\x41" + random.Random(seed).randbytes(size - 1)


@pytest.mark.reliability(line=24)
@pytest.mark.parametrize("size", [SMALLEST_RESET_BYTES + 1, RESET_BYTES, RESET_BYTES + 1, 100, 1200])
async def test_a_reset_is_shorter_than_what_it_answers(size: int) -> None:
    async with open_pair(reset_key=RESET_KEY) as pair:
        (reset,) = await provoke(pair, [short_header(size)])
        assert len(reset) == min(RESET_BYTES, size - 1)
        assert reset[0] & 0xC0 == 0x40  # looks like any other packet


@pytest.mark.parametrize("size", [1, 9, 20, SMALLEST_RESET_BYTES])
async def test_what_is_as_short_as_a_reset_is_never_answered(size: int) -> None:
    async with open_pair(reset_key=RESET_KEY) as pair:
        assert await provoke(pair, [short_header(size)]) == []


async def test_without_a_key_nothing_is_reset(pair: Pair) -> None:
    assert await provoke(pair, [short_header(100)]) == []


async def test_resets_are_rationed() -> None:
    async with open_pair(reset_key=RESET_KEY) as pair:
        flood = [short_header(50, seed) for seed in range(1000)]
        assert len(await provoke(pair, flood)) == RESETS_PER_SECOND
        await trio.sleep(1)
        assert len(await provoke(pair, flood[:10])) == 10


async def test_two_that_have_both_forgotten_do_not_reset_each_other_for_ever() -> None:
    async with open_pair(reset_key=RESET_KEY) as pair:
        near = pair.network.socket("192.0.2.3:5000")
        async with open_transport(near, wall_clock=wall_clock, reset_key=bytes(32)):
            near.send_batch([(short_header(100), near.path_to(pair.address))])
            await trio.sleep(10)
            assert len(pair.far.sent) <= RESET_BYTES - SMALLEST_RESET_BYTES  # each shorter than the one before


# --- new keys


@pytest.mark.parametrize("loss", [0.0, 0.01])
async def test_keys_are_renewed_in_the_middle_of_transfers_both_ways(
    monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    monkeypatch.setattr(core_module, "KEY_UPDATE_PACKETS", 200)  # more than are under way at a time
    updates: Counter[str] = Counter()
    update = CryptoPair._update_key

    def count_update(keys: CryptoPair, trigger: str) -> None:
        updates[trigger] += 1
        update(keys, trigger)

    monkeypatch.setattr(CryptoPair, "_update_key", count_update)
    async with open_pair(link=Link(delay=0.005, rate=5e6, queue_bytes=50_000, loss=loss)) as pair:
        ours, theirs = await pair.open_streams()

        async def send(stream: Stream, seed: int) -> None:
            await trio.sleep(0.02 * seed)  # or both would renew at once, and neither follow
            await stream.send_all(random.Random(seed).randbytes(800_000))
            await stream.send_eof()

        digests: dict[int, bytes] = {}

        async def receive(stream: Stream, seed: int) -> None:
            digest = hashlib.sha256()
            while chunk := await stream.receive_some():
                digest.update(chunk)
            digests[seed] = digest.digest()

        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, ours, 1)
                nursery.start_soon(send, theirs, 2)
                nursery.start_soon(receive, theirs, 1)
                nursery.start_soon(receive, ours, 2)
        assert digests == {seed: hashlib.sha256(random.Random(seed).randbytes(800_000)).digest() for seed in (1, 2)}
    assert updates["local_update"] >= 3, updates
    assert updates["remote_update"] >= 3, updates


# --- the end


async def test_a_close_is_repeated_to_a_peer_that_goes_on_talking(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    lost_closes: list[bytes] = []

    def lose_one(data: bytes) -> list[bytes]:
        lost_closes.append(data)
        return [] if len(lost_closes) == 1 else [data]

    await trio.sleep(1)
    pair.far.outgoing = lose_one
    theirs.connection.close(9, "lost at first")
    for _ in range(20):
        await ours.send_all(b"still talking")
    begun = trio.current_time()
    lost = await ours.connection.wait_closed()
    assert (lost.code, lost.reason) == (9, "lost at first")
    assert trio.current_time() - begun <= 0.2
    assert set(lost_closes) == {lost_closes[0]}


async def test_a_close_is_not_repeated_for_ever(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await trio.sleep(1)
    sent_before = len(pair.far.sent)
    pair.far.outgoing = lambda data: []
    theirs.connection.close(9, "never arrives")
    await keep_sending(ours, 0.01)
    assert 2 <= len(pair.far.sent) - sent_before <= 9


async def test_two_that_close_at_once_are_soon_done(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    await trio.sleep(1)
    before = pair.network.fates[Fate.DELIVERED]
    dialled.close(1, "mine")
    accepted.close(2, "yours")
    await trio.sleep(5)
    assert pair.dialer.connections == pair.listener.connections == ()
    assert pair.network.fates[Fate.DELIVERED] - before <= 20


async def test_nothing_is_left_of_a_closed_connection(pair: Pair) -> None:
    for _ in range(20):
        ours, _ = await pair.open_streams()
        await ours.aclose()
        ours.connection.close(0, "done")
    await trio.sleep(5)
    for transport in (pair.dialer, pair.listener):
        assert transport.connections == ()
        assert transport._timers.next_deadline() == float("inf")
        assert transport._timers._armed == {}
        assert transport._marked == transport._handshakes == {}
        table = transport._table
        assert [table._by_id, table._ids, table._by_token, table._tokens] == [{}, {}, {}, {}]


async def test_a_transport_survives_a_socket_that_swallows_everything(pair: Pair) -> None:
    dialled, _ = await pair.connect()
    pair.near.outgoing = lambda data: []
    with pytest.raises(DialFailed, match="no answer"):
        await pair.dialer.dial(pair.address, dialing())
    await dialled.wait_closed()
    pair.near.outgoing = lambda data: [data]
    await pair.connect()


async def test_a_listener_learns_that_its_dialer_died_without_a_word(pair: Pair) -> None:
    async with open_at(pair.network, "192.0.2.3:5000") as dialer:
        await dialer.dial(pair.address, dialing())
        accepted = await pair.listener.accept()
    assert await silence_noticed(accepted) <= IDLE_TIMEOUT_SECONDS + 0.1
    await trio.sleep(1)
    assert pair.listener.connections == ()


async def test_what_arrives_in_one_batch_for_a_connection_that_ends_in_it_is_no_harm(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    await trio.sleep(1)
    for _ in range(10):
        await (await dialled.open_stream()).send_all(bytes(1000))
    await wait_all_tasks_blocked()
    dialled.close(4, "all in one batch")
    assert (await accepted.wait_closed()).code == 4
    for _ in range(10):
        assert len(await (await accepted.accept_stream()).receive_some()) == 1000
    with pytest.raises(PathLost):
        await accepted.accept_stream()


# --- deadlines that depend on it


async def lapse(connection: Connection, *, seconds: float, silent_seconds: float) -> float:
    """After how long a scope is cancelled."""
    began = trio.current_time()
    with connection.deadline(seconds, silent_seconds=silent_seconds) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
    return trio.current_time() - began


async def test_an_attempt_on_a_silent_connection_is_given_up_sooner(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await talk(ours, theirs)
    pair.cut()
    assert await lapse(ours.connection, seconds=5, silent_seconds=2) == pytest.approx(2)
    assert await lapse(ours.connection, seconds=1, silent_seconds=2) == pytest.approx(1)


async def test_an_attempt_on_a_connection_that_is_heard_has_all_of_its_time(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await talk(ours, theirs)
    await ours.send_all(b"acknowledged, and not answered")
    assert await lapse(ours.connection, seconds=5, silent_seconds=2) == pytest.approx(5)
    pair.cut()
    assert await lapse(ours.connection, seconds=5, silent_seconds=2) == pytest.approx(2), "each counts from its begin"
