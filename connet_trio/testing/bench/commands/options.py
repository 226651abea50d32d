"""Options that several commands have, and how each of them ends."""

import enum
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click
import trio

from connet_trio.quic import CongestionControl, QuicEngine
from connet_trio.testing.bench.machine import this_machine
from connet_trio.testing.bench.plan import BenchFailed, parse_size
from connet_trio.testing.bench.plots import Plot, check_plots, draw
from connet_trio.testing.bench.setups import Setup, combine, parse_packet_size
from connet_trio.testing.processes import ProcessEnded

Command = TypeVar("Command", bound=Callable[..., Any])
Callback = Callable[[click.Context, click.Parameter, Any], Any]


def parsed(parse: Callable[[str], Any]) -> Callback:
    """A click callback that has `parse` read the value, or each of several."""

    def callback(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(parse(text) for text in value)
            return None if value is None else parse(value)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc

    return callback


def listed(parse: Callable[[str], Any]) -> Callback:
    """A click callback for values with commas between them."""
    return parsed(lambda text: tuple(parse(each) for each in text.split(",") if each))


size_option = parsed(parse_size)


def setup_options(command: Command) -> Command:
    """How our services are set up; several values of one option are measured in the same rounds."""
    for option in (
        _choices("--congestion-control", "controls", CongestionControl),
        _choices("--engine", "engines", QuicEngine),
        click.option(
            "--packet-size",
            "packet_sizes",
            metavar="BYTES|discovered",
            multiple=True,
            callback=parsed(parse_packet_size),
            help="UDP payload of a full packet, 1200 to 16384, or what the search of the path finds. Repeatable",
        ),
    ):
        command = option(command)
    return command


def _choices(name: str, variable: str, choices: type[enum.Enum]) -> Callable[[Command], Command]:
    """An option with any of the values of an enum, any number of times."""
    words = [str(choice.value) for choice in choices]
    return click.option(
        name,
        variable,
        multiple=True,
        type=click.Choice(words),
        callback=parsed(choices),
        help="Default: the product's. Repeatable",
    )


def setups_of(options: Mapping[str, Any]) -> dict[str, Setup]:
    """What `setup_options` say, by what tells one from the other."""
    return combine(options["packet_sizes"], options["engines"], options["controls"])


def output_options(command: Command) -> Command:
    """Where the figures go besides the screen."""
    for option in (
        click.option(
            "--plot",
            "plot_directory",
            metavar="DIR",
            type=click.Path(file_okay=False, path_type=Path),
            help="Draw the throughput as PNG (extra: plot)",
        ),
        json_option,
    ):
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """A file for everything that was measured."""
    file = click.Path(dir_okay=False, writable=True, path_type=Path)
    return click.option("--json", "json_file", metavar="FILE", type=file, help="Every sample, with the machine")(
        command
    )


def check_output(options: Mapping[str, Any]) -> None:
    """See that what was asked for can be written, before anything is measured.

    Raises:
      BenchFailed: it cannot.
    """
    if options.get("plot_directory") is not None:
        check_plots()


def write_output(options: Mapping[str, Any], document: Mapping[str, Any], plots: Sequence[Plot] = ()) -> None:
    """Write what `output_options` ask for.

    Raises:
      OSError: it cannot be written.
    """
    if options["json_file"] is not None:
        whole = {"machine": attrs.asdict(this_machine()), **document}
        options["json_file"].write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    if options.get("plot_directory") is not None:
        for file in draw(plots, options["plot_directory"]):
            click.echo(f"drawn: {file}", err=True)


def say(line: str) -> None:
    """How things are going, on stderr: what was found goes to stdout."""
    click.echo(line, err=True)


@contextmanager
def failures_told() -> Iterator[None]:
    """End the program with 1 and a line when the measurement cannot go on."""
    try:
        yield
    except (BenchFailed, ProcessEnded, OSError) as failure:
        click.echo(f"\nFAILED: {failure}", err=True)
        sys.exit(1)
    except trio.TooSlowError:
        click.echo("\nFAILED: a process took too long to start", err=True)
        sys.exit(1)
