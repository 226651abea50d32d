"""One stream of a source: its request, the destinations that are asked, and what is carried (protocol section 6.3)."""

import hashlib
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from connet_trio.concurrency import StreamBroken
from connet_trio.errors import PathLost
from connet_trio.quic import Stream, Windows
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.testing.network import Link
from connet_trio.wire import WireVersion, codecs

V1, V2 = WireVersion.V1, WireVersion.V2
MORE_THAN_CREDIT = 120
"""Streams; a connection that lost one for each failure would stand still at the 101st."""

NOT_FOUND = Error(ErrorCode.DESTINATION_NOT_FOUND, "could not find destination")


def dial_failed(texts: str = "") -> Error:
    return Error(ErrorCode.DESTINATION_DIAL_FAILED, f"could not dial destinations: [{texts}]")


@pytest.mark.parametrize(("source_version", "destination_version"), [(V1, V1), (V1, V2), (V2, V1), (V2, V2)])
async def test_bytes_arrive_whole_whatever_the_wire_version_of_either_side(
    lab: Any, autojump_clock: MockClock, source_version: WireVersion, destination_version: WireVersion
) -> None:
    await lab.start_control()
    relay = await lab.start()
    await lab.destination(versions=[destination_version], handle=lab.echo)
    source = await lab.source(versions=[source_version])
    payload = Random(1).randbytes(200_000)
    stream = await source.connect()
    lab.nursery.start_soon(_send_whole, stream, payload)
    received = await lab.receive_all(stream)
    assert hashlib.blake2b(received).digest() == hashlib.blake2b(payload).digest()
    assert relay.status().bytes_forwarded == 2 * len(payload)


async def _send_whole(stream: Stream, payload: bytes) -> None:
    await stream.send_all(payload)
    await stream.send_eof()


async def test_requests_and_answers_pass_with_every_byte_they_have(lab: Any, autojump_clock: MockClock) -> None:
    source, destination = await lab.pair()
    # a Connect with a nested field 1000, and a field 1001 beside it; an enum unpacked where others pack it
    request = bytes.fromhex("0a09 0800 c23e 04") + b"more" + bytes.fromhex("ca3e 03") + b"new"
    answer = bytes.fromhex("1205 c23e 02") + b"ok" + bytes.fromhex("ca3e 00")
    records = await source.ask(request)
    accepted, forwarded = await destination.requested()
    await accepted.send_payload(answer)
    assert forwarded == request
    assert await records.receive_payload() == answer


