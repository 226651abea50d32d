"""The sites of a grid: for each kind one for either end, so that two clients for each kind make every pair."""

from collections.abc import Iterable, Mapping, Sequence

import attrs

from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Pair
from connet_trio.testing.natlab.topology import CARRIERS, NatLab


@attrs.frozen
class Ends:
    """The hosts of a pair."""

    first: str
    second: str


def build_sites(lab: NatLab, kinds: Sequence[NatKind], neighbours: Iterable[Neighbours]) -> Mapping[Pair, Ends]:
    """Build the sites into a lab; returns who makes which pair."""
    for kind in kinds:
        lab.add_site(f"a-{kind.value}", kind)
        lab.add_site(f"b-{kind.value}", kind)
    pairs: dict[Pair, Ends] = {
        (one, other): Ends(f"a-{one.value}", f"b-{other.value}") for one in kinds for other in kinds
    }
    for number, each in enumerate(neighbours):
        pairs[each] = Ends(f"a-{number}", f"b-{number}")
        _build_neighbours(lab, each, pairs[each], f"shared-{number}")
    return pairs


def _build_neighbours(lab: NatLab, neighbours: Neighbours, ends: Ends, name: str) -> None:
    match neighbours:
        case Neighbours.ONE_NAT | Neighbours.ONE_SYMMETRIC_NAT:
            kind = NatKind.PORT if neighbours is Neighbours.ONE_NAT else NatKind.SYMMETRIC
            shared = lab.add_router(name, kind)
            for host in (ends.first, ends.second):
                lab.add_host(host, shared)
        case Neighbours.ONE_CARRIER | Neighbours.ONE_HAIRPINNING_CARRIER:
            hairpinning = neighbours is Neighbours.ONE_HAIRPINNING_CARRIER
            carrier = lab.add_router(name, NatKind.PORT, hairpinning=hairpinning, first=CARRIERS)
            for host in (ends.first, ends.second):
                lab.add_host(host, lab.add_router(f"{host}-r", NatKind.PORT, behind=carrier))
