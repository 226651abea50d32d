"""A source reaches a destination through a relay: the whole product in virtual time."""

import hashlib
import logging
import random
import re
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from connet_trio.concurrency import AbortableStream, StreamBroken
from connet_trio.endpoints import Destination, Source
from connet_trio.errors import PeersUnreachable
from connet_trio.records.model import Route
from connet_trio.records.status import PathStyle
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CONTROL_HOST,
    Deployment,
    echo_stream,
    exchange,
    relay_bytes,
    simulated_deployment,
)
from connet_trio.testing.network import Link
from connet_trio.wire import WireVersion, encode_frame

V2 = WireVersion.V2
RELAY_1, RELAY_2 = "198.51.100.1", "198.51.100.2"
DESTINATION_HOST, SOURCE_HOST = "203.0.113.1", "203.0.113.2"


def simulate(
    scenario: Callable[[Deployment], Awaitable[None]], *, seed: int = 1, relays: int = 1, link: Link | None = None
) -> None:
    """Run `scenario` on a deployment of its own."""

    async def run() -> None:
        async with simulated_deployment(seed=seed, relays=relays, link=link or Link(delay=0.01)) as deployment:
            await scenario(deployment)
            assert deployment.control.status().handler_errors == 0
            assert all(relay.status().handler_errors == 0 for relay in deployment.relays.values())

    run_simulated(run, seed=seed)


def data_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_come_back_whole_over_a_bad_link(seed: int) -> None:
    async def scenario(deployment: Deployment) -> None:
        data = data_of(500_000, seed)
        assert await deployment.echo(data) == data
        assert relay_bytes(deployment) == {1: 2 * len(data)}

    simulate(scenario, seed=seed, link=Link(delay=0.01, loss=0.02, reordering=0.01, duplication=0.01))


@pytest.mark.reliability(line=3)
def test_the_first_usable_path_stands_within_four_round_trips_of_the_last_announcement() -> None:
    async def scenario(deployment: Deployment) -> None:
        await (await deployment.add_client()).add_destination("db", route=Route.RELAY)
        await trio.sleep(5)
        client = await deployment.add_client()
        began = trio.current_time()
        source = await client.add_source("db", route=Route.RELAY)
        await source.wait_reachable()
        # announced within one round trip, then: relay handshake and authentication, and its announcement
        assert trio.current_time() - began <= 5 * 0.04 + 0.01

    simulate(scenario, link=Link(delay=0.02))


def test_users_read_one_line_when_online_and_one_at_each_change_of_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "connet_trio.endpoints.peer_log")

    async def scenario(deployment: Deployment) -> None:
        laptop = await deployment.add_client(metadata="laptop")
        destination = await (await deployment.add_client(metadata="server")).add_destination(
            "serviceA", route=Route.RELAY
        )
        await trio.sleep(1)
        source = await laptop.add_source("serviceA", route=Route.RELAY)
        await source.wait_reachable()
        await trio.sleep(1)
        assert destination.active.value

    simulate(scenario)
    lines = [record.getMessage() for record in caplog.records]
    assert "serviceA online, waiting for a source" in lines
    assert any(
        re.fullmatch(r"serviceA: laptop \(\w{8}\) connected through relay relay1, \d+ ms", line) for line in lines
    )
    assert sum("connected through" in line and "laptop" in line for line in lines) == 1


def test_the_status_page_names_the_path() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        (peer,) = source.log.status().peers.values()
        assert peer.path is PathStyle.RELAY
        assert peer.relay_id in deployment.control.status().relays
        assert peer.rtt_ms == pytest.approx(20, abs=10)
        assert [path.style for path in peer.connections] == [PathStyle.RELAY]
        assert destination.log.status().relays.keys() == {peer.relay_id}

    simulate(scenario)


