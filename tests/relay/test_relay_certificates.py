"""Client certificates at the relay: the token says whose is expected, the handshake proves that it is theirs.

The control server asks for no client certificate (protocol section 2.3); those it is told of are looked at in
tests/control/test_endpoints.py. Direct connections compare leaf and dates, tests/identity/test_trust.py.
"""

from random import Random
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.identity import Realm, certificate_key, issue_identity
from connet_trio.quic import Connection
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role

BOTH_ROLES = pytest.mark.parametrize("role", [Role.SOURCE, Role.DESTINATION])
VICTIM, THIEF = 0, 1
LIFE_SECONDS = 2 * 365 * 86_400.0
NO_CERTIFICATE, BAD_SIGNATURE = 0x174, 0x133
"""Alerts 116 and 51."""


async def loss_of(connection: Connection) -> int | None:
    with trio.fail_after(10):
        return (await connection.wait_closed()).quic_error


@pytest.mark.reliability(line=27)
@BOTH_ROLES
async def test_the_token_of_another_peer_is_refused(lab: Any, autojump_clock: MockClock, role: Role) -> None:
    await lab.start_control()
    relay = await lab.start()
    connection = await lab.dial(number=THIEF)
    token = lab.control.seal(lab.claim(role, number=VICTIM))
    refusal = Error(ErrorCode.AUTHENTICATION_FAILED, "invalid certificate")
    assert await lab.authenticate(connection, token) == refusal
    lost = await connection.wait_closed()
    assert (lost.code, lost.reason) == (refusal.code, refusal.message)
    assert relay.status().endpoints == {}


@pytest.mark.reliability(line=27)
@BOTH_ROLES
async def test_the_certificate_of_another_peer_is_worth_nothing_without_its_key(
    lab: Any, autojump_clock: MockClock, role: Role
) -> None:
    await lab.start_control()
    relay = await lab.start()
    stolen = attrs.evolve(lab.identity(THIEF).client, chain=lab.identity(VICTIM).client.chain)
    connection = await lab.dial(credential=stolen)
    assert await loss_of(connection) == BAD_SIGNATURE
    assert relay.status().endpoints == {}


@pytest.mark.reliability(line=27)
async def test_without_a_certificate_nobody_gets_in(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start()
    assert await loss_of(await lab.dial(credential=None)) == NO_CERTIFICATE
    assert relay.status().endpoints == {}


@BOTH_ROLES
@pytest.mark.parametrize("made_before", [2 * LIFE_SECONDS, -LIFE_SECONDS], ids=["expired", "not yet valid"])
async def test_dates_are_no_matter_to_the_relay_as_a_box_may_have_no_clock(
    lab: Any, autojump_clock: MockClock, role: Role, made_before: float
) -> None:
    # As with the original: any certificate will do whose key the token names, and control has sealed that just now.
    await lab.start_control()
    relay = await lab.start()
    wall_now = 1_800_000_000.0 - made_before
    odd = issue_identity(Realm.PEER, wall_now=wall_now, entropy=Random("odd").randbytes).client
    connection = await lab.dial(credential=odd)
    claim = attrs.evolve(lab.claim(role), certificate_key=certificate_key(odd.der))
    assert await lab.authenticate(connection, lab.control.seal(claim)) is None
    assert list(relay.status().endpoints) == ["db"]
