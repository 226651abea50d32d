"""What the commands that run a service share: `--config`, logging, and the way from arguments to a running service."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import attrs
import click
import trio

from connet_trio.cli.commands import StrictCommand
from connet_trio.cli.file_limit import raise_file_limit
from connet_trio.cli.flags import LOGGING_FLAGS, Collect, flag_values
from connet_trio.cli.logging_setup import set_up_logging
from connet_trio.cli.service import Service, run_service
from connet_trio.cli.service_manager import open_service_manager
from connet_trio.cli.udp_buffers import open_udp_socket_with_advice
from connet_trio.config import Loaded
from connet_trio.quic import Surroundings
from connet_trio.records.model import HostPort

logger = logging.getLogger(__name__)


class ServiceSettings(Protocol):
    """What the settings of every service have."""

    @property
    def status_address(self) -> HostPort | None:
        """Where the status page is served; None turns it off."""


AnySettings = TypeVar("AnySettings", bound=ServiceSettings)
OpenedSettings = TypeVar("OpenedSettings", bound=ServiceSettings, contravariant=True)


class Load(Protocol[AnySettings]):
    """`config.load_client` and its like."""

    def __call__(
        self, files: Sequence[Path], flags: Mapping[str, object], environment: Mapping[str, str]
    ) -> Loaded[AnySettings]:
        """See `config.load_client`."""


class Open(Protocol[OpenedSettings]):
    """`open_client` and its like."""

    def __call__(
        self, settings: OpenedSettings, *, surroundings: Surroundings | None = None
    ) -> AbstractAsyncContextManager[Service]:
        """See `client.open_client`."""


class Prepare(Protocol[AnySettings]):
    """What a command does to settings between loading and opening."""

    def __call__(self, settings: AnySettings, environment: Mapping[str, str]) -> tuple[AnySettings, tuple[str, ...]]:
        """The settings to use, and warnings."""


def as_loaded(settings: AnySettings, environment: Mapping[str, str]) -> tuple[AnySettings, tuple[str, ...]]:
    """Prepare nothing."""
    return settings, ()


@attrs.frozen(kw_only=True)
class ServiceKind(Generic[AnySettings]):
    """A service that a command runs."""

    name: str
    """The command, and the table of the configuration."""
    load: Load[AnySettings]
    open: Open[AnySettings]
    prepare: Prepare[AnySettings] = as_loaded


def service_command(
    kind: ServiceKind[AnySettings], *, options: Sequence[click.Option], collect: Collect, purpose: str
) -> click.Command:
    """The command that runs a service until it is told to stop.

    Args:
      collect: makes what `options` say into keys of the configuration.
    """

    def run(config: tuple[Path, ...], **params: Any) -> None:
        flags = {**flag_values(LOGGING_FLAGS, params), **collect(params)}
        run_kind(kind, config, flags, os.environ)

    config = click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        multiple=True,
        help="Configuration file (TOML); repeat it, and what later ones say counts",
    )
    common = [config, *(flag.option() for flag in LOGGING_FLAGS)]
    return StrictCommand(kind.name, callback=run, params=[*common, *options], help=purpose)


def run_kind(
    kind: ServiceKind[AnySettings], files: Sequence[Path], flags: Mapping[str, object], environment: Mapping[str, str]
) -> None:
    """Load, set up logging, and run the service until it is told to stop.

    Raises:
      ConnetError: it cannot start, or cannot go on; also in a group.
    """
    loaded = kind.load(files, flags, environment)
    set_up_logging(loaded.log_level, loaded.log_format)
    settings, warnings = kind.prepare(loaded.settings, environment)
    for warning in (*loaded.warnings, *warnings):
        logger.warning("%s", warning)
    raise_file_limit()
    surroundings = Surroundings(open_udp_socket=open_udp_socket_with_advice())
    with open_service_manager(environment, os.getpid()) as manager:
        opening = kind.open(settings, surroundings=surroundings)
        trio.run(run_service, kind.name, opening, settings.status_address, manager)
