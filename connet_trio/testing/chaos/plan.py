"""What a chaos run is going to do, all of it known before it begins: who there is, what they send, and what goes wrong.

Parties go by name: `control`, `relay1`, …, `client1`, …; sites, behind whose routers clients may be, are `site1`, ….
Times are seconds of virtual time.
"""

import enum

import attrs

from connet_trio.records.model import Route
from connet_trio.testing.links import Link
from connet_trio.testing.nat import Dependence, NatBehavior

CONTROL = "control"


@attrs.frozen(kw_only=True)
class SitePlan:
    """A network behind a router of its own."""

    name: str
    nat: NatBehavior
    carrier: NatBehavior | None
    """The NAT of a carrier in front of it."""


@attrs.frozen(kw_only=True)
class ClientPlan:
    """A client and the host it is on."""

    name: str
    site: str | None
    """None on the internet."""
    ipv6: bool
    """Whether it has an address of that kind too, which is known outside."""


def meet(one: SitePlan | None, other: SitePlan | None) -> bool:
    """Whether clients at two sites, None on the internet, are sure to reach each other directly.

    One is open, both are at the same, or every router on the way has mappings that are good for anybody.
    """
    if one is None or other is None or one == other:
        return True
    routers = [nat for site in (one, other) for nat in (site.nat, site.carrier) if nat is not None]
    return all(nat.mapping is Dependence.ENDPOINT_INDEPENDENT for nat in routers)


@attrs.frozen(kw_only=True)
class ServicePlan:
    """An endpoint: which clients offer it, and which consume it."""

    name: str
    route: Route
    destinations: tuple[str, ...]
    sources: tuple[str, ...]


class GivesUp(enum.Enum):
    """Who abandons a transfer half way."""

    NOBODY = "nobody"
    SOURCE = "the source"
    DESTINATION = "the destination"


@attrs.frozen(kw_only=True)
class TransferPlan:
    """A stream, and what is said on it in both directions at once."""

    number: int
    at: float
    service: str
    source: str
    bytes_up: int
    """From source to destination."""
    bytes_down: int
    chunk_bytes: int
    """Of one write, and of one read at most."""
    write_pause: float
    read_pause: float
    gives_up: GivesUp = GivesUp.NOBODY


# --- what goes wrong; each begins at `at`, and all is as before after `seconds`


@attrs.frozen(kw_only=True)
class Down:
    """A service is gone for a while."""

    at: float
    seconds: float
    victim: str
    killed: bool
    """Without a word, or stopped with a goodbye."""


@attrs.frozen(kw_only=True)
class Partition:
    """Nothing passes between two groups."""

    at: float
    seconds: float
    one: tuple[str, ...]
    other: tuple[str, ...]


@attrs.frozen(kw_only=True)
class NatReboot:
    """A router forgets every mapping."""

    at: float
    site: str
    new_address: bool
    """It comes back with another address."""
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Move:
    """A client is in another network, then where it was before."""

    at: float
    seconds: float
    client: str
    to: NatBehavior | None
    """The router it is behind then; None on the internet."""


@attrs.frozen(kw_only=True)
class ClockJump:
    """The wall clock of a machine is wrong."""

    at: float
    seconds: float
    victim: str
    ahead: float
    """Seconds; less than 0 behind."""


@attrs.frozen(kw_only=True)
class StoreTrouble:
    """A disk is slow, or full."""

    at: float
    seconds: float
    victim: str
    delay: float
    """Of each access."""
    full: bool


@attrs.frozen(kw_only=True)
class RelaySwap:
    """A relay is stopped for good, and another one started before or after."""

    at: float
    seconds: float
    """Without either; less than 0: both are there that long."""
    old: str
    new: str


@attrs.frozen(kw_only=True)
class Storm:
    """All that a party sends and gets passes a worse link."""

    at: float
    seconds: float
    victim: str
    link: Link


Fault = Down | Partition | NatReboot | Move | ClockJump | StoreTrouble | RelaySwap | Storm


@attrs.frozen(kw_only=True)
class Plan:
    """All of a run."""

    seed: int
    scenario: str
    link: Link
    relays: tuple[str, ...]
    sites: tuple[SitePlan, ...]
    clients: tuple[ClientPlan, ...]
    services: tuple[ServicePlan, ...]
    transfers: tuple[TransferPlan, ...]
    faults: tuple[Fault, ...]

    @property
    def quiet_at(self) -> float:
        """When nothing is wrong any more."""
        return max((fault.at + abs(fault.seconds) for fault in self.faults), default=0.0)

    def site_of(self, client: str) -> SitePlan | None:
        """Where a client is when it is at home."""
        name = next(plan.site for plan in self.clients if plan.name == client)
        return next((site for site in self.sites if site.name == name), None)

    @property
    def relays_at_last(self) -> frozenset[str]:
        """Those that run when all is over."""
        swaps = [fault for fault in self.faults if isinstance(fault, RelaySwap)]
        return (frozenset(self.relays) | {swap.new for swap in swaps}) - {swap.old for swap in swaps}
