"""Figures beside what they have to reach, as a Markdown table."""

import enum
import math
from collections.abc import Sequence

import attrs

from connet_trio.testing.bench.machine import Machine


class Verdict(enum.Enum):
    """What a figure says about its goal."""

    REACHED = "reached"
    MISSED = "not reached"
    UNKNOWN = "not measured"


@attrs.frozen(kw_only=True)
class Goal:
    """One figure and its bound."""

    figure: str
    value: float
    """NaN where it was not measured."""
    bound: float
    most: bool = False
    """Whether the bound is the most that the figure may be, rather than the least."""
    unit: str = ""
    digits: int = 2
    """After the point."""

    @property
    def verdict(self) -> Verdict:
        """Judged before rounding."""
        if math.isnan(self.value):
            return Verdict.UNKNOWN
        reached = self.value <= self.bound if self.most else self.value >= self.bound
        return Verdict.REACHED if reached else Verdict.MISSED

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its cells."""
        unit = f" {self.unit}" if self.unit else ""
        measured = "" if math.isnan(self.value) else f"{self.value:.{self.digits}f}{unit}"
        return (
            self.figure,
            f"{'at most' if self.most else 'at least'} {self.bound:g}{unit}",
            measured,
            self.verdict.value,
        )


def format_goals(goals: Sequence[Goal], machine: Machine) -> str:
    """The machine, and a table with a row for each goal."""
    rows = [("figure", "must be", "is", ""), ("---", "---", "---:", "---"), *(goal.row for goal in goals)]
    return "\n".join([f"{machine}", "", *(f"| {' | '.join(row)} |" for row in rows)])
