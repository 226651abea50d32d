"""`connet-trio check`: judges configuration files without running anything."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import tomlkit
from tomlkit.exceptions import TOMLKitError

from connet_trio.cli.commands import CONTEXT_SETTINGS
from connet_trio.cli.failures import tell_warning
from connet_trio.cli.service_command import Load
from connet_trio.config import check_files, load_client, load_control, load_relay, load_server
from connet_trio.errors import ConfigError

LOADERS: Mapping[str, Load[Any]] = {
    "client": load_client,
    "server": load_server,
    "control": load_control,
    "relay": load_relay,
}


def check_command() -> click.Command:
    """Reads files as the services they are for would."""

    def run(files: tuple[Path, ...]) -> None:
        for warning in check(files, os.environ):
            tell_warning(warning)

    argument = click.Argument(["files"], nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
    return click.Command(
        "check",
        callback=run,
        params=[argument],
        context_settings=CONTEXT_SETTINGS,
        help="Check configuration files, and the tokens, certificates and keys they name. "
        "Several files are read as one, as after repeated --config. Says nothing, and ends with 0, when all is well.",
    )


def check(files: Sequence[Path], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The warnings about files, for each service whose table is in one of them.

    Raises:
      ConfigError: every error, one on each line.
    """
    tables = {table for file in files for table in _top_tables(file)}
    services = [service for service in LOADERS if service in tables]
    if not services:
        sections = ", ".join(f"[{service}]" for service in LOADERS)
        return (*check_files(files), f"{', '.join(map(str, files))}: for no service, expected one of {sections}")
    warnings: list[str] = []
    errors: list[str] = []
    for service in services:
        try:
            warnings += LOADERS[service](files, {}, environment).warnings
        except ConfigError as exc:
            errors += str(exc).split("\n")
    if errors:
        raise ConfigError("\n".join(dict.fromkeys(errors)))
    return tuple(dict.fromkeys(warnings))


def _top_tables(file: Path) -> set[str]:
    """Nothing for a file that cannot be read: loading it says why."""
    try:
        return set(tomlkit.parse(file.read_bytes().decode("utf-8-sig")).unwrap())
    except (OSError, UnicodeDecodeError, TOMLKitError):
        return set()
