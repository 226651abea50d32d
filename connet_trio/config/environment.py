"""What the environment says where the configuration does not (protocol sections 12.5 and 12.6).

The environment comes in as a mapping. systemd may list several directories in one variable; the first is ours.
"""

import os
from collections.abc import Mapping
from pathlib import Path


def client_token(environment: Mapping[str, str]) -> str | None:
    """The token of a client that has none configured."""
    return environment.get("CONNET_TOKEN", "").strip() or None


def reset_key_directory(environment: Mapping[str, str]) -> Path | None:
    """Where a client keeps its stateless reset key; None when there is no directory for caches.

    The original asks for a `~/.cache` that exists; a fresh account has none, so here its home will do.
    """
    for name in ("CONNET_CACHE_DIR", "CACHE_DIRECTORY"):
        if directory := _first_directory(environment, name):
            return directory
    base = _user_directory(environment, "XDG_CACHE_HOME", ".cache")
    return base / "connet" if base is not None and _can_be_written(base) else None


def state_directory(environment: Mapping[str, str], subdirectory: str = "") -> Path | None:
    """Where a server without `store-dir` keeps its state; None when nothing lasting can be written.

    Args:
      subdirectory: for a service alone, its own part of the user's directory, where a combined server keeps the same.
    """
    for name in ("CONNET_STATE_DIR", "STATE_DIRECTORY"):
        if directory := _first_directory(environment, name):
            return directory
    base = _user_directory(environment, "XDG_STATE_HOME", ".local/state")
    if base is None:
        return None
    directory = base / "connet-trio" / subdirectory
    return directory if _can_be_written(directory) else None


def _first_directory(environment: Mapping[str, str], name: str) -> Path | None:
    first = environment.get(name, "").partition(os.pathsep)[0]
    return Path(first) if first else None


def _user_directory(environment: Mapping[str, str], name: str, below_home: str) -> Path | None:
    if environment.get(name):
        return Path(environment[name])
    return Path(environment["HOME"]) / below_home if environment.get("HOME") else None


def _can_be_written(directory: Path) -> bool:
    """Whether a directory, or what has to be made of it, looks writable."""
    try:
        existing = next(parent for parent in (directory.absolute(), *directory.absolute().parents) if parent.exists())
        return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    except OSError:  # a directory on the way may not be looked into, as in somebody else's home
        return False
