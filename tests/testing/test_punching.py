"""Which NATs let plain datagrams punch through, and how soon: the simulated ones against measured ones.

Both ends ask a server, learn what it saw of the other, then send every 50 ms to that and to wherever datagrams really
come from, until each knows that both directions work. The expected times were measured between NATs of Linux
(nftables), with a round trip of 100 ms; they come in steps of 50 ms.
"""

import attrs
import pytest
import trio

from connet_trio.quic import NetworkPath
from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.nat import (
    ADDRESS_RESTRICTED,
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    OPEN,
    PORT_RESTRICTED,
    SYMMETRIC,
    NatBehavior,
    PortAllocation,
)
from connet_trio.testing.network import Host, Link, Router, SimulatedNetwork, SimulatedSocket, open_network

SERVER = "198.51.100.1:3478"
TICK = 0.05
LINK = Link(delay=0.0505)  # what a round trip of 100 ms was when measured: an answer just misses a tick
REMAP = attrs.evolve(PORT_RESTRICTED, ports=PortAllocation.RANDOM)

KINDS: dict[str, NatBehavior | None] = {
    "open": OPEN,
    "full": FULL_CONE,
    "addr": ADDRESS_RESTRICTED,
    "port": PORT_RESTRICTED,
    "adm": ADDRESS_SYMMETRIC,
    "sym": SYMMETRIC,
    "fw": FIREWALL,
    "remap": REMAP,
}
FAILS = None
GRID: dict[str, tuple[int | None, ...]] = {
    # ms    open full addr   port   adm   sym
    "open": (150, 150, 150, 150, 250, 250),
    "full": (150, 150, 150, 150, 250, 250),
    "addr": (150, 150, 150, 150, 250, 250),
    "port": (150, 150, 150, 150, FAILS, FAILS),
    "adm": (250, 250, 250, FAILS, FAILS, FAILS),
    "sym": (250, 250, 250, FAILS, FAILS, FAILS),
    # the firewall and the NAT that never preserves ports are as `port`
    "fw": (150, 150, 150, 150, FAILS, FAILS),
    "remap": (150, 150, 150, 150, FAILS, FAILS),
}
PAIRS = [(a, b, milliseconds) for a, row in GRID.items() for b, milliseconds in zip(GRID, row, strict=False)]


async def ask_server(network: SimulatedNetwork, *sockets: SimulatedSocket) -> list[AddressPort]:
    """What a server on the internet sees of each socket, which gets an answer."""
    server = network.socket(SERVER)
    seen = []
    for sock in sockets:
        sock.send_batch([(b"who am I", sock.path_to(server.local_address))])
        await server.wait_readable()
        [(_, path)] = server.receive_batch()
        seen.append(path.remote_address)
        server.send_batch([(b"this", path)])
        await sock.wait_readable()
        assert sock.receive_batch()[0][0] == b"this"
    return seen


async def punch(sock: SimulatedSocket, told: AddressPort, sure: trio.Event) -> None:
    """Send and answer for ever; set `sure` when the other side has heard us and we it."""
    targets: dict[NetworkPath, None] = {sock.path_to(told): None}
    heard = False
    while True:
        sock.send_batch([(b"I hear you" if heard else b"hello?", path) for path in targets])
        with trio.move_on_after(TICK):
            while True:
                await sock.wait_readable()
                for data, path in sock.receive_batch():
                    targets[sock.path_to(path.remote_address)] = None
                    heard = True
                    if data == b"I hear you":
                        sure.set()


async def time_to_punch(network: SimulatedNetwork, one: Host, other: Host) -> int | None:
    """Milliseconds until both ends are sure, in steps of 50; None when a second is not enough."""
    sockets = one.socket(5000), other.socket(5000)
    seen = await ask_server(network, *sockets)
    events = trio.Event(), trio.Event()
    began = trio.current_time()
    with trio.move_on_after(1.0):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(punch, sockets[0], seen[1], events[0])
            nursery.start_soon(punch, sockets[1], seen[0], events[1])
            for event in events:
                await event.wait()
            elapsed = trio.current_time() - began
            nursery.cancel_scope.cancel()
        return round(elapsed / TICK) * 50
    return None


def add_home(
    network: SimulatedNetwork, number: int, behavior: NatBehavior | None, carrier: Router | None = None
) -> Host:
    """A host of its own: on the internet, behind a firewall there, or at 10.0.0.2 behind a NAT."""
    if behavior is None:
        return network.host(f"203.0.113.{number}", behind=carrier)
    if not behavior.translates:
        return network.host(f"203.0.113.{number}", behind=network.add_router(behavior, behind=carrier))
    outside = f"203.0.113.{number}" if carrier is None else f"100.64.0.{number}"
    return network.host("10.0.0.2", behind=network.add_router(behavior, outside, behind=carrier))


@pytest.mark.parametrize(("one", "other", "milliseconds"), PAIRS)
def test_two_sites_punch_through_as_fast_as_real_ones(one: str, other: str, milliseconds: int | None) -> None:
    async def scenario() -> int | None:
        async with open_network(f"{one} {other}", link=LINK) as network:
            return await time_to_punch(network, add_home(network, 4, KINDS[one]), add_home(network, 8, KINDS[other]))

    assert run_simulated(scenario, seed=1) == milliseconds


@pytest.mark.parametrize("kind", ["full", "addr", "port", "remap"])
@pytest.mark.parametrize("hairpinning", [True, False])
def test_neighbors_reach_each_other_by_outside_addresses_only_through_a_hairpin(kind: str, hairpinning: bool) -> None:
    behavior = KINDS[kind]
    assert behavior is not None

    async def scenario() -> int | None:
        async with open_network(1, link=LINK) as network:
            router = network.add_router(attrs.evolve(behavior, hairpinning=hairpinning), "203.0.113.4")
            one, other = network.host("10.0.0.2", behind=router), network.host("10.0.0.3", behind=router)
            return await time_to_punch(network, one, other)

    assert run_simulated(scenario, seed=1) == (150 if hairpinning else FAILS)


@pytest.mark.parametrize("hairpinning", [True, False])
def test_homes_of_one_carrier_reach_each_other_only_through_its_hairpin(hairpinning: bool) -> None:
    async def scenario() -> int | None:
        async with open_network(1, link=LINK) as network:
            carrier = network.add_router(attrs.evolve(PORT_RESTRICTED, hairpinning=hairpinning), "203.0.113.4")
            homes = [add_home(network, number, PORT_RESTRICTED, carrier) for number in (2, 3)]
            return await time_to_punch(network, *homes)

    assert run_simulated(scenario, seed=1) == (150 if hairpinning else FAILS)


@pytest.mark.parametrize(
    ("home", "carrier", "other", "milliseconds"),
    [
        ("full", "full", "sym", 250),
        ("port", "full", "sym", FAILS),
        ("full", "port", "sym", FAILS),
        ("port", "port", "port", 150),
        ("port", "sym", "port", FAILS),
        ("sym", "port", "port", FAILS),
        ("sym", "port", "full", 250),
    ],
)
def test_a_carrier_around_a_home_is_as_the_worse_of_both(
    home: str, carrier: str, other: str, milliseconds: int | None
) -> None:
    around = KINDS[carrier]
    assert around is not None

    async def scenario() -> int | None:
        async with open_network(1, link=LINK) as network:
            inside = add_home(network, 2, KINDS[home], network.add_router(around, "203.0.113.4"))
            return await time_to_punch(network, inside, add_home(network, 8, KINDS[other]))

    assert run_simulated(scenario, seed=1) == milliseconds
