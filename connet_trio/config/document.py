"""TOML files and command-line flags as one kind of tree, in which every value knows its place."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs
import tomlkit
from tomlkit.exceptions import TOMLKitError

from connet_trio.config.findings import Findings, Keys, Place
from connet_trio.config.toml_lines import explain_error, key_lines

COMMAND_LINE = "command line"


@attrs.frozen
class Located:
    """A value and its place: a table as a dict of `Located`, an array as a list of them, anything else as it is."""

    place: Place
    value: Any = attrs.field(repr=False)

    @property
    def table(self) -> "dict[str, Located]":
        """What a table holds; nothing for anything else."""
        return self.value if isinstance(self.value, dict) else {}


def read_document(file: Path, findings: Findings) -> Located | None:
    """The tree of a TOML file; None, with the reason among the findings, when it cannot be read or is no TOML."""
    place = Place(str(file))
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        findings.add_error(place, f"cannot be read: {exc.strerror or type(exc).__name__}")
        return None
    except UnicodeDecodeError as exc:
        findings.add_error(place, f"is not UTF-8 text (byte {exc.start})")
        return None
    try:
        content = tomlkit.parse(text).unwrap()
    except TOMLKitError as exc:
        line, reason = explain_error(exc, text)
        findings.add_error(attrs.evolve(place, line=line), f"is not TOML: {reason}")
        return None
    return _locate(content, place, key_lines(text))


def flags_document(flags: Mapping[str, object], array_tables: Collection[tuple[str, ...]]) -> Located:
    """The tree of command-line flags: key paths as TOML writes them, with their values; None is a flag not given.

    Args:
      array_tables: the arrays of tables. Flags name the keys of their first: `server.ingress.addr`.
    """
    content: dict[str, Any] = {}
    for path, value in flags.items():
        if value is not None:
            *tables, last = _keys_of(path)
            inner = content
            for key in tables:
                inner = inner.setdefault(key, {})
            inner[last] = list(value) if isinstance(value, tuple) else value
    for *tables, last in array_tables:
        inner = content
        for key in tables:
            inner = inner.get(key, {})
        if last in inner:
            inner[last] = [inner[last]]
    return _locate(content, Place(COMMAND_LINE), {})


def _keys_of(path: str) -> list[str]:
    """The keys of a path, some of them perhaps quoted: `client.sources."my.db".url`."""
    keys = []
    content: Any = tomlkit.parse(f"{path} = 0").unwrap()
    while isinstance(content, dict):
        ((key, content),) = content.items()
        keys.append(key)
    return keys


def _locate(value: Any, place: Place, lines: Mapping[Keys, int]) -> Located:
    def child(key: str | int, inner: Any) -> Located:
        inside = place.child(key)
        return _locate(inner, attrs.evolve(inside, line=lines.get(inside.keys, place.line)), lines)

    if isinstance(value, dict):
        return Located(place, {key: child(key, inner) for key, inner in value.items()})
    if isinstance(value, list):
        return Located(place, [child(index, inner) for index, inner in enumerate(value)])
    return Located(place, value)
