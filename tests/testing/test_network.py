"""The simulated network does what its `Link` says. What sockets promise is in tests/quic/test_datagram_socket.py."""

from ipaddress import IPv4Address
from itertools import pairwise

import attrs
import pytest
import trio
from trio.testing import MockClock

from connet_trio.errors import BindFailed
from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import (
    INBOX_DATAGRAMS,
    Fate,
    Link,
    Sighting,
    SimulatedNetwork,
    SimulatedSocket,
    open_network,
)

A, B = "10.0.0.1:1", "10.0.0.2:2"
BAD = Link(loss=0.1, duplication=0.1, reordering=0.2, jitter=0.01)


def numbered(source: SimulatedSocket, destination: SimulatedSocket, count: int, *, size: int = 10) -> None:
    path = source.path_to(destination.local_address)
    source.send_batch([(number.to_bytes(4, "big") + bytes(size - 4), path) for number in range(count)])


def take_all(sock: SimulatedSocket) -> list[int]:
    numbers: list[int] = []
    while batch := sock.receive_batch():
        numbers += [int.from_bytes(data[:4], "big") for data, _ in batch]
    return numbers


async def delivered(link: Link, count: int, *, seed: int | str = 1) -> tuple[list[int], SimulatedNetwork]:
    """The numbers that arrive at B, in their order, of `count` datagrams sent a millisecond apart."""
    async with open_network(seed, link=link) as network:
        a, b = network.socket(A), network.socket(B)
        path = a.path_to(b.local_address)
        numbers: list[int] = []
        for number in range(count):
            a.send_batch([(number.to_bytes(4, "big"), path)])
            await trio.sleep(0.001)
            numbers += take_all(b)
        await trio.sleep(1)
        return numbers + take_all(b), network


async def storm(link: Link) -> list[Sighting]:
    """Four hosts that answer each other's answers over a bad network for half a second."""
    async with open_network("storm", link=link, trace_limit=10_000) as network:
        sockets = [network.socket(f"10.0.0.{number}:1") for number in range(1, 5)]

        async def answer(sock: SimulatedSocket) -> None:
            while True:
                await sock.wait_readable()
                sock.send_batch([(data + b"!", path) for data, path in sock.receive_batch()])

        with trio.move_on_after(0.5):
            async with trio.open_nursery() as nursery:
                for sock in sockets:
                    nursery.start_soon(answer, sock)
                    sock.send_batch([(b"?", sock.path_to(other.local_address)) for other in sockets if other != sock])
        return list(network.trace)


def test_the_same_seed_gives_the_same_trace() -> None:
    link = attrs.evolve(BAD, loss=0.02)
    first = run_simulated(storm, link, seed=1)
    assert len(first) > 150
    assert {sighting.fate for sighting in first} == {Fate.DELIVERED, Fate.LOST}
    assert run_simulated(storm, link, seed=1) == first


async def test_another_seed_gives_another_fate(autojump_clock: MockClock) -> None:
    first, _ = await delivered(BAD, 50, seed="one")
    assert (await delivered(BAD, 50, seed="one"))[0] == first
    assert (await delivered(BAD, 50, seed="two"))[0] != first


async def test_other_flows_change_no_fate(autojump_clock: MockClock) -> None:
    alone, _ = await delivered(BAD, 50)
    async with open_network(1, link=BAD) as network:
        a, b, c = network.socket(A), network.socket(B), network.socket("10.0.0.1:3")
        numbers: list[int] = []
        for number in range(50):
            c.send_batch([(bytes(4), c.path_to(b.local_address))] * (number % 3))
            b.send_batch([(bytes(4), b.path_to(a.local_address))])
            a.send_batch([(number.to_bytes(4, "big"), a.path_to(b.local_address))])
            await trio.sleep(0.001)
            numbers += [int.from_bytes(d, "big") for d, path in b.receive_batch() if path.remote_address.port == 1]
        await trio.sleep(1)
        numbers += [int.from_bytes(d, "big") for d, path in b.receive_batch() if path.remote_address.port == 1]
    assert numbers == alone


