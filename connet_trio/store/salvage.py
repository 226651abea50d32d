"""What can still be read of a damaged database: mostly everything but the value that lay where the damage is."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

KEYS = ("SELECT key FROM entries", "SELECT key FROM entries ORDER BY key DESC")
"""From both ends, as a page that is lost hides those behind it."""


def salvage(path: Path, companions: tuple[str, ...]) -> Mapping[str, bytes]:
    """The entries of the database at `path` that can be read, by key; the files are left as they are.

    Args:
      companions: suffixes of the files that belong to it.
    """
    # a copy, since SQLite would write what it finds in the journal into the database that it reads
    with suppress(OSError, sqlite3.Error), tempfile.TemporaryDirectory(prefix="connet-salvage-") as directory:
        copy = Path(directory) / path.name
        for suffix in ("", *companions):
            original = path.with_name(path.name + suffix)
            if original.exists():
                shutil.copyfile(original, copy.with_name(copy.name + suffix))
        with closing(sqlite3.connect(copy)) as connection:
            return dict(_entries(connection))
    return {}


def _entries(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    for key in dict.fromkeys(_keys(connection)):
        with suppress(sqlite3.Error):
            row = connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
            if row is not None and isinstance(row[0], bytes):
                yield key, row[0]


def _keys(connection: sqlite3.Connection) -> Iterator[str]:
    for question in KEYS:
        with suppress(sqlite3.Error):
            yield from (key for (key,) in connection.execute(question) if isinstance(key, str))
