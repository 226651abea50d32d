"""The trace of a simulated network for people: who sent what to whom, and what became of it.

    12.345678  198.18.0.1:19192 (nas)  ->  192.0.2.1:19190 (control)   3 x 1-RTT      3600 B  delivered

Datagrams in a row that differ in nothing but their size are one line. Notes of whoever runs the scenario stand between.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter

from connet_trio.records.model import AddressPort
from connet_trio.testing.network import Sighting

Note = tuple[float, str]
"""Something else that happened at a time (seconds)."""


def readable_trace(
    sightings: Iterable[Sighting], notes: Iterable[Note] = (), *, names: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Lines without line ends, in the order of time.

    Args:
      names: what hosts are called, by the names the network has for them, and addresses, as text.
    """
    called = names or {}
    written = [(time, f"{time:12.6f}  ** {text}") for time, text in notes]
    yield from map(itemgetter(1), heapq.merge(_runs(sightings, called), sorted(written), key=itemgetter(0)))


def _runs(sightings: Iterable[Sighting], names: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    def kind_of(sighting: Sighting) -> tuple[str, str]:
        return _way(sighting, names), f"{sighting.kind:9} {{bytes:8}} B  {sighting.fate.value}"

    for (way, rest), run in groupby(sightings, kind_of):
        first, *more = run
        size = first.size + sum(sighting.size for sighting in more)
        yield first.time, f"{first.time:12.6f}  {way}  {1 + len(more):4} x {rest.format(bytes=size)}"


def _way(sighting: Sighting, names: Mapping[str, str]) -> str:
    sender = f"{sighting.source} ({names.get(sighting.sender, sighting.sender)})"
    return f"{sender:44} -> {_called(sighting.destination, names):36}"


def _called(place: AddressPort, names: Mapping[str, str]) -> str:
    name = names.get(str(place.address))
    return str(place) if name is None else f"{place} ({name})"
