"""JSON that somebody else wrote, read without trust: what is missing or of another kind is as good as nothing."""

from collections.abc import Mapping
from typing import Any

import attrs

from connet_trio.records.text import printable

MAX_TEXT = 300
"""Characters of one text; a longer one is cut."""

MAX_NUMBER = 1e18
"""Of either sign: beyond all bytes and times there are."""


@attrs.frozen
class JsonObject:
    """An object; texts come out fit for a terminal."""

    members: Mapping[str, Any]

    def text(self, key: str) -> str:
        """A text, empty when there is none."""
        return _text(self.members.get(key))

    def texts(self, key: str) -> list[str]:
        """The texts of a list."""
        value = self.members.get(key)
        return [_text(item) for item in value] if isinstance(value, list) else []

    def number(self, key: str) -> float | None:
        """A number that can be reckoned with."""
        value = self.members.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MAX_NUMBER:
            return None
        return value

    def object(self, key: str) -> "JsonObject":
        """An object, one without members when there is none."""
        value = self.members.get(key)
        return JsonObject(value if isinstance(value, dict) else {})

    def objects(self, key: str) -> "list[JsonObject]":
        """The objects of a list, or those in an object, sorted by name."""
        value = self.members.get(key)
        if isinstance(value, list):
            return [JsonObject(item) for item in value if isinstance(item, dict)]
        return [inner for _, inner in self.named(key)]

    def named(self, key: str) -> "list[tuple[str, JsonObject]]":
        """The objects in an object with their names, sorted by them."""
        value = self.members.get(key)
        items = sorted(value.items()) if isinstance(value, dict) else []
        return [(_text(name), JsonObject(item)) for name, item in items if isinstance(item, dict)]


def _text(value: object) -> str:
    return printable(value, MAX_TEXT) if isinstance(value, str) else ""
