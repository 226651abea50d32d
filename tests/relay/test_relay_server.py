"""The relay as a service: what it shows, how it stops, and that nothing is left of it (sections 3.8 and 13)."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from connet_trio.concurrency import StreamBroken
from connet_trio.errors import BindFailed, DialFailed, PathLost
from connet_trio.identity import certificate_key
from connet_trio.records.status import RelayClientStatus, RelayEndpointStatus, RelayStatus, Status
from connet_trio.relay import RelayServer, run_relay
from connet_trio.version import BUILD_VERSION

OVER = (0, "connection closed")


async def test_the_status_shows_who_is_connected_and_what_is_carried(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start()
    source = await lab.source(0, metadata="laptop")
    near, far = await lab.join(source, await lab.destination(1, metadata="server"))
    await lab.destination(2, endpoint="other")
    await near.send_all(b"12345")
    await far.receive_some()
    await far.send_all(b"678")
    await near.receive_some()
    keys = [certificate_key(lab.identity(number).client.der) for number in range(3)]
    assert relay.status() == RelayStatus(
        status=Status.CONNECTED,
        build_version=BUILD_VERSION,
        hostports=relay.hostports,
        server_address="control.example:19189",
        control_id="control 1",
        endpoints={
            "db": RelayEndpointStatus(
                endpoint="db",
                destinations={keys[1]: RelayClientStatus(key=keys[1], metadata="server")},
                sources={keys[0]: RelayClientStatus(key=keys[0], metadata="laptop")},
            ),
            "other": RelayEndpointStatus(endpoint="other", destinations={keys[2]: RelayClientStatus(key=keys[2])}),
        },
        bytes_forwarded=8,
        streams=1,
        streams_total=1,
    )
    near.close()
    far.close()
    await trio.sleep(1)
    assert (relay.status().streams, relay.status().streams_total) == (0, 1)


async def test_an_unexpected_error_costs_one_connection_and_is_counted(
    lab: Any, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*arguments: object) -> None:
        raise ZeroDivisionError

    await lab.start_control()
    relay = await lab.start()
    standing = await lab.source(1)
    monkeypatch.setattr("connet_trio.relay.client_session.judge_token", judge)
    connection = await lab.dial()
    with pytest.raises(PathLost):
        await lab.authenticate(connection, b"anything")
    assert relay.status().handler_errors == 1
    assert standing.connection.lost is None
    lab.relays.clear()  # whose counts the fixture looks at


async def test_draining_turns_away_newcomers_and_lets_streams_end(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start(drain_timeout=10.0)
    source, destination = await lab.source(), await lab.destination()
    near, far = await lab.join(source, destination)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.drain)
        await wait_all_tasks_blocked()
        with pytest.raises(DialFailed, match="refuses connections"):
            await lab.dial()
        records = await source.ask()
        with trio.fail_after(0.5):
            await records.stream.wait_stopped()
        with pytest.raises(StreamBroken):
            await records.stream.receive_some()

        await trio.sleep(5)
        assert source.connection.lost is None
        assert lab.control.connections[0].lost is None
        await near.send_all(b"the last words")
        await near.send_eof()
        assert await lab.receive_all(far) == b"the last words"
        await far.send_eof()
    assert 5 < trio.current_time() - began < 6
    for connection in (source.connection, destination.connection, lab.control.connections[0]):
        lost = await connection.wait_closed()
        assert (lost.code, lost.reason) == OVER
    assert relay.status().status is Status.DISCONNECTED


async def test_draining_lets_a_request_have_its_answer_and_its_stream(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start(drain_timeout=10.0)
    source, destination = await lab.source(), await lab.destination()
    records = await source.ask()
    asked, _ = await destination.requested()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.drain)
        await trio.sleep(1)
        await asked.send_payload(lab.CONNECTED)
        assert await records.receive_payload() == lab.CONNECTED
        await asked.stream.send_all(b"in time")
        await asked.stream.send_eof()
        assert await lab.receive_all(records.stream) == b"in time"
        records.stream.close()


async def test_a_stream_that_does_not_end_is_cut_when_draining_takes_too_long(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    relay = await lab.start(drain_timeout=2.0)
    source, destination = await lab.source(), await lab.destination()
    near, _ = await lab.join(source, destination)
    began = trio.current_time()
    await relay.drain()
    assert trio.current_time() - began == pytest.approx(2.0)
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()
    lost = await destination.connection.wait_closed()
    assert (lost.code, lost.reason) == OVER


async def test_without_streams_draining_takes_no_time(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start(drain_timeout=60.0)
    source = await lab.source()
    began = trio.current_time()
    await relay.drain()
    assert trio.current_time() == began
    lost = await source.connection.wait_closed()
    assert (lost.code, lost.reason) == OVER


async def test_a_relay_that_drains_lets_a_lost_control_go(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await lab.start_control()
    relay = await lab.start(drain_timeout=60.0)
    near, far = await lab.join(await lab.source(), await lab.destination())
    caplog.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.drain)
        await wait_all_tasks_blocked()
        lab.control.scope.cancel()
        await trio.sleep(30)
        assert relay.status().status is Status.DISCONNECTED
        await near.send_all(b"still here")
        assert await far.receive_some() == b"still here"
        near.close()
        far.close()
    assert caplog.records == []


async def test_a_relay_that_drains_does_not_join_control_again(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start(drain_timeout=60.0)
    await lab.join(await lab.source(), await lab.destination())
    lab.control.scope.cancel()
    await trio.sleep(30)
    assert relay.status().status is Status.RECONNECTING
    control = await lab.start_control()
    await relay.drain()
    assert control.requests == []
    assert relay.status().status is Status.DISCONNECTED


async def test_leaving_the_block_closes_everything_at_once_and_frees_the_sockets(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    async with lab.open_relay():
        source, destination = await lab.source(), await lab.destination()
        near, _ = await lab.join(source, destination)
    with trio.fail_after(1):
        for connection in (source.connection, destination.connection, lab.control.connections[0]):
            lost = await connection.wait_closed()
            assert (lost.code, lost.reason) == OVER
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()
    lab.network.socket(f"{lab.RELAY}:19191").close()


async def test_an_error_of_the_block_comes_out_as_itself(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    with pytest.raises(KeyError, match="of the caller"):
        async with lab.open_relay():
            raise KeyError("of the caller")


async def test_a_relay_starts_in_the_nursery_of_a_program_that_embeds_it(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()

    async def run(*, task_status: trio.TaskStatus[RelayServer]) -> None:
        await run_relay(lab.settings(), surroundings=lab.surroundings(), task_status=task_status)

    async with trio.open_nursery() as nursery:
        relay = await nursery.start(run)
        assert relay.status().status is Status.CONNECTED
        nursery.cancel_scope.cancel()
    assert relay.status().status is Status.DISCONNECTED


async def test_a_port_that_is_taken_is_named(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    lab.network.socket(f"{lab.RELAY}:19191")
    with pytest.raises(BindFailed, match=f"{lab.RELAY}:19191"):
        await lab.start_alone()


@pytest.mark.reliability(line=34)
async def test_a_relay_cancelled_at_any_moment_leaves_no_task_and_no_socket(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await wait_all_tasks_blocked()
    before = trio.lowlevel.current_statistics().tasks_living
    finished = 0
    for step in range(16):
        with trio.move_on_after(step * 0.005) as scope:
            async with lab.open_relay():
                await trio.sleep(0.005)
        finished += not scope.cancelled_caught
        lab.network.socket(f"{lab.RELAY}:19191").close()
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == before
    assert 0 < finished < 16


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


async def test_what_is_wrong_with_the_store_is_told(lab: Any, autojump_clock: MockClock, open_directory: Path) -> None:
    await lab.start_control()
    async with lab.open_relay(store_directory=open_directory) as relay:
        assert any(str(open_directory) in warning for warning in relay.warnings)


@pytest.mark.reliability(line=25)
async def test_secrets_are_in_no_representation(lab: Any, autojump_clock: MockClock) -> None:
    assert lab.TOKEN not in repr(lab.settings())
