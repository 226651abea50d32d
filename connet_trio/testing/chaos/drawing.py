"""Draws the plan of a chaos run from its seed. Pure: the same seed, scenario and minutes give the same plan."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from connet_trio.records.model import Route
from connet_trio.testing.chaos.plan import (
    CONTROL,
    ClientPlan,
    ClockJump,
    Down,
    Fault,
    GivesUp,
    Move,
    NatReboot,
    Partition,
    Plan,
    RelaySwap,
    ServicePlan,
    SitePlan,
    StoreTrouble,
    Storm,
    TransferPlan,
    meet,
)
from connet_trio.testing.links import Link
from connet_trio.testing.nat import (
    ADDRESS_RESTRICTED,
    ADDRESS_SYMMETRIC,
    FIREWALL,
    FULL_CONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    UDP_BLOCKED,
)

NATS = (FULL_CONE, ADDRESS_RESTRICTED, PORT_RESTRICTED, PORT_RESTRICTED, ADDRESS_SYMMETRIC, SYMMETRIC, FIREWALL)
CARRIERS = (FULL_CONE, PORT_RESTRICTED, SYMMETRIC)
KIB = 1 << 10
FIRST_FAULT_AT = 15.0
"""When everybody has found each other."""
DAY = 86_400.0
DEFAULT_MINUTES = 1.5


class _Drawing:
    """Draws one plan; what is drawn earlier decides what may be drawn later."""

    def __init__(self, seed: int, scenario: str, minutes: float) -> None:
        self.luck = Random(f"chaos {scenario} {minutes:g} {seed}")
        self.last_fault_at = FIRST_FAULT_AT + 60.0 * minutes
        self.relays = tuple(f"relay{number}" for number in range(1, 1 + self.luck.choice((1, 1, 2, 2, 3))))
        self.sites: list[SitePlan] = []
        self.clients = tuple(self._client(number) for number in range(1, 1 + self.luck.choice((2, 3, 3, 4))))
        self.services = tuple(self._service(number) for number in range(1, 1 + self.luck.choice((1, 2, 2))))
        self.swapped: list[str] = []
        self.link = self._link()

    # --- who is there

    def _client(self, number: int) -> ClientPlan:
        luck = self.luck
        site = None
        if luck.random() < 0.75:
            if not self.sites or luck.random() < 0.85:
                carrier = luck.choice(CARRIERS) if luck.random() < 0.2 else None
                nat = luck.choice(NATS)
                if carrier is not None and not nat.translates:
                    carrier = None  # addresses behind a firewall are public ones
                self.sites.append(SitePlan(name=f"site{len(self.sites) + 1}", nat=nat, carrier=carrier))
            site = luck.choice(self.sites[-2:]).name
        return ClientPlan(name=f"client{number}", site=site, ipv6=luck.random() < 0.3)

    def _service(self, number: int) -> ServicePlan:
        luck = self.luck
        names = [client.name for client in self.clients]
        luck.shuffle(names)
        destinations = 1 if len(names) == 2 or luck.random() < 0.8 else 2
        sources = luck.randint(1, min(2, len(names) - destinations))
        offering, using = names[:destinations], names[destinations : destinations + sources]
        routes = [Route.ANY, Route.ANY, Route.ANY, Route.RELAY]
        if all(meet(self._site_of(one), self._site_of(other)) for one in offering for other in using):
            routes.append(Route.DIRECT)
        return ServicePlan(
            name=f"service{number}", route=luck.choice(routes), destinations=tuple(offering), sources=tuple(using)
        )

    def _site_of(self, client: str) -> SitePlan | None:
        wanted = next(plan.site for plan in self.clients if plan.name == client)
        return next((site for site in self.sites if site.name == wanted), None)

    def _link(self) -> Link:
        luck = self.luck
        return Link(
            delay=luck.choice((0.002, 0.01, 0.03, 0.08)),
            jitter=luck.choice((0.0, 0.001, 0.005)),
            loss=luck.choice((0.0, 0.0, 0.002, 0.01)),
            duplication=luck.choice((0.0, 0.01)),
            reordering=luck.choice((0.0, 0.01)),
            mtu=luck.choice((1500, 1500, 1400, 1280)),
            rate=luck.choice((None, 1e6, 5e6)),
            queue_bytes=luck.choice((64, 256)) * KIB,
        )

    # --- what they say

    def transfers(self) -> tuple[TransferPlan, ...]:
        times = sorted(self.luck.uniform(5.0, self.last_fault_at + 5.0) for _ in range(self.luck.randint(5, 9)))
        return tuple(self._transfer(number, at) for number, at in enumerate(times, 1))

    def _transfer(self, number: int, at: float) -> TransferPlan:
        luck = self.luck
        service = luck.choice(self.services)
        up, down, chunk, write_pause, read_pause = luck.choice(_SHAPES)(luck)
        return TransferPlan(
            number=number,
            at=at,
            service=service.name,
            source=luck.choice(service.sources),
            bytes_up=up,
            bytes_down=down,
            chunk_bytes=chunk,
            write_pause=write_pause,
            read_pause=read_pause,
            gives_up=luck.choice((GivesUp.NOBODY,) * 8 + (GivesUp.SOURCE, GivesUp.DESTINATION)),
        )

    # --- what goes wrong

    def faults(self, kinds: tuple[str, ...]) -> tuple[Fault, ...]:
        if not kinds:
            return ()
        count = self.luck.randint(3, 7)
        drawn = [_FAULTS[self.luck.choice(kinds)](self) for _ in range(count)]
        return tuple(sorted((fault for fault in drawn if fault is not None), key=lambda fault: fault.at))

    def at(self) -> float:
        return self.luck.uniform(FIRST_FAULT_AT, self.last_fault_at)

    def seconds(self) -> float:
        """A moment, less than an idle timeout, about as long, or longer."""
        return self.luck.choice((0.5, 3.0, 8.0, 19.0, 22.0, 45.0)) * self.luck.uniform(0.9, 1.1)

    def client(self) -> str:
        return self.luck.choice(self.clients).name

    def relay(self) -> str:
        return self.luck.choice(self.relays)

    def party(self) -> str:
        return self.luck.choice((CONTROL, self.relay(), self.client()))

    def down(self, killed: bool) -> Down:
        return Down(at=self.at(), seconds=self.seconds(), victim=self.party(), killed=killed)

    def partition(self) -> Partition:
        everybody = [CONTROL, *self.relays, *(client.name for client in self.clients)]
        self.luck.shuffle(everybody)
        parted = self.luck.choice((1, 1, len(everybody) // 2))
        rest = everybody[parted:]
        other = rest if self.luck.random() < 0.5 else [self.luck.choice(rest)]
        return Partition(at=self.at(), seconds=self.seconds(), one=tuple(everybody[:parted]), other=tuple(other))

    def nat_reboot(self) -> NatReboot | None:
        if not self.sites:
            return None
        site = self.luck.choice(self.sites)
        new_address = site.nat.translates and site.carrier is None and self.luck.random() < 0.4
        return NatReboot(at=self.at(), site=site.name, new_address=new_address)

    def move(self) -> Move:
        to = self.luck.choice((None, PORT_RESTRICTED, SYMMETRIC, UDP_BLOCKED))
        return Move(at=self.at(), seconds=self.seconds(), client=self.client(), to=to)

    def clock_jump(self) -> ClockJump:
        ahead = self.luck.choice((-40 * DAY, -DAY, -30.0, 30.0, 3600.0, DAY, 40 * DAY))
        return ClockJump(at=self.at(), seconds=self.seconds(), victim=self.party(), ahead=ahead)

    def store_trouble(self) -> StoreTrouble:
        victim = self.luck.choice((CONTROL, self.relay()))
        full = self.luck.random() < 0.4
        delay = 0.0 if full else self.luck.choice((0.1, 1.0, 4.0, 10.0))
        return StoreTrouble(at=self.at(), seconds=self.seconds(), victim=victim, delay=delay, full=full)

    def relay_swap(self) -> RelaySwap | None:
        left = [relay for relay in self.relays if relay not in self.swapped]
        if not left:
            return None
        old = self.luck.choice(left)
        self.swapped.append(old)
        new = f"relay{len(self.relays) + len(self.swapped)}"
        return RelaySwap(at=self.at(), seconds=self.luck.choice((-10.0, 2.0, 20.0)), old=old, new=new)

    def storm(self) -> Storm:
        luck = self.luck
        link = Link(
            delay=luck.choice((0.01, 0.1, 0.4)),
            jitter=luck.choice((0.0, 0.02)),
            loss=luck.choice((0.05, 0.2, 0.4)),
            duplication=luck.choice((0.0, 0.05)),
            reordering=luck.choice((0.0, 0.1)),
            mtu=luck.choice((1500, 1280)),
            rate=luck.choice((None, 1e5)),
            queue_bytes=luck.choice((16, 256)) * KIB,
        )
        return Storm(at=self.at(), seconds=self.seconds(), victim=self.party(), link=link)


_Shape = tuple[int, int, int, float, float]
"""Bytes up, bytes down, of a chunk, pause between writes, pause between reads."""


def _request(luck: Random) -> _Shape:
    return luck.randint(0, 2000), luck.randint(0, 20_000), 4 * KIB, 0.0, 0.0


def _bulk(luck: Random) -> _Shape:
    much, little = luck.randint(50, 300) * KIB, luck.randint(0, 1000)
    up, down = luck.choice(((much, little), (little, much), (much, much // 3)))
    return up, down, 64 * KIB, 0.0, 0.0


def _slow_reader(luck: Random) -> _Shape:
    """More than the first window of a stream (960 KiB), so that its sender has to wait for credit."""
    much, little = luck.randint(1000, 1150) * KIB, luck.randint(0, 1000)
    up, down = luck.choice(((much, little), (little, much)))
    return up, down, 64 * KIB, 0.0, luck.choice((0.1, 0.3, 1.0))


def _chat(luck: Random) -> _Shape:
    chunk = luck.randint(1, 300)
    messages = luck.randint(5, 40)
    return chunk * messages, chunk * messages, chunk, luck.choice((0.3, 1.0, 2.0)), 0.0


_SHAPES = (_request, _request, _request, _bulk, _bulk, _bulk, _slow_reader, _chat, _chat)

_FAULTS: Mapping[str, Callable[[_Drawing], Fault | None]] = MappingProxyType(
    {
        "kill": lambda drawing: drawing.down(killed=True),
        "stop": lambda drawing: drawing.down(killed=False),
        "partition": _Drawing.partition,
        "nat reboot": _Drawing.nat_reboot,
        "move": _Drawing.move,
        "clock jump": _Drawing.clock_jump,
        "store trouble": _Drawing.store_trouble,
        "relay swap": _Drawing.relay_swap,
        "storm": _Drawing.storm,
    }
)

SCENARIOS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mixed": tuple(_FAULTS),
        "calm": (),
        "restarts": ("kill", "kill", "stop", "relay swap"),
        "partitions": ("partition",),
        "networks": ("nat reboot", "move", "partition"),
        "storms": ("storm",),
        "clocks": ("clock jump", "clock jump", "stop"),
        "stores": ("store trouble", "kill", "stop"),
    }
)
"""By name, the kinds of faults that are drawn."""


def draw_plan(seed: int, *, scenario: str = "mixed", minutes: float = DEFAULT_MINUTES) -> Plan:
    """The plan for a seed.

    Args:
      scenario: one of `SCENARIOS`.
      minutes: for how long faults begin.
    """
    drawing = _Drawing(seed, scenario, minutes)
    transfers = drawing.transfers()
    return Plan(
        seed=seed,
        scenario=scenario,
        link=drawing.link,
        relays=drawing.relays,
        sites=tuple(drawing.sites),
        clients=drawing.clients,
        services=drawing.services,
        transfers=transfers,
        faults=drawing.faults(SCENARIOS[scenario]),
    )
