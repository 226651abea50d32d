"""How our own services are set up in a measurement: packet size, engine, congestion control."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from connet_trio.quic import PACKET_SIZES, CongestionControl, QuicEngine
from connet_trio.testing.bench.plan import OURS

DISCOVERED = "discovered"
"""The packet size of a path that was searched, as far as the product searches by itself."""


@attrs.frozen(kw_only=True)
class Setup:
    """One way to set up every service of an entrance; None is what a service does by itself."""

    packet_size: str | None = None
    """Bytes of UDP payload up to which the path MTU is searched, in decimal; or `DISCOVERED`."""
    engine: QuicEngine | None = None
    congestion_control: CongestionControl | None = None

    @property
    def transport_options(self) -> dict[str, Any]:
        """What `open_transport` is told; settings of services have the same names."""
        options = {
            "max_packet_size": None if self.packet_size in (None, DISCOVERED) else int(self.packet_size),
            "quic_engine": self.engine,
            "congestion_control": self.congestion_control,
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def words(self) -> tuple[str, str, str]:
        """Packet size, engine and congestion control; empty where the product decides."""
        choices = self.engine, self.congestion_control
        engine, control = ("" if choice is None else str(choice.value) for choice in choices)
        return self.packet_size or "", engine, control

    @property
    def keys(self) -> dict[str, str | int]:
        """What is written into the configuration of each service."""
        return {
            name.replace("_", "-"): getattr(value, "value", value) for name, value in self.transport_options.items()
        }


@attrs.frozen(kw_only=True)
class Own:
    """An entrance of ours that is to be opened."""

    name: str
    kind: str
    """One of `OURS`."""
    setup: Setup = Setup()


def combine(
    packet_sizes: Sequence[str], engines: Sequence[QuicEngine], controls: Sequence[CongestionControl]
) -> dict[str, Setup]:
    """Every combination, by what tells it from the others: the values of that of which there are several."""
    several = [len(values) > 1 for values in (packet_sizes, engines, controls)]
    setups = (
        Setup(packet_size=size, engine=engine, congestion_control=control)
        for size, engine, control in itertools.product(packet_sizes or (None,), engines or (None,), controls or (None,))
    )
    return {"-".join(itertools.compress(setup.words, several)): setup for setup in setups}


def own_entrances(kinds: Sequence[str], setups: Mapping[str, Setup]) -> tuple[Own, ...]:
    """Entrances of these kinds, tunnels in every setup: `direct`, or `direct-1200` where there are several."""
    found = []
    for kind in (kind for kind in OURS if kind in kinds):
        if kind == "plain":
            found.append(Own(name=kind, kind=kind))
        else:
            found += [
                Own(name=f"{kind}-{label}" if label else kind, kind=kind, setup=setup)
                for label, setup in setups.items()
            ]
    return tuple(found)


def size_curves(setups: Mapping[str, Setup]) -> dict[str, dict[str, str]]:
    """For each engine and congestion control, the labels in `setups` by their packet size."""
    curves: dict[str, dict[str, str]] = {}
    for label, setup in setups.items():
        rest = " ".join(filter(None, setup.words[1:]))
        curves.setdefault(rest, {})[setup.packet_size or DISCOVERED] = label
    return curves


def parse_packet_size(text: str) -> str:
    """A number of bytes that can be set, or `discovered`.

    Raises:
      ValueError: it is neither.
    """
    if text == DISCOVERED:
        return text
    if not (text.isascii() and text.isdecimal() and int(text) in PACKET_SIZES):
        raise ValueError(f"{text!r}: expected {PACKET_SIZES[0]} to {PACKET_SIZES[-1]} bytes, or {DISCOVERED}")
    return str(int(text))
