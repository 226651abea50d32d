"""Command line of the bench, see the package."""

import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from connet_trio.concurrency import single_error
from connet_trio.testing.bench.entrances import find_foreign, open_entrances, open_target
from connet_trio.testing.bench.figures import Results
from connet_trio.testing.bench.listening import LOOPBACK
from connet_trio.testing.bench.plan import (
    FULL,
    OURS,
    QUICK,
    BenchFailed,
    Foreign,
    Plan,
    parse_foreign,
    parse_only,
    parse_size,
)
from connet_trio.testing.bench.process_figures import check_system
from connet_trio.testing.bench.rounds import run_rounds
from connet_trio.testing.bench.tables import format_results
from connet_trio.testing.processes import ProcessEnded
from connet_trio.version import VERSION

AMOUNTS = tuple(field.name for field in attrs.fields(Plan))


@attrs.frozen(kw_only=True)
class Job:
    """What the command line asks for."""

    plan: Plan
    only: tuple[str, ...] = OURS
    foreign: tuple[Foreign, ...] = ()
    target_port: int = 0


def _parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A click callback that has `parse` read a value."""

    def callback(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else parse(text)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc

    return callback


@click.command(help="Measures the whole product with real processes on this machine, beside a plain TCP copy.")
@click.option("--only", default=",".join(OURS), show_default=True, callback=_parsed(parse_only), help="Entrances")
@click.option("--also", metavar="NAME=HOST:PORT", multiple=True, help="The entrance of another tunnel to the target")
@click.option("--also-pid", metavar="NAME=PID[,PID]", multiple=True, help="Its processes, for their CPU and memory")
@click.option("--target-port", type=click.IntRange(1, 65_535), help="TCP port of the target  [default: any]")
@click.option("--quick", is_flag=True, help="Small amounts, where the options below do not say another one")
@click.option("--rounds", type=click.IntRange(1), help=f"Times each figure is taken  [default: {FULL.rounds}]")
@click.option(
    "--bytes", "transfer_bytes", metavar="SIZE", callback=_parsed(parse_size), help="Per transfer  [default: 256MiB]"
)
@click.option("--requests", type=click.IntRange(1), help=f"Sequential requests a round  [default: {FULL.requests}]")
@click.option(
    "--seconds",
    "window_seconds",
    type=click.FloatRange(0.1),
    help=f"For which connections are counted  [default: {FULL.window_seconds:g}]",
)
@click.option(
    "--rss-bytes", metavar="SIZE", callback=_parsed(parse_size), help="Carried before memory is read  [default: 1GiB]"
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="All samples")
def main(**options: Any) -> None:
    """Measure; the exit code tells how it went."""
    job = _job(options)
    try:
        check_system()
        with tempfile.TemporaryDirectory(prefix="connet-trio-bench-") as directory:
            results = trio.run(run_bench, job, Path(directory))
        if options["json_file"] is not None:
            options["json_file"].write_text(json.dumps(_document(job, results), indent=1) + "\n", "utf-8")
    except (BenchFailed, ProcessEnded, OSError) as failure:
        click.echo(f"\nFAILED: {failure}", err=True)
        sys.exit(1)
    except trio.TooSlowError:
        click.echo("\nFAILED: a process took too long to start", err=True)
        sys.exit(1)
    click.echo(f"\n{format_results(results, job.plan)}")


def _job(options: dict[str, Any]) -> Job:
    given = {name: options[name] for name in AMOUNTS if options[name] is not None}
    if options["also"] and options["target_port"] is None:
        raise click.UsageError("--also needs --target-port, the port of 127.0.0.1 that the other tunnel leads to")
    try:
        return Job(
            plan=attrs.evolve(QUICK if options["quick"] else FULL, **given),
            only=options["only"],
            foreign=parse_foreign(options["also"], options["also_pid"]),
            target_port=options["target_port"] or 0,
        )
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


async def run_bench(job: Job, directory: Path) -> Results:
    """Start everything, measure, and end everything.

    Raises:
      BenchFailed, ProcessEnded, OSError, trio.TooSlowError: something is off, or a signal came.
    """
    interrupts = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    with trio.open_signal_receiver(*interrupts) as signals, single_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail_on_signal, signals)
            results = await _run(job, directory)
            nursery.cancel_scope.cancel()
    return results


async def _fail_on_signal(signals: AsyncIterator[int]) -> None:
    raise BenchFailed(f"stopped by {signal.Signals(await anext(signals)).name}")


async def _run(job: Job, directory: Path) -> Results:
    say = partial(click.echo, err=True)
    async with open_target(job.target_port, directory) as target:
        click.echo(f"connet-trio {VERSION}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
        click.echo(f"The target service is at {LOOPBACK}:{target}.")
        foreign = [await find_foreign(entrance, target) for entrance in job.foreign]
        async with open_entrances(job.only, target, directory) as ours:
            references = [name for name in job.only if name == "plain"] + [entrance.name for entrance in foreign]
            return await run_rounds([*ours, *foreign], job.plan, tuple(references), say)


def _document(job: Job, results: Results) -> dict[str, Any]:
    machine = {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}
    return {"connet-trio": VERSION, **machine, "plan": attrs.asdict(job.plan), **results.to_json()}


if __name__ == "__main__":
    main()
