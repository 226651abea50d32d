"""A token is taken away while clients run, and given back."""

import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import trio

from connet_trio.engine import Restriction
from connet_trio.records.model import Route
from connet_trio.records.status import Status
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import CONTROL_HOST, RELAY_TOKEN, TOKEN, Deployment, simulated_deployment
from connet_trio.testing.network import Link

HOST = "203.0.113.50"


def simulate(scenario: Callable[[Deployment], Awaitable[None]]) -> None:
    """Run `scenario` on a deployment of its own."""

    async def run() -> None:
        async with simulated_deployment(seed=1, link=Link(delay=0.01)) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0

    run_simulated(run, seed=1)


def allow(deployment: Deployment, token: str) -> None:
    """Let control admit clients by this token alone."""
    deployment.control.reload_tokens(((token, Restriction()),), ((RELAY_TOKEN, Restriction()),))


def told(caplog: pytest.LogCaptureFixture, name: str) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == name]


def test_a_client_whose_token_is_revoked_says_so_once_and_is_back_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client(HOST)
        await client.add_destination("db", route=Route.RELAY)
        caplog.clear()
        allow(deployment, "another")
        await trio.sleep(60)
        assert client.status().status is Status.CONNECTED  # who is in stays
        deployment.network.cut(HOST, CONTROL_HOST)
        await trio.sleep(30)
        deployment.network.heal(HOST, CONTROL_HOST)
        await trio.sleep(600)
        assert client.status().status is Status.RECONNECTING
        assert "token not found (AUTHENTICATION_FAILED)" in client.status().last_error
        assert deployment.control.status().clients == {}

        allow(deployment, TOKEN)
        await trio.sleep(16)
        assert client.status().status is Status.CONNECTED
        assert client.status().last_error == ""
        assert client.status().destinations["db"].status is Status.CONNECTED

    simulate(scenario)
    lines = told(caplog, "connet_trio.client.control_session")
    assert [level for level, _ in lines].count("ERROR") == 1
    assert sum("back again" in text for _, text in lines) == 1
    (refusal,) = [text for level, text in lines if level == "ERROR"]
    assert refusal.endswith("refused this client: token not found (AUTHENTICATION_FAILED); trying again until it works")
    assert TOKEN not in caplog.text


def test_a_refused_client_tries_every_fifteen_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "connet_trio.quic.authentication")
    refusals: list[float] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "token not found" in record.getMessage():
                refusals.append(trio.current_time())

    async def scenario(deployment: Deployment) -> None:
        await deployment.add_client(HOST)
        allow(deployment, "another")
        deployment.network.cut(HOST, CONTROL_HOST)
        await trio.sleep(30)
        deployment.network.heal(HOST, CONTROL_HOST)
        await trio.sleep(600)

    note = Note()
    logging.getLogger("connet_trio.quic.authentication").addHandler(note)
    try:
        simulate(scenario)
    finally:
        logging.getLogger("connet_trio.quic.authentication").removeHandler(note)
    assert len(refusals) >= 38
    assert [later - earlier for earlier, later in pairwise(refusals)] == pytest.approx(
        [15.0] * (len(refusals) - 1), 0.02
    )


def test_a_token_revoked_and_control_away_in_turn_are_told_at_each_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client(HOST)
        caplog.clear()
        allow(deployment, "another")
        for _ in range(2):
            deployment.network.cut(HOST, CONTROL_HOST)
            await trio.sleep(60)
            deployment.network.heal(HOST, CONTROL_HOST)
            await trio.sleep(60)
        allow(deployment, TOKEN)
        await trio.sleep(30)
        assert client.status().status is Status.CONNECTED

    simulate(scenario)
    levels = [level for level, text in told(caplog, "connet_trio.client.control_session") if "connected to" not in text]
    # lost, not reached, refused; not reached, refused; back again
    assert levels == ["WARNING", "WARNING", "ERROR", "WARNING", "ERROR", "INFO"]
