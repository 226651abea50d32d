"""`connet-trio completion`: what a shell has to read to complete our command lines."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from connet_trio.cli.commands import CONTEXT_SETTINGS

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


def completion_command(program: str) -> click.Command:
    """Writes a script to stdout."""

    def run(shell: str) -> None:
        variable = f"_{program}_COMPLETE".replace("-", "_").upper()  # where click's main looks for the shell's question
        group = click.get_current_context().find_root().command
        script = SHELLS[shell](group, {}, program, variable)
        # not BashComplete's own, which judges the first bash of PATH, and not the one that asks
        click.echo(ShellComplete.source(script))

    return click.Command(
        "completion",
        callback=run,
        params=[click.Argument(["shell"], type=click.Choice(list(SHELLS)))],
        context_settings=CONTEXT_SETTINGS,
        help="Write the script that lets a shell complete commands, flags and files: "
        f'eval "$({program} completion bash)" in ~/.bashrc, the same with zsh in ~/.zshrc, and '
        f"{program} completion fish > ~/.config/fish/completions/{program}.fish",
    )
