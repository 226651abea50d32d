"""What counts as a sign of life, who waits for one or for its absence, and how it is asked for."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from connet_trio.quic import Connection, open_transport
from connet_trio.quic.core import LONE_ACK_SECONDS
from connet_trio.quic.limits import KEEPALIVE_SECONDS
from connet_trio.quic.liveness import Liveness
from connet_trio.quic.network_path import NetworkPath
from tests.quic.conftest import MeddlingSocket, Pair, dialing, open_pair, open_streams, virtual_time, wall_clock

pytestmark = virtual_time

PADDED_BYTES = 44
"""A keepalive is at least this long, so that a peer that has restarted can answer it with a reset."""
RTT = 0.04


async def time_of(wait: Callable[[], Awaitable[object]]) -> float:
    begun = trio.current_time()
    await wait()
    return trio.current_time() - begun


async def quiet_pair(pair: Pair) -> tuple[Connection, Connection]:
    """A connection on which the handshake's last acknowledgements have passed."""
    dialled, accepted = await pair.connect()
    await trio.sleep(1)
    return dialled, accepted


def pings(sent: list[bytes]) -> int:
    return sum(len(data) >= PADDED_BYTES for data in sent)


# --- asking


async def test_the_two_sides_take_turns_in_asking(pair: Pair) -> None:
    await quiet_pair(pair)
    near, far = len(pair.near.sent), len(pair.far.sent)
    await trio.sleep(205)
    asked = pings(pair.near.sent[near:]), pings(pair.far.sent[far:])
    assert asked == (10, 10)


async def test_a_keepalive_is_answered_without_delay(pair: Pair) -> None:
    dialled, _ = await quiet_pair(pair)
    pair.far.outgoing = lambda data: [data] if len(data) < PADDED_BYTES else []  # answers, no keepalives
    asked = dialled.last_heard + KEEPALIVE_SECONDS
    await trio.sleep_until(asked + 1)
    assert dialled.last_heard - asked == pytest.approx(RTT, abs=1e-4)


async def test_a_shorter_keepalive_asks_more_often(pair: Pair) -> None:
    dialled, _ = await quiet_pair(pair)
    dialled.set_keepalive(2.5)
    before = len(pair.near.sent)
    await trio.sleep(100)
    assert 35 <= pings(pair.near.sent[before:]) <= 41


async def test_a_shorter_keepalive_holds_from_the_last_sign_of_life_on(pair: Pair) -> None:
    dialled, _ = await quiet_pair(pair)
    await trio.sleep_until(dialled.last_heard + 5)
    before = len(pair.near.sent)
    dialled.set_keepalive(2.5)
    await trio.sleep(0.001)
    assert pings(pair.near.sent[before:]) == 1


async def test_a_longer_keepalive_asks_in_time_for_the_idle_timeout(pair: Pair) -> None:
    dialled, _ = await quiet_pair(pair)
    dialled.set_keepalive(60)
    pair.near.incoming = lambda data: []
    before = len(pair.near.sent)
    await trio.sleep_until(dialled.last_heard + KEEPALIVE_SECONDS - 0.1)
    assert pings(pair.near.sent[before:]) == 0
    await trio.sleep(0.2)
    assert pings(pair.near.sent[before:]) == 1


async def test_a_probe_leaves_at_once_though_something_was_heard_a_moment_ago(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    await theirs.send_all(b"alive")
    await ours.receive_some()
    await trio.sleep(0.5)
    before = len(pair.near.sent)
    ours.connection.probe()
    await trio.sleep(0.001)
    (ping,) = pair.near.sent[before:]
    assert len(ping) >= PADDED_BYTES
    assert await time_of(ours.connection.wait_heard) == pytest.approx(RTT, abs=0.005)


async def test_a_probe_leaves_though_nobody_acknowledges_what_fills_the_window(
    pair: Pair, nursery: trio.Nursery
) -> None:
    ours, _ = await pair.open_streams()
    pair.cut()
    nursery.start_soon(ours.send_all, bytes(1 << 20))
    await trio.sleep(5)
    before = len(pair.near.sent)
    ours.connection.probe()
    await trio.sleep(0.001)
    assert pings(pair.near.sent[before:]) >= 1
    nursery.cancel_scope.cancel()


async def test_a_probe_does_nothing_before_the_handshake_is_done_and_after_the_end(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.connect)
        await trio.sleep(0.01)
        (connection,) = pair.dialer.connections
        connection.probe()
        assert connection.core._ping_pending == []
    connection.close(0, "over")
    connection.probe()
    assert connection.core._ping_pending == []


# --- being heard


async def test_the_last_sign_of_life_is_remembered(pair: Pair) -> None:
    dialled, accepted = await quiet_pair(pair)
    await trio.sleep(3)
    accepted.probe()
    await trio.sleep(RTT / 2 + 0.001)
    assert trio.current_time() - dialled.last_heard == pytest.approx(0.001, abs=1e-4)


async def test_everybody_who_waits_hears_the_next_sign_of_life(pair: Pair) -> None:
    dialled, accepted = await quiet_pair(pair)
    times: list[float] = []

    async def wait() -> None:
        times.append(await time_of(dialled.wait_heard))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.sleep(2)
        accepted.probe()
    assert times == [pytest.approx(2 + RTT / 2, abs=0.001)] * 3
    assert await time_of(dialled.wait_heard) > 1  # the next, not the last


async def test_the_end_of_a_connection_ends_every_wait(pair: Pair) -> None:
    dialled, _ = await quiet_pair(pair)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialled.wait_heard)
            nursery.start_soon(dialled.wait_silent, 100)
            await trio.testing.wait_all_tasks_blocked()
            dialled.close(0, "over")
        for wait in (dialled.wait_heard, lambda: dialled.wait_silent(100)):
            with trio.testing.assert_checkpoints():
                await wait()


