"""A client and its session with control, in virtual time."""

import logging
import random
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import pytest
import trio

from connet_trio.client import open_client, run_client
from connet_trio.client.settings import ClientSettings, DestinationSettings
from connet_trio.errors import ConfigError, DialFailed, EndpointClosed, NoActivePeers, Refused
from connet_trio.identity import issue_server_credential
from connet_trio.records.model import HostPort, Role, Route
from connet_trio.records.status import Status
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CLIENT_PORT,
    CLIENTS_PORT,
    CONTROL_HOST,
    START,
    TOKEN,
    Deployment,
    simulated_deployment,
    simulated_surroundings,
)

HOST = "203.0.113.77"


def simulate(scenario: Callable[[Deployment], Awaitable[None]], *, relays: int = 0) -> None:
    """Run `scenario` on a deployment of its own."""

    async def run() -> None:
        async with simulated_deployment(relays=relays) as deployment:
            await scenario(deployment)

    run_simulated(run, seed=1)


def settings_for(deployment: Deployment) -> ClientSettings:
    return ClientSettings(
        token=TOKEN,
        server=HostPort(CONTROL_HOST, CLIENTS_PORT),
        server_roots=(deployment.credential.der,),
        direct_address=HostPort("", CLIENT_PORT),
    )


def test_a_wrong_token_is_refused_as_itself() -> None:
    async def scenario(deployment: Deployment) -> None:
        with pytest.raises(Refused, match="token not found"):
            async with deployment.open_client(token="wrong"):
                pytest.fail("admitted")

    simulate(scenario)


def test_the_first_start_against_an_unreachable_server_ends() -> None:
    async def scenario(deployment: Deployment) -> None:
        settings = attrs.evolve(settings_for(deployment), server=HostPort("192.0.2.250", 19_190))
        began = trio.current_time()
        with pytest.raises(DialFailed, match=r"192\.0\.2\.250:19190.*is UDP open"):
            async with open_client(settings, surroundings=simulated_surroundings(deployment.network, HOST, 0)):
                pytest.fail("connected")
        assert trio.current_time() - began <= 10.1

    simulate(scenario)


def test_a_name_that_does_not_resolve_is_said() -> None:
    async def scenario(deployment: Deployment) -> None:
        settings = attrs.evolve(settings_for(deployment), server=HostPort("nowhere.invalid", 19_190))
        with pytest.raises(DialFailed, match=r"nowhere\.invalid:19190: cannot resolve nowhere\.invalid"):
            async with open_client(settings, surroundings=simulated_surroundings(deployment.network, HOST, 0)):
                pytest.fail("connected")

    simulate(scenario)


@pytest.mark.reliability(line=27)
def test_a_server_certificate_from_elsewhere_is_not_trusted() -> None:
    other = issue_server_credential(["other.invalid"], [], wall_now=START, entropy=random.Random(9).randbytes)

    async def scenario(deployment: Deployment) -> None:
        settings = attrs.evolve(settings_for(deployment), server_roots=(other.der,))
        with pytest.raises(DialFailed, match="server-cas-file"):
            async with open_client(settings, surroundings=simulated_surroundings(deployment.network, HOST, 0)):
                pytest.fail("connected")

    simulate(scenario)


def test_a_client_outlives_an_outage_keeps_its_id_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "connet_trio.client")

    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client(HOST)
        await client.add_destination("db")
        (before,) = deployment.control.status().clients
        deployment.network.cut(HOST, CONTROL_HOST)
        await trio.sleep(90)
        status = client.status()
        assert status.status is Status.RECONNECTING
        assert CONTROL_HOST in status.last_error
        assert not deployment.control.status().clients
        deployment.network.heal(HOST, CONTROL_HOST)
        await trio.sleep(30)
        assert client.status().status is Status.CONNECTED
        assert client.status().last_error == ""
        assert client.status().destinations["db"].status is Status.CONNECTED
        assert tuple(deployment.control.status().clients) == (before,)

    simulate(scenario)
    troubles = [record for record in caplog.records if "trying again" in record.getMessage()]
    assert 1 <= len(troubles) <= 3  # lost, then not reached: a line for each reason, not for each attempt
    assert sum("back again" in record.getMessage() for record in caplog.records) == 1


def test_leaving_the_block_withdraws_the_endpoint_at_once() -> None:
    async def scenario(deployment: Deployment) -> None:
        async with deployment.open_client() as client:
            await client.add_destination("db")
            assert deployment.control.status().endpoints["db"].destinations
        await trio.sleep(1)
        assert "db" not in deployment.control.status().endpoints
        assert not deployment.control.status().clients

    simulate(scenario)


def test_a_cancelled_client_withdraws_its_endpoints_at_once_too() -> None:
    async def scenario(deployment: Deployment) -> None:
        surroundings = simulated_surroundings(deployment.network, HOST, 0)
        destination = DestinationSettings(name="db", target=HostPort("127.0.0.1", 1))
        settings = attrs.evolve(settings_for(deployment), destinations=(destination,))
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(run_client, settings, surroundings=surroundings))
            assert deployment.control.status().endpoints["db"].destinations
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        assert "db" not in deployment.control.status().endpoints

    simulate(scenario)


def test_a_start_that_is_cancelled_ends_at_once() -> None:
    async def scenario(deployment: Deployment) -> None:
        settings = attrs.evolve(settings_for(deployment), server=HostPort("192.0.2.250", 19_190))
        began = trio.current_time()
        with trio.move_on_after(1):
            async with open_client(settings, surroundings=simulated_surroundings(deployment.network, HOST, 0)):
                pytest.fail("connected")
        assert trio.current_time() - began == pytest.approx(1, abs=0.01)

    simulate(scenario)


def test_a_control_server_that_does_not_answer_an_announcement_is_said() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client(HOST)
        deployment.network.cut(HOST, CONTROL_HOST)
        began = trio.current_time()
        with pytest.raises(DialFailed, match="did not answer"):
            await client.add_destination("db")
        assert trio.current_time() - began == pytest.approx(5.5, abs=0.1)  # and a goodbye that nobody takes

    simulate(scenario)


def test_two_endpoints_of_one_name_and_role_are_refused() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        await client.add_destination("db")
        await client.add_source("db")  # the other role is another endpoint
        with pytest.raises(ConfigError, match="already has a destination db"):
            await client.add_destination("db")

    simulate(scenario)


def test_an_endpoint_that_control_refuses_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connet_trio.client.client.check_endpoint_name", lambda name: None)

    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        await client.add_destination("db")
        with pytest.raises(Refused, match="endpoint name of 2000 bytes, at most 1000"):
            await client.add_destination("x" * 2000)
        assert client.status().destinations.keys() == {"db"}
        assert client.status().status is Status.CONNECTED

    simulate(scenario)


@pytest.mark.parametrize("name", ["", "  ", "x" * 1001, "two\nlines"])
def test_a_name_that_no_endpoint_should_have_is_refused_before_control_hears_of_it(name: str) -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        with pytest.raises(ConfigError, match=r"name"):
            await client.add_destination(name)
        assert not client.status().destinations

    simulate(scenario)


def test_a_source_without_any_destination_says_so() -> None:
    async def scenario(deployment: Deployment) -> None:
        source = await (await deployment.add_client()).add_source("db")
        with pytest.raises(NoActivePeers, match="no active destinations found for db"):
            await source.dial()

    simulate(scenario)


def test_an_endpoint_whose_client_is_gone_is_closed() -> None:
    async def scenario(deployment: Deployment) -> None:
        async with deployment.open_client() as client:
            source = await client.add_source("db")
            destination = await client.add_destination("db")
        with pytest.raises(EndpointClosed):
            await source.dial()
        with trio.fail_after(1), pytest.raises(EndpointClosed):
            await destination.accept()

    simulate(scenario)


def test_a_direct_route_is_announced_without_relays() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        await client.add_destination("db", route=Route.DIRECT)
        await trio.sleep(1)
        assert not client.status().destinations["db"].relays

    simulate(scenario, relays=1)


def test_a_taken_default_port_is_replaced_with_a_warning() -> None:
    async def scenario(deployment: Deployment) -> None:
        settings = attrs.evolve(settings_for(deployment), direct_address=None)
        surroundings = simulated_surroundings(deployment.network, HOST, 0)
        async with (
            open_client(settings, surroundings=surroundings) as first,
            open_client(settings, surroundings=simulated_surroundings(deployment.network, HOST, 1)) as second,
        ):
            assert first.warnings == ()
            assert "19192 is taken" in second.warnings[0]
            assert first.status().direct_address.endswith(":19192")
            assert not second.status().direct_address.endswith(":19192")

    simulate(scenario)


def test_a_configured_port_that_is_taken_is_an_error() -> None:
    async def scenario(deployment: Deployment) -> None:
        await deployment.add_client(HOST)
        surroundings = simulated_surroundings(deployment.network, HOST, 1)
        with pytest.raises(Exception, match="already in use"):
            async with open_client(settings_for(deployment), surroundings=surroundings):
                pytest.fail("started")

    simulate(scenario)


def test_an_error_of_the_embedding_program_comes_out_as_itself() -> None:
    async def scenario(deployment: Deployment) -> None:
        with pytest.raises(KeyError, match="of mine"):
            async with deployment.open_client():
                raise KeyError("of mine")

    simulate(scenario)


def test_a_guest_leaves_signals_logging_and_output_alone(capfd: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    root, ours = logging.getLogger(), logging.getLogger("connet_trio")
    before = (root.handlers[:], root.level, ours.level, ours.propagate)
    seen: list[list[object]] = []

    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        await client.add_destination("db")
        # trio.run itself handles SIGINT while it runs
        seen.append([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)])

    simulate(scenario)
    assert seen == [handlers[1:]]
    assert (root.handlers[:], root.level, ours.level, ours.propagate) == before
    assert capfd.readouterr() == ("", "")


def test_configured_destinations_are_announced_when_the_block_begins() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination = DestinationSettings(name="db", target=HostPort("127.0.0.1", 1))
        settings = attrs.evolve(settings_for(deployment), destinations=(destination,))
        async with open_client(settings, surroundings=simulated_surroundings(deployment.network, HOST, 0)):
            announced = deployment.control.status().endpoints["db"]
            assert len(announced.destinations) == 1
            assert Role.DESTINATION.opposite is Role.SOURCE

    simulate(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_left_after_many_clients(seed: int) -> None:
    async def run() -> None:
        async with simulated_deployment(seed=seed, relays=0) as deployment:
            await trio.sleep(120)
            tasks = trio.lowlevel.current_statistics().tasks_living
            for _ in range(10):
                async with deployment.open_client() as client:
                    await client.add_destination("db")
            await trio.sleep(120)
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            assert not deployment.control.status().clients
            assert not deployment.control.status().endpoints

    run_simulated(run, seed=seed)
