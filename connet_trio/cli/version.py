"""`connet-trio version`."""

import click

from connet_trio.cli.commands import StrictCommand
from connet_trio.version import VERSION


def version_command() -> click.Command:
    """Writes the release to stdout."""
    return StrictCommand(
        "version", callback=lambda: click.echo(f"connet-trio {VERSION}"), params=[], help="Write the release and exit."
    )
