"""What a client announces as its addresses while the machine moves."""

import logging
from ipaddress import ip_address, ip_interface
from random import Random

import attrs
import pytest
import trio
import trio.testing

from connet_trio.client.reachability import READ_INTERVAL_SECONDS, Reachability
from connet_trio.engine import InterfaceAddress
from connet_trio.records.model import AddressPort

PORT = 19_192


def cards(*texts: str) -> tuple[InterfaceAddress, ...]:
    """A loopback interface, and a card with these addresses."""
    written = [("lo", ip_interface("127.0.0.1/8")), *(("eth0", ip_interface(text)) for text in texts)]
    return tuple(
        InterfaceAddress(address=each.ip, prefix_bits=each.network.prefixlen, interface=name, index=2)
        for name, each in written
    )


def at(address: str, port: int = PORT) -> AddressPort:
    return AddressPort(ip_address(address), port)


@attrs.define
class Machine:
    """Interfaces that a test changes."""

    interfaces: tuple[InterfaceAddress, ...]
    reads: list[float] = attrs.field(factory=list)

    def read(self) -> tuple[InterfaceAddress, ...]:
        self.reads.append(trio.current_time())
        return self.interfaces


HOME, CAFE, OFFLINE = cards("192.168.1.5/24", "fe80::5/64"), cards("10.3.0.7/16", "fe80::5/64"), cards()


@pytest.fixture
def machine() -> Machine:
    return Machine(HOME)


@pytest.fixture
def reachability(machine: Machine) -> Reachability:
    return Reachability(at("::"), machine.read, Random(1))


async def test_nothing_is_read_before_somebody_asks(machine: Machine, reachability: Reachability) -> None:
    assert machine.reads == []
    assert reachability.interfaces == ()
    assert reachability.directs.value == ()
    assert reachability.public is None


async def test_a_socket_bound_to_one_address_announces_it_before_any_read(machine: Machine) -> None:
    reachability = Reachability(at("192.168.1.5"), machine.read, Random(1))
    assert reachability.directs.value == (at("192.168.1.5"),)


async def test_the_three_sources_are_announced_in_their_order(reachability: Reachability) -> None:
    reachability.read_now()
    host: tuple[AddressPort, ...] = (at("192.168.1.5"), at("fe80::5"))
    assert reachability.directs.value == reachability.host_addresses == host
    reachability.handle_public(at("::ffff:203.0.113.4", 40_000))
    assert reachability.public == at("203.0.113.4", 40_000)
    assert reachability.directs.value == (at("203.0.113.4", 40_000), *host)
    reachability.handle_mapped([at("203.0.113.4", 5000), at("192.168.1.5")])
    assert reachability.directs.value == (at("203.0.113.4", 40_000), at("203.0.113.4", 5000), *host)
    reachability.handle_mapped([])
    assert reachability.directs.value == (at("203.0.113.4", 40_000), *host)
    reachability.handle_public(at("203.0.113.4", 40_001))
    assert reachability.directs.value == (at("203.0.113.4", 40_001), *host)


async def test_peers_are_tried_as_seen_from_where_we_are_now(machine: Machine, reachability: Reachability) -> None:
    directs = (at("203.0.113.4"), at("10.3.0.9"), at("192.168.1.9"))
    reachability.handle_public(at("198.51.100.4"))
    reachability.read_now()
    assert [each.address for each in reachability.candidates(directs)] == [directs[2], directs[0], directs[1]]
    machine.interfaces = CAFE
    reachability.read_now()
    assert [each.address for each in reachability.candidates(directs)] == [directs[1], directs[0], directs[2]]


async def test_moving_is_noticed_and_said_once(
    machine: Machine, reachability: Reachability, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reachability.read_now()
    assert reachability.moved.value == 0
    assert caplog.messages == []
    machine.interfaces = CAFE
    for _ in range(2):
        reachability.read_now()
    assert reachability.moved.value == 1
    assert reachability.directs.value == (at("10.3.0.7"), at("fe80::5"))
    assert reachability.interfaces == CAFE
    assert caplog.messages == ["network addresses of this machine changed: 10.3.0.7 came; 192.168.1.5 went"]


async def test_going_offline_and_coming_back_is_moving_twice(
    machine: Machine, reachability: Reachability, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reachability.read_now()
    machine.interfaces = OFFLINE
    reachability.read_now()
    assert reachability.directs.value == ()
    machine.interfaces = HOME
    reachability.read_now()
    assert reachability.moved.value == 2
    assert [message.partition("changed: ")[2] for message in caplog.messages] == [
        "192.168.1.5 went",
        "192.168.1.5 came",
    ]


async def test_a_link_local_address_is_announced_but_its_coming_is_not_a_move(
    machine: Machine, reachability: Reachability
) -> None:
    reachability.read_now()
    machine.interfaces = (*HOME, *cards("fe80::77/64"))
    reachability.read_now()
    assert at("fe80::77") in reachability.directs.value
    assert reachability.moved.value == 0


async def test_a_list_in_another_order_is_no_news(machine: Machine, reachability: Reachability) -> None:
    machine.interfaces = cards("192.168.1.5/24", "10.3.0.7/16")
    reachability.read_now()
    before = reachability.directs.value
    machine.interfaces = machine.interfaces[::-1]
    reachability.read_now()
    assert reachability.directs.value == before
    assert reachability.moved.value == 0


async def test_an_ipv4_socket_does_not_care_about_ipv6(machine: Machine) -> None:
    reachability = Reachability(at("0.0.0.0"), machine.read, Random(1))
    reachability.read_now()
    machine.interfaces = (*HOME, *cards("2001:db8::5/64"))
    reachability.read_now()
    assert reachability.directs.value == (at("192.168.1.5"),)
    assert reachability.moved.value == 0


async def test_a_read_that_failed_changes_nothing(machine: Machine, reachability: Reachability) -> None:
    reachability.read_now()
    machine.interfaces = ()
    reachability.read_now()
    assert reachability.interfaces == HOME
    assert reachability.directs.value == (at("192.168.1.5"), at("fe80::5"))
    assert reachability.moved.value == 0


async def test_what_the_first_successful_read_finds_is_no_move(machine: Machine, reachability: Reachability) -> None:
    machine.interfaces = ()
    reachability.read_now()
    machine.interfaces = HOME
    reachability.read_now()
    assert reachability.directs.value == (at("192.168.1.5"), at("fe80::5"))
    assert reachability.moved.value == 0


async def test_the_interfaces_are_looked_at_at_once_and_then_about_every_five_seconds(
    machine: Machine, reachability: Reachability, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(200):
        await reachability.run()
    gaps = [later - sooner for sooner, later in zip(machine.reads, machine.reads[1:], strict=False)]
    assert machine.reads[0] == 0
    assert len(gaps) > 30
    assert min(gaps) >= 0.75 * READ_INTERVAL_SECONDS
    assert max(gaps) <= 1.25 * READ_INTERVAL_SECONDS
    assert len(set(gaps)) > 1


async def test_those_who_wait_learn_of_a_move_within_seconds(
    machine: Machine, reachability: Reachability, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reachability.run)
        await trio.sleep(60)
        machine.interfaces = CAFE
        with trio.fail_after(1.25 * READ_INTERVAL_SECONDS):
            assert await reachability.moved.wait_transition() == 1
        assert reachability.directs.value == (at("10.3.0.7"), at("fe80::5"))
        nursery.cancel_scope.cancel()
