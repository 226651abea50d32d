"""On which line of a TOML text each key is set, and where a text stops being TOML.

tomlkit keeps the text but tells no lines, so the text is cut into statements (a header or an assignment each), which
are TOML by themselves. Only the first line of a statement can be told.
"""

import io
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError, UnexpectedCharError

from connet_trio.config.findings import Keys, dotted


@attrs.frozen
class _Statement:
    line: int
    text: str
    content: Any
    """The statement parsed alone; empty for blank lines, comments and what cannot be parsed."""


def key_lines(text: str) -> dict[Keys, int]:
    """The line, counted from 1, on which each key of a valid TOML text is first set."""
    return _first_lines(_keys_set(_statements(text)))


def explain_error(error: TOMLKitError, text: str) -> tuple[int | None, str]:
    """The line on which `text` stops being TOML, and why.

    tomlkit's own words will not do everywhere: they may quote a secret, and lack the line where a key is repeated.
    """
    if not isinstance(error, ParseError) or "already exists" in str(error):
        return _explain_repetition(list(_statements(text)))
    if isinstance(error, UnexpectedCharError) and r"\x00" in str(error):
        return error.line, "it ends in the middle of a value"
    if type(error) is ParseError:  # the one kind that quotes the text
        return error.line, "neither a [table] nor a key = value"
    reason = str(error).partition(" at line ")[0]
    return error.line, reason[:1].lower() + reason[1:]


def _explain_repetition(statements: list[_Statement]) -> tuple[int | None, str]:
    """Find what sets again what was set before: the end of the shortest beginning that is not TOML."""

    def is_broken(count: int) -> bool:
        try:
            tomlkit.parse("".join(statement.text for statement in statements[:count]))
        except TOMLKitError:
            return True
        return False

    count = bisect_left(range(len(statements)), True, key=is_broken)
    *earlier, (line, repeated) = _keys_set(statements[:count])
    first_lines = _first_lines(earlier)
    for keys in sorted(repeated, key=len, reverse=True):
        if keys in first_lines:
            return line, f"{dotted(keys)} is set twice, first on line {first_lines[keys]}"
    return line, "a key is set twice"


def _statements(text: str) -> Iterator[_Statement]:
    """Cut a text into statements; a value may span lines, and ends with the first one that makes its statement TOML."""
    start, statement = 1, ""
    for number, line in enumerate(io.StringIO(text), start=1):
        start = start if statement else number
        statement += line
        # The cheap look spares parsing a long array again for each of its lines.
        if statement == line or any(end in line for end in ("]", '"""', "'''")):
            try:
                content = tomlkit.parse(statement).unwrap()
            except TOMLKitError:
                continue
            yield _Statement(start, statement, content)
            statement = ""
    if statement:
        yield _Statement(start, statement, {})


def _first_lines(keys_set: Iterable[tuple[int, list[Keys]]]) -> dict[Keys, int]:
    lines: dict[Keys, int] = {}
    for line, paths in keys_set:
        for keys in paths:
            lines.setdefault(keys, line)
    return lines


def _keys_set(statements: Iterable[_Statement]) -> Iterator[tuple[int, list[Keys]]]:
    """What each statement sets, with its line."""
    array_lengths: dict[Keys, int] = {}
    table: Keys = ()
    for statement in statements:
        if statement.content and statement.text.lstrip().startswith("["):
            table = _header_keys(statement.content, array_lengths)
            yield statement.line, [table[:length] for length in range(1, len(table) + 1)]
        else:
            yield statement.line, list(_paths(statement.content, table))


def _header_keys(content: Any, array_lengths: dict[Keys, int]) -> Keys:
    """Where a header leads: through the last table of each array on its way. `[[header]]` begins another table."""
    keys: Keys = ()
    while isinstance(content, dict) and content:
        ((key, content),) = content.items()
        keys = (*keys, key)
        if isinstance(content, list):
            array_lengths[keys] = array_lengths.get(keys, 0) + 1
        if keys in array_lengths:
            keys = (*keys, array_lengths[keys] - 1)
    return keys


def _paths(content: Any, prefix: Keys) -> Iterator[Keys]:
    inside: Iterable[tuple[str | int, Any]] = ()
    if isinstance(content, dict):
        inside = content.items()
    elif isinstance(content, list):
        inside = enumerate(content)
    for key, value in inside:
        yield (*prefix, key)
        yield from _paths(value, (*prefix, key))
