"""What was found in a lab: for each pair of kinds, and for neighbours, how two clients are connected and how soon."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from connet_trio.testing.links import Link
from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Pair, Way, possible


@attrs.frozen
class Cell:
    """What became of a pair."""

    way: Way
    seconds: float | None = None
    """Until both knew of their direct path, from when both were announced (or had started); None if there is none."""
    why: str = ""
    """What the clients say about it, where they are not direct."""

    def __str__(self) -> str:
        return self.way.value if self.seconds is None else f"{self.way.value} {self.seconds:.1f} s"


@attrs.frozen(kw_only=True)
class Grid:
    """The first of a pair is the destination, or the peer `a`."""

    title: str
    kinds: Sequence[NatKind]
    cells: Mapping[tuple[NatKind, NatKind], Cell]
    neighbours: Mapping[Neighbours, Cell] = attrs.field(factory=dict)
    has_relay: bool = True
    """Whether there is one; those who cannot be direct have failed otherwise."""

    def best(self, pair: Pair) -> Way:
        """How the two of a pair can be connected at best."""
        way = pair.possible if isinstance(pair, Neighbours) else possible(*pair)
        return Way.FAILED if way is Way.RELAY and not self.has_relay else way

    def shortfalls(self) -> list[str]:
        """The pairs that were not connected as well as possible, in words; better than possible counts as well."""
        pairs: list[tuple[Pair, Cell]] = [*self.cells.items(), *self.neighbours.items()]
        return [
            f"{_name(pair)}: {cell}, possible is {self.best(pair).value}{f' ({cell.why})' if cell.why else ''}"
            for pair, cell in pairs
            if cell.way is not self.best(pair)
        ]

    def to_text(self) -> str:
        """A table, a row for each kind of the first of a pair."""
        width = max(len(str(cell)) for cell in self.cells.values()) + 2
        head = max(len(kind.value) for kind in self.kinds) + 2
        lines = [self.title, " " * head + "".join(f"{kind.value:<{width}}" for kind in self.kinds)]
        for row in self.kinds:
            cells = (f"{self.cells[row, column]!s:<{width}}" for column in self.kinds)
            lines.append(f"{row.value:<{head}}{''.join(cells)}")
        lines += [f"both behind {each.value}: {cell}" for each, cell in self.neighbours.items()]
        return "\n".join(line.rstrip() for line in lines)

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`."""
        return {
            "title": self.title,
            "cells": [
                {"first": one.value, "second": other.value, **_cell(cell)} for (one, other), cell in self.cells.items()
            ],
            "neighbours": [{"behind": each.value, **_cell(cell)} for each, cell in self.neighbours.items()],
        }


def describe(link: Link) -> str:
    """What the accesses of a lab are like, each way `link`."""
    told = f"round trip {4000 * link.delay:g} ms between clients"
    return f"{told}, {100 * link.loss:g} % lost on each access" if link.loss else told


def _name(pair: Pair) -> str:
    return f"both behind {pair.value}" if isinstance(pair, Neighbours) else f"{pair[0].value} - {pair[1].value}"


def _cell(cell: Cell) -> dict[str, Any]:
    seconds = None if cell.seconds is None else round(cell.seconds, 3)
    return {"way": cell.way.value, "seconds": seconds, "why": cell.why}
