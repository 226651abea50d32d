"""The SQLite database behind a store: blocking, one connection, keys to bytes.

`PRAGMA user_version` is the schema's version: 0 in a file without a schema, `SCHEMA_VERSION` in ours. A newer file is
refused untouched. A damaged one is moved aside and a fresh one takes its place, with what can still be read of it,
since a service that has lost something serves better than none. One that cannot be written, as on a disk that is full,
is read. That, and everything else the operator should know, is in the warnings of `open_database`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connet_trio.errors import StoreError
from connet_trio.store.privacy import make_private_directory, make_private_file, tighten_file
from connet_trio.store.salvage import salvage

DATABASE_NAME = "connet-trio.sqlite3"

SCHEMA_VERSION = 1
SCHEMA = "CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"

BUSY_SECONDS = 5.0
"""How long a statement waits for another process that holds the database, before it fails."""

DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

UNWRITABLE_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
"""Of a disk without room, even for the few bytes that SQLite needs beside a database that it reads."""

COMPANIONS = ("-wal", "-shm")
"""Suffixes of the files SQLite keeps beside a database; they get the modes of the database itself."""


class Database:
    """An open database. Not thread-safe: one call at a time, from whichever thread."""

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._connection = connection
        self.place = place
        """Where it is, for messages."""

    def get(self, key: str) -> bytes | None:
        """The value of `key`, None without one.

        Raises:
          StoreError: the database cannot be read.
        """
        with self._explained("read"):
            row = self._connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`; on the disk when this returns.

        Raises:
          StoreError: the database cannot be written (read-only, disk full); the old value is still there.
        """
        with self._explained("write"):
            self._connection.execute(
                "INSERT INTO entries VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
            )

    def insert_or_get(self, key: str, value: bytes) -> bytes:
        """Keep `value` under `key` unless there is one; returns what is kept, even if another process was faster.

        Raises:
          StoreError: the database cannot be read or written.
        """
        with self._explained("write"):
            self._connection.execute("INSERT INTO entries VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, value))
        kept = self.get(key)
        return value if kept is None else kept

    def close(self) -> None:
        """Give the files back. Idempotent; whatever else is called afterwards raises `StoreError`."""
        self._connection.close()

    @contextmanager
    def _explained(self, act: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise StoreError(f"cannot {act} {self.place}: {exc}") from exc


class _Damaged(Exception):
    """The file is not a database of ours, or no longer one."""


def open_database(directory: Path | None) -> tuple[Database, tuple[str, ...]]:
    """The database in `directory` (None: in memory), created if missing, and warnings for the operator.

    Raises:
      StoreError: the directory cannot be used, or the database was written by a newer release.
    """
    if directory is None:
        return Database(_connect(":memory:")[0], "memory"), ()
    warnings: list[str | None] = []
    try:
        warnings.append(make_private_directory(directory))
        database = _open_file(directory / DATABASE_NAME, warnings)
    except (OSError, sqlite3.Error, _Damaged) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise StoreError(
            f"cannot keep state in {directory}: {reason}; make it a directory that this user can write to, "
            "or set store-dir to one"
        ) from exc
    return database, tuple(warning for warning in warnings if warning is not None)


def _open_file(path: Path, warnings: list[str | None]) -> Database:
    created = make_private_file(path)
    if not created:
        warnings += [tighten_file(path.with_name(path.name + suffix)) for suffix in ("", *COMPANIONS)]
    try:
        connection, fresh = _connect(path)
    except _Damaged as damage:
        return _replace_damaged(path, damage, warnings)
    except sqlite3.OperationalError as exc:
        if created or getattr(exc, "sqlite_errorcode", 0) & 0xFF not in UNWRITABLE_CODES:
            raise
        connection, fresh = _connect(path, alone=True)
        warnings.append(
            f"{path} can be read and not be written ({exc}), as if the disk were full: "
            "what this service learns from now on is forgotten when it stops, unless there is room by then"
        )
    if fresh and not created:
        warnings.append(f"{path} was empty; if it has ever held this service's identity, that is lost")
    return Database(connection, str(path))


def _replace_damaged(path: Path, damage: "_Damaged", warnings: list[str | None]) -> Database:
    """Move a database aside, and begin another with what can be read of it."""
    kept = salvage(path, COMPANIONS)
    aside = _move_aside(path)
    outcome = (
        f"{len(kept)} of its records could be read and are kept, what else was in it is lost"
        if kept
        else "this service's identity is lost: it starts anew, unless the file is restored from a backup"
    )
    warnings.append(f"{path} is damaged ({damage}) and was moved to {aside}; {outcome}")
    make_private_file(path)
    connection, _ = _connect(path)
    database = Database(connection, str(path))
    try:
        for key, value in kept.items():
            database.put(key, value)
    except StoreError:
        database.close()
        raise
    return database


def _connect(path: Path | str, *, alone: bool = False) -> tuple[sqlite3.Connection, bool]:
    """Open the database at `path`; says also whether it was without a schema until now.

    Args:
      alone: let no other process open it meanwhile, which needs no file of shared memory beside it.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        if alone:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        fresh = _prepare(connection, path)
    except BaseException as exc:
        connection.close()
        if isinstance(exc, sqlite3.Error) and _is_damage(exc):
            raise _Damaged(str(exc)) from exc
        raise
    return connection, fresh


def _prepare(connection: sqlite3.Connection, path: Path | str) -> bool:
    """Check what is there before changing any of it, then create the schema; False if it was there."""
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _Damaged(verdict)
    version = _schema_version(connection)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}, this release knows up to {SCHEMA_VERSION}: "
            "it was written by a newer connet-trio; run that one, or set store-dir to another directory"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # writes are few, and a lost identity costs every client
    connection.execute("BEGIN IMMEDIATE")
    fresh = _schema_version(connection) == 0  # looked at again: another process may have been faster
    if fresh:
        connection.execute(SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone() is None:
        raise _Damaged("its table is missing")
    connection.execute("COMMIT")
    return fresh


def _schema_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version < 0:
        raise _Damaged(f"schema version {version}")
    return version


def _is_damage(exc: sqlite3.Error) -> bool:
    """Whether the file is at fault, and not the disk, the permissions or another process."""
    code: int | None = getattr(exc, "sqlite_errorcode", None)  # missing from what the Python module raises on its own
    if code is None:
        return False
    # a header with an impossible format number gets SQLite's code for everything else; formats last changed in 2006
    return code & 0xFF in DAMAGE_CODES or str(exc) == "unsupported file format"


def _move_aside(path: Path) -> Path:
    """Rename a database and its journal, so that neither reaches its successor; returns the first free new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in COMPANIONS:
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    return aside
