"""What chaos runs have shown, for people."""

from collections.abc import Sequence
from pathlib import Path

import attrs

from connet_trio.testing.chaos.drawing import DEFAULT_MINUTES
from connet_trio.testing.chaos.running import Outcome, Run

SHOWN_LINES = 60
"""Of a trace, at most; a longer one goes into a file, and its notes here."""
SHOWN_CHARACTERS = 2000
"""Of one violation, which may be a traceback."""


def replay_command(run: Run, plant: str | None) -> str:
    """What runs it again, and nothing else."""
    words = ["scripts/chaos", f"--seeds {run.seed}", f"--engine {run.engine.value}"]
    if run.scenario != "mixed":
        words.append(f"--scenario {run.scenario}")
    if run.minutes != DEFAULT_MINUTES:
        words.append(f"--minutes {run.minutes:g}")
    if plant:
        words.append(f"--plant {plant}")
    return " ".join(words)


def failure_lines(outcome: Outcome, plant: str | None) -> list[str]:
    """What was wrong, and how to see it again."""
    run = outcome.run
    lines = [f"seed {run.seed} ({run.engine.value}) FAILED; again: {replay_command(run, plant)}"]
    return lines + [f"    {violation[-SHOWN_CHARACTERS:]}" for violation in outcome.violations]


def trace_lines(outcome: Outcome, directory: Path) -> list[str]:
    """The readable trace, or its notes and the file that has all of it."""
    if len(outcome.trace) <= SHOWN_LINES:
        return list(outcome.trace)
    path = directory / f"chaos-{outcome.run.seed}-{outcome.run.engine.value}.trace"
    path.write_text("\n".join(outcome.trace) + "\n", encoding="utf-8")
    notes = [line for line in outcome.trace if "  ** " in line]
    return [*notes[-SHOWN_LINES:], f"    the whole trace, {len(outcome.trace)} lines: {path}"]


@attrs.define
class Tally:
    """What many runs have come to."""

    runs: int = 0
    failed: list[int] = attrs.field(factory=list)
    transfers: int = 0
    whole: int = 0
    datagrams: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    connected_after: list[float] = attrs.field(factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.runs += 1
        if outcome.violations:
            self.failed.append(outcome.run.seed)
        self.transfers += outcome.transfers
        self.whole += outcome.whole
        self.datagrams += outcome.datagrams
        self.virtual_seconds += outcome.virtual_seconds
        self.cpu_seconds += outcome.cpu_seconds
        self.connected_after.append(outcome.connected_after)

    def lines(self, wall_seconds: float) -> list[str]:
        """A summary."""
        found = sorted(self.connected_after)
        return [
            f"{self.runs - len(self.failed)} of {self.runs} seeds passed{_listed(self.failed)}",
            f"    {self.virtual_seconds / 3600:.1f} h of virtual time, {self.datagrams} datagrams, "
            f"{self.transfers} transfers ({self.whole} whole, the others loudly broken or not begun)",
            f"    everybody had found everybody {_percentile(found, 0.5):.1f} s (median), "
            f"{_percentile(found, 0.99):.1f} s (99 %), {found[-1]:.1f} s (longest) after the last fault",
            f"    {wall_seconds:.0f} s, {self.cpu_seconds / self.runs:.2f} s of CPU time for each seed",
        ]


def _listed(seeds: Sequence[int]) -> str:
    return f"; failed: {', '.join(map(str, seeds))}" if seeds else ""


def _percentile(ordered: Sequence[float], fraction: float) -> float:
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
