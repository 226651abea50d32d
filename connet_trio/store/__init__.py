"""What control and relay remember between two starts: one SQLite database in a private directory."""

from connet_trio.store.identity import ControlIdentity, RelayIdentity, control_identity, relay_identity
from connet_trio.store.location import fallback_directory
from connet_trio.store.store import Runner, Store, open_store, run_inline

__all__ = [
    "ControlIdentity",
    "RelayIdentity",
    "Runner",
    "Store",
    "control_identity",
    "fallback_directory",
    "open_store",
    "relay_identity",
    "run_inline",
]
