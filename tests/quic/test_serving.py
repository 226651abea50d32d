"""Accepted connections, one task each: what goes wrong with one stays there."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection, Faults, serve_connections
from connet_trio.quic import serving as serving_module
from tests.quic.conftest import Pair, dialing, virtual_time

pytestmark = virtual_time

Handler = Callable[[Connection], Awaitable[None]]


async def dial_served(pair: Pair, nursery: trio.Nursery, handler: Handler, faults: Faults) -> Connection:
    """A connection to a listener that runs `handler`."""
    await nursery.start(partial(serve_connections, pair.listener, handler, faults))
    return await pair.dialer.dial(pair.address, dialing())


def raising(*errors: Exception) -> Handler:
    async def handle(connection: Connection) -> None:
        if len(errors) == 1:
            raise errors[0]
        raise ExceptionGroup("from a nursery", errors)

    return handle


async def test_a_connection_ends_with_its_handler(pair: Pair, nursery: trio.Nursery) -> None:
    async def handle(connection: Connection) -> None:
        await trio.sleep(5)

    faults = Faults()
    connection = await dial_served(pair, nursery, handle, faults)
    begun = trio.current_time()
    lost = await connection.wait_closed()
    assert trio.current_time() - begun == pytest.approx(5, abs=0.1)
    assert (lost.code, lost.reason) == (0, "connection closed")
    assert faults.count == 0


@pytest.mark.parametrize("error", [PathLost("gone"), Refused(100, "no"), RemoteProtocolError("nonsense")])
@pytest.mark.parametrize("grouped", [False, True])
async def test_expected_ends_are_no_faults(
    pair: Pair, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, error: Exception, grouped: bool
) -> None:
    faults = Faults()
    handler = raising(*([error, PathLost("too")] if grouped else [error]))
    connection = await dial_served(pair, nursery, handler, faults)
    assert (await connection.wait_closed()).code == 0
    assert faults.count == 0
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


@pytest.mark.parametrize(
    "errors",
    [
        [RuntimeError("a defect")],
        [RuntimeError("a defect"), ValueError("and another")],
        [PathLost("gone"), RuntimeError("a defect"), RemoteProtocolError("nonsense")],
    ],
)
async def test_an_unexpected_error_is_counted_and_logged_once_and_costs_its_connection_alone(
    pair: Pair, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, errors: list[Exception]
) -> None:
    faults, served = Faults(), 0

    async def handle(connection: Connection) -> None:
        nonlocal served
        served += 1
        if served == 2:
            raise ExceptionGroup("from a nursery", errors) if len(errors) > 1 else errors[0]
        await connection.wait_closed()

    first = await dial_served(pair, nursery, handler=handle, faults=faults)
    second = await pair.dialer.dial(pair.address, dialing())
    await second.wait_closed()
    third = await pair.dialer.dial(pair.address, dialing())
    await trio.sleep(1)
    assert faults.count == 1
    assert [first.is_closed, third.is_closed] == [False, False]
    alarms = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(alarms) == 1
    assert alarms[0].exc_info is not None
    assert "192.0.2.2:5000" in alarms[0].getMessage()


async def test_what_a_peer_says_does_not_reach_the_log_raw(
    pair: Pair, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, serving_module.__name__)
    for error in (Refused(100, "two\nlines \x1b[31m"), RemoteProtocolError("frame \r\n\x1b[0m")):
        await (await dial_served(pair, nursery, raising(error), Faults())).wait_closed()
    assert len(caplog.records) == 2
    assert all(record.getMessage().isprintable() for record in caplog.records)


async def test_a_cancelled_server_leaves_no_connection_without_its_handler(pair: Pair) -> None:
    async def handle(connection: Connection) -> None:
        await connection.wait_closed()

    async with trio.open_nursery() as nursery:
        connection = await dial_served(pair, nursery, handle, Faults())
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    with trio.fail_after(1):
        assert (await connection.wait_closed()).reason == "connection closed"


async def test_handlers_run_side_by_side(pair: Pair, nursery: trio.Nursery) -> None:
    async def echo(connection: Connection) -> None:
        while True:
            stream = await connection.accept_stream()
            await stream.send_all(await stream.receive_some())

    faults = Faults()
    await nursery.start(partial(serve_connections, pair.listener, echo, faults))
    connections = [await pair.dialer.dial(pair.address, dialing()) for _ in range(5)]
    streams = [await connection.open_stream() for connection in reversed(connections)]
    for number, stream in enumerate(streams):
        await stream.send_all(b"%d" % number)
    for number, stream in enumerate(streams):
        assert await stream.receive_some() == b"%d" % number
    assert faults.count == 0
