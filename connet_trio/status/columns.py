"""Rows of texts as lines with columns, on a terminal where some characters take two cells and some none."""

import unicodedata
from collections.abc import Sequence

MAX_CELLS = 40
"""Of a column that is not the last; a longer text is cut."""


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row: columns as wide as their widest text, two spaces apart, none that is empty but for a header.

    All rows have as many texts.
    """
    cut = [[*(cut_to(text, MAX_CELLS) for text in row[:-1]), row[-1]] for row in rows]
    kept = [column for column in zip(*cut, strict=True) if any(column[1:]) or len(rows) == 1]
    widths = [max(map(cells, column)) for column in kept]
    lines = zip(*kept, strict=True)
    return ["  ".join(pad(text, width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def cells(text: str) -> int:
    """How many cells of a line a text takes."""
    return sum(map(_cells, text))


def cut_to(text: str, width: int) -> str:
    """A text of at most `width` cells, with "…" where some is missing."""
    if cells(text) <= width:
        return text
    kept, room = "", width - 1
    for char in text:
        room -= _cells(char)
        if room < 0:
            break
        kept += char
    return f"{kept}…"


def pad(text: str, width: int) -> str:
    """A text that fills so many cells."""
    return text + " " * (width - cells(text))


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
