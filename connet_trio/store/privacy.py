"""Directories 0700 and files 0600, whatever the umask.

The mode given at creation is only ever narrowed by the umask, so nothing is readable by others for an instant; the
`chmod` that follows gives back what a strict umask took from the owner.
"""

import os
import stat
from pathlib import Path

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077


def make_private_directory(directory: Path) -> str | None:
    """Create `directory` and its missing parents for this user alone; returns a warning if it was there and is open.

    An open directory is left as it is: it may be shared on purpose, and the files inside are private on their own.

    Raises:
      OSError: it cannot be created, or its parents cannot be searched.
    """
    missing = []
    place = directory
    while not place.exists():
        missing.append(place)
        place = place.parent
    for place in reversed(missing):
        try:
            place.mkdir(DIRECTORY_MODE)
        except FileExistsError:
            continue  # another process was faster: its modes are its own
        place.chmod(DIRECTORY_MODE)
    mode = _mode_open_to_others(directory)
    if mode is None:
        return None
    return f"{directory} is open to other users (mode {mode:03o}); run: chmod 700 {directory}"


def make_private_file(path: Path) -> bool:
    """Create the empty file `path` for this user alone; returns False, and does nothing, if it exists.

    Raises:
      OSError: it cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE)
    except FileExistsError:
        return False
    os.close(descriptor)
    path.chmod(FILE_MODE)
    return True


def tighten_file(path: Path) -> str | None:
    """Take `path` away from other users; returns a warning if they had access to it. A missing file is fine.

    Raises:
      OSError: its directory cannot be searched.
    """
    if not path.is_file():
        return None
    mode = _mode_open_to_others(path)
    if mode is None:
        return None
    try:
        path.chmod(FILE_MODE)
    except PermissionError:
        return f"{path} is open to other users (mode {mode:03o}) and belongs to one of them"
    return f"{path} was open to other users (mode {mode:03o}) and is private again; its secrets may have been read"


def _mode_open_to_others(path: Path) -> int | None:
    """The permission bits of `path` if they let others in; None otherwise, and where modes mean nothing."""
    if os.name != "posix":
        return None
    mode = stat.S_IMODE(path.stat().st_mode)
    return mode if mode & OTHERS else None
