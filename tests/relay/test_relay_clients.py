"""Who is let in as a client, and what becomes of those who are not (protocol sections 2.2, 2.3, 6.1 and 6.2)."""

import logging
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from connet_trio.concurrency import StreamBroken
from connet_trio.engine import NetworkRule, parse_networks
from connet_trio.errors import DialFailed
from connet_trio.identity import certificate_key
from connet_trio.quic import RecordStream, Windows
from connet_trio.records.control_relay import ClientAuthentication
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role
from connet_trio.records.relay import Authenticate
from connet_trio.wire import WireVersion, codecs

STRANGER_BYTES = 1 << 16
NOT_AUTHENTICATED = (ErrorCode.AUTHENTICATION_FAILED, "Error while authenticating")


def without_endpoint(lab: Any) -> bytes:
    key = certificate_key(lab.identity(0).client.der)
    return bytes(lab.control.seal(ClientAuthentication(role=Role.SOURCE, certificate_key=key)))


@pytest.mark.parametrize(
    ("make_token", "text"),
    [
        (lambda lab: b"", "authentication data too short"),
        (lambda lab: bytes(23), "authentication data too short"),
        (lambda lab: bytes(24), "invalid authentication"),
        (lambda lab: lab.control.seal(lab.claim(Role.SOURCE), bytes(32)), "invalid authentication"),
        (lambda lab: lab.control.seal_bytes(b"\xff"), "invalid authentication data"),
        (without_endpoint, "invalid authentication data"),
        (lambda lab: lab.control.seal(lab.claim(Role.SOURCE, number=1)), "invalid certificate"),
    ],
)
async def test_a_token_that_does_not_fit_is_refused_in_a_record_and_in_the_close(
    lab: Any, autojump_clock: MockClock, make_token: Any, text: str
) -> None:
    await lab.start_control()
    relay = await lab.start()
    connection = await lab.dial()
    assert await lab.authenticate(connection, make_token(lab)) == Error(ErrorCode.AUTHENTICATION_FAILED, text)
    with trio.fail_after(2):
        lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (ErrorCode.AUTHENTICATION_FAILED, text)
    assert relay.status().endpoints == {}


async def test_before_control_has_let_the_relay_in_clients_are_refused(lab: Any, autojump_clock: MockClock) -> None:
    control = await lab.start_control()
    control.is_silent = True
    lab.nursery.start_soon(_expect_no_answer, lab)
    await trio.sleep(1)
    connection = await lab.dial()
    refusal = await lab.authenticate(connection, bytes(100))
    assert refusal.message == "authentication failed: no control verification key"
    assert (await connection.wait_closed()).reason == refusal.message
    await trio.sleep(20)


async def _expect_no_answer(lab: Any) -> None:
    with pytest.raises(DialFailed):
        async with lab.open_relay():
            pass


async def test_strangers_cannot_fill_the_log(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await lab.start_control()
    await lab.start()
    for _ in range(15):
        connection = await lab.dial()
        await lab.authenticate(connection, b"")
    texts = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in texts if "authentication data too short" in text]) == 10
    assert len(texts) == 11


