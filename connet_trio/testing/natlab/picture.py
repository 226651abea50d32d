"""A grid as a picture; needs matplotlib, which the extra `plot` installs."""

import io
from pathlib import Path
from typing import Any

from connet_trio.testing.natlab.grid import Cell, Grid
from connet_trio.testing.natlab.kinds import LABELS, Way

DOTS_PER_INCH = 100
CELL_INCHES = 0.95, 0.5
MARGIN_INCHES = 1.4, 1.3
COLOURS = {Way.DIRECT: "#b7e1b0", Way.RELAY: "#fbe0a2", Way.FAILED: "#f2b5ae"}
COLOURS_KEPT = 64
INSTALL = ".venv/bin/pip install '.[plot]' in a checkout, pip install 'connet-trio[plot]' elsewhere"


class NoMatplotlib(Exception):
    """Pictures cannot be drawn; the text says how they can."""


def check_matplotlib() -> None:
    """See that pictures can be drawn.

    Raises:
      NoMatplotlib: they cannot.
    """
    _figure_class()


def draw_grid(grid: Grid, file: Path, *, ends: tuple[str, str]) -> None:
    """Write a grid as a PNG.

    Args:
      ends: what the rows are, and what the columns are.

    Raises:
      NoMatplotlib: there is none.
      OSError: the file cannot be written.
    """
    columns, rows = len(grid.kinds), len(grid.kinds) + len(grid.neighbours)
    size = CELL_INCHES[0] * columns + MARGIN_INCHES[0], CELL_INCHES[1] * rows + MARGIN_INCHES[1]
    figure = _figure_class()(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for (one, other), cell in grid.cells.items():
        _draw_cell(axes, cell, grid.kinds.index(other), grid.kinds.index(one), 1)
    for number, cell in enumerate(grid.neighbours.values(), len(grid.kinds)):
        _draw_cell(axes, cell, 0, number, columns)
    labels = [LABELS[kind] for kind in grid.kinds]
    axes.set(xlim=(0, columns), ylim=(rows, 0), ylabel=ends[0])
    axes.set_title(f"{grid.title}\n{ends[1]}", fontsize=9)
    axes.set_xticks([number + 0.5 for number in range(columns)], labels, fontsize=8)
    shared = [f"both behind\n{each.value}" for each in grid.neighbours]
    axes.set_yticks([number + 0.5 for number in range(rows)], [*labels, *shared], fontsize=8)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    _write_small(drawn, file)


def _draw_cell(axes: Any, cell: Cell, column: int, row: int, width: int) -> None:
    place = (column + 0.03, row + 0.04), width - 0.06, 0.92
    axes.add_patch(_rectangle_class()(*place, facecolor=COLOURS[cell.way], edgecolor="none"))
    text = str(cell).replace("direct ", "direct\n") if width == 1 else str(cell)
    axes.text(column + width / 2, row + 0.5, text, ha="center", va="center", fontsize=8)


def _write_small(drawn: io.BytesIO, file: Path) -> None:
    """Write a picture with a palette, which takes a third: it lives in the repository."""
    from PIL import Image  # comes with matplotlib

    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(COLOURS_KEPT).save(file, format="png", optimize=True)


def _figure_class() -> Any:
    """Matplotlib's figure, without its windows."""
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise NoMatplotlib(f"pictures need matplotlib, of the extra `plot`: {INSTALL}") from exc
    return Figure


def _rectangle_class() -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle
