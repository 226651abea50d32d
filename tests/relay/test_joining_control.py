"""How a relay joins control, and what a control server that goes away leaves it with (protocol section 5)."""

import logging
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.errors import DialFailed, Refused, RemoteProtocolError, StoreError
from connet_trio.identity import dns_names
from connet_trio.quic import load_system_roots
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Error, HostPort, Role
from connet_trio.records.status import Status
from connet_trio.relay import RelayIngressSettings
from connet_trio.store import run_inline
from connet_trio.version import BUILD_VERSION


async def test_a_relay_tells_control_where_and_how_it_is_reached(lab: Any, autojump_clock: MockClock) -> None:
    control = await lab.start_control()
    relay = await lab.start(metadata="dc=eu")
    (request,) = control.requests
    assert (request.token, request.metadata, request.build_version) == (lab.TOKEN, "dc=eu", BUILD_VERSION)
    assert request.addresses == relay.hostports == (HostPort("relay.example", 19_191),)
    (name,) = dns_names(request.server_certificate)
    assert name.endswith(".reserve.relay.invalid")
    assert len(request.relay_authentication_key) == 32
    assert request.reconnect_token == b""
    assert control.connections[0].peer_certificate is None


async def test_a_port_of_0_is_advertised_as_the_one_that_was_bound(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    ingress = RelayIngressSettings(
        address=HostPort(lab.RELAY, 0), hostports=(HostPort("relay.example", 0), HostPort("relay.example", 443))
    )
    relay = await lab.start(ingresses=(ingress, attrs.evolve(ingress, hostports=(HostPort("relay.example", 443),))))
    first, second = relay.addresses
    assert first.port != second.port
    assert relay.hostports == (HostPort("relay.example", first.port), HostPort("relay.example", 443))


async def test_every_process_has_a_leaf_of_its_own_and_a_key_of_its_own_for_each_attempt(
    lab: Any, autojump_clock: MockClock, tmp_path: Path
) -> None:
    control = await lab.start_control()
    for _ in range(2):
        async with lab.open_relay(store_directory=tmp_path):
            pass
    first, second = control.requests
    assert first.server_certificate != second.server_certificate
    assert first.relay_authentication_key != second.relay_authentication_key


async def test_a_relay_that_starts_again_shows_the_token_it_was_given(
    lab: Any, autojump_clock: MockClock, tmp_path: Path
) -> None:
    control = await lab.start_control()
    for _ in range(3):
        async with lab.open_relay(store_directory=tmp_path):
            pass
    assert [request.reconnect_token for request in control.requests] == [b"", b"come back 1", b"come back 2"]


async def test_another_control_server_is_refused_with_what_to_do(
    lab: Any, autojump_clock: MockClock, tmp_path: Path
) -> None:
    await lab.start_control("the first")
    async with lab.open_relay(store_directory=tmp_path):
        pass
    lab.control.scope.cancel()
    await trio.sleep(1)
    impostor = await lab.start_control("the\nsecond")
    with pytest.raises(DialFailed) as caught:
        await lab.start_alone(store_directory=tmp_path)
    text = str(caught.value)
    assert r"its id is the\nsecond" in text
    assert "says the first" in text
    assert str(tmp_path) in text
    assert "delete its store" in text
    lost = await impostor.connections[0].wait_closed()
    assert (lost.code, lost.reason) == (ErrorCode.AUTHENTICATION_FAILED, "authentication failed")


@pytest.mark.parametrize(
    ("prepare", "error", "text"),
    [
        (lambda control: control.scope.cancel(), DialFailed, "no answer within 5 s"),
        (lambda control: setattr(control, "token", "another"), Refused, "token not found"),
        (lambda control: setattr(control, "control_id", ""), RemoteProtocolError, "did not say who it is"),
        (lambda control: setattr(control, "is_silent", True), DialFailed, "no answer to authentication within 10 s"),
    ],
)
async def test_the_first_attempt_is_the_only_one(
    lab: Any, autojump_clock: MockClock, prepare: Callable[[Any], None], error: type[Exception], text: str
) -> None:
    control = await lab.start_control()
    prepare(control)
    await trio.sleep(1)
    with pytest.raises(error, match=text), trio.fail_after(15):
        await lab.start_alone()
    lab.network.socket(f"{lab.RELAY}:19191").close()  # free again


async def test_a_refused_relay_closes_with_the_code_and_text_it_was_given(lab: Any, autojump_clock: MockClock) -> None:
    control = await lab.start_control()
    control.refusal = Error(777, "not today")
    with pytest.raises(Refused, match="not today"):
        await lab.start_alone()
    lost = await control.connections[0].wait_closed()
    assert (lost.code, lost.reason) == (777, "not today")


async def test_a_refusal_that_fits_no_close_is_still_told(lab: Any, autojump_clock: MockClock) -> None:
    control = await lab.start_control()
    control.refusal = Error(-1, "x" * 5000)
    with pytest.raises(Refused, match="x" * 200):
        await lab.start_alone()
    lost = await control.connections[0].wait_closed()
    assert lost.code == ErrorCode.AUTHENTICATION_FAILED
    assert lost.reason.startswith("x" * 200)


async def test_control_has_to_be_the_one_the_roots_vouch_for(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    with pytest.raises(DialFailed):
        await lab.start_alone(control_roots=(lab.identity(0).server.der,))
    with pytest.raises(DialFailed, match=r"other\.example"):
        await lab.start_alone(control_name="other.example")


async def test_every_address_of_control_is_tried(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()

    async def resolve(place: HostPort) -> tuple[AddressPort, ...]:
        await trio.lowlevel.checkpoint()
        hosts = ["2001:db8::2", "192.0.2.99", lab.CONTROL]
        return tuple(AddressPort(ip_address(host), place.port) for host in hosts)

    relay = await lab.start(lab.surroundings(resolve=resolve))
    assert relay.status().status is Status.CONNECTED


async def test_every_socket_is_tried(lab: Any, autojump_clock: MockClock) -> None:
    control = await lab.start_control()
    ingresses = tuple(
        RelayIngressSettings(address=HostPort(host, 19_191)) for host in ("2001:db8::1", "192.0.2.77", "192.0.2.78")
    )
    lab.network.cut("192.0.2.77", lab.CONTROL)
    relay = await lab.start(ingresses=ingresses)
    assert control.connections[0].remote_address == relay.addresses[2]


async def test_what_went_wrong_is_told_for_each_socket_and_address(lab: Any, autojump_clock: MockClock) -> None:
    ingresses = tuple(RelayIngressSettings(address=HostPort(host, 19_191)) for host in ("2001:db8::1", "192.0.2.77"))
    with pytest.raises(DialFailed, match=r"has no IPv4; .*192\.0\.2\.2:19189: no answer within 5 s"):
        await lab.start_alone(ingresses=ingresses)


async def test_a_relay_without_an_ingress_has_no_socket_to_dial_from(lab: Any, autojump_clock: MockClock) -> None:
    with pytest.raises(DialFailed, match="no ingress"):
        await lab.start_alone(ingresses=())


async def test_the_roots_of_the_system_are_read_once_and_where_the_store_works(
    lab: Any, autojump_clock: MockClock
) -> None:
    reads = 0

    async def run_sync(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal reads
        if function is not load_system_roots:
            return await run_inline(function, *args)
        reads += 1
        return (lab.CREDENTIAL.der,)

    await lab.start_control()
    await lab.start(lab.surroundings(store_runner=run_sync), control_roots=None)
    lab.network.cut(lab.RELAY, lab.CONTROL)
    await trio.sleep(60)
    lab.network.heal(lab.RELAY, lab.CONTROL)
    await lab.control.keys.wait_value(lambda keys: len(keys) == 2)
    assert reads == 1


async def test_clients_and_their_streams_outlive_control(lab: Any, autojump_clock: MockClock) -> None:
    source, destination = await lab.pair()
    (relay,) = lab.relays
    near, far = await lab.join(source, destination)
    lab.control.scope.cancel()
    await trio.sleep(300)
    assert relay.status().status is Status.RECONNECTING
    await near.send_all(b"still here")
    assert await far.receive_some() == b"still here"
    await lab.join(source, destination)
    late = await lab.client(Role.DESTINATION, 2, endpoint="late")  # with a token sealed before
    assert late.connection.lost is None


async def test_when_control_is_back_its_new_key_replaces_the_old_one(lab: Any, autojump_clock: MockClock) -> None:
    source, destination = await lab.pair()
    (relay,) = lab.relays
    (old_key,) = lab.control.keys.value
    lab.control.scope.cancel()
    await trio.sleep(60)
    control = await lab.start_control()
    with trio.fail_after(40):
        await control.keys.wait_value(bool)
        await trio.sleep(0.1)
    assert relay.status().status is Status.CONNECTED
    assert relay.status().last_error == ""
    assert control.requests[0].reconnect_token == b"come back 1"

    claim = lab.claim(Role.SOURCE, 2)
    refusal = await lab.authenticate(await lab.dial(number=2), control.seal(claim, old_key))
    assert refusal.message == "invalid authentication"
    assert await lab.authenticate(await lab.dial(number=2), control.seal(claim)) is None
    await lab.join(source, destination)


async def test_another_control_server_in_the_place_of_ours_changes_nothing(lab: Any, autojump_clock: MockClock) -> None:
    source, destination = await lab.pair()
    (relay,) = lab.relays
    lab.control.scope.cancel()
    await trio.sleep(60)
    old = lab.control
    impostor = await lab.start_control("control 2")
    await trio.sleep(60)
    assert impostor.requests
    status = relay.status()
    assert (status.status, status.control_id) == (Status.RECONNECTING, "control 1")
    assert "its id is control 2" in status.last_error
    token = old.seal(lab.claim(Role.SOURCE, 2))
    assert await lab.authenticate(await lab.dial(number=2), token) is None
    await lab.join(source, destination)


async def test_an_outage_is_logged_once_and_so_is_its_end(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await lab.start_control()
    await lab.start()
    caplog.set_level(logging.INFO, "connet_trio.relay")
    caplog.clear()
    lab.network.cut(lab.RELAY, lab.CONTROL)
    await trio.sleep(3600)
    lab.network.heal(lab.RELAY, lab.CONTROL)
    await lab.control.keys.wait_value(lambda keys: len(keys) == 2)
    await trio.sleep(1)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert "no sign of life" in texts[0]
    assert "no answer within 5 s" in texts[1]
    assert texts[2] == "control control.example:19189: back again"


async def test_a_control_that_ends_every_session_at_once_is_not_dialled_in_a_hot_loop(
    lab: Any, autojump_clock: MockClock
) -> None:
    control = await lab.start_control()
    await lab.start()

    with trio.move_on_after(600):
        while True:
            control.connections[-1].close(0, "connection closed")
            await control.keys.wait_transition()
    assert 10 < len(control.requests) < 300  # one every 2 s; without a wait it would be one every 60 ms


async def test_a_store_that_cannot_be_written_costs_the_next_start_only(
    lab: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    full = False

    async def run_sync(function: Callable[..., Any], *args: Any) -> Any:
        if full and function.__name__ == "put":
            raise StoreError("no space left on device")
        return await run_inline(function, *args)

    control = await lab.start_control()
    relay = await lab.start(lab.surroundings(store_runner=run_sync))
    full = True
    control.connections[-1].close(0, "connection closed")
    await control.keys.wait_value(lambda keys: len(keys) == 2)
    await trio.sleep(1)
    assert relay.status().status is Status.CONNECTED
    assert "no space left on device" in caplog.text
    assert control.connections[-1].lost is None


async def test_a_relay_that_drains_while_it_joins_takes_leave_of_control_at_once(
    lab: Any, autojump_clock: MockClock
) -> None:
    busy = False

    async def run_sync(function: Callable[..., Any], *args: Any) -> Any:
        if busy and function.__name__ == "put":
            await trio.sleep_forever()
        return await run_inline(function, *args)

    control = await lab.start_control()
    relay = await lab.start(lab.surroundings(store_runner=run_sync), drain_timeout=600.0)
    await lab.join(await lab.source(), await lab.destination())
    busy = True
    control.connections[-1].close(0, "connection closed")
    await control.keys.wait_value(lambda keys: len(keys) == 2)
    await trio.sleep(1)
    lab.nursery.start_soon(relay.drain)
    with trio.fail_after(1):
        lost = await control.connections[-1].wait_closed()
    assert (lost.code, lost.reason) == (0, "connection closed")
