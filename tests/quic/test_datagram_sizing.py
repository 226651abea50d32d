"""Datagrams as large as the path carries, found out without ICMP: the simulated network drops in silence."""

import hashlib
import random
from itertools import pairwise

import attrs
import pytest
import trio

from connet_trio.engine.path_mtu import SEARCH_AGAIN_SECONDS
from connet_trio.quic import Connection, Stream, open_transport
from connet_trio.quic.core import Core
from connet_trio.testing.network import Fate, Link, open_network
from tests.quic.conftest import (
    FAR,
    NEAR,
    MeddlingSocket,
    Pair,
    dialing,
    listening,
    open_pair,
    open_streams,
    virtual_time,
    wall_clock,
)

pytestmark = virtual_time

MIB = 1 << 20
LONG_HEADER = 0x80
BROADBAND = Link(rate=12.5e6)
"""100 Mbit/s, 40 ms."""


def link(mtu: int) -> Link:
    return attrs.evolve(BROADBAND, mtu=mtu)


def set_mtu(pair: Pair, mtu: int) -> None:
    pair.network.set_link(FAR.partition(":")[0], NEAR.partition(":")[0], link(mtu))


async def echo(theirs: Stream) -> None:
    while data := await theirs.receive_some():
        await theirs.send_all(data)
    await theirs.send_eof()


async def echoed(ours: Stream, theirs: Stream, data: bytes) -> bool:
    """Send `data` through an echo; whether it comes back as it was."""

    async def send() -> None:
        await ours.send_all(data)
        await ours.send_eof()

    digest = hashlib.sha256()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, theirs)
        nursery.start_soon(send)
        while chunk := await ours.receive_some():
            digest.update(chunk)
    return digest.digest() == hashlib.sha256(data).digest()


async def transfer(ours: Stream, theirs: Stream, size: int) -> list[float]:
    """Carry `size` bytes one way; when something arrived."""
    arrivals = [trio.current_time()]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, bytes(size))
        received = 0
        while received < size:
            received += len(await theirs.receive_some())
            arrivals.append(trio.current_time())
    return arrivals


def longest_pause(arrivals: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(arrivals))


async def search(dialled: Connection, accepted: Connection) -> int:
    """Carry enough to make the dialer's side search, and let it finish; the size it found."""
    ours, theirs = await open_streams(dialled, accepted)
    await transfer(ours, theirs, MIB)
    await trio.sleep(5)
    ours.close()
    theirs.close()
    return dialled.datagram_size


@pytest.mark.parametrize(
    ("mtu", "found"), [(1280, 1247), (1400, 1357), (1500, 1472), (8896, 8848), (9000, 8952), (65_536, 16_384)]
)
async def test_a_mebibyte_is_echoed_over_any_path_in_the_largest_datagrams_it_carries(mtu: int, found: int) -> None:
    async with open_pair(link=link(mtu)) as pair:
        dialled, accepted = await pair.connect()
        began = trio.current_time()
        assert await echoed(*await open_streams(dialled, accepted), random.Random(mtu).randbytes(MIB))
        assert trio.current_time() - began < 1.5
        await trio.sleep(5)
        assert (dialled.datagram_size, accepted.datagram_size) == (found, found)
        assert max(map(len, pair.near.sent)) >= found
        assert pair.network.fates[Fate.QUEUE_FULL] == 0


async def test_an_ethernet_carries_twenty_bytes_less_by_ipv6() -> None:
    async with open_network(0, link=link(1500)) as network:
        far, near = network.socket("[2001:db8::1]:4000"), network.socket("[2001:db8::2]:5000")
        async with (
            open_transport(far, wall_clock=wall_clock, listening=listening()) as listener,
            open_transport(near, wall_clock=wall_clock) as dialer,
        ):
            dialled = await dialer.dial(far.local_address, dialing())
            assert await search(dialled, await listener.accept()) == 1452


