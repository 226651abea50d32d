"""Who is let in as a client, and what becomes of those who are not (protocol sections 2.2, 3.8 and 4.1)."""

import json
import logging
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.engine import NetworkRule, Restriction, parse_networks
from connet_trio.errors import DialFailed
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role
from connet_trio.records.status import to_json

UNAUTHENTICATED = 1 << 16


async def test_a_client_is_told_how_it_is_seen_and_gets_a_reconnect_token(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    transport = await lab.transport()
    client = await lab.client(transport=transport)
    assert client.answer.public == transport.local_address
    assert len(client.answer.reconnect_token) == 92


@pytest.mark.parametrize("alpn", ["connet-control/0.4", "connet-client/0.3"])
async def test_both_wire_versions_are_spoken(lab: Any, autojump_clock: MockClock, alpn: str) -> None:
    await lab.start()
    client = await lab.client(alpn=alpn)
    stream = await client.ask(lab.announce())
    assert (await stream.receive()).peers == ()


async def test_the_newer_wire_version_is_preferred_whatever_the_order_offered(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start()
    connection = await lab.dial()
    assert connection.alpn == "connet-control/0.4"


async def test_a_reconnect_token_keeps_the_id_of_a_client(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    first = await lab.client()
    (client_id,) = server.status().clients
    second = await lab.client(reconnect_token=first.answer.reconnect_token)
    assert list(server.status().clients) == [client_id]
    assert second.answer.reconnect_token != first.answer.reconnect_token
    before = server.status().clients[client_id].conn_id
    await lab.client(reconnect_token=second.answer.reconnect_token)
    assert server.status().clients[client_id].conn_id > before


async def test_a_reconnect_token_that_does_not_open_counts_as_none(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    await lab.client()
    await lab.client(reconnect_token=b"x" * 92)
    assert len(server.status().clients) == 2


NOBODY = Restriction(networks=NetworkRule(deny=parse_networks(["0.0.0.0/0"])))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"token": "wrong"}, "token not found"),
        ({"token": ""}, "token not found"),
        ({"token": "from elsewhere"}, "address not allowed: 192.0.2.99"),
        ({"metadata": "m" * 4097}, "metadata of 4097 bytes, at most 4096"),
        ({"metadata": "\N{SNOWMAN}" * 1366}, "metadata of 4098 bytes, at most 4096"),
    ],
)
async def test_a_refusal_reaches_the_client_as_a_record_and_as_a_close(
    lab: Any, autojump_clock: MockClock, said: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    await lab.start(client_tokens=((lab.TOKEN, Restriction()), ("from elsewhere", NOBODY), ("", Restriction())))
    connection = await lab.dial(transport=await lab.transport("192.0.2.99"))
    assert await lab.authenticate(connection, **said) == Error(ErrorCode.AUTHENTICATION_FAILED, text)
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (100, text)
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "192.0.2.99" in warning.getMessage()
    assert text in warning.getMessage()


@pytest.mark.reliability(line=23)
async def test_who_says_nothing_is_turned_away_after_five_seconds(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    connection = await lab.dial()
    began = trio.current_time()
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (100, "Error while authenticating")
    assert trio.current_time() - began == pytest.approx(5, abs=0.2)


async def test_who_says_half_a_word_is_turned_away_after_five_seconds_too(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    connection = await lab.dial()
    began = trio.current_time()
    stream = await connection.open_stream()
    await stream.send_all(b"\0\0\0\x20half")
    for _ in range(3):
        await trio.sleep(1.5)
        await stream.send_all(b".")
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (100, "Error while authenticating")
    assert trio.current_time() - began == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\x01\x0a",  # a token of unsaid length
        b"\0\0\0\x04\x0a\x02\xff\xfe",  # not UTF-8
        b"\0\x01\0\x01",  # 65,537 bytes announced
        b"\xff\xff\xff\xff",
    ],
)
async def test_an_unreadable_request_is_answered_at_once_with_a_close(
    lab: Any, autojump_clock: MockClock, sent: bytes
) -> None:
    await lab.start()
    connection = await lab.dial(alpn="connet-control/0.4")
    began = trio.current_time()
    await (await connection.open_stream()).send_all(sent)
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (100, "Error while authenticating")
    assert trio.current_time() - began < 1


async def test_a_stream_that_ends_without_a_request_is_turned_away(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    connection = await lab.dial()
    await (await connection.open_stream()).send_eof()
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (100, "Error while authenticating")


@pytest.mark.reliability(line=23)
async def test_a_stranger_gets_no_more_than_64_kib_accepted(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    connection = await lab.dial()
    first, *streams = [await connection.open_stream() for _ in range(4)]
    await first.send_all(b"\0\0")  # less than a length
    for stream in streams:
        await stream.send_all(bytes(40_000))
    await trio.sleep(4)
    acknowledged = sum(40_000 - connection.core.send_backlog(stream.id) for stream in streams)
    assert 0 < acknowledged <= UNAUTHENTICATED


@pytest.mark.reliability(line=23)
async def test_a_client_that_has_authenticated_may_send_as_much_as_it_likes(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start()
    client = await lab.client()
    stream = await client.ask(lab.announce())
    for port in range(1000, 1200):  # some 200 kB in all
        await stream.send(lab.announce(peer=lab.peer(port=port)))
    stream.stream.finish()
    with trio.fail_after(10):
        await stream.stream.wait_delivered()


async def test_an_ingress_refuses_networks_before_the_handshake(lab: Any, autojump_clock: MockClock) -> None:
    (ingress,) = lab.settings().client_ingresses
    allowed = NetworkRule(allow=parse_networks(["192.0.2.0/25"]), deny=parse_networks(["192.0.2.50"]))
    await lab.start(client_ingresses=(attrs.evolve(ingress, networks=allowed),))
    await lab.client(transport=await lab.transport("192.0.2.51"))
    for host in ("192.0.2.50", "192.0.2.200"):
        began = trio.current_time()
        with pytest.raises(DialFailed, match="refuses connections from this address"):
            await lab.dial(transport=await lab.transport(host))
        assert trio.current_time() - began < 1


async def test_two_hundred_abandoned_logins_leave_nothing_behind(
    lab: Any, autojump_clock: MockClock, living_tasks: Callable[[], int]
) -> None:
    server = await lab.start()
    token = (await lab.client()).answer.reconnect_token
    transport = await lab.transport()
    await trio.sleep(5)
    before = living_tasks()

    async def abandon(number: int) -> None:
        connection = await lab.dial(transport=transport)
        if number % 4 == 1:
            stream = await connection.open_stream()
            await stream.send_all(b"\0\0")
        if number % 4 == 2:
            await lab.authenticate(connection, reconnect_token=token)
        if number % 4 == 3:
            connection.abandon("the power is gone")
        else:
            connection.close(0, "connection closed")

    for first in range(0, 200, 20):
        async with trio.open_nursery() as nursery:
            for number in range(first, first + 20):
                nursery.start_soon(abandon, number)
    await trio.sleep(30)
    assert living_tasks() == before
    assert len(server.status().clients) == 1
    assert server.status().endpoints == {}


@pytest.mark.reliability(line=25)
async def test_tokens_are_in_no_log_and_no_status(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = await lab.start()
    client = await lab.client(metadata="laptop")
    stream = await client.ask(lab.announce())
    await stream.receive()
    relay = await lab.relay()
    refused = await lab.dial()
    await lab.authenticate(refused, "a secret guess")
    shown = json.dumps(to_json(server.status())) + caplog.text + repr(server) + repr(lab.settings())
    for secret in (lab.TOKEN, lab.RELAY_TOKEN, "a secret guess", repr(relay.key), relay.key.hex()):
        assert secret not in shown
    assert "laptop" in shown


@pytest.mark.reliability(line=32)
async def test_what_a_client_says_reaches_the_log_escaped(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="connet_trio.control")
    await lab.start()
    client = await lab.client(metadata="tv\r\nroot logged in\x1b[2J")
    stream = await client.ask(lab.announce(name="a\nb", role=Role.UNKNOWN))
    assert (await stream.receive()).message == "role not allowed: unknown"
    client.connection.close(7, "bye\nroot logged out")
    await trio.sleep(1)
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("connet_trio.control")]
    assert any("tv\\r\\nroot logged in\\x1b[2J" in line for line in lines)
    assert any("root logged out" in line for line in lines)
    assert not [line for line in lines if {"\r", "\n", "\x1b"} & set(line)]
