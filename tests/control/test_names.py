"""Names of endpoints as control takes them from clients: any text up to a length, and fit for logs and status pages."""

import json
import logging
from typing import Any

import pytest
from trio.testing import MockClock

from connet_trio.engine import Restriction
from connet_trio.identity import certificate_key, open_client_authentication
from connet_trio.records.control import Relays
from connet_trio.records.control_relay import ClientAuthentication
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Endpoint, Error, Role
from connet_trio.records.status import to_json
from connet_trio.wire import codecs

LONGEST = "é" * 500


async def test_the_longest_name_is_announced_matched_and_sealed(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    client = await lab.client()
    destination = await client.ask(lab.announce(name=LONGEST))
    assert (await destination.receive()).peers == ()
    source = await client.ask(lab.announce(Role.SOURCE, lab.peer(1), name=LONGEST))
    (seen,) = (await source.receive()).peers
    assert seen.peer == lab.peer(0)
    assert list(server.status().endpoints) == [LONGEST]

    relays = await client.ask(lab.subscribe(name=LONGEST))
    assert await relays.receive() == Relays()
    relay = await lab.relay()
    (listed,) = (await relays.receive()).relays
    assert codecs.CLIENT_AUTHENTICATION.decode(
        open_client_authentication(listed.authentication, relay.key)
    ) == ClientAuthentication(
        endpoint=Endpoint(LONGEST), role=Role.SOURCE, certificate_key=certificate_key(lab.leaf(1))
    )


@pytest.mark.parametrize("size", [1001, 100_000])
async def test_a_longer_one_is_refused_in_words_and_ends_its_stream_alone(
    lab: Any, autojump_clock: MockClock, size: int
) -> None:
    server = await lab.start()
    client = await lab.client()
    for request, code in (
        (lab.announce(name="x" * size), ErrorCode.ANNOUNCE_VALIDATION_FAILED),
        (lab.subscribe(name="x" * size), ErrorCode.RELAY_VALIDATION_FAILED),
    ):
        refused = await client.ask(request)
        assert await refused.receive() == Error(code, f"endpoint name of {size} bytes, at most 1000")
        await refused.receive_end()
    assert not client.connection.is_closed
    assert server.status().endpoints == {}


async def test_names_match_by_their_bytes_and_not_by_how_they_look(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    await (await client.ask(lab.announce(name="cafe\u0301"))).receive()
    composed = await client.ask(lab.announce(Role.SOURCE, lab.peer(1), name="café"))
    assert (await composed.receive()).peers == ()
    as_written = await client.ask(lab.announce(Role.SOURCE, lab.peer(1), name="cafe\u0301"))
    assert len((await as_written.receive()).peers) == 1


@pytest.mark.reliability(line=32)
@pytest.mark.parametrize("name", ["\x1b[2Jdb", "a\r\nb", "\x00", " ", "\u202e\u2028x", "\x9b31m"])
async def test_a_name_that_only_others_would_write_is_taken_and_never_shown_raw(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    picky = ("picky", Restriction(name_matches="^fine$"))
    server = await lab.start(client_tokens=((lab.TOKEN, Restriction(role=Role.DESTINATION)), picky))
    client = await lab.client()
    await (await client.ask(lab.announce(name=name))).receive()
    assert list(server.status().endpoints) == [name]
    page = json.dumps(to_json(server.status()))
    assert page.isprintable()
    assert name in json.loads(page)["endpoints"]

    refused = await client.ask(lab.announce(Role.SOURCE, name=name))
    assert (await refused.receive()).code is ErrorCode.ROLE_NOT_ALLOWED
    refused = await (await lab.client(token="picky")).ask(lab.announce(name=name))
    assert await refused.receive() == Error(ErrorCode.ENDPOINT_NOT_ALLOWED, f"endpoint not allowed: {name}")
    assert all(record.getMessage().isprintable() for record in caplog.records)