def test_the_status_page_shows_what_the_path_carries() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()

        def mtu() -> int | None:
            (peer,) = source.log.status().peers.values()
            return peer.connections[0].mtu

        assert mtu() == 1200
        stream, data = await source.dial(), bytes(200_000)
        accepted = await destination.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            received = 0
            while received < len(data):
                received += len(await accepted.receive_some())
        await trio.sleep(1)
        assert mtu() == 1472

    simulate(scenario)


def test_half_close_survives_the_relay() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        stream = await source.dial()
        accepted = await destination.accept()
        await stream.send_all(b"question")
        await stream.send_eof()
        assert [chunk async for chunk in accepted] == [b"question"]
        await accepted.send_all(b"answer")
        await accepted.send_eof()
        assert [chunk async for chunk in stream] == [b"answer"]

    simulate(scenario)


def test_a_reset_and_a_stop_reach_the_other_end_with_their_code() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        stream = await source.dial()
        accepted = await destination.accept()
        stream.reset(7)
        with pytest.raises(StreamBroken) as reset:
            await accepted.receive_some()
        assert reset.value.code == 7
        stream.stop(9)
        stopped, codes = trio.Event(), list[int]()

        def tell(code: int) -> None:
            codes.append(code)
            stopped.set()

        accepted.on_stopped(tell)
        await stopped.wait()
        assert codes == [9]

    simulate(scenario)


def test_a_reader_that_stops_holds_the_sender_and_nobody_else() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        stalled = await source.dial()
        await destination.accept()
        sent = 0

        async def push() -> None:
            nonlocal sent
            while True:
                await stalled.send_all(bytes(65_536))
                sent += 65_536

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            await trio.sleep(30)
            held = sent
            assert held <= 6 << 20  # two windows, two send buffers and a chunk on the way
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            began = trio.current_time()
            data = data_of(1_000_000)
            assert await exchange(await source.dial(), data) == data
            assert trio.current_time() - began < 5
            assert sent == held
            nursery.cancel_scope.cancel()

    simulate(scenario)


def test_running_streams_never_notice_that_control_is_away() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        stream = await source.dial()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            for host in (DESTINATION_HOST, SOURCE_HOST, RELAY_1):
                deployment.network.cut(host, CONTROL_HOST)
            for _ in range(20):
                await stream.send_all(b"still here")
                assert await stream.receive_some() == b"still here"
                await trio.sleep(5)
            assert await exchange(await source.dial(), b"and new ones") == b"and new ones"
            nursery.cancel_scope.cancel()

    simulate(scenario)


@pytest.mark.reliability(line=10)
def test_a_dead_relay_is_passed_over_within_the_bound_and_the_next_one_serves() -> None:
    async def scenario(deployment: Deployment) -> None:
        for host in (DESTINATION_HOST, SOURCE_HOST):
            deployment.network.set_link(host, RELAY_2, Link(delay=0.05))  # the slower one
        destination, source = await deployment.add_pair()
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            for host in (DESTINATION_HOST, SOURCE_HOST):
                deployment.network.cut(host, RELAY_1)
            began = trio.current_time()
            stream = await source.dial()
            assert 1.9 <= trio.current_time() - began <= 2.5  # not one acknowledgement in 2 s
            assert await exchange(stream, b"x") == b"x"
            began = trio.current_time()
            assert await exchange(await source.dial(), b"y") == b"y"
            assert trio.current_time() - began < 1  # the dead one is suspect now
            nursery.cancel_scope.cancel()
        assert relay_bytes(deployment)[2] == 4

    simulate(scenario, relays=2)


@pytest.mark.parametrize("seconds", [3, 30, 300])
def test_a_relay_that_was_out_of_reach_is_used_again(seconds: float) -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            for host in (DESTINATION_HOST, SOURCE_HOST):
                deployment.network.cut(host, RELAY_1)
            await trio.sleep(seconds)
            for host in (DESTINATION_HOST, SOURCE_HOST):
                deployment.network.heal(host, RELAY_1)
            with trio.fail_after(26):
                while True:
                    await source.wait_reachable()
                    try:
                        stream = await source.dial()
                    except PeersUnreachable:
                        continue
                    break
            assert await exchange(stream, b"back") == b"back"
            nursery.cancel_scope.cancel()

    simulate(scenario)


