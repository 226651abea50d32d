"""A relay whose clock is set, or that runs for years: its certificate, and what control and clients notice of it."""

import logging
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.errors import DialFailed
from connet_trio.identity import Credential, needs_renewal
from connet_trio.quic import Surroundings, open_transport
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role
from connet_trio.records.status import Status
from connet_trio.relay.leaf import RelayLeaf

TODAY = 1_800_000_000.0
DAY = 86_400.0


@attrs.define
class WallClock:
    """Unix seconds: a moment, and what has passed since."""

    start: float

    def __call__(self) -> float:
        return self.start + trio.current_time()


@pytest.fixture
def clock() -> WallClock:
    return WallClock(TODAY)


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody notices jumps, so that years may pass in one."""

    async def never(*arguments: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("connet_trio.relay.leaf.watch_wall_clock", never)


async def joined_again(control: Any, seconds: float = 30.0) -> None:
    """Wait until control has let the relay in for the second time."""
    with trio.fail_after(seconds):
        await control.keys.wait_value(lambda keys: len(keys) == 2)


def texts(caplog: pytest.LogCaptureFixture, name: str = "connet_trio.relay") -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith(name)]


async def test_a_leaf_is_replaced_within_an_hour_of_the_last_month_of_its_two_years(
    clock: WallClock, unwatched: None, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "connet_trio.relay")
    leaf = RelayLeaf(Surroundings(wall_clock=clock))
    issued: list[float] = []
    with trio.move_on_after(5 * DAY):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaf.run, lambda credential: issued.append(clock() - TODAY))
            for _ in range(2):
                clock.start += 699 * DAY
                first = leaf.credential
                await trio.sleep(2 * DAY)
                assert leaf.credential != first
    assert issued == pytest.approx([700 * DAY, 1400 * DAY], abs=3601)
    assert texts(caplog) == [
        "issued a new certificate, valid until 2030-12-15: the old one ends on 2029-01-14",
        "issued a new certificate, valid until 2032-11-14: the old one ends on 2030-12-15",
    ]


@pytest.mark.parametrize(("before", "after"), [(0.0, TODAY), (TODAY, 0.0), (TODAY, TODAY + 5000 * DAY)])
async def test_a_clock_that_is_set_gets_a_leaf_of_its_time_within_two_seconds(
    clock: WallClock, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, before: float, after: float
) -> None:
    caplog.set_level(logging.INFO, "connet_trio.relay")
    clock.start = before
    leaf = RelayLeaf(Surroundings(wall_clock=clock))
    issued: list[Credential] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaf.run, issued.append)
        await trio.sleep(10)
        assert issued == []
        clock.start = after
        await trio.sleep(2.5)
        assert issued == [leaf.credential]
        assert not needs_renewal(leaf.credential.der, clock())
        nursery.cancel_scope.cancel()
    (text,) = texts(caplog)
    assert text.endswith(": the clock moved")


async def test_a_sleep_of_a_week_costs_no_leaf(clock: WallClock, autojump_clock: MockClock) -> None:
    leaf = RelayLeaf(Surroundings(wall_clock=clock))
    issued: list[Credential] = []
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaf.run, issued.append)
            await trio.sleep(3)
            clock.start += 7 * DAY
    assert issued == []


async def test_control_hears_of_the_new_leaf_without_a_gap_and_clients_stay(
    lab: Any, autojump_clock: MockClock, clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    control = await lab.start_control()
    relay = await lab.start(lab.surroundings(wall_clock=clock))
    near, far = await lab.join(await lab.source(), await lab.destination())
    caplog.set_level(logging.INFO, "connet_trio.relay")
    caplog.clear()
    clock.start += 701 * DAY
    await joined_again(control)
    first, second = control.requests
    assert first.server_certificate != second.server_certificate
    assert second.reconnect_token == b"come back 1"
    await trio.sleep(1)
    assert control.connections[0].lost is None  # control may not have listed the second one yet
    await trio.sleep(5)
    lost = await control.connections[0].wait_closed()
    assert (lost.code, lost.reason) == (0, "connection closed")
    assert control.connections[1].lost is None
    assert (relay.status().status, relay.status().last_error) == (Status.CONNECTED, "")
    await near.send_all(b"still here")
    assert await far.receive_some() == b"still here"
    transport = await lab.hold(open_transport(lab.network.socket("192.0.2.9:0"), wall_clock=clock))
    late = await lab.client(Role.DESTINATION, 2, endpoint="late", transport=transport)  # it trusts the new leaf only
    assert late.connection.lost is None
    (text,) = texts(caplog)
    assert text.startswith("issued a new certificate, valid until")


async def test_a_client_that_expects_the_old_leaf_is_shown_the_new_one(
    lab: Any, autojump_clock: MockClock, clock: WallClock
) -> None:
    control = await lab.start_control()
    await lab.start(lab.surroundings(wall_clock=clock))
    clock.start += 701 * DAY
    await joined_again(control)
    control.requests.pop()
    with pytest.raises(DialFailed, match="not the one announced"):
        await lab.dial()


@pytest.mark.parametrize("is_refused", [True, False])
async def test_the_session_that_stands_is_kept_until_there_is_another(
    lab: Any, autojump_clock: MockClock, clock: WallClock, caplog: pytest.LogCaptureFixture, is_refused: bool
) -> None:
    control = await lab.start_control()
    relay = await lab.start(lab.surroundings(wall_clock=clock))
    caplog.set_level(logging.INFO, "connet_trio.relay.control_session")
    caplog.clear()
    control.refusal = Error(ErrorCode.AUTHENTICATION_FAILED, "not today") if is_refused else None
    control.is_silent = not is_refused
    clock.start += 701 * DAY
    await trio.sleep(120)
    assert control.connections[0].lost is None
    assert relay.status().status is Status.CONNECTED
    assert ("not today" if is_refused else "no answer to authentication") in relay.status().last_error
    assert len(control.requests) < 30
    control.refusal, control.is_silent = None, False
    await joined_again(control)
    await trio.sleep(10)
    assert control.connections[0].lost is not None
    assert control.connections[-1].lost is None
    assert relay.status().last_error == ""
    trouble, recovery = texts(caplog)
    assert trouble.endswith("trying again until it works")
    assert recovery == "control control.example:19189: back again"


async def test_a_session_lost_before_there_is_another_is_made_again_as_ever(
    lab: Any, autojump_clock: MockClock, clock: WallClock
) -> None:
    control = await lab.start_control()
    relay = await lab.start(lab.surroundings(wall_clock=clock))
    control.refusal = Error(ErrorCode.AUTHENTICATION_FAILED, "not today")
    clock.start += 701 * DAY
    await trio.sleep(5)
    control.connections[0].close(0, "connection closed")
    await trio.sleep(30)
    assert relay.status().status is Status.RECONNECTING
    control.refusal = None
    await joined_again(control, seconds=16)
    await trio.sleep(1)
    assert relay.status().status is Status.CONNECTED
    assert control.requests[-1].server_certificate != control.requests[0].server_certificate


async def test_a_clock_that_is_wrong_is_blamed_when_control_is_refused_and_joined_once_it_is_right(
    lab: Any, autojump_clock: MockClock, clock: WallClock
) -> None:
    control = await lab.start_control()
    relay = await lab.start(lab.surroundings(wall_clock=clock))
    clock.start = 0.0
    await trio.sleep(5)
    assert control.connections[0].lost is None
    control.connections[0].close(0, "connection closed")
    await trio.sleep(60)
    error = relay.status().last_error
    assert "the certificate of control.example is not valid before 2027-01-15" in error
    assert "and it is 1970-01-01" in error
    assert "is one of the clocks wrong?" in error
    clock.start = TODAY
    await joined_again(control, seconds=20)
    await trio.sleep(5)
    assert relay.status().status is Status.CONNECTED
    assert (await lab.source()).connection.lost is None


async def test_a_relay_that_drains_makes_no_new_leaf_known(
    lab: Any, autojump_clock: MockClock, clock: WallClock
) -> None:
    control = await lab.start_control()
    relay = await lab.start(lab.surroundings(wall_clock=clock), drain_timeout=60.0)
    await lab.join(await lab.source(), await lab.destination())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.drain)
        await trio.sleep(1)
        clock.start += 701 * DAY
        await trio.sleep(30)
        assert len(control.requests) == 1


async def test_a_token_that_control_takes_away_is_tried_every_fifteen_seconds_and_told_once(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    control = await lab.start_control()
    relay = await lab.start()
    caplog.set_level(logging.INFO, "connet_trio.relay")
    caplog.clear()
    control.token = "another"
    control.connections[-1].close(0, "connection closed")
    moments = await moments_of(control, 4)
    assert [later - earlier for earlier, later in pairwise(moments)] == pytest.approx([15.0] * 3, abs=1.5)
    assert "token not found" in relay.status().last_error
    control.token = lab.TOKEN
    await joined_again(control, seconds=17)
    await trio.sleep(1)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "ERROR", "INFO"]
    assert "token not found (AUTHENTICATION_FAILED); trying again" in told[1][1]
    assert told[2][1].endswith("back again")


async def moments_of(control: Any, count: int) -> list[float]:
    """When each of the next requests came, seconds, to a tenth."""
    moments: list[float] = []
    known = len(control.requests)
    while len(moments) < count:
        await trio.sleep(0.1)
        moments += [trio.current_time()] * (len(control.requests) - known)
        known = len(control.requests)
    return moments
