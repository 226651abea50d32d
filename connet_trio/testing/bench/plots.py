"""Pictures of throughput; needs matplotlib, which the extra `plot` installs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from connet_trio.testing.bench.plan import BenchFailed

SIZE_INCHES = 7.0, 4.5
DOTS_PER_INCH = 120
INSTALL = ".venv/bin/pip install '.[plot]' in a checkout, pip install 'connet-trio[plot]' elsewhere"


@attrs.frozen(kw_only=True)
class Plot:
    """Curves over one axis; places on it are evenly spaced, as they are few and far apart."""

    name: str
    """Of the file, without its ending."""
    title: str
    across: str
    """What the places are."""
    up: str
    """What the values are, with their unit."""
    places: Sequence[str]
    curves: Mapping[str, Sequence[float]]
    """A value for each place."""


def size_plot(title: str, curves: Mapping[str, Mapping[str, float]], levels: Mapping[str, float]) -> Plot:
    """MB/s over the packet size.

    Args:
      curves: by their labels, a value for each of the same packet sizes.
      levels: what has one value, whatever our packet size.
    """
    places = list(next(iter(curves.values()), {}))
    values = {label: [curve[place] for place in places] for label, curve in curves.items()}
    values |= {label: [level] * len(places) for label, level in levels.items()}
    return Plot(name="packet-size", title=title, across="packet size, bytes", up="MB/s", places=places, curves=values)


def check_plots() -> None:
    """See that pictures can be drawn.

    Raises:
      BenchFailed: matplotlib is not there.
    """
    _figure_class()


def draw(plots: Sequence[Plot], directory: Path) -> list[Path]:
    """Write each as a PNG into a directory, which is made if it is not there; returns the files.

    Raises:
      BenchFailed: matplotlib is not there.
      OSError: they cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return [_draw(plot, directory / f"{plot.name}.png") for plot in plots]


def _draw(plot: Plot, file: Path) -> Path:
    figure = _figure_class()(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for label, values in plot.curves.items():
        axes.plot(range(len(values)), values, marker="o", label=label)
    axes.set_xticks(range(len(plot.places)), plot.places)
    axes.set(title=plot.title, xlabel=plot.across, ylabel=plot.up)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(file)
    return file


def _figure_class() -> Any:
    """Matplotlib's figure, without its windows."""
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BenchFailed(f"plots need matplotlib, of the extra `plot`: {INSTALL}") from exc
    return Figure