async def test_destinations_are_asked_in_the_order_of_their_round_trip_time(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    delays = {"192.0.2.101": 0.060, "192.0.2.102": 0.005, "192.0.2.103": 0.020}
    for number, (host, delay) in enumerate(delays.items(), start=1):
        lab.network.set_link(lab.RELAY, host, Link(delay=delay))
        await lab.refusing(number, f"destination {number}", host=host)
    source = await lab.source()
    order = "destination 2 (502) destination 3 (502) destination 1 (502)"
    assert await source.refusal() == dial_failed(order)

    for share in (0.2, 1.0):  # a path that grew by more than a probe timeout at once would be another test
        for host, delay in delays.items():
            lab.network.set_link(lab.RELAY, host, Link(delay=delay + share * (0.065 - 2 * delay)))
        await trio.sleep(600)  # keepalives measure the new times
    order = "destination 1 (502) destination 3 (502) destination 2 (502)"
    assert await source.refusal() == dial_failed(order)


@pytest.mark.reliability(line=32)
async def test_the_words_of_a_refusal_are_quoted_in_printable_form(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    await lab.refusing(1, "no\r\n\x1b[2J")
    assert await (await lab.source()).refusal() == dial_failed(r"no\r\n\x1b[2J (502)")


async def test_the_next_destination_gets_the_stream_that_a_nearer_one_refused(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    lab.network.set_link(lab.RELAY, "192.0.2.102", Link(delay=0.1))
    await lab.refusing(1, "not here", host="192.0.2.101")
    await lab.destination(2, host="192.0.2.102", handle=lab.echo)
    stream = await (await lab.source()).connect()
    await _send_whole(stream, b"who is there?")
    assert await lab.receive_all(stream) == b"who is there?"


async def test_a_destination_that_never_answers_is_passed_over_within_its_bound(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    lab.network.set_link(lab.RELAY, "192.0.2.102", Link(delay=0.1))
    silent = await lab.destination(1, host="192.0.2.101")
    await lab.destination(2, host="192.0.2.102", handle=lab.echo)
    source = await lab.source()
    began = trio.current_time()
    await source.connect()
    assert trio.current_time() - began < 2.5
    with pytest.raises(PathLost, match="reset"):  # it need not start on what nobody waits for
        await silent.requested()


async def test_a_destination_that_has_vanished_is_passed_over_within_its_bound(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    lab.network.set_link(lab.RELAY, "192.0.2.102", Link(delay=0.1))
    await lab.destination(1, host="192.0.2.101", handle=lab.echo)
    await lab.destination(2, host="192.0.2.102", handle=lab.echo)
    source = await lab.source()
    lab.network.cut(lab.RELAY, "192.0.2.101")
    with trio.fail_after(5):  # what a source of ours waits
        await source.connect()


async def test_the_stream_a_destination_has_no_credit_for_is_answered_within_its_bound(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    accepted: list[Stream] = []

    async def keep(stream: Stream) -> None:
        accepted.append(stream)

    await lab.destination(1, handle=keep)
    one, another = await lab.source(2), await lab.source(3)
    streams = [await one.connect() for _ in range(60)] + [await another.connect() for _ in range(40)]
    began = trio.current_time()
    assert await another.refusal() == dial_failed()
    assert trio.current_time() - began < 2.5

    streams[0].close()
    accepted[0].close()
    await another.connect()


async def test_the_101st_stream_of_a_source_flows_when_another_has_ended(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    relay = await lab.start()
    await lab.destination(1, handle=lab.echo)
    source = await lab.source()
    streams = [await source.connect() for _ in range(100)]
    assert relay.status().streams == 100
    with trio.move_on_after(5) as waiting:
        await source.connect()
    assert waiting.cancelled_caught

    streams[7].finish()
    assert await lab.receive_all(streams[7]) == b""
    stream = await source.connect()
    await _send_whole(stream, b"at last")
    assert await lab.receive_all(stream) == b"at last"
    assert (relay.status().streams_total, relay.status().streams) == (101, 99)


async def test_without_a_destination_of_the_name_a_source_is_told_500(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    await lab.destination(1, handle=lab.echo, endpoint="other")
    source = await lab.source()
    assert [await source.refusal() for _ in range(MORE_THAN_CREDIT)] == [NOT_FOUND] * MORE_THAN_CREDIT


async def test_refusals_cost_neither_side_a_stream_for_good(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    await lab.refusing(1, "no")
    source = await lab.source()
    assert {await source.refusal() for _ in range(MORE_THAN_CREDIT)} == {dial_failed("no (502)")}


async def test_a_request_without_connect_is_answered_with_error_1(lab: Any, autojump_clock: MockClock) -> None:
    source, _ = await lab.pair()
    answer = await source.refusal(b"")
    assert answer.code is ErrorCode.REQUEST_UNKNOWN
    assert answer.message.startswith("unknown request: ")


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (bytes.fromhex("00000003ffffff"), 0.1),  # no protobuf
        (bytes.fromhex("00010001"), 0.1),  # 64 KiB and a byte to come
        (bytes.fromhex("0000000a0a"), 10.1),  # the rest never comes
        (b"", 10.1),
    ],
)
async def test_a_stream_without_a_readable_request_ends_without_an_answer(
    lab: Any, autojump_clock: MockClock, sent: bytes, seconds: float
) -> None:
    source, _ = await lab.pair()
    stream = await source.connection.open_stream()
    stream.connection.write(stream.id, sent)
    await stream.wait_send_all_might_not_block()
    if not sent:
        await stream.send_all(b"\0")  # a stream is invisible until its first byte
    with trio.fail_after(seconds):
        assert await lab.receive_all(stream) == b""
        await stream.wait_stopped()


async def test_a_destination_that_answers_neither_yes_nor_no_is_passed_over(
    lab: Any, autojump_clock: MockClock
) -> None:
    source, destination = await lab.pair()
    records = await source.ask()
    asked, _ = await destination.requested()
    await asked.send_payload(b"")
    assert await records.receive(codecs.PEER_RESPONSE) == dial_failed()


async def test_a_destination_that_closes_its_connection_is_quoted_with_code_and_text(
    lab: Any, autojump_clock: MockClock
) -> None:
    source, destination = await lab.pair()
    records = await source.ask()
    await destination.requested()
    destination.connection.close(ErrorCode.RELAY_KEEPALIVE_CLOSED, "keepalive closed")
    assert await records.receive(codecs.PEER_RESPONSE) == dial_failed("keepalive closed (302)")


async def test_nobody_else_is_asked_once_the_source_has_given_up(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start_control()
    await lab.start()
    lab.network.set_link(lab.RELAY, "192.0.2.102", Link(delay=0.1))
    nearer = await lab.destination(1, host="192.0.2.101")
    farther = await lab.destination(2, host="192.0.2.102")
    records = await (await lab.source()).ask()
    asked, _ = await nearer.requested()
    records.stream.abort()
    with trio.fail_after(0.5), pytest.raises(StreamBroken):
        await asked.stream.receive_some()
    with trio.move_on_after(20):
        await farther.requested()
        pytest.fail("asked in vain")


@pytest.mark.parametrize("first", [0, 1], ids=["source", "destination"])
async def test_either_side_may_end_and_go_on_receiving(lab: Any, autojump_clock: MockClock, first: int) -> None:
    ends = await lab.joined()
    early, late = ends[first], ends[1 - first]
    await _send_whole(early, b"that is all")
    assert await lab.receive_all(late) == b"that is all"
    await trio.sleep(60)
    await _send_whole(late, b"a long answer" * 1000)
    assert await lab.receive_all(early) == b"a long answer" * 1000
    assert early.finished_cleanly
    assert late.finished_cleanly


@pytest.mark.parametrize("acting", [0, 1], ids=["source", "destination"])
async def test_a_reset_reaches_the_other_side_with_its_code_and_leaves_the_other_direction(
    lab: Any, autojump_clock: MockClock, acting: int
) -> None:
    ends = await lab.joined()
    acting_end, other = ends[acting], ends[1 - acting]
    acting_end.reset(7)
    with pytest.raises(StreamBroken) as caught, trio.fail_after(1):
        await other.receive_some()
    assert caught.value.code == 7
    await _send_whole(other, b"still here")
    assert await lab.receive_all(acting_end) == b"still here"


@pytest.mark.parametrize("acting", [0, 1], ids=["source", "destination"])
async def test_stop_sending_reaches_the_other_side_with_its_code_and_leaves_the_other_direction(
    lab: Any, autojump_clock: MockClock, acting: int
) -> None:
    ends = await lab.joined()
    acting_end, other = ends[acting], ends[1 - acting]
    acting_end.stop(9)
    with trio.fail_after(1):
        assert await other.wait_stopped() == 9
    await _send_whole(acting_end, b"still here")
    assert await lab.receive_all(other) == b"still here"


@pytest.mark.parametrize("gone", [0, 1], ids=["source", "destination"])
async def test_a_lost_connection_ends_its_streams_on_the_other_side(
    lab: Any, autojump_clock: MockClock, gone: int
) -> None:
    clients = await lab.pair()
    ends = await lab.join(*clients)
    clients[gone].connection.close(0, "keepalive closed")
    with trio.fail_after(1):
        with pytest.raises(StreamBroken):
            await ends[1 - gone].receive_some()
        await ends[1 - gone].wait_stopped()
    (relay,) = lab.relays
    assert relay.status().streams == 0


async def test_a_destination_that_stops_reading_holds_its_source_and_nobody_else(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    relay = await lab.start()
    source = await lab.source()
    destination = await lab.destination(1, windows=Windows(stream=1 << 16, connection=1 << 20))
    stalled, _ = await lab.join(source, destination)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await stalled.send_all(bytes(1 << 16))
            sent += 1 << 16

    lab.nursery.start_soon(flood)
    await trio.sleep(60)
    held = relay.status().bytes_forwarded
    assert held <= (1 << 16) + (1 << 20)  # what the destination has, and what the relay has not got rid of
    assert sent <= held + (1 << 18) + (1 << 20) + (1 << 20)  # a chunk in hand, the relay's credit, the source's own

    await trio.sleep(60)
    assert relay.status().bytes_forwarded == held
    near, far = await lab.join(source, destination)
    lab.nursery.start_soon(lab.echo, far)
    lab.nursery.start_soon(_send_whole, near, bytes(300_000))
    with trio.fail_after(5):
        assert len(await lab.receive_all(near)) == 300_000


async def test_a_source_that_gives_up_frees_a_stream_that_its_destination_holds(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    relay = await lab.start()
    source = await lab.source()
    near, _ = await lab.join(source, await lab.destination(windows=Windows(stream=1 << 16, connection=1 << 20)))
    with trio.move_on_after(60):
        await near.send_all(bytes(8 << 20))
    near.abort()
    await trio.sleep(1)
    assert relay.status().streams == 0


async def test_a_source_that_ends_a_stream_at_both_ends_leaves_nothing_behind(
    lab: Any, autojump_clock: MockClock
) -> None:
    source, destination = await lab.pair()
    await wait_all_tasks_blocked()
    before = trio.lowlevel.current_statistics().tasks_living
    near, far = await lab.join(source, destination)
    near.abort()
    await far.wait_stopped()
    far.abort()
    await trio.sleep(1)
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_source_that_goes_as_its_destination_accepts_leaves_no_stream_open(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start_control()
    await lab.start()
    destination = await lab.destination(1, host=lab.DESTINATION)
    for _ in range(10):  # both arrive at one instant, where the order of tasks is a matter of luck
        source = await lab.source()
        await source.ask()
        records, _ = await destination.requested()
        await records.send_payload(lab.CONNECTED)
        source.connection.close(0, "keepalive closed")
        with trio.fail_after(1), pytest.raises(StreamBroken):
            await records.stream.receive_some()
