"""The stateless reset key of a client's socket, kept in a file so that peers notice a restart (section 12.5)."""

import os
from collections.abc import Callable
from pathlib import Path

from connet_trio.client.settings import RESET_KEY_BYTES
from connet_trio.records.model import HostPort


def load_reset_key(directory: Path, address: HostPort, entropy: Callable[[int], bytes]) -> bytes:
    """The key kept for `address` in `directory`, made when there is none; file 0600 under any umask.

    Raises:
      OSError: the directory cannot be used.
    """
    host = "" if address.host in ("", "::") else str(address).rpartition(":")[0]
    name = f"{host}:{address.port}".replace(":", "-").lstrip("-")
    path = directory / f"stateless-reset-{name}.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != RESET_KEY_BYTES:
        key = entropy(RESET_KEY_BYTES)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(path, key)
    return key


def _write_private(path: Path, key: bytes) -> None:
    # written beside and renamed: a crash half way must not leave a short key
    partial = path.with_suffix(".new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        partial.chmod(0o600)  # whatever the umask has taken away
        file.write(key)
    partial.replace(path)
