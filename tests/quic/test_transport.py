"""The pump: its timers, what a defect of the engine costs, and who gets a place when strangers take them all."""

import logging
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import cast

import attrs
import pytest
import trio

from connet_trio.concurrency import StreamBroken
from connet_trio.quic import Connection, transport
from tests.quic.conftest import LISTENER, STRANGER, Pair, listening, open_pair, open_streams, virtual_time

pytestmark = virtual_time


@attrs.define(eq=False)
class FakeCore:
    terminated: bool = False
    has_more: bool = False


@attrs.define(eq=False)
class FakeConnection:
    """Has a timer that is due again as soon as it has been sent, as after an acknowledgement that ends a backoff."""

    deadline: float
    core: FakeCore = attrs.field(factory=FakeCore)
    fired: int = 0

    def next_deadline(self) -> float:
        return self.deadline

    def fire_timers(self, now: float) -> None:
        self.fired += 1
        self.deadline = now + 100 if self.fired == 3 else now

    def collect(self, now: float) -> list[object]:
        return []


async def test_a_timer_that_is_due_after_sending_is_fired_and_not_only_looked_at(pair: Pair) -> None:
    fake = FakeConnection(deadline=0.0)
    pair.dialer.mark(cast(Connection, fake))
    for _ in range(10):
        pair.dialer._turn([], trio.current_time() + 1)
    assert fake.fired == 3
    fake.core.terminated = True
    pair.dialer.mark(cast(Connection, fake))


async def test_a_defect_of_the_engine_costs_the_connection_it_happens_on(
    pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnheardOf(Exception):
        pass

    dialled, accepted = await pair.connect()
    ours, theirs = await pair.open_streams()

    def fail(*arguments: object) -> None:
        raise UnheardOf

    monkeypatch.setattr(accepted.core, "receive_datagram", fail)
    await (await dialled.open_stream()).send_all(b"trigger")
    lost = await accepted.wait_closed()
    assert "internal error" in str(lost)
    await ours.send_all(b"unharmed")
    assert await theirs.receive_some() == b"unharmed"
    (alarm,) = caplog.records
    assert alarm.levelno == logging.ERROR
    assert alarm.exc_info is not None


def forged_initials(seed: int = 0) -> Iterator[bytes]:
    """First datagrams of connections that nobody wants: no key opens what is in them."""
    luck = Random(seed)
    while True:
        yield b"\xc3\x00\x00\x00\x01\x08" + luck.randbytes(8) + b"\x00\x00\x44\x9e" + luck.randbytes(1182)


async def flood(pair: Pair, per_second: int, count: int = 1 << 30) -> None:
    socket = pair.network.socket("192.0.2.66:6666")
    for initial in islice(forged_initials(), count):
        socket.send_batch([(initial, socket.path_to(pair.address))])
        await trio.sleep(1 / per_second)


async def test_forged_initials_that_take_every_place_keep_no_dialer_out(
    pair: Pair, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKES_AT_ONCE", 64)
    nursery.start_soon(flood, pair, 400)  # a place is lost after 160 ms, four round trips
    await trio.sleep(2)
    assert len(pair.listener.connections) == 64
    began = trio.current_time()
    for _ in range(5):
        await pair.connect()
    assert trio.current_time() - began < 1
    nursery.cancel_scope.cancel()


async def test_a_dialer_that_has_shown_that_it_gets_our_answers_keeps_its_place(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKES_AT_ONCE", 1)
    arrived = 0

    def first_only(data: bytes) -> list[bytes]:
        nonlocal arrived
        arrived += 1
        return [data] if arrived == 1 else []

    chain = (LISTENER.server.der, *[STRANGER.server.der] * 4)
    long = attrs.evolve(LISTENER.server, chain=chain)
    async with open_pair(listen=listening(credential=long)) as pair:
        pair.near.incoming = first_only  # enough to acknowledge, not enough to finish
        nursery.start_soon(pair.connect)
        await trio.sleep(0.5)
        (dialled,) = pair.listener.connections
        assert not dialled.core.handshake_complete
        await flood(pair, 100, count=100)
        assert pair.listener.connections == (dialled,)
        pair.near.incoming = lambda data: [data]
        await dialled.wait_handshake()
        assert not dialled.is_closed


async def test_a_burst_of_first_initials_leaves_no_more_than_there_are_places(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKES_AT_ONCE", 3)
    socket = pair.network.socket("192.0.2.66:6666")
    path = socket.path_to(pair.address)
    socket.send_batch([(initial, path) for initial in islice(forged_initials(), 50)])
    await trio.sleep(1)
    assert len(pair.listener.connections) == len(pair.listener._handshakes) == 3
    await trio.sleep(30)
    assert len(pair.listener.connections) == len(pair.listener._handshakes) == len(pair.listener._unproved) == 0
    await pair.connect()


async def test_waiting_for_a_connection_can_be_cancelled_without_losing_one(pair: Pair) -> None:
    with trio.move_on_after(1):
        await pair.listener.accept()
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair.listener.accept()
    dialled, accepted = await pair.connect()
    assert dialled.remote_address == pair.address
    assert accepted in pair.listener.connections


async def test_a_stream_error_is_no_connection_error(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    theirs.abort(1)
    with pytest.raises(StreamBroken):
        await ours.receive_some()
    await open_streams(ours.connection, theirs.connection)
