"""Command line of chaos runs, see the package."""

import sys
import time
from pathlib import Path

import click

from connet_trio.quic import QuicEngine
from connet_trio.testing.chaos.drawing import DEFAULT_MINUTES, SCENARIOS
from connet_trio.testing.chaos.many import run_many, run_one
from connet_trio.testing.chaos.plants import PLANTS
from connet_trio.testing.chaos.report import Tally, failure_lines, trace_lines
from connet_trio.testing.chaos.running import Run

PROGRESS_SECONDS = 30.0
"""Between two lines that say how far it is."""


class Seeds(click.ParamType[range]):
    """`7`, or `1-200`."""

    name = "A-B"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """The seeds from the first to the last."""
        if isinstance(value, range):
            return value
        first, dash, last = str(value).partition("-")
        try:
            seeds = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            self.fail(f"{value!r} is neither a seed (7) nor a range of them (1-200)", param, ctx)
        if not seeds:
            self.fail(f"{value!r} has no seed in it", param, ctx)
        return seeds


@click.command(context_settings={"max_content_width": 120})
@click.option("--seeds", type=Seeds(), default="1-20", show_default=True, help="Each decides everything about one run.")
@click.option(
    "--scenario", type=click.Choice(list(SCENARIOS)), default="mixed", show_default=True, help="What goes wrong."
)
@click.option(
    "--minutes", type=click.FloatRange(0.1), default=DEFAULT_MINUTES, show_default=True, help="Of faults, virtual ones."
)
@click.option("--engine", type=click.Choice([engine.value for engine in QuicEngine]), default="fast", show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at the same time.")
@click.option("--plant", type=click.Choice(list(PLANTS)), help="A defect to plant, which seeds have to find.")
@click.option(
    "--traces",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The directory for traces of failed runs, by default the current one.",
)
def main(seeds: range, scenario: str, minutes: float, engine: str, jobs: int, plant: str | None, traces: Path) -> None:
    """Lets deployments live through faults in virtual time, and says which have not been well afterwards.

    A seed draws the networks, what is carried and what goes wrong. Exit code 1 if any failed; the first that does is
    run again for its trace.
    """
    traces.mkdir(parents=True, exist_ok=True)
    tally, began = Tally(), time.monotonic()
    told = began
    runs = [Run(seed=seed, scenario=scenario, minutes=minutes, engine=QuicEngine(engine)) for seed in seeds]
    for outcome in run_many(runs, jobs=jobs, plant=plant):
        tally.add(outcome)
        if outcome.violations:
            click.echo("\n".join(failure_lines(outcome, plant)))
            if len(tally.failed) == 1:
                click.echo("\n".join(trace_lines(run_one(outcome.run, plant=plant, traced=True), traces)))
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            click.echo(f"{tally.runs} of {len(runs)} seeds, {len(tally.failed)} failed", err=True)
    click.echo("\n".join(tally.lines(time.monotonic() - began)))
    sys.exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main(prog_name="scripts/chaos")
