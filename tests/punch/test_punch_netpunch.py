"""Mixed trios: nodes that do what the protocol document says of netpunch, to its faults, beside ours."""

from functools import partial
from itertools import product

import attrs
import pytest
import trio

from connet_trio.errors import RemoteProtocolError
from connet_trio.punch import Cause, OpenHole, PunchFailed, Side
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import Introduction, PunchName
from connet_trio.testing import FULL_CONE, OPEN, PORT_RESTRICTED, SYMMETRIC, Host, NatBehavior
from connet_trio.testing.network import SimulatedSocket
from connet_trio.testing.punch_lab import CONTROL, CONTROL_PORT, SECRET, PunchLab, check_hole, simulate, together
from connet_trio.wire.punch import decode_for_peer
from connet_trio.wire.punch_seal import seal, unseal

# section 5.1: what a mode sends, how often, with which gap, and what comes next
MODES: dict[str, tuple[bytes | None, int, float, str]] = {
    "discovering": (None, 5, 0.1, "sleeping"),
    "pinging": (b"x", 10, 0.1, "sleeping"),
    "ponging": (b"y", 10, 0.1, "sleeping"),
    "closing": (b"z", 5, 0.02, "done"),
    "sleeping": (None, 1, 30.0, "discovering"),
}


def opened(datagram: bytes) -> bytes:
    """The body; a marker in its place when it is nobody's (section 2.2)."""
    try:
        return unseal(SECRET, datagram)
    except RemoteProtocolError:
        return b"[message skipped]"


@attrs.define
class NetpunchPeer:
    """Section 5.3, step by step; `remote` is None at the end if it would have crashed (section 5.6)."""

    socket: SimulatedSocket
    letter: bytes
    control: AddressPort
    mode: str = "discovering"
    tries: int = 0
    remote: AddressPort | None = None

    async def run(self) -> AddressPort | None:
        while self.mode != "done":
            body, limit, gap, following = MODES[self.mode]
            self.tries += 1
            if self.mode != "sleeping":
                to = self.control if body is None else self.remote
                assert to is not None
                self.send(self.letter if body is None else body, to)
            heard = False
            with trio.move_on_after(gap):
                await self.socket.wait_readable()
                heard = True
            if heard:
                for datagram, path in self.socket.receive_batch():
                    self.hear(opened(datagram), path.remote_address)
            elif self.tries >= limit:
                self.mode, self.tries = following, 0
        self.socket.close()
        return self.remote

    def hear(self, body: bytes, source: AddressPort) -> None:
        if self.mode == "done":
            return
        self.tries = 0
        match body[:1]:
            case b"i" if body.count(b"|") == 2:
                message = decode_for_peer(body)
                assert isinstance(message, Introduction)
                self.remote, self.mode = message.address, "pinging"
            case b"x":
                self.remote, self.mode = source, "ponging"
            case b"y":
                self.remote, self.mode = source, "closing"
            case b"z":
                self.mode = "done"

    def send(self, body: bytes, to: AddressPort) -> None:
        self.socket.send_batch([(seal(SECRET, body), self.socket.path_to(to))])


async def run_netpunch_control(socket: SimulatedSocket) -> None:
    """Section 4."""
    slots: dict[int, tuple[bytes, AddressPort]] = {}
    while True:
        await socket.wait_readable()
        for datagram, path in socket.receive_batch():
            body, source = opened(datagram), path.remote_address
            if len(body) != 1 or not b"a" <= body <= b"z":
                continue
            slots[body[0]] = body, source
            partner = slots.get(((body[0] - ord("a")) ^ 1) + ord("a"))
            if partner is not None:
                reply = b"|".join((b"i", partner[0], str(partner[1]).encode()))
                socket.send_batch([(seal(SECRET, reply), path)])


async def start_control(lab: PunchLab, kind: str) -> None:
    if kind == "ours":
        await lab.start_control()
    else:
        lab.nursery.start_soon(run_netpunch_control, lab.network.host(CONTROL).socket(CONTROL_PORT))


async def run_peer(lab: PunchLab, kind: str, host: Host, name: str, after: float = 0.0) -> AddressPort | None:
    """Where a peer of a kind finds its partner, from port 5000 of a host."""
    await trio.sleep(after)
    if kind == "ours":
        return (await lab.punch(host, name, time_limit=100.0)).remote
    return await NetpunchPeer(host.socket(5000), name.encode(), lab.control).run()