async def test_a_changed_link_changes_no_later_draw(autojump_clock: MockClock) -> None:
    lossy = Link(loss=0.3)
    through, _ = await delivered(lossy, 60)
    async with open_network(1, link=attrs.evolve(lossy, mtu=30)) as network:
        a, b = network.socket(A), network.socket(B)
        numbered(a, b, 30)
        network.set_link("10.0.0.1", "10.0.0.2", lossy)
        path = a.path_to(b.local_address)
        a.send_batch([(number.to_bytes(4, "big"), path) for number in range(30, 60)])
        await trio.sleep(1)
        assert network.fates[Fate.TOO_BIG] == 30
        assert take_all(b) == [number for number in through if number >= 30]


async def test_a_datagram_takes_the_delay_of_its_link(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(delay=0.25)) as network:
        a, b = network.socket(A), network.socket(B)
        numbered(a, b, 1)
        await b.wait_readable()
        assert trio.current_time() == pytest.approx(0.25)
        assert take_all(b) == [0]


async def test_loss_is_the_fraction_asked_for(autojump_clock: MockClock) -> None:
    numbers, network = await delivered(Link(loss=0.1), 2000)
    assert network.fates[Fate.LOST] == 2000 - len(numbers)
    assert 150 < network.fates[Fate.LOST] < 250
    assert numbers == sorted(set(numbers))


async def test_duplication_is_the_fraction_asked_for(autojump_clock: MockClock) -> None:
    numbers, _ = await delivered(Link(duplication=0.1), 2000)
    assert set(numbers) == set(range(2000))
    assert 2150 < len(numbers) < 2250


async def test_reordering_lets_later_datagrams_overtake(autojump_clock: MockClock) -> None:
    numbers, _ = await delivered(Link(reordering=0.1), 2000)
    assert sorted(numbers) == list(range(2000))
    overtaken = sum(1 for number, following in pairwise(numbers) if following < number)
    assert 100 < overtaken < 250


async def test_jitter_alone_keeps_the_order(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(delay=0.1, jitter=0.05), trace_limit=500) as network:
        a, b = network.socket(A), network.socket(B)
        arrivals = []
        for number in range(100):
            a.send_batch([(number.to_bytes(4, "big"), a.path_to(b.local_address))])
            await trio.sleep(0.02)
        await trio.sleep(1)
        assert take_all(b) == list(range(100))
        arrivals = [sighting.time - 0.02 * number for number, sighting in enumerate(network.trace)]
    assert all(0.1 <= delay <= 0.15 + 1e-9 for delay in arrivals)
    assert max(arrivals) - min(arrivals) > 0.03


async def test_a_bottleneck_spaces_packets_and_drops_what_its_queue_cannot_hold(autojump_clock: MockClock) -> None:
    link = Link(delay=0.0, rate=10_000.0, queue_bytes=5_000)  # 972 + 28 bytes take a tenth of a second
    async with open_network(1, link=link, trace_limit=100) as network:
        a, b = network.socket(A), network.socket(B)
        numbered(a, b, 8, size=972)
        await trio.sleep(1)
        assert take_all(b) == [0, 1, 2, 3, 4]
        assert network.fates == {Fate.QUEUE_FULL: 3, Fate.DELIVERED: 5}
        times = [sighting.time for sighting in network.trace if sighting.fate is Fate.DELIVERED]
        assert times == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-5)
        numbered(a, b, 5, size=972)
        await trio.sleep(1)
        assert take_all(b) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("addresses", "payload"), [((A, B), 1472), (("[fd00::1]:1", "[fd00::2]:2"), 1452)])
async def test_what_exceeds_the_mtu_with_its_headers_vanishes(
    autojump_clock: MockClock, addresses: tuple[str, str], payload: int
) -> None:
    async with open_network(1) as network:
        a, b = (network.socket(address) for address in addresses)
        path = a.path_to(b.local_address)
        a.send_batch([(bytes(payload), path), (bytes(payload + 1), path)])
        await trio.sleep(1)
        assert [len(data) for data, _ in b.receive_batch()] == [payload]
        assert network.fates[Fate.TOO_BIG] == 1