async def test_silence_is_noticed_when_it_has_lasted(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    dialled = ours.connection
    dialled.set_keepalive(2.5)
    with trio.move_on_after(60) as scope:
        await dialled.wait_silent(7)
    assert scope.cancelled_caught
    await theirs.send_all(b"last words")
    await ours.receive_some()
    pair.cut()
    assert await time_of(lambda: dialled.wait_silent(7)) == pytest.approx(7, abs=0.001)
    assert not dialled.is_closed
    with trio.testing.assert_checkpoints():
        await dialled.wait_silent(7)


async def test_what_arrived_while_everything_stood_still_breaks_the_silence() -> None:
    for _ in range(20):  # those who wake up at one instant do so in any order
        liveness = Liveness(trio.current_time())

        async def read(liveness: Liveness, at: float) -> None:
            await trio.sleep_until(at)
            liveness.note_heard(at)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, liveness, liveness.last_heard + 7)
            assert await time_of(lambda liveness=liveness: liveness.wait_silent(7)) == pytest.approx(14)  # type: ignore[misc]


async def test_a_datagram_that_the_peer_did_not_seal_is_no_sign_of_life(pair: Pair) -> None:
    dialled, accepted = await quiet_pair(pair)
    pair.near.incoming = lambda data: [data[:-1] + bytes([data[-1] ^ 1])]
    heard = dialled.last_heard
    for _ in range(13):
        await trio.sleep(1)
        accepted.probe()
    assert dialled.last_heard == heard
    assert pings(pair.near.sent) > 1  # it asks, instead of being kept quiet


async def test_a_copy_of_an_old_datagram_is_no_sign_of_life(pair: Pair) -> None:
    dialled, accepted = await quiet_pair(pair)
    old, _ = pair.near.received[-1]
    heard = dialled.last_heard
    pair.near.incoming = lambda data: [old]
    for _ in range(5):
        await trio.sleep(1)
        accepted.probe()
    assert dialled.last_heard == heard


# --- every connection at once


async def test_those_who_answer_are_kept_and_the_check_is_over_with_the_last_answer(pair: Pair) -> None:
    connections = [await pair.connect() for _ in range(3)]
    await trio.sleep(1)
    # the answer waits for one that could leave with it
    assert await time_of(lambda: pair.listener.check_alive(5)) == pytest.approx(RTT, abs=LONE_ACK_SECONDS + 0.001)
    for dialled, accepted in connections:
        assert accepted.is_established
        await open_streams(dialled, accepted)


async def test_those_who_do_not_answer_are_given_up_without_a_word(pair: Pair) -> None:
    other_socket = MeddlingSocket(pair.network.socket("192.0.2.3:5000"))
    async with open_transport(other_socket, wall_clock=wall_clock) as other:
        alive = await other.dial(pair.address, dialing())
        bystander = await pair.listener.accept()
        _, accepted = await quiet_pair(pair)
        pair.cut()
        before = len(pair.far.sent)
        assert await time_of(lambda: pair.listener.check_alive(3)) == pytest.approx(3, abs=0.001)
        assert str(accepted.lost) == "no sign of life since this machine slept or its network changed"
        assert accepted.lost is not None
        assert (accepted.lost.code, accepted.lost.quic_error) == (None, None)
        sent = len(pair.far.sent)
        assert sent - before >= 2
        await trio.sleep(0.001)
        assert len(pair.far.sent) == sent
        assert pair.listener.connections == (bystander,)
        assert alive.is_established


async def test_a_handshake_under_way_is_left_alone(pair: Pair, nursery: trio.Nursery) -> None:
    pair.cut()
    nursery.start_soon(pair.dialer.dial, pair.address, dialing())
    await trio.sleep(0.01)
    assert await time_of(lambda: pair.dialer.check_alive(1)) == 0
    pair.heal()
    await pair.listener.accept()


async def test_a_connection_that_ends_during_the_check_ends_its_part_of_it(pair: Pair) -> None:
    dialled, accepted = await quiet_pair(pair)
    pair.near.outgoing = lambda data: []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.listener.check_alive, 5)
        await trio.sleep(1)
        accepted.close(9, "meanwhile")
    assert trio.current_time() < 3
    assert "meanwhile" in str(accepted.lost)
    assert (await dialled.wait_closed()).code == 9


class DozingSocket(MeddlingSocket):
    """While its machine sleeps, what arrives is not read."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair.network.socket("192.0.2.3:5000"))
        self.awake = trio.Event()
        self.awake.set()

    async def wait_readable(self) -> None:
        await self.socket.wait_readable()
        await self.awake.wait()

    def receive_batch(self) -> list[tuple[bytes, NetworkPath]]:
        return super().receive_batch() if self.awake.is_set() else []


async def test_what_was_there_before_a_machine_slept_is_no_sign_of_life() -> None:
    for seed in range(8):  # those who wake up at one instant do so in any order
        async with open_pair(seed) as pair:
            socket = DozingSocket(pair)
            async with open_transport(socket, wall_clock=wall_clock) as dialer, trio.open_nursery() as nursery:
                dialled = await dialer.dial(pair.address, dialing())
                accepted = await pair.listener.accept()
                await trio.sleep(1)
                socket.awake = trio.Event()
                accepted.probe()
                await trio.sleep(5)
                pair.far.outgoing = lambda data: []
                await trio.sleep(1)
                socket.awake.set()
                nursery.start_soon(dialer.check_alive, 3)
                assert "no sign of life since" in str(await dialled.wait_closed())
                assert trio.current_time() - dialled.last_heard == pytest.approx(3, abs=0.1)  # it was read