def test_a_destination_that_goes_takes_its_path_with_it() -> None:
    async def scenario(deployment: Deployment) -> None:
        source = await (await deployment.add_client()).add_source("db", route=Route.RELAY)
        async with deployment.open_client() as offering:
            await offering.add_destination("db", route=Route.RELAY)
            await source.wait_reachable()
        with trio.fail_after(1):
            await source.active.wait_value(lambda active: not active)
        assert not source.log.status().peers

    simulate(scenario)


def test_a_destination_that_stops_refuses_and_the_next_one_serves() -> None:
    async def scenario(deployment: Deployment) -> None:
        stopping, source = await deployment.add_pair()
        running = await (await deployment.add_client()).add_destination("echo", route=Route.RELAY)
        await trio.sleep(2)
        stopping.stop_accepting()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_echo, running)
            for _ in range(3):
                assert await exchange(await source.dial(), b"x") == b"x"
            nursery.cancel_scope.cancel()

    simulate(scenario)


def test_a_source_that_breaks_off_its_request_breaks_no_other_stream() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        stream = await source.dial()
        accepted = await destination.accept()
        (link,) = source.known.links.values()
        assert link.connection is not None
        for hold in (0.0, 0.005, 0.015, 0.03):
            broken = await link.connection.open_stream()
            await broken.send_all(encode_frame(bytes.fromhex("0a00") + b"\xca\x3e\xe0\xd4\x03" + bytes(60_000), V2))
            await trio.sleep(hold)
            broken.abort()
        await trio.sleep(5)
        await stream.send_all(b"unharmed")
        assert await accepted.receive_some() == b"unharmed"

    simulate(scenario)


def test_a_client_can_reach_itself() -> None:
    async def scenario(deployment: Deployment) -> None:
        client = await deployment.add_client()
        destination = await client.add_destination("db", route=Route.RELAY)
        source = await client.add_source("db", route=Route.RELAY)
        await source.wait_reachable()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_listeners, echo_stream, [destination]))
            assert await exchange(await source.dial(), b"me") == b"me"
            nursery.cancel_scope.cancel()

    simulate(scenario)


def test_a_hundred_streams_at_once_through_one_relay() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        answered = 0

        async def one(number: int) -> None:
            nonlocal answered
            data = data_of(20_000, number)
            answer = await exchange(await dial(source), data)
            assert hashlib.sha256(answer).digest() == hashlib.sha256(data).digest()
            answered += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_echo, destination)
            async with trio.open_nursery() as callers:
                for number in range(120):  # more than the stream credit: the rest waits its turn
                    callers.start_soon(one, number)
            nursery.cancel_scope.cancel()
        assert answered == 120

    simulate(scenario)


async def dial(source: Source) -> AbortableStream:
    """Dial, again while stream credit is used up."""
    while True:
        try:
            return await source.dial()
        except PeersUnreachable:
            continue


async def serve_echo(destination: Destination) -> None:
    await trio.serve_listeners(echo_stream, [destination])


def test_nothing_is_left_after_many_streams() -> None:
    async def scenario(deployment: Deployment) -> None:
        destination, source = await deployment.add_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_echo, destination)
            await exchange(await source.dial(), b"warm")
            await trio.sleep(5)
            tasks = trio.lowlevel.current_statistics().tasks_living
            for number in range(150):
                stream = await source.dial()
                if number % 3 == 0:
                    stream.abort(number)
                else:
                    await exchange(stream, b"x" * number)
            await trio.sleep(5)
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            assert deployment.relays[1].status().streams == 0
            nursery.cancel_scope.cancel()

    simulate(scenario)
