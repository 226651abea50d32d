"""Relays: who is let in, and what clients are told of them (protocol sections 4.3, 5.1 and 5.3)."""

import logging
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from connet_trio.control.lists import encode_relays
from connet_trio.engine import NetworkRule, RelayEntry, Restriction, parse_networks
from connet_trio.errors import RemoteProtocolError
from connet_trio.identity import certificate_key, open_client_authentication
from connet_trio.records.control import Relays, SubscribeRelays
from connet_trio.records.control_relay import ClientAuthentication
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Endpoint, Error, HostPort, Role
from connet_trio.wire import codecs

NONE = Relays()


async def subscribed(lab: Any, **said: Any) -> Any:
    client = await lab.client()
    stream = await client.ask(lab.subscribe(**said))
    assert await stream.receive() == NONE
    return stream


async def test_an_empty_list_comes_first_and_then_each_relay_that_joins_or_leaves(
    lab: Any, autojump_clock: MockClock
) -> None:
    server = await lab.start()
    stream = await subscribed(lab)
    near = await lab.relay(metadata="near")
    (listed,) = (await stream.receive()).relays
    assert listed.addresses == (HostPort("relay.example", 19_191),)
    assert listed.server_certificate == lab.leaf(0)
    assert listed.metadata == "near"
    assert listed.id in server.status().relays
    await lab.relay(metadata="far", addresses=(HostPort("[2001:db8::1]", 1),), server_certificate=lab.leaf(2))
    both = {relay.metadata: relay for relay in (await stream.receive()).relays}
    assert sorted(both) == ["far", "near"]
    assert both["far"].addresses == (HostPort("2001:db8::1", 1),)
    near.connection.close(0, "connection closed")
    (left,) = (await stream.receive()).relays
    assert left.metadata == "far"


@pytest.mark.parametrize("alpn", ["connet-control-relays/0.4", "connet-relay/0.3"])
async def test_a_relay_may_speak_either_wire_version(lab: Any, autojump_clock: MockClock, alpn: str) -> None:
    server = await lab.start()
    relay = await lab.relay(alpn=alpn)
    assert relay.answer.control_id == server.status().control_id
    assert relay.answer.control_id.endswith(".relay.control.invalid")
    await trio.sleep(1)
    assert len(server.status().relays) == 1


