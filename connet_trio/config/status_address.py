"""Where the services of configuration files serve their status pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from connet_trio.config.document import COMMAND_LINE
from connet_trio.config.findings import Findings
from connet_trio.config.load import read_root
from connet_trio.records.model import HostPort


def load_status_addresses(files: Sequence[Path]) -> Mapping[str, HostPort]:
    """By service (`client`, …), of those that have one; no file they name is opened, so tokens need not be readable.

    Raises:
      ConfigError: a file cannot be read, a key is unknown or a value cannot be used; every error, one on each line.
    """
    findings = Findings([*(str(file) for file in files), COMMAND_LINE])
    root = read_root(files, {}, findings)
    findings.raise_errors()
    tables = {"client": root.client, "server": root.server, "control": root.control, "relay": root.relay}
    settings = {service: table.status_addr for service, table in tables.items() if table is not None}
    return {service: setting.value for service, setting in settings.items() if setting is not None}
