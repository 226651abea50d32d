"""TOML files, command-line flags and the environment → settings."""

from connet_trio.config.load import Loaded, check_files, load_client, load_control, load_relay, load_server
from connet_trio.config.status_address import load_status_addresses

__all__ = [
    "Loaded",
    "check_files",
    "load_client",
    "load_control",
    "load_relay",
    "load_server",
    "load_status_addresses",
]
