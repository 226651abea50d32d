"""How much is measured at entrances, and what the command line says of it."""

import re
from collections.abc import Sequence

import attrs
from attrs.validators import ge, gt

from connet_trio.config.addresses import dial_address
from connet_trio.records.model import HostPort

MIB = 1 << 20
UNITS = {"": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}

WORKERS = 16
"""Requests at once where connections are counted."""
REQUEST_BYTES = 1024

OURS = ("direct", "relayed", "plain")


class BenchFailed(Exception):
    """The measurement cannot go on; the text says why."""


@attrs.frozen(kw_only=True)
class Plan:
    """The amounts of one run."""

    transfer_bytes: int = attrs.field(default=256 * MIB, validator=gt(0))
    """What one transfer carries, over however many streams."""

    parallel: int = attrs.field(default=8, validator=gt(0))
    """Streams at once where there are several."""

    @parallel.validator
    def _check_shares(self, _attribute: object, value: int) -> None:
        if value > self.transfer_bytes:
            raise ValueError(f"{self.transfer_bytes} bytes are too few for {value} streams")

    transfers: int = attrs.field(default=0, validator=ge(0))
    """Downloads one after the other on one connection, once as they come and once after half-read ones; 0: none."""

    rounds: int = attrs.field(default=3, validator=gt(0))

    requests: int = attrs.field(default=200, validator=gt(0))
    """Requests one after the other, for each round."""

    window_seconds: float = attrs.field(default=3.0, validator=gt(0))
    """For how long connections are counted."""

    rss_bytes: int = attrs.field(default=1 << 30, validator=ge(0))
    """What an entrance has carried, at least, when the memory of its processes is looked at again."""


FULL = Plan()
QUICK = Plan(transfer_bytes=16 * MIB, rounds=1, requests=50, window_seconds=1.0, rss_bytes=0)


@attrs.frozen(kw_only=True)
class Foreign:
    """The entrance of another program."""

    name: str
    place: HostPort
    pids: tuple[int, ...] = ()
    """Its processes on this machine, if known."""


def parse_size(text: str) -> int:
    """Bytes: `268435456`, `256MiB`, `1GiB`.

    Raises:
      ValueError: it is none of these.
    """
    match = re.fullmatch(r"([0-9]{1,15})(|KiB|MiB|GiB)", text)
    if match is None:
        raise ValueError(f"{text!r} is no size, expected a number of bytes, or one with KiB, MiB or GiB")
    return int(match[1]) * UNITS[match[2]]


def parse_only(text: str) -> tuple[str, ...]:
    """Some of our own entrances, separated by commas, in the order in which they are measured.

    Raises:
      ValueError: there is another name among them, or none.
    """
    names = set(text.split(","))
    if unknown := names.difference(OURS):
        raise ValueError(f"{', '.join(map(repr, sorted(unknown)))}: expected some of {', '.join(OURS)}")
    return tuple(name for name in OURS if name in names)


def parse_foreign(entrances: Sequence[str], pids: Sequence[str], taken: Sequence[str] = OURS) -> tuple[Foreign, ...]:
    """`NAME=HOST:PORT` each, and `NAME=PID[,PID]` for some of them.

    Args:
      taken: names that others have already.

    Raises:
      ValueError: one is written differently, or a name is taken or unknown.
    """
    foreign: dict[str, Foreign] = {}
    for text in entrances:
        name, _, address = text.partition("=")
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"{text!r} is no entrance, expected NAME=HOST:PORT")
        if name in (*taken, *foreign):
            raise ValueError(f"the name {name!r} is taken")
        foreign[name] = Foreign(name=name, place=dial_address()(address))
    for text in pids:
        name, _, numbers = text.partition("=")
        if name not in foreign:
            raise ValueError(f"{name!r} is none of the other entrances, expected NAME=PID[,PID]")
        if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", numbers):
            raise ValueError(f"{text!r} names no processes, expected NAME=PID[,PID]")
        foreign[name] = attrs.evolve(foreign[name], pids=tuple(map(int, numbers.split(","))))
    return tuple(foreign.values())
