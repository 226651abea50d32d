"""Where a server keeps its state when nobody has said where."""

from collections.abc import Mapping
from typing import TypeVar

import attrs

from connet_trio.config.environment import state_directory
from connet_trio.control import ControlSettings
from connet_trio.relay import RelaySettings
from connet_trio.server import ServerSettings
from connet_trio.store import fallback_directory

ServerLike = TypeVar("ServerLike", ControlSettings, RelaySettings, ServerSettings)

CHOSEN_BY = ("CONNET_STATE_DIR", "STATE_DIRECTORY")
"""Variables whose directory was chosen by somebody. Where it cannot be used the service says so and does not start,
rather than come up with another identity."""


def settle_store(
    settings: ServerLike, environment: Mapping[str, str], *, service: str
) -> tuple[ServerLike, tuple[str, ...]]:
    """Put state into a temporary directory, with a warning, where the usual one cannot be written.

    Args:
      service: `server`, `control` or `relay`.
    """
    others = {name: value for name, value in environment.items() if name not in CHOSEN_BY}
    usual = state_directory(others, "" if service == "server" else service)
    if usual is None or settings.store_directory != usual:
        return settings, ()
    directory, warning = fallback_directory(usual, f"connet-{service}-")
    return attrs.evolve(settings, store_directory=directory), () if warning is None else (warning,)
