"""The pump: its timers, and what a defect of the engine costs."""

import logging
from typing import cast

import attrs
import pytest
import trio

from connet_trio.concurrency import StreamBroken
from connet_trio.quic import Connection
from tests.quic.conftest import Pair, open_streams, virtual_time

pytestmark = virtual_time


@attrs.define(eq=False)
class FakeCore:
    terminated: bool = False


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
