"""What is wrong or odd in a configuration, each with its place, so that all of it can be said at once."""

import re
from collections.abc import Sequence

import attrs

from connet_trio.errors import ConfigError

Keys = tuple[str | int, ...]
"""The way to a value: keys of tables, indices of arrays."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

MAX_KEY_CHARACTERS = 100


def dotted(keys: Keys) -> str:
    """The way to a value as TOML writes it: `client.sources."my db".route`, with `[0]` for the first of an array.

    A long key is cut: it would leave no room for what is wrong with it.
    """
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            shown = key if len(key) <= MAX_KEY_CHARACTERS else f"{key[:MAX_KEY_CHARACTERS]}…"
            quoted = shown if _BARE_KEY.fullmatch(shown) else f'"{"".join(map(_in_quotes, shown))}"'
            text += f".{quoted}" if text else quoted
    return text


def _in_quotes(char: str) -> str:
    """A character as TOML writes it between quotes; the text it goes into is one line."""
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


@attrs.frozen
class Place:
    """Where a value was set, for people: `server.toml:12: server.ingress[0].addr`."""

    source: str
    """The file as it was named, or another origin; empty when there is none."""
    keys: Keys = ()
    line: int | None = None
    """Counted from 1; None when it has none."""

    def child(self, key: str | int) -> "Place":
        """The place of something inside, on the same line as far as is known."""
        return Place(self.source, (*self.keys, key), self.line)

    @property
    def parent(self) -> "Place":
        """The place of the table or array around it, on the same line."""
        return Place(self.source, self.keys[:-1], self.line)

    def __str__(self) -> str:
        origin = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (origin, dotted(self.keys)) if part)


class Findings:
    """Errors and warnings, collected while a configuration is read."""

    def __init__(self, sources: Sequence[str] = ()) -> None:
        """Start with none.

        Args:
          sources: the order in which findings are told.
        """
        self._order = {source: position for position, source in enumerate(sources)}
        self._errors: list[tuple[Place, str]] = []
        self._warnings: list[tuple[Place, str]] = []

    def add_error(self, place: Place, text: str) -> None:
        """Say what makes the value at `place` unusable, never the value of a secret; said twice, it is told once."""
        self._errors.append((place, text))

    def add_warning(self, place: Place, text: str) -> None:
        """Say what is odd about the value at `place`."""
        self._warnings.append((place, text))

    @property
    def error_count(self) -> int:
        """How many errors were found so far."""
        return len(self._errors)

    def raise_errors(self) -> None:
        """Do nothing when there are none.

        Raises:
          ConfigError: every error so far, one on each line, by file and line.
        """
        if self._errors:
            raise ConfigError("\n".join(self._in_order(self._errors)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning so far, by file and line."""
        return tuple(self._in_order(self._warnings))

    def _in_order(self, found: list[tuple[Place, str]]) -> list[str]:
        last = len(self._order)
        by_place = sorted(found, key=lambda item: (self._order.get(item[0].source, last), item[0].line or 0))
        return list(dict.fromkeys(f"{place}: {text}" for place, text in by_place))