async def check(hosts: list[Host], remotes: list[AddressPort | None]) -> None:
    """That a hole leads both ways, once the closes that are on their way to who has left have arrived."""
    await trio.sleep(0.5)
    assert None not in remotes
    name, local = PunchName("a"), HostPort("", 5000)
    holes = [OpenHole(name=name, local=local, port=5000, remote=remote) for remote in remotes if remote is not None]
    await check_hole(hosts[0], holes[0], hosts[1], holes[1])


TRIOS = [trio_ for trio_ in product(("ours", "netpunch"), repeat=3) if set(trio_) != {"netpunch"}]
NATS: dict[str, tuple[NatBehavior | None, NatBehavior | None]] = {
    "open-open": (OPEN, OPEN),
    "port-port": (PORT_RESTRICTED, PORT_RESTRICTED),
    "sym-full": (SYMMETRIC, FULL_CONE),
    "full-sym": (FULL_CONE, SYMMETRIC),
}


@pytest.mark.parametrize("nats", NATS)
@pytest.mark.parametrize(("control", "a", "b"), TRIOS)
@pytest.mark.parametrize("late", [0.0, 1.0, 45.0])
def test_every_trio_meets_within_a_round_of_the_later_start(
    control: str, a: str, b: str, nats: str, late: float
) -> None:
    async def scenario(lab: PunchLab) -> float:
        await start_control(lab, control)
        hosts = [lab.add_site(behavior) for behavior in NATS[nats]]
        remotes = await together(
            partial(run_peer, lab, a, hosts[0], "a"), partial(run_peer, lab, b, hosts[1], "b", after=late)
        )
        elapsed = trio.current_time() - late
        await check(hosts, remotes)
        return elapsed

    assert simulate(scenario, seed=f"{control}{a}{b}{nats}{late}") < 32


@pytest.mark.parametrize("kind", ["ours", "netpunch"])
def test_our_control_node_wakes_a_sleeping_peer_of_either_kind(kind: str) -> None:
    async def scenario(lab: PunchLab) -> float:
        await lab.start_control()
        hosts = [lab.add_site(PORT_RESTRICTED), lab.add_site(PORT_RESTRICTED)]
        remotes = await together(
            partial(run_peer, lab, kind, hosts[0], "a"), partial(run_peer, lab, "netpunch", hosts[1], "b", after=10.0)
        )
        elapsed = trio.current_time() - 10.0
        await check(hosts, remotes)
        return elapsed

    assert simulate(scenario) < 1.5


def test_behind_netpunchs_control_node_a_symmetric_nat_is_suspected_on_no_side() -> None:
    async def scenario(lab: PunchLab) -> None:
        await start_control(lab, "netpunch")
        hosts = [lab.add_site(SYMMETRIC), lab.add_site(PORT_RESTRICTED)]
        for outcome in await together(
            *(partial(lab.outcome, host, name) for host, name in zip(hosts, "ab", strict=True))
        ):
            assert isinstance(outcome, PunchFailed)
            assert (outcome.diagnosis.cause, outcome.diagnosis.side) == (Cause.SYMMETRIC_NAT, Side.UNKNOWN)
            assert "netpunch's control node cannot tell" in outcome.diagnosis.text

    simulate(scenario)


def test_a_netpunch_that_lost_every_close_is_answered_again() -> None:
    async def scenario(lab: PunchLab) -> AddressPort | None:
        await lab.start_control()
        hosts = [lab.add_site(OPEN), lab.add_site(OPEN)]
        closes = 0

        class Deaf(NetpunchPeer):
            def hear(self, body: bytes, source: AddressPort) -> None:
                nonlocal closes
                closes += body == b"z"
                if body not in (b"y", b"z") or closes > 5:
                    super().hear(body, source)

        deaf = Deaf(hosts[1].socket(5000), b"b", lab.control)
        _, remote = await together(partial(run_peer, lab, "ours", hosts[0], "a"), deaf.run)
        assert closes == 6
        return remote

    assert str(simulate(scenario)) == "203.0.113.1:5000"