@pytest.mark.reliability(line=23)
async def test_a_client_that_says_nothing_is_closed_after_5_seconds(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    connection = await lab.dial()
    began = trio.current_time()
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == NOT_AUTHENTICATED
    assert trio.current_time() - began == pytest.approx(5.0, abs=0.1)


async def test_a_client_that_speaks_slowly_gets_5_seconds_in_total(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    connection = await lab.dial()
    began = trio.current_time()
    stream = await connection.open_stream()
    for byte in bytes.fromhex("0000003c0a3a"):
        await stream.send_all(bytes([byte]))
        await trio.sleep(0.8)
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == NOT_AUTHENTICATED
    assert trio.current_time() - began == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize(
    "sent",
    [
        bytes.fromhex("00008001"),  # 32 KiB and a byte to come: refused at the length
        bytes.fromhex("00000003ffffff"),
        bytes.fromhex("0000"),
    ],
)
async def test_a_client_that_says_nothing_readable_is_closed_at_once(
    lab: Any, autojump_clock: MockClock, sent: bytes
) -> None:
    await lab.start_control()
    await lab.start()
    connection = await lab.dial()
    stream = await connection.open_stream()
    await stream.send_all(sent)
    if len(sent) < 4:
        await stream.send_eof()
    with trio.fail_after(0.1):
        lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == NOT_AUTHENTICATED


@pytest.mark.reliability(line=23)
async def test_a_stranger_may_send_no_more_than_a_window_beyond_what_is_read_of_its_frame(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    connection = await lab.dial()
    streams = [await connection.open_stream() for _ in range(4)]
    for stream in streams:
        await stream.send_all(bytes.fromhex("00007fff") + bytes(30_000))
    await trio.sleep(4)
    acknowledged = sum(30_004 - connection.core.send_backlog(stream.id) for stream in streams)
    assert 0 < acknowledged <= STRANGER_BYTES + 30_004
    await connection.wait_closed()


@pytest.mark.reliability(line=23)
async def test_a_client_that_has_been_let_in_may_send_more(lab: Any, autojump_clock: MockClock) -> None:
    source, destination = await lab.pair()
    near, _ = await lab.join(source, destination)
    await near.send_all(bytes(500_000))
    near.finish()
    with trio.fail_after(5):
        await near.wait_delivered()


async def test_a_client_that_is_neither_source_nor_destination_is_closed_with_0(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    relay = await lab.start()
    connection = await lab.dial()
    stream = await connection.open_stream()
    request = Authenticate(authentication=lab.control.seal(lab.claim(Role.UNKNOWN)))
    await RecordStream(stream, WireVersion.V2).send(codecs.RELAY_AUTHENTICATE, request)
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (0, "connection closed")
    assert relay.status().endpoints == {}


async def test_a_client_without_a_certificate_gets_alert_116(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    connection = await lab.dial(credential=None)
    assert (await connection.wait_closed()).quic_error == 0x174


async def test_any_server_name_will_do(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    connection = await lab.dial(server_name="anything.example")
    assert await lab.authenticate(connection, lab.control.seal(lab.claim(Role.SOURCE))) is None


@pytest.mark.parametrize("offered", [[WireVersion.V1, WireVersion.V2], [WireVersion.V2, WireVersion.V1]])
async def test_the_newer_wire_version_is_preferred_whatever_the_order_offered(
    lab: Any, autojump_clock: MockClock, offered: list[WireVersion]
) -> None:
    await lab.start_control()
    await lab.start()
    assert (await lab.source(versions=offered)).version is WireVersion.V2


async def test_the_protocol_name_of_relays_at_control_means_the_newer_version_here(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    source = await lab.source(alpns=("connet-relay/0.3",))
    assert await source.refusal() == Error(ErrorCode.DESTINATION_NOT_FOUND, "could not find destination")


async def test_an_ingress_refuses_networks_before_the_handshake(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    (ingress,) = lab.settings().ingresses
    rule = NetworkRule(allow=parse_networks(["192.0.2.0/25"]), deny=parse_networks(["192.0.2.50"]))
    await lab.start(ingresses=(attrs.evolve(ingress, networks=rule),))
    await lab.source(host="192.0.2.51")
    for host in ("192.0.2.50", "192.0.2.200"):
        with pytest.raises(DialFailed, match="refuses connections from this address"):
            await lab.dial(host)


async def test_an_endpoint_may_have_the_longest_name_there_is(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start()
    longest = "é" * 500
    await lab.join(await lab.source(endpoint=longest), await lab.destination(endpoint=longest))
    assert list(relay.status().endpoints) == [longest]


async def test_a_second_connection_with_the_same_key_takes_the_streams_and_keeps_its_place(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    relay = await lab.start()
    source = await lab.source()
    first = await lab.destination(1, host="192.0.2.101", metadata="first")
    second = await lab.destination(1, host="192.0.2.102", metadata="second")
    await lab.join(source, second)
    first.connection.close(302, "keepalive closed")
    await trio.sleep(1)
    (entry,) = relay.status().endpoints["db"].destinations.values()
    assert entry.metadata == "second"
    await lab.join(source, second)
    second.connection.close(302, "keepalive closed")
    await trio.sleep(1)
    assert relay.status().endpoints["db"].destinations == {}
    assert (await source.refusal()).code is ErrorCode.DESTINATION_NOT_FOUND


async def test_a_replaced_connection_keeps_the_streams_it_has(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    source = await lab.source()
    near, far = await lab.join(source, await lab.destination(1))
    await lab.destination(1)
    await trio.sleep(60)
    await near.send_all(b"still here")
    assert await far.receive_some() == b"still here"


async def test_streams_opened_by_a_destination_are_refused_at_once(lab: Any, autojump_clock: MockClock) -> None:
    _, destination = await lab.pair()
    for _ in range(120):  # more than there is credit for, if one were kept
        records = await destination.ask()
        with trio.fail_after(1):
            await records.stream.wait_stopped()
            with pytest.raises(StreamBroken):
                await records.stream.receive_some()


async def test_a_connection_closed_before_its_request_leaves_nothing_behind(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    relay = await lab.start()
    transport = await lab.transport()
    await wait_all_tasks_blocked()
    before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(20):
        connection = await lab.dial(transport=transport)
        connection.close(0, "never mind")
        connection = await lab.dial(transport=transport)
        await connection.open_stream()
        connection.abandon("gone")
    await trio.sleep(30)
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert relay.status().endpoints == {}


async def test_a_client_that_closes_with_an_error_while_it_authenticates_is_no_fault_of_ours(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    relay = await lab.start()
    connection = await lab.dial()
    stream = await connection.open_stream()
    await stream.send_all(b"\0")
    connection.close(ErrorCode.CONNECTION_CHECK_FAILED, "connection check failed\r\n\x1b[2J")
    await trio.sleep(1)
    assert relay.status().handler_errors == 0


async def test_a_destination_with_small_windows_gets_everything_all_the_same(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    await lab.destination(1, handle=lab.echo, windows=Windows(stream=1 << 12, connection=1 << 14))
    stream = await (await lab.source()).connect()
    lab.nursery.start_soon(stream.send_all, bytes(100_000))
    received = 0
    with trio.fail_after(10):
        while received < 100_000:
            received += len(await stream.receive_some())


@pytest.mark.reliability(line=32)
async def test_neither_tokens_nor_what_clients_write_reach_the_log_raw(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "connet_trio.relay")
    await lab.start_control()
    await lab.start()
    connection = await lab.dial()
    token = b"\r\nsecret\x1b[2J" + bytes(80)
    await lab.authenticate(connection, token)
    source = await lab.source(endpoint="d\r\nb\x1b[2J")
    await lab.destination(1, endpoint="d\r\nb\x1b[2J")
    await source.refusal()
    assert "secret" not in caplog.text
    assert lab.TOKEN not in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert len(caplog.records) >= 2
