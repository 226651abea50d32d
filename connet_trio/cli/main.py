"""The command `connet-trio`, and what its exit codes mean: 0 as asked, 1 an error that stderr explains."""

import sys
from collections.abc import Sequence

import click

from connet_trio.cli.check import check_command
from connet_trio.cli.client import client_command
from connet_trio.cli.commands import CONTEXT_SETTINGS, DefaultGroup
from connet_trio.cli.completion import completion_command
from connet_trio.cli.control import control_command
from connet_trio.cli.failures import tell_error, tell_failure
from connet_trio.cli.gen_key import gen_key_command
from connet_trio.cli.punch import punch_command
from connet_trio.cli.relay import relay_command
from connet_trio.cli.server import server_command
from connet_trio.cli.status import status_command
from connet_trio.cli.version import version_command
from connet_trio.errors import ConnetError
from connet_trio.version import VERSION

PROGRAM = "connet-trio"

INTERRUPTED = 130
"""As if SIGINT had ended us."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (of this process, unless given) and return the exit code."""
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except* ConnetError as failures:
        tell_failure(failures)
    return 1


def _run(arguments: Sequence[str]) -> int:
    try:
        result = command_line().main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as exc:
        context = exc.ctx if isinstance(exc, click.UsageError) else None
        command = PROGRAM if context is None else context.command_path
        tell_error(f"{exc.format_message().rstrip('.')} (see {command} --help)")
        return 1
    return result if isinstance(result, int) else 0


def command_line() -> click.Group:
    """All commands."""
    group = DefaultGroup(
        PROGRAM,
        context_settings=CONTEXT_SETTINGS,
        help="Reach a service behind a NAT from another device, without exposing it. "
        "Without a command, `client` runs: connet-trio --config client.toml",
    )
    services = (client_command, server_command, control_command, relay_command)
    for make in (*services, punch_command, status_command, check_command, gen_key_command, version_command):
        group.add_command(make())
    group.add_command(completion_command(PROGRAM))
    return click.version_option(VERSION, prog_name=PROGRAM, message="%(prog)s %(version)s")(group)
