"""Command line of the bench, see the package."""

import click

from connet_trio.testing.bench.commands.goals import goals
from connet_trio.testing.bench.commands.packets import packets
from connet_trio.testing.bench.commands.scale import scale
from connet_trio.testing.bench.commands.streams import streams
from connet_trio.testing.bench.commands.tunnels import tunnels
from connet_trio.testing.bench.commands.wan import wan


class Modes(click.Group):
    """Commands in the order in which they were added, the first of which needs not be named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Have options without a command be those of the first one."""
        if not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


@click.group(cls=Modes, context_settings={"max_content_width": 120})
def main() -> None:
    """Shows how fast connet-trio is on this machine. Linux only.

    Each command has a --help of its own. Options without a command are those of `tunnels`.
    """


for command in (tunnels, streams, packets, wan, scale, goals):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="scripts/bench")