async def test_a_cut_stops_both_directions_and_what_is_under_way_until_it_heals(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        a, b, c = network.socket(A), network.socket(B), network.socket("10.0.0.3:3")
        numbered(a, b, 1)
        network.cut("10.0.0.1", IPv4Address("10.0.0.2"))
        numbered(b, a, 1)
        numbered(c, b, 1)
        await trio.sleep(1)
        assert (take_all(a), take_all(b)) == ([], [0])
        assert network.fates == {Fate.CUT: 2, Fate.DELIVERED: 1}
        network.heal("10.0.0.2", "10.0.0.1")
        numbered(b, a, 2)
        numbered(a, b, 2)
        await trio.sleep(1)
        assert (take_all(a), take_all(b)) == ([0, 1], [0, 1])


async def test_a_pair_of_hosts_can_have_links_of_its_own(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(delay=1.0), trace_limit=10) as network:
        a, b, c = network.socket(A), network.socket(B), network.socket("10.0.0.3:3")
        network.set_link("10.0.0.1", "10.0.0.2", Link(delay=0.1), back=Link(delay=0.2))
        numbered(a, b, 1)
        numbered(b, a, 1)
        numbered(a, c, 1)
        await trio.sleep(2)
        assert [sighting.time for sighting in network.trace] == pytest.approx([0.1, 0.2, 1.0])
        network.set_link("10.0.0.1", "10.0.0.2", Link(loss=1.0))
        numbered(a, b, 1)
        numbered(b, a, 1)
        assert network.fates[Fate.LOST] == 2


async def test_a_socket_that_does_not_read_drops_what_arrives(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        a, b = network.socket(A), network.socket(B)
        numbered(a, b, INBOX_DATAGRAMS + 5)
        await trio.sleep(1)
        assert take_all(b) == list(range(INBOX_DATAGRAMS))
        assert network.fates[Fate.INBOX_FULL] == 5


async def test_a_datagram_to_nobody_is_seen_to_be_so(autojump_clock: MockClock) -> None:
    async with open_network(1) as network:
        a = network.socket(A)
        a.send_batch([(b"x", a.path_to(AddressPort(IPv4Address("10.0.0.9"), 9)))])
        await trio.sleep(1)
        assert network.fates == {Fate.NOBODY: 1}
        assert not network.trace


async def test_the_trace_keeps_the_last_decisions(autojump_clock: MockClock) -> None:
    async with open_network(1, trace_limit=2) as network:
        a, b = network.socket(A), network.socket(B)
        for size in (4, 5, 6):
            numbered(a, b, 1, size=size)
        await trio.sleep(1)
        assert [(s.source, s.destination, s.size, s.fate) for s in network.trace] == [
            (a.local_address, b.local_address, size, Fate.DELIVERED) for size in (5, 6)
        ]


async def test_an_address_is_bound_once_and_port_0_is_a_free_one() -> None:
    network = SimulatedNetwork(1)
    first, second = network.socket("[fd00::1]:0"), network.socket("[fd00::1]:0")
    assert first.local_address.port != second.local_address.port != 0
    with pytest.raises(BindFailed, match=r"cannot listen on UDP \[fd00::1\]:\d+: address already in use") as caught:
        network.socket(first.local_address)
    assert caught.value.in_use
    first.close()
    again = network.socket(first.local_address)
    first.close()  # twice, and the port is another's by now
    with pytest.raises(BindFailed):
        network.socket(again.local_address)


async def test_answers_without_delay_cannot_stop_virtual_time(autojump_clock: MockClock) -> None:
    async with open_network(1, link=Link(delay=0.0)) as network:
        a, b = network.socket(A), network.socket(B)
        numbered(a, b, 1)
        hops = 0
        with trio.move_on_after(0.001):
            while True:
                for sock in (b, a):
                    await sock.wait_readable()
                    sock.send_batch(sock.receive_batch())
                    hops += 1
        assert 900 < hops <= 1000


async def test_an_exception_of_the_block_comes_out_as_itself() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_network(1):
            raise KeyError("mine")


async def test_exceptions_of_a_group_stay_together() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_network(1):
            raise ExceptionGroup("two", [KeyError("a"), KeyError("b")])
    assert caught.group_contains(KeyError)
    assert len(caught.value.exceptions) == 2


@pytest.mark.parametrize("bad", [{"loss": 1.5}, {"delay": -1.0}, {"rate": 0.0}, {"reordering": -0.1}])
def test_a_link_refuses_impossible_numbers(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Link(**bad)  # type: ignore[arg-type]
