"""What lies between two ends of a simulated network: a link with its delay and bad luck, or a cut cable."""

from collections.abc import Hashable, Iterator
from ipaddress import ip_address

import attrs

Place = Hashable
"""An end that links and cuts are about: a host, a router, or an address of either, as text or not."""

_fraction = [attrs.validators.ge(0.0), attrs.validators.le(1.0)]


@attrs.frozen(kw_only=True)
class Link:
    """One direction between two hosts."""

    delay: float = attrs.field(default=0.02, validator=attrs.validators.ge(0.0))
    """Seconds one way."""
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    """At most this many seconds more, evenly distributed; on its own it never changes the order of a flow."""
    loss: float = attrs.field(default=0.0, validator=_fraction)
    """Fraction of datagrams that never arrive."""
    duplication: float = attrs.field(default=0.0, validator=_fraction)
    """Fraction that arrives twice."""
    reordering: float = attrs.field(default=0.0, validator=_fraction)
    """Fraction that is late by up to `REORDERING_DELAY`, so that later ones overtake."""
    mtu: int = 1500
    """Bytes of an IP packet; larger ones vanish, as nobody may fragment them."""
    rate: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0.0)))
    """Bytes per second, IP headers included, of the bottleneck that all flows from one host to the other share."""
    queue_bytes: int = 256 * 1024
    """What waits before the bottleneck; a packet that finds no room is dropped."""


DEFAULT_LINK = Link()


class LinkTable:
    """Which link there is between which places, and which are cut off from each other."""

    def __init__(self, default: Link) -> None:
        self._default = default
        self._links: dict[tuple[Place, Place], Link] = {}
        self._cuts: set[tuple[Place, Place]] = set()  # only asked, never iterated: no order

    def set_link(self, a: Place, b: Place, link: Link, back: Link) -> None:
        """Put `link` from `a` to `b` and `back` the other way."""
        self._links[_key(a), _key(b)] = link
        self._links[_key(b), _key(a)] = back

    def cut(self, a: Place, b: Place) -> None:
        """Part two places, both ways."""
        self._cuts |= {(_key(a), _key(b)), (_key(b), _key(a))}

    def heal(self, a: Place, b: Place) -> None:
        """Undo `cut`."""
        self._cuts -= {(_key(a), _key(b)), (_key(b), _key(a))}

    @property
    def has_cuts(self) -> bool:
        """Whether anything is cut off at all."""
        return bool(self._cuts)

    def between(self, sending: tuple[Place, ...], receiving: tuple[Place, ...]) -> Link:
        """The link between two ends, each with all the places it is at, the most particular one first."""
        if self._links:
            for pair in _pairs(sending, receiving):
                link = self._links.get(pair)
                if link is not None:
                    return link
        return self._default

    def is_cut(self, sending: tuple[Place, ...], receiving: tuple[Place, ...]) -> bool:
        """Whether any place of one end is cut off from any of the other."""
        return self.has_cuts and any(pair in self._cuts for pair in _pairs(sending, receiving))


def _pairs(sending: tuple[Place, ...], receiving: tuple[Place, ...]) -> Iterator[tuple[Place, Place]]:
    return ((one, other) for one in sending for other in receiving)


def _key(place: Place) -> Place:
    return ip_address(place) if isinstance(place, str) else place