async def test_a_sealed_token_opens_with_the_key_of_its_relay_and_with_no_other(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start()
    stream = await subscribed(lab, role=Role.SOURCE, name="db")
    relay, other = await lab.relay(seed=9), await lab.relay(seed=10)
    relays = await stream.receive()
    while len(relays.relays) < 2:
        relays = await stream.receive()
    tokens = [listed.authentication for listed in relays.relays]
    (mine,) = (token for token in tokens if opens(token, relay.key))
    assert not opens(mine, other.key)
    assert len(mine) == 102
    assert codecs.CLIENT_AUTHENTICATION.decode(open_client_authentication(mine, relay.key)) == ClientAuthentication(
        endpoint=Endpoint("db"), role=Role.SOURCE, certificate_key=certificate_key(lab.leaf(1))
    )


def opens(token: bytes, key: bytes) -> bool:
    try:
        open_client_authentication(token, key)
    except RemoteProtocolError:
        return False
    return True


async def test_a_relay_that_comes_back_keeps_its_id_and_its_clients_get_tokens_under_the_new_key(
    lab: Any, autojump_clock: MockClock
) -> None:
    server = await lab.start()
    stream = await subscribed(lab)
    before = await lab.relay(seed=9)
    (first,) = (await stream.receive()).relays
    after = await lab.relay(seed=10, reconnect_token=before.answer.reconnect_token)
    (second,) = (await stream.receive()).relays
    assert second.id == first.id
    assert opens(first.authentication, before.key)
    assert opens(second.authentication, after.key)
    before.connection.close(0, "connection closed")  # the end of the old connection does not take off the new one
    await trio.sleep(5)
    assert list(server.status().relays) == [first.id]
    after.connection.close(0, "connection closed")
    assert await stream.receive() == NONE


async def test_a_reconnect_token_of_a_client_is_none_for_a_relay(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    client = await lab.client()
    await lab.relay(reconnect_token=client.answer.reconnect_token)
    await trio.sleep(1)
    assert not set(server.status().clients) & set(server.status().relays)


async def test_a_relay_that_dies_silently_is_taken_off(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    stream = await subscribed(lab)
    relay = await lab.relay()
    assert len((await stream.receive()).relays) == 1
    relay.connection.abandon("the power is gone")
    assert await stream.receive() == NONE


def test_a_list_of_relays_that_no_frame_can_hold_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connet_trio.control.lists.MAX_FRAME_BYTES", 4000)
    entry = RelayEntry(addresses=(HostPort("h" * 255, 1),), metadata="", server_certificate=b"", seal_key=bytes(32))
    relays = {f"relay {number}": entry for number in range(20)}
    payload = encode_relays(relays, b"", Random(1).randbytes)
    offered = codecs.CONTROL_RESPONSE.decode(payload)
    assert isinstance(offered, Relays)
    assert [relay.id for relay in offered.relays] == list(relays)[:10]
    assert len(payload) <= 4000


async def test_a_relay_may_have_a_long_name(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    stream = await subscribed(lab)
    await lab.relay(addresses=(HostPort("h" * 255, 1),))
    (listed,) = (await stream.receive()).relays
    assert listed.addresses == (HostPort("h" * 255, 1),)


NOBODY = Restriction(networks=NetworkRule(deny=parse_networks(["192.0.2.0/24"])))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            {"server_certificate": b"junk", "token": "wrong"},
            "authentication failed: 4 bytes do not parse as an X.509 certificate",
        ),
        ({"server_certificate": b""}, "authentication failed: 0 bytes do not parse as an X.509 certificate"),
        ({"token": "wrong", "relay_authentication_key": b""}, "token not found"),
        ({"token": ""}, "token not found"),
        ({"token": "from elsewhere"}, "address not allowed: 192.0.2.10"),
        ({"relay_authentication_key": b""}, "authentication failed: invalid key"),
        ({"relay_authentication_key": bytes(31)}, "authentication failed: invalid key"),
        ({"relay_authentication_key": bytes(32)}, "authentication failed: invalid key"),
        ({"addresses": (HostPort("a", 1),) * 65}, "authentication failed: 65 addresses, at most 64"),
        ({"addresses": (HostPort("h" * 256, 1),)}, "authentication failed: host of 256 characters, at most 255"),
        ({"metadata": "m" * 5000}, "metadata of 5000 bytes, at most 4096"),
    ],
)
async def test_a_refused_relay_is_told_why_as_a_record_and_as_a_close(
    lab: Any, autojump_clock: MockClock, said: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await lab.start(relay_tokens=((lab.RELAY_TOKEN, Restriction()), ("from elsewhere", NOBODY)))
    connection = await lab.dial(lab.RELAYS)
    assert await lab.authenticate_relay(connection, **said) == Error(ErrorCode.AUTHENTICATION_FAILED, text)
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (100, text)
    assert server.status().relays == {}
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert text in warning.getMessage()


async def test_a_client_token_is_no_relay_token(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    connection = await lab.dial(lab.RELAYS)
    assert (await lab.authenticate_relay(connection, token=lab.TOKEN)).message == "token not found"


@pytest.mark.reliability(line=23)
async def test_a_relay_that_says_nothing_is_turned_away_after_five_seconds(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    connection = await lab.dial(lab.RELAYS)
    began = trio.current_time()
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (100, "Error while authenticating")
    assert trio.current_time() - began == pytest.approx(5, abs=0.2)


async def test_other_streams_of_a_relay_are_turned_away_and_change_nothing(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    relay = await lab.relay()
    for _ in range(150):
        with trio.fail_after(10):
            stream = await relay.connection.open_stream()
        await stream.send_all(b"hello?")
        await stream.wait_stopped()
    assert len(server.status().relays) == 1


@pytest.mark.reliability(line=26)
@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"endpoint": None}, ErrorCode.RELAY_VALIDATION_FAILED, "endpoint name is empty"),
        ({"endpoint": Endpoint("web")}, ErrorCode.ENDPOINT_NOT_ALLOWED, "endpoint not allowed: web"),
        ({"role": Role.DESTINATION}, ErrorCode.ROLE_NOT_ALLOWED, "role not allowed: destination"),
        (
            {"client_certificate": b"junk"},
            ErrorCode.RELAY_INVALID_CERTIFICATE,
            "invalid certificate: 4 bytes do not parse as an X.509 certificate",
        ),
        (
            {"client_certificate": Random(1).randbytes(20_000)},
            ErrorCode.RELAY_INVALID_CERTIFICATE,
            "invalid certificate: 20000 bytes, at most 16384",
        ),
    ],
)
async def test_a_relay_request_that_cannot_be_granted_is_refused(
    lab: Any, autojump_clock: MockClock, changed: dict[str, Any], code: ErrorCode, text: str
) -> None:
    await lab.start(client_tokens=((lab.TOKEN, Restriction(name_matches="^db", role=Role.SOURCE)),))
    client = await lab.client()
    whole = {"endpoint": Endpoint("db"), "role": Role.SOURCE, "client_certificate": lab.leaf(1)}
    refused = await client.ask(SubscribeRelays(**(whole | changed)))
    assert await refused.receive() == Error(code, text)
    await refused.receive_end()
    assert not client.connection.is_closed


async def test_a_second_request_on_a_relay_stream_ends_it(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    stream = await subscribed(lab)
    await stream.send(lab.subscribe())
    assert await stream.receive() == Error(ErrorCode.REQUEST_UNKNOWN, "unexpected request")
    await stream.receive_end()


async def test_a_relay_stream_that_its_client_ends_is_ended_at_once(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    stream = await subscribed(lab)
    began = trio.current_time()
    stream.stream.finish()
    await stream.receive_end()
    assert trio.current_time() - began < 1
