"""Announced endpoints: who sees whom, until when, and what is refused (protocol sections 4.2 and 4.4)."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from connet_trio.control.client_stream import ClientStream
from connet_trio.control.directory import Directory
from connet_trio.control.lists import PeerList
from connet_trio.engine import Restriction
from connet_trio.errors import PathLost
from connet_trio.quic import Windows
from connet_trio.records.control import Announce, Peer, Peers, RemotePeer, SubscribeRelays
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Endpoint, Error, Role, Unrecognized
from connet_trio.wire import WireVersion, codecs, encode_frame

EXPIRY = 30.0
LONELY = Peers()


def ids(peers: Peers) -> list[str]:
    return [peer.id for peer in peers.peers]


async def met(lab: Any) -> tuple[Any, Any, Any, Any]:
    """A destination and a source that know each other: both clients, then both announce streams."""
    destination = await lab.client(metadata="server room")
    source = await lab.client(metadata="laptop")
    offering = await destination.ask(lab.announce(Role.DESTINATION, lab.peer(0)))
    assert await offering.receive() == LONELY
    seeking = await source.ask(lab.announce(Role.SOURCE, lab.peer(1)))
    assert (await seeking.receive()).peers[0].peer == lab.peer(0)
    assert (await offering.receive()).peers[0].peer == lab.peer(1)
    return destination, source, offering, seeking


async def test_an_empty_list_comes_first_and_two_endpoints_then_see_each_other(
    lab: Any, autojump_clock: MockClock
) -> None:
    server = await lab.start()
    await met(lab)
    endpoint = server.status().endpoints["db"]
    clients = server.status().clients
    assert [clients[each.id].metadata for each in endpoint.destinations] == ["server room"]
    assert [clients[each.id].metadata for each in endpoint.sources] == ["laptop"]


async def test_what_a_remote_peer_is_told_names_the_client_and_its_metadata(
    lab: Any, autojump_clock: MockClock
) -> None:
    server = await lab.start()
    client = await lab.client(metadata="both")
    offering = await client.ask(lab.announce(Role.DESTINATION))
    await offering.receive()
    seeking = await client.ask(lab.announce(Role.SOURCE))
    (client_id,) = server.status().clients
    expected = Peers(peers=(RemotePeer(id=client_id, peer=lab.peer(), metadata="both"),))
    assert await seeking.receive() == expected
    assert await offering.receive() == expected


async def test_names_are_matched_whole(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    await client.ask(lab.announce(Role.DESTINATION, name="db"))
    stream = await client.ask(lab.announce(Role.SOURCE, name="db2"))
    assert await stream.receive() == LONELY


async def test_a_later_announce_needs_only_its_peer_and_is_pushed(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    _, _, offering, seeking = await met(lab)
    await offering.send(Announce(peer=lab.peer(0, port=7000)))
    assert (await seeking.receive()).peers[0].peer == lab.peer(0, port=7000)


async def test_a_later_announce_cannot_change_the_endpoint(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    _, _, offering, seeking = await met(lab)
    await offering.send(lab.announce(Role.SOURCE, lab.peer(0, port=7000), name="other"))
    assert (await seeking.receive()).peers[0].peer == lab.peer(0, port=7000)
    assert list(server.status().endpoints) == ["db"]


async def test_an_endpoint_whose_stream_ends_is_gone_at_once(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    _, _, offering, seeking = await met(lab)
    began = trio.current_time()
    offering.stream.close()
    assert await seeking.receive() == LONELY
    assert trio.current_time() - began < 1
    assert server.status().endpoints["db"].destinations == ()


async def test_an_endpoint_whose_stream_is_reset_is_gone_at_once(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    _, _, offering, seeking = await met(lab)
    began = trio.current_time()
    offering.stream.abort()
    assert await seeking.receive() == LONELY
    assert trio.current_time() - began < 1


async def test_a_client_that_ends_its_streams_and_then_closes_is_gone_at_once(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start()
    destination, _, offering, seeking = await met(lab)
    began = trio.current_time()
    offering.stream.close()
    await wait_all_tasks_blocked()  # until it is on its way; the close then arrives right behind it
    destination.connection.close(0, "connection closed")
    assert await seeking.receive() == LONELY
    assert trio.current_time() - began < 1


async def test_a_client_that_only_closes_stays_listed_for_the_expiry(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    destination, _, _, seeking = await met(lab)
    began = trio.current_time()
    destination.connection.close(100, "authentication failed")
    await trio.sleep(1)
    assert len(server.status().clients) == 1
    assert len(server.status().endpoints["db"].destinations) == 1
    assert await seeking.receive() == LONELY
    assert trio.current_time() - began == pytest.approx(EXPIRY, abs=0.2)


async def test_without_expiry_a_lost_client_is_gone_at_once(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start(endpoint_expiry=None)
    destination, _, _, seeking = await met(lab)
    began = trio.current_time()
    destination.connection.close(0, "connection closed")
    assert await seeking.receive() == LONELY
    assert trio.current_time() - began < 1


async def test_a_client_that_comes_back_in_time_is_never_missed(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    destination, _, _, seeking = await met(lab)
    destination.connection.abandon("cable pulled")
    await trio.sleep(10)
    again = await lab.client(reconnect_token=destination.answer.reconnect_token, metadata="server room")
    offering = await again.ask(lab.announce(Role.DESTINATION, lab.peer(0)))
    assert (await offering.receive()).peers[0].peer == lab.peer(1)
    await trio.sleep(60)
    await offering.send(Announce(peer=lab.peer(0, port=7000)))
    assert (await seeking.receive()).peers[0].peer == lab.peer(0, port=7000)  # nothing was pushed in between


async def test_a_new_stream_for_an_endpoint_survives_the_late_end_of_the_old_one(
    lab: Any, autojump_clock: MockClock
) -> None:
    server = await lab.start()
    destination, _, offering, seeking = await met(lab)
    renewed = await destination.ask(lab.announce(Role.DESTINATION, lab.peer(0, port=7000)))
    await renewed.receive()
    assert (await seeking.receive()).peers[0].peer == lab.peer(0, port=7000)
    offering.stream.close()
    await trio.sleep(5)
    assert len(server.status().endpoints["db"].destinations) == 1
    renewed.stream.close()
    assert await seeking.receive() == LONELY


async def slow_reader(lab: Any, changes: int) -> Any:
    """A stream of somebody who has not read while the only peer changed so many times, 5 kB each time."""
    reader = await lab.client(windows=Windows(stream=1 << 14, connection=1 << 14))
    seeking = await reader.ask(lab.announce(Role.SOURCE))
    assert await seeking.receive() == LONELY
    busy = await lab.client(metadata="m" * 4096)
    offering = await busy.ask(lab.announce(Role.DESTINATION, lab.peer(0, port=1)))
    for port in range(2, changes + 1):
        await offering.send(Announce(peer=lab.peer(0, port=port)))
        await trio.sleep(0.5)  # as fast as control takes them
    return seeking


async def test_an_announcement_that_a_later_stream_has_overtaken_takes_nothing_from_it(
    lab: Any, autojump_clock: MockClock
) -> None:
    server = await lab.start()
    _, source, offering, seeking = await met(lab)
    lost, current = await source.open(), await source.open()
    await current.send(lab.announce(Role.SOURCE, lab.peer(1, port=7000)))
    await current.receive()
    assert (await offering.receive()).peers[0].peer == lab.peer(1, port=7000)
    await lost.send(lab.announce(Role.SOURCE, lab.peer(1)))  # its first packets were lost, and come only now
    await lost.receive()
    await lost.stream.send_eof()
    await lost.receive_end()
    await seeking.stream.send_eof()
    await seeking.receive_end()
    assert len(server.status().endpoints["db"].sources) == 1
    await current.send(Announce(peer=lab.peer(1, port=7001)))
    assert (await offering.receive()).peers[0].peer == lab.peer(1, port=7001)  # nothing was pushed in between


async def test_a_slow_reader_gets_the_latest_list_without_the_ones_before(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    seeking = await slow_reader(lab, 600)
    received = 1
    while (await seeking.receive()).peers[0].peer != lab.peer(0, port=600):
        received += 1
    assert received < 300


async def test_an_error_is_never_written_into_the_middle_of_a_list(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    seeking = await slow_reader(lab, 400)
    await seeking.send(Unrecognized())

    async def read_all() -> None:
        while True:
            assert len((await seeking.receive()).peers) == 1

    with pytest.raises(PathLost, match="the peer reset this stream"):
        await read_all()


@pytest.mark.reliability(line=26)
@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"endpoint": None}, ErrorCode.ANNOUNCE_VALIDATION_FAILED, "endpoint name is empty"),
        ({"endpoint": Endpoint("")}, ErrorCode.ANNOUNCE_VALIDATION_FAILED, "endpoint name is empty"),
        (
            {"endpoint": Endpoint("db" * 501)},
            ErrorCode.ANNOUNCE_VALIDATION_FAILED,
            "endpoint name of 1002 bytes, at most 1000",
        ),
        ({"endpoint": Endpoint("web")}, ErrorCode.ENDPOINT_NOT_ALLOWED, "endpoint not allowed: web"),
        ({"role": Role.SOURCE}, ErrorCode.ROLE_NOT_ALLOWED, "role not allowed: source"),
        ({"role": Role.UNKNOWN}, ErrorCode.ROLE_NOT_ALLOWED, "role not allowed: unknown"),
        ({"peer": None}, ErrorCode.ANNOUNCE_VALIDATION_FAILED, "'db' is announced without a peer"),
        ({"peer": Peer()}, ErrorCode.ANNOUNCE_INVALID_CLIENT_CERTIFICATE, "'db' client cert is invalid"),
    ],
)
async def test_what_cannot_be_announced_is_refused_and_ends_its_stream_alone(
    lab: Any, autojump_clock: MockClock, changed: dict[str, Any], code: ErrorCode, text: str
) -> None:
    server = await lab.start(client_tokens=((lab.TOKEN, Restriction(name_matches="^db", role=Role.DESTINATION)),))
    client = await lab.client()
    good = await client.ask(lab.announce())
    await good.receive()
    whole = {"endpoint": Endpoint("db"), "role": Role.DESTINATION, "peer": lab.peer()}
    refused = await client.ask(Announce(**(whole | changed)))
    assert await refused.receive() == Error(code, text)
    await refused.receive_end()
    assert list(server.status().endpoints) == ["db"]
    assert not client.connection.is_closed


async def test_the_client_certificate_is_looked_at_before_the_server_certificate(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start()
    client = await lab.client()
    refused = await client.ask(lab.announce(peer=lab.peer(server_certificate=b"no DER", client_certificate=b"")))
    assert (await refused.receive()).code is ErrorCode.ANNOUNCE_INVALID_CLIENT_CERTIFICATE
    refused = await client.ask(lab.announce(peer=lab.peer(server_certificate=b"no DER")))
    expected = Error(ErrorCode.ANNOUNCE_INVALID_SERVER_CERTIFICATE, "'db' server cert is invalid")
    assert await refused.receive() == expected


async def test_an_overlong_certificate_is_refused(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    refused = await client.ask(lab.announce(peer=lab.peer(client_certificate=lab.leaf(0) + bytes(20_000))))
    assert (await refused.receive()).code is ErrorCode.ANNOUNCE_INVALID_CLIENT_CERTIFICATE


@pytest.mark.parametrize(
    ("later", "code", "text"),
    [
        (Announce(), ErrorCode.ANNOUNCE_VALIDATION_FAILED, "'db' is announced without a peer"),
        (Announce(peer=Peer()), ErrorCode.ANNOUNCE_INVALID_CLIENT_CERTIFICATE, "'db' client cert is invalid"),
        (SubscribeRelays(endpoint=Endpoint("db")), ErrorCode.REQUEST_UNKNOWN, "unexpected request"),
        (Unrecognized(), ErrorCode.REQUEST_UNKNOWN, "unexpected request"),
    ],
)
async def test_a_bad_later_request_ends_the_stream_and_what_was_announced_on_it(
    lab: Any, autojump_clock: MockClock, later: Any, code: ErrorCode, text: str
) -> None:
    await lab.start()
    destination, _, offering, seeking = await met(lab)
    await offering.send(later)
    assert await offering.receive() == Error(code, text)
    await offering.receive_end()
    assert await seeking.receive() == LONELY
    assert await offering.stream.wait_stopped() == 0
    assert not destination.connection.is_closed


async def test_a_request_of_no_known_kind_is_refused(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    refused = await client.ask(Unrecognized())
    error = await refused.receive()
    assert error.code is ErrorCode.REQUEST_UNKNOWN
    assert error.message.startswith("unknown request: ")
    await refused.receive_end()


@pytest.mark.parametrize(
    "sent",
    [
        encode_frame(b"\x0a\x7f", WireVersion.V2),  # a variant longer than its message
        encode_frame(b"\xff", WireVersion.V2),
        b"\0\x10\0\0",  # 1 MiB announced
        b"\xff\xff\xff\xff",
        b"\0\0",  # half a length, then the end
    ],
)
async def test_an_unreadable_request_ends_its_stream_alone(lab: Any, autojump_clock: MockClock, sent: bytes) -> None:
    await lab.start()
    client = await lab.client()
    good = await client.ask(lab.announce())
    await good.receive()
    broken = await client.open()
    await broken.stream.send_all(sent)
    broken.stream.finish()
    error = await broken.receive()
    assert error.code is ErrorCode.REQUEST_UNKNOWN
    assert error.message.startswith("unreadable request: ")
    await good.send(Announce(peer=lab.peer(port=7000)))
    seeking = await client.ask(lab.announce(Role.SOURCE))
    assert (await seeking.receive()).peers[0].peer == lab.peer(port=7000)


async def test_an_unreadable_later_request_withdraws_the_endpoint(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    _, _, offering, seeking = await met(lab)
    await offering.stream.send_all(b"\xff\xff\xff\xff")
    assert (await offering.receive()).message.startswith("unreadable request: frame of 4294967295 bytes")
    assert await seeking.receive() == LONELY


@pytest.mark.reliability(line=26)
async def test_a_reload_of_the_tokens_binds_those_already_connected(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    destination, _, offering, seeking = await met(lab)
    server.reload_tokens(((lab.TOKEN, Restriction(role=Role.SOURCE)),), ())
    await offering.send(Announce(peer=lab.peer(port=7000)))
    assert await offering.receive() == Error(ErrorCode.ROLE_NOT_ALLOWED, "role not allowed: destination")
    assert await seeking.receive() == LONELY
    server.reload_tokens((), ())
    refused = await destination.ask(lab.announce(Role.SOURCE))
    assert await refused.receive() == Error(ErrorCode.AUTHENTICATION_FAILED, "token not found")


async def test_lists_inside_a_peer_are_cut_to_what_is_kept(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    peer = lab.peer(
        directs=lab.peer().directs * 300, relay_ids=("r" * 129, *(f"relay {number}" for number in range(300)))
    )
    await (await client.ask(lab.announce(peer=peer))).receive()
    seeking = await client.ask(lab.announce(Role.SOURCE))
    (told,) = (await seeking.receive()).peers
    assert told.peer.directs == peer.directs[:256]
    assert told.peer.relay_ids == peer.relay_ids[1:257]


async def test_the_relay_ids_of_a_peer_are_cut_to_the_bytes_that_are_kept(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    ids = tuple("\N{SNOWMAN}" * 127 + chr(0x4E00 + number) for number in range(40))  # 384 bytes each
    await (await client.ask(lab.announce(peer=lab.peer(relay_ids=ids)))).receive()
    seeking = await client.ask(lab.announce(Role.SOURCE))
    (told,) = (await seeking.receive()).peers
    assert told.peer.relay_ids == ids[: 8192 // 384]


async def lists_in(stream: Any, seconds: float) -> int:
    """How many lists a stream is told in that time."""
    count = 0
    with trio.move_on_after(seconds):
        while True:
            await stream.receive()
            count += 1
    return count


async def test_a_client_that_flips_its_announcement_without_end_is_slowed_down(
    lab: Any, autojump_clock: MockClock
) -> None:
    await lab.start()
    destination, _, offering, seeking = await met(lab)

    async def flip() -> None:
        for port in range(1, 60_000):
            await offering.send(Announce(peer=lab.peer(0, port=port)))
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flip)
        assert 50 < await lists_in(seeking, 20) <= 60
        calm = await destination.ask(lab.announce(Role.SOURCE))
        await calm.receive()
        nursery.cancel_scope.cancel()


async def test_new_streams_for_an_endpoint_are_no_way_around_the_pace(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    destination, _, _, seeking = await met(lab)

    async def come_and_go() -> None:
        while True:
            stream = await destination.ask(lab.announce(Role.DESTINATION, lab.peer(0)))
            await stream.receive()
            stream.stream.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come_and_go)
        assert 50 < await lists_in(seeking, 20) <= 2 * 60  # one list for each that comes and goes
        nursery.cancel_scope.cancel()


async def test_many_endpoints_that_start_at_once_wait_for_nothing(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    destination, source = await lab.client(), await lab.client()
    began = trio.current_time()
    names = [f"db {number}" for number in range(40)]
    offering = [await destination.ask(lab.announce(Role.DESTINATION, lab.peer(0), name)) for name in names]
    seeking = [await source.ask(lab.announce(Role.SOURCE, lab.peer(1), name)) for name in names]
    for relays in range(1, 16):  # each relay that is up is announced at once
        for stream in offering:
            await stream.send(
                Announce(peer=lab.peer(0, relay_ids=tuple(f"relay {number}" for number in range(relays))))
            )
    for stream in seeking:
        peers = await stream.receive()
        while not peers.peers or len(peers.peers[0].peer.relay_ids) < 15:
            peers = await stream.receive()
    assert trio.current_time() - began < 1


async def test_refused_streams_give_their_credit_back(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    for number in range(150):  # 100 may be open at once; some are ended by the client, most are not (trap T6)
        refused = await client.ask(lab.announce(name=""))
        assert (await refused.receive()).code is ErrorCode.ANNOUNCE_VALIDATION_FAILED
        await refused.receive_end()
        if number % 3 == 0:
            refused.stream.finish()


async def test_ended_streams_give_their_credit_back(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    for number in range(150):
        stream = await client.ask(lab.announce() if number % 2 else lab.subscribe())
        await stream.receive()
        stream.stream.close()


async def test_a_hundred_streams_at_once_are_served(lab: Any, autojump_clock: MockClock) -> None:
    server = await lab.start()
    client = await lab.client()
    await trio.sleep(1)  # until the stream of the authentication has given its credit back
    streams = [await client.ask(lab.announce(name=f"db {number}")) for number in range(100)]
    for stream in streams:
        assert await stream.receive() == LONELY
    assert len(server.status().endpoints) == 100


async def test_clients_that_come_and_go_leave_nothing_behind(
    lab: Any, autojump_clock: MockClock, living_tasks: Callable[[], int]
) -> None:
    server = await lab.start()
    transport = await lab.transport()
    before = living_tasks()
    for number in range(20):
        client = await lab.client(transport=transport)
        for role in (Role.DESTINATION, Role.SOURCE):
            await (await client.ask(lab.announce(role))).receive()
        await (await client.ask(lab.subscribe())).receive()
        if number % 2:
            client.connection.close(0, "connection closed")
        else:
            client.connection.abandon("cable pulled")
    await trio.sleep(20 + EXPIRY + 1)
    assert living_tasks() == before
    assert server.status().clients == server.status().endpoints == {}


async def test_ended_streams_are_forgotten_while_their_connection_lives(lab: Any, autojump_clock: MockClock) -> None:
    await lab.start()
    client = await lab.client()
    for number in range(20):
        stream = await client.ask(lab.announce(name=f"db {number}"))
        await stream.receive()
        stream.stream.close()
    await trio.sleep(5)
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, ClientStream)] == []
    assert not client.connection.is_closed


def test_a_list_is_shared_while_somebody_watches_it_and_then_forgotten() -> None:
    directory = Directory(expiry_seconds=EXPIRY)
    with directory.watch_peers("db", Role.SOURCE) as first:
        with directory.watch_peers("db", Role.SOURCE) as second, directory.watch_peers("db", Role.DESTINATION) as other:
            assert first is second is not other
        with directory.watch_peers("db", Role.SOURCE) as third:
            assert third is first
    with directory.watch_peers("db", Role.SOURCE) as fourth:
        assert fourth is not first


def test_a_list_that_no_frame_can_hold_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connet_trio.control.lists.MAX_FRAME_BYTES", 1000)
    peers = Peers(peers=tuple(RemotePeer(id=f"{number:052}", peer=Peer()) for number in range(40)))
    listed = PeerList(peers)
    payload = listed.encode(peers)
    decoded = codecs.CONTROL_RESPONSE.decode(payload)
    assert decoded == Peers(peers=peers.peers[:10])
    assert listed.encode(peers) is payload
    assert listed.encode(Peers()) == codecs.CONTROL_RESPONSE.encode(Peers())
