"""How our commands read their arguments, where click would do otherwise."""

import click
from click.shell_completion import CompletionItem

DEFAULT_COMMAND = "client"
OWN_OPTIONS = ("--help", "-h", "--version")

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class StrictCommand(click.Command):
    """A command without arguments beside its options. What is left over is not quoted: it may be a token."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("context_settings", {**CONTEXT_SETTINGS, "allow_extra_args": True})
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed through as they are

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read options; raises UsageError when something else is left."""
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:  # which is a shell that asks for what may come next
            ctx.fail(f"{len(rest)} more than options and their values; an option for each value: --tokens A --tokens B")
        return rest


class DefaultGroup(click.Group):
    """Commands, of which `client` runs when options come first, or nothing (as in the original)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the name of a command, or put it there."""
        starts_with_command = not args and ctx.resilient_parsing  # to be completed: it may become one
        if not starts_with_command and (not args or (args[0].startswith("-") and args[0] not in OWN_OPTIONS)):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands; of options, also those of the command that runs without its name."""
        found = super().shell_complete(ctx, incomplete)
        default = self.get_command(ctx, DEFAULT_COMMAND)
        if incomplete.startswith("-") and default is not None:
            names = {item.value for item in found}
            with default.make_context(DEFAULT_COMMAND, [], parent=ctx, resilient_parsing=True) as inner:
                found += [item for item in default.shell_complete(inner, incomplete) if item.value not in names]
        return found