@pytest.mark.parametrize("seed", range(3))
async def test_a_lossy_path_is_searched_all_the_same(seed: int) -> None:
    bad = Link(mtu=1400, loss=0.05, reordering=0.01, duplication=0.01)
    async with open_pair(seed, bad) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(handshake_idle_seconds=30.0))
        ours, theirs = await open_streams(dialled, await pair.listener.accept())
        with trio.fail_after(300):
            assert await echoed(ours, theirs, random.Random(seed).randbytes(MIB // 2))
        assert 1247 <= dialled.datagram_size <= 1372


async def test_a_path_that_shrinks_in_mid_transfer_holds_it_up_for_a_moment() -> None:
    async with open_pair(link=link(1500)) as pair:
        dialled, accepted = await pair.connect()
        assert await search(dialled, accepted) == 1472
        ours, theirs = await open_streams(dialled, accepted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shrink_later, pair, 1400)
            arrivals = await transfer(ours, theirs, 3 * MIB)
        assert pair.network.fates[Fate.TOO_BIG] > 20
        assert longest_pause(arrivals) < 0.25
        assert arrivals[-1] - arrivals[0] < 2.5
        await trio.sleep(5)
        assert dialled.datagram_size == 1357


async def shrink_later(pair: Pair, mtu: int) -> None:
    await trio.sleep(0.1)
    set_mtu(pair, mtu)


async def test_a_jumbo_path_that_becomes_an_ethernet_holds_a_transfer_up_for_a_moment() -> None:
    async with open_pair(link=link(9000)) as pair:
        dialled, accepted = await pair.connect()
        assert await search(dialled, accepted) == 8952
        ours, theirs = await open_streams(dialled, accepted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shrink_later, pair, 1500)
            arrivals = await transfer(ours, theirs, 3 * MIB)
        assert longest_pause(arrivals) < 0.25
        await trio.sleep(5)
        assert dialled.datagram_size == 1472


async def test_what_a_timeout_sends_is_as_small_as_any_path_takes(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    assert await search(dialled, accepted) == 1472
    ours, _ = await open_streams(dialled, accepted)
    dialled.core.send_stream_data(ours.id, bytes(5000))
    dialled.core.probe()
    after_timeout = dialled.core.collect(trio.current_time())
    assert max(len(data) for data, _ in after_timeout) == 1200
    dialled.core.send_stream_data(ours.id, bytes(5000))
    assert max(len(data) for data, _ in dialled.core.collect(trio.current_time())) == 1472


async def test_requests_get_through_a_path_that_has_shrunk() -> None:
    async with open_pair(link=link(1500)) as pair:
        dialled, accepted = await pair.connect()
        assert await search(dialled, accepted) == 1472
        set_mtu(pair, 1300)
        ours, theirs = await open_streams(dialled, accepted)
        for _ in range(10):
            arrivals = await transfer(ours, theirs, 3000)
            assert arrivals[-1] - arrivals[0] < 0.5
            await trio.sleep(1)
        assert dialled.datagram_size == 1263


async def test_a_path_that_has_grown_is_noticed_within_ten_minutes() -> None:
    async with open_pair(link=link(1400)) as pair:
        dialled, accepted = await pair.connect()
        assert await search(dialled, accepted) == 1357
        set_mtu(pair, 1500)
        await trio.sleep(SEARCH_AGAIN_SECONDS / 2)
        assert dialled.datagram_size == 1357
        await trio.sleep(SEARCH_AGAIN_SECONDS / 2 + 15)  # a keepalive comes each 10 s
        assert dialled.datagram_size == 1472


async def test_a_path_that_is_down_for_a_while_has_not_shrunk() -> None:
    async with open_pair(link=link(1500)) as pair, trio.open_nursery() as nursery:
        dialled, accepted = await pair.connect()
        assert await search(dialled, accepted) == 1472
        ours, theirs = await open_streams(dialled, accepted)
        pair.cut()
        nursery.start_soon(ours.send_all, bytes(2 * MIB))
        await trio.sleep(10)
        pair.heal()
        received = 0
        with trio.fail_after(30):
            while received < 2 * MIB:
                received += len(await theirs.receive_some())
        assert dialled.datagram_size == 1472


async def test_a_search_that_the_path_interrupts_goes_on_afterwards() -> None:
    async with open_pair(link=link(1500)) as pair:
        dialled, accepted = await pair.connect()
        ours, theirs = await open_streams(dialled, accepted)
        pair.cut()
        await ours.send_all(bytes(100_000))
        await trio.sleep(8)
        pair.heal()
        await trio.sleep(15)
        assert len(await theirs.receive_some()) == 100_000
        assert dialled.datagram_size == 1472


async def test_lost_probes_are_no_sign_of_congestion() -> None:
    async with open_pair(link=Link(mtu=1280)) as pair:
        dialled, accepted = await pair.connect()
        await search(dialled, accepted)
        assert pair.network.fates[Fate.TOO_BIG] == 9
        congestion = dialled.core._loss._cc
        assert congestion.ssthresh is None
        assert (congestion.bytes_in_flight, pair.network.fates[Fate.LOST]) == (0, 0)


async def test_a_window_of_less_than_two_datagrams_would_hold_each_back() -> None:
    core = Core(dialing=dialing(), reset_key=None, wall_now=wall_clock())
    assert core.congestion_trace().window == 12_000
    core._recovery.set_datagram_bytes(1472)
    assert core.congestion_trace().window == 12_000
    core._recovery.set_datagram_bytes(16_384)
    assert core.congestion_trace().window == 2 * 16_384


async def test_the_handshake_keeps_to_what_every_path_carries(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    assert await search(dialled, accepted) == 1472
    handshake = [len(data) for data in (*pair.near.sent, *pair.far.sent) if data[0] & LONG_HEADER]
    assert max(handshake) == 1200
    assert pair.near.sent[0][0] & LONG_HEADER


async def test_a_connection_that_says_little_is_not_probed(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    for _ in range(5):
        await transfer(ours, theirs, 1000)
    await trio.sleep(60)
    assert max(map(len, (*pair.near.sent, *pair.far.sent))) == 1200
    assert ours.connection.datagram_size == 1200


async def test_a_listener_that_follows_its_dialer_to_another_path_starts_from_the_base() -> None:
    async with open_pair(link=link(1500)) as pair:
        roaming = MeddlingSocket(pair.network.socket("192.0.2.3:5000"))
        async with open_transport(roaming, wall_clock=wall_clock) as dialer:
            dialled = await dialer.dial(pair.address, dialing())
            accepted = await pair.listener.accept()
            assert await search(accepted, dialled) == 1472
            roaming.socket.close()
            roaming.socket = pair.network.socket("192.0.2.3:6000")
            pair.network.set_link("192.0.2.3", FAR.partition(":")[0], link(1300))
            ours, theirs = await open_streams(dialled, accepted)
            assert accepted.remote_address.port == 6000
            assert accepted.datagram_size == 1200
            pair.far.sent.clear()
            await transfer(theirs, ours, 10_000)
            assert max(map(len, pair.far.sent)) == 1200
            assert await search(accepted, dialled) == 1263
            _, old = accepted.core._network_paths
            old.remote_challenges.append(bytes(8))
            (answer,) = [data for data, path in accepted.core.collect(trio.current_time()) if path == old.addr]
            assert len(answer) == 1200


async def test_nothing_larger_than_the_peer_takes_is_ever_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Core._serialize_transport_parameters

    def limited(core: Core) -> bytes:
        # max_udp_payload_size (3) of 1452, as the original announces it
        return original(core) if core.configuration.is_client else original(core) + bytes.fromhex("030245ac")

    monkeypatch.setattr(Core, "_serialize_transport_parameters", limited)
    async with open_pair(link=link(65_536)) as pair:
        dialled, accepted = await pair.connect()
        assert await search(dialled, accepted) == 1452
        assert max(map(len, pair.near.sent)) == 1452
        assert await search(accepted, dialled) == 16_384


@pytest.mark.parametrize("most", [1200, 1300, 9000])
async def test_no_datagram_is_larger_than_the_settings_allow(most: int) -> None:
    async with open_pair(link=link(65_536)) as pair:
        careful = MeddlingSocket(pair.network.socket("192.0.2.3:5000"))
        async with open_transport(careful, wall_clock=wall_clock, max_packet_size=most) as transport:
            dialled = await transport.dial(pair.address, dialing())
            accepted = await pair.listener.accept()
            assert await search(dialled, accepted) == most
            assert max(map(len, careful.sent)) == most
            assert await search(accepted, dialled) == 16_384


async def test_where_fragments_cannot_be_forbidden_nothing_is_probed() -> None:
    class Fragmenting(MeddlingSocket):
        @property
        def forbids_fragments(self) -> bool:
            return False

    async with open_pair(link=link(65_536)) as pair:
        careful = Fragmenting(pair.network.socket("192.0.2.3:5000"))
        async with open_transport(careful, wall_clock=wall_clock, listening=listening()) as transport:
            dialled = await transport.dial(pair.address, dialing())
            assert await search(dialled, await pair.listener.accept()) == 1200
            to_it = await pair.dialer.dial(careful.local_address, dialing())
            assert await search(await transport.accept(), to_it) == 1200
            assert max(map(len, careful.sent)) == 1200
