"""Tables as records: how a class says which keys it has, how a document becomes one, how two of them become one.

A table is an attrs class, a key one of its fields with `-` for `_`. A key left out is None; so is one with an empty
value (`""`, 0, `[]`), as in the original, where a later file cannot empty what an earlier one set (protocol section
12.8).
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import attrs

from connet_trio.config.document import Located
from connet_trio.config.findings import Findings, Place
from connet_trio.config.values import kind_of

T = TypeVar("T")
Default = TypeVar("Default")


@attrs.frozen(kw_only=True)
class Table:
    """What all tables have."""

    place: Place
    """That of the header, or of the table around one that was left out."""
    faulty: frozenset[str] = frozenset()
    """The keys with errors, so that their absence is not another. TOML's names, as everything here that is told."""


AnyTable = TypeVar("AnyTable", bound=Table)


@attrs.frozen
class Setting(Generic[T]):
    """The value of a key, and where it was set."""

    value: T = attrs.field(repr=False)
    place: Place


def value_of(setting: Setting[T] | None, default: Default) -> T | Default:
    """The value of a key, or `default` when it was left out."""
    return default if setting is None else setting.value


@attrs.frozen(kw_only=True)
class _Value:
    parse: Callable[[object], object]
    is_list: bool
    pair: str
    zero_counts: bool


@attrs.frozen
class _Table:
    table: type[Table]


@attrs.frozen
class _Array:
    table: type[Table]


@attrs.frozen
class _Named:
    table: type[Table]


_Spec = _Value | _Table | _Array | _Named
_SPEC = "spec"


def key(parse: Callable[[object], T], *, pair: str = "", zero_counts: bool = False) -> Setting[T] | None:
    """A field for a key with one value.

    Args:
      parse: reads what tomlkit gives; a ValueError says what is wrong and what is accepted.
      pair: keys of one pair replace each other, so that a document that sets either sets both.
      zero_counts: 0 is a value, and not the same as leaving the key out.
    """
    return _field(_Value(parse=parse, is_list=False, pair=pair, zero_counts=zero_counts), None)


def keys(parse: Callable[[object], T], *, pair: str = "") -> Setting[tuple[T, ...]] | None:
    """A field for a key with a list of values, each read by `parse`."""
    return _field(_Value(parse=parse, is_list=True, pair=pair, zero_counts=False), None)


def subtable(table: type[AnyTable]) -> AnyTable | None:
    """A field for a table: `[client]`."""
    return _field(_Table(table), None)


def array_of(table: type[AnyTable]) -> tuple[AnyTable, ...]:
    """A field for an array of tables: `[[server.ingress]]`."""
    return _field(_Array(table), ())


def named(table: type[AnyTable]) -> Mapping[str, AnyTable]:
    """A field for tables under names of the user's choice: `[client.sources.<name>]`."""
    return _field(_Named(table), MappingProxyType({}))


def _field(spec: _Spec, default: T) -> T:
    return attrs.field(default=default, metadata={_SPEC: spec})


def _fields(table: type[Table]) -> dict[str, tuple[str, _Spec]]:
    """The keys of a table as TOML writes them: each one's field and what it holds."""
    return {
        field.name.replace("_", "-"): (field.name, field.metadata[_SPEC])
        for field in attrs.fields(table)
        if _SPEC in field.metadata
    }


def array_paths(table: type[Table]) -> list[tuple[str, ...]]:
    """The way to each array of tables inside `table`."""
    paths: list[tuple[str, ...]] = []
    for name, (_, spec) in _fields(table).items():
        if isinstance(spec, _Array):
            paths.append((name,))
        elif isinstance(spec, _Table):
            paths.extend((name, *path) for path in array_paths(spec.table))
    return paths


def read_table(node: Located, table: type[AnyTable], findings: Findings) -> AnyTable:
    """The record of a table; what cannot be used is left out and among the findings."""
    fields = _fields(table)
    found: dict[str, Any] = {}
    faulty: set[str] = set()
    if not isinstance(node.value, dict):
        findings.add_error(node.place, f"is {kind_of(node.value)}, expected a table")
    for name, child in node.table.items():
        if name not in fields:
            close = get_close_matches(name, fields, n=1)
            suggestion = f", did you mean {close[0]}?" if close else ","
            findings.add_error(child.place, f"unknown key{suggestion} expected one of {', '.join(fields)}")
            faulty.update(close)
            continue
        field, spec = fields[name]
        errors_before = findings.error_count
        found[field] = _read(child, spec, findings)
        if findings.error_count > errors_before:
            faulty.add(name)
    return table(place=node.place, faulty=frozenset(faulty), **found)


def _read(node: Located, spec: _Spec, findings: Findings) -> Any:
    match spec:
        case _Value():
            return _read_list(node, spec, findings) if spec.is_list else _read_value(node, spec, findings)
        case _Table(table):
            return read_table(node, table, findings)
        case _Array(table):
            if not isinstance(node.value, list):
                header = ".".join(str(part) for part in node.place.keys)
                findings.add_error(node.place, f"is {kind_of(node.value)}, expected an array of tables: [[{header}]]")
                return ()
            return tuple(read_table(item, table, findings) for item in node.value)
        case _Named(table):
            if not isinstance(node.value, dict):
                findings.add_error(node.place, f"is {kind_of(node.value)}, expected a table for each name")
            return {name: read_table(child, table, findings) for name, child in node.table.items()}


def _read_value(node: Located, spec: _Value, findings: Findings) -> Setting[Any] | None:
    # An empty text is like no key at all; other values are looked at after their kind is known to be right.
    if node.value == "":
        return None
    try:
        value = spec.parse(node.value)
    except ValueError as exc:
        findings.add_error(node.place, str(exc))
        return None
    if value == 0 and isinstance(value, bool | int | float) and not spec.zero_counts:
        return None
    return Setting(value, node.place)


def _read_list(node: Located, spec: _Value, findings: Findings) -> Setting[Any] | None:
    if not isinstance(node.value, list):
        findings.add_error(node.place, f"is {kind_of(node.value)}, expected a list")
        return None
    parsed = []
    for item in node.value:
        try:
            parsed.append(spec.parse(item.value))
        except ValueError as exc:
            findings.add_error(item.place, str(exc))
    # A list without its faulty items would be another list: fewer networks denied, fewer tokens than restrictions.
    return Setting(tuple(parsed), node.place) if parsed and len(parsed) == len(node.value) else None


def merge_tables(earlier: AnyTable, later: AnyTable) -> AnyTable:
    """One table from two: what `later` sets replaces what `earlier` set (protocol section 12.8)."""
    fields = _fields(type(earlier)).values()
    replaced_pairs = {
        spec.pair
        for field, spec in fields
        if isinstance(spec, _Value) and spec.pair and getattr(later, field) is not None
    }
    merged: dict[str, Any] = {}
    for field, spec in fields:
        old, new = getattr(earlier, field), getattr(later, field)
        if isinstance(spec, _Value):
            merged[field] = new if new is not None or spec.pair in replaced_pairs else old
        elif isinstance(spec, _Array) and len(old) != len(new):
            merged[field] = new or old
        elif isinstance(spec, _Array):
            merged[field] = tuple(merge_tables(*both) for both in zip(old, new, strict=True))
        elif isinstance(spec, _Named):
            both_named = {name: merge_tables(old[name], new[name]) for name in old.keys() & new.keys()}
            merged[field] = {**old, **new, **both_named}
        else:
            merged[field] = merge_tables(old, new) if old and new else new or old
    return attrs.evolve(earlier, faulty=earlier.faulty | later.faulty, **merged)
