"""Carries out what a plan says goes wrong."""

from collections.abc import Iterable
from typing import assert_never

import trio

from connet_trio.testing.chaos.plan import (
    ClockJump,
    Down,
    Fault,
    Move,
    NatReboot,
    Partition,
    RelaySwap,
    StoreTrouble,
    Storm,
)
from connet_trio.testing.chaos.world import World
from connet_trio.testing.hosts import Host
from connet_trio.testing.links import Link


async def carry_out(world: World, fault: Fault) -> None:
    """Let one thing go wrong at its time, and be right again at its time."""
    await trio.sleep_until(fault.at)
    match fault:
        case Down():
            await _down(world, fault)
        case Partition():
            await _partition(world, fault)
        case NatReboot():
            _reboot(world, fault)
        case Move():
            await _move(world, fault)
        case ClockJump():
            await _jump(world, fault)
        case StoreTrouble():
            await _trouble_store(world, fault)
        case RelaySwap():
            await _swap(world, fault)
        case Storm():
            await _storm(world, fault)
        case _:
            assert_never(fault)


async def _down(world: World, fault: Down) -> None:
    process = world.process(fault.victim)
    if fault.victim in world.retired:
        return
    if fault.killed:
        process.kill()
    else:
        process.stop()
    await trio.sleep(fault.seconds)
    if fault.victim not in world.retired:
        process.start()


async def _partition(world: World, fault: Partition) -> None:
    world.note(f"{', '.join(fault.one)} and {', '.join(fault.other)} are cut off from each other")
    pairs = [(one, other) for one in _hosts(world, fault.one) for other in _hosts(world, fault.other)]
    for one, other in pairs:
        world.network.cut(one, other)
    await trio.sleep(fault.seconds)
    for one, other in pairs:
        world.network.heal(one, other)
    world.note(f"{', '.join(fault.one)} and {', '.join(fault.other)} reach each other again")


def _reboot(world: World, fault: NatReboot) -> None:
    router = world.router(fault.site)
    router.forget()
    if not fault.new_address:
        world.note(f"the router of {fault.site} forgets every mapping")
        return
    address = str(world.next_outside())
    router.change_address(address)
    world.names[address] = fault.site
    world.note(f"the router of {fault.site} has the address {address} from now on")


async def _move(world: World, fault: Move) -> None:
    machine = world.process(fault.client).machine
    host = machine.host
    if machine.is_away:
        return
    machine.is_away = True
    at_home = host.router, [f"{own.address}/{own.prefix_bits}" for own in host.interfaces() if own.interface != "lo"]
    router = None if fault.to is None else world.add_router(fault.to, name=f"{fault.client} elsewhere")
    addresses = world.addresses_behind(router, ipv6=False)
    host.change_uplink(router, *addresses)
    world.names |= {address.partition("/")[0]: fault.client for address in addresses}
    world.note(f"{fault.client} moves to {addresses[0]}, behind {router or 'nothing'}")
    await trio.sleep(fault.seconds)
    host.change_uplink(at_home[0], *at_home[1])
    machine.is_away = False
    world.note(f"{fault.client} is back at {at_home[1][0]}")


async def _jump(world: World, fault: ClockJump) -> None:
    machine = world.process(fault.victim).machine
    world.note(f"the clock of {fault.victim} moves by {fault.ahead:g} s")
    machine.clock_ahead += fault.ahead
    await trio.sleep(fault.seconds)
    machine.clock_ahead -= fault.ahead
    world.note(f"the clock of {fault.victim} is set right")


async def _trouble_store(world: World, fault: StoreTrouble) -> None:
    disk = world.process(fault.victim).machine.disk
    world.note(f"the disk of {fault.victim} is {'full' if fault.full else f'slow: {fault.delay:g} s for each access'}")
    disk.delay, disk.is_full = fault.delay, fault.full
    await trio.sleep(fault.seconds)
    disk.delay, disk.is_full = 0.0, False
    world.note(f"the disk of {fault.victim} is well")


async def _swap(world: World, fault: RelaySwap) -> None:
    world.retired.add(fault.old)
    old = world.process(fault.old)
    if fault.seconds >= 0:
        old.stop()
        await trio.sleep(fault.seconds)
        world.add_relay(fault.new).start()
    else:
        world.add_relay(fault.new).start()
        await trio.sleep(-fault.seconds)
        old.stop()


async def _storm(world: World, fault: Storm) -> None:
    others = [name for name in world.parties if name != fault.victim]
    world.note(f"a storm around {fault.victim}: {_described(fault.link)}")
    _set_links(world, fault.victim, others, fault.link)
    await trio.sleep(fault.seconds)
    _set_links(world, fault.victim, others, world.plan.link)
    world.note(f"the storm around {fault.victim} is over")


def _set_links(world: World, victim: str, others: Iterable[str], link: Link) -> None:
    (one,) = _hosts(world, [victim])
    for other in _hosts(world, others):
        world.network.set_link(one, other, link)


def _hosts(world: World, names: Iterable[str]) -> list[Host]:
    return [world.process(name).machine.host for name in names]


def _described(link: Link) -> str:
    rate = "any rate" if link.rate is None else f"{link.rate / 1e3:g} kB/s"
    return (
        f"{link.delay * 1e3:g} ms, {link.loss:.0%} lost, {link.reordering:.0%} reordered, "
        f"{link.duplication:.0%} twice, MTU {link.mtu}, {rate}"
    )
