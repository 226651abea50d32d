"""Files, flags and environment → the settings of one service.

Later files replace what earlier ones set, flags replace what files set (protocol section 12.8), and the environment is
asked only for what neither says. All that is wrong is told at once.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from connet_trio.client.settings import ClientSettings
from connet_trio.config.client import client_settings
from connet_trio.config.document import COMMAND_LINE, flags_document, read_document
from connet_trio.config.findings import Findings
from connet_trio.config.old_names import modernize
from connet_trio.config.schema import ClientTable, ControlTable, RelayTable, RootTable, ServerTable
from connet_trio.config.servers import control_settings, relay_settings, server_settings
from connet_trio.config.tables import array_paths, merge_tables, read_table, value_of
from connet_trio.control.settings import ControlSettings
from connet_trio.relay.settings import RelaySettings
from connet_trio.server.settings import ServerSettings

Settings = TypeVar("Settings")


@attrs.frozen(kw_only=True)
class Loaded(Generic[Settings]):
    """Settings, what is to be said about them, and how to log."""

    settings: Settings
    warnings: tuple[str, ...] = ()
    """A line each, with its place; what is accepted and yet deserves attention."""
    log_level: str = "info"
    """`fine`, `debug`, `info`, `warn` or `error`."""
    log_format: str = "text"
    """`text` or `json`."""


def load_client(
    files: Sequence[Path], flags: Mapping[str, object], environment: Mapping[str, str]
) -> Loaded[ClientSettings]:
    """The settings of a client.

    Args:
      files: TOML, read in this order.
      flags: key paths as TOML writes them (`client.sources."my.db".url`, `log-level`) and values as TOML has them; None
        is a flag not given. The keys of an array of tables are those of its first: `server.ingress.addr`.

    Raises:
      ConfigError: every error, one on each line.
    """
    return _load(files, flags, lambda root, findings: client_settings(_client(root), environment, findings))


def load_server(
    files: Sequence[Path], flags: Mapping[str, object], environment: Mapping[str, str]
) -> Loaded[ServerSettings]:
    """The settings of control and relay in one process; as `load_client`."""
    return _load(files, flags, lambda root, findings: server_settings(_server(root), environment, findings))


def load_control(
    files: Sequence[Path], flags: Mapping[str, object], environment: Mapping[str, str]
) -> Loaded[ControlSettings]:
    """The settings of a control server; as `load_client`."""
    return _load(files, flags, lambda root, findings: control_settings(_control(root), environment, findings))


def load_relay(
    files: Sequence[Path], flags: Mapping[str, object], environment: Mapping[str, str]
) -> Loaded[RelaySettings]:
    """The settings of a relay server; as `load_client`."""
    return _load(files, flags, lambda root, findings: relay_settings(_relay(root), environment, findings))


def check_files(files: Sequence[Path]) -> tuple[str, ...]:
    """The warnings about files of any service, read as strictly as ever; no file they name is opened.

    Raises:
      ConfigError: every key that is unknown and every value that cannot be used.
    """
    findings = Findings([str(file) for file in files])
    read_root(files, {}, findings)
    findings.raise_errors()
    return findings.warnings


def _load(
    files: Sequence[Path], flags: Mapping[str, object], build: Callable[[RootTable, Findings], Settings]
) -> Loaded[Settings]:
    findings = Findings([*(str(file) for file in files), COMMAND_LINE])
    root = read_root(files, flags, findings)
    settings = build(root, findings)
    return Loaded(
        settings=settings,
        warnings=findings.warnings,
        log_level=value_of(root.log_level, "info"),
        log_format=value_of(root.log_format, "text"),
    )


def read_root(files: Sequence[Path], flags: Mapping[str, object], findings: Findings) -> RootTable:
    """All sources as one table.

    Raises:
      ConfigError: a file could not be read or is no TOML, so that nothing can be said of what is missing.
    """
    read = [document for file in files if (document := read_document(file, findings))]
    documents = [*(modernize(document, findings) for document in read), flags_document(flags, array_paths(RootTable))]
    tables = [read_table(document, RootTable, findings) for document in documents]
    if len(read) < len(files):
        findings.raise_errors()
    return reduce(merge_tables, tables)


def _client(root: RootTable) -> ClientTable:
    return root.client or ClientTable(place=root.place.child("client"))


def _server(root: RootTable) -> ServerTable:
    return root.server or ServerTable(place=root.place.child("server"))


def _control(root: RootTable) -> ControlTable:
    return root.control or ControlTable(place=root.place.child("control"))


def _relay(root: RootTable) -> RelayTable:
    return root.relay or RelayTable(place=root.place.child("relay"))
