"""Flags as Go's `flag` package reads them, for those who come from a program written in Go.

One dash or two, `-name value` or `-name=value`; a flag that is on or off is `-name` or `-name=false`, never two words.
The first argument that is no flag ends them, as `--` does. What is wrong is told by the flag's name and never by its
value, which may be a secret.
"""

from collections.abc import Mapping, Sequence

import attrs
import click

TRUE = ("1", "t", "T", "true", "TRUE", "True")
FALSE = ("0", "f", "F", "false", "FALSE", "False")


class FlagError(Exception):
    """The arguments cannot be read; the text says which flag."""


class HelpWanted(Exception):
    """`-h` or `-help` is among the arguments."""


@attrs.frozen(kw_only=True)
class GoFlag:
    """One flag."""

    name: str
    help: str
    metavar: str | None = None
    """What its value is; None for one that is on or off."""

    def option(self) -> click.Option:
        """As click shows it in a command's help."""
        if self.metavar is None:
            return click.Option([f"--{self.name}"], is_flag=True, help=self.help)
        return click.Option([f"--{self.name}"], metavar=self.metavar, help=self.help)


def read_flags(arguments: Sequence[str], flags: Sequence[GoFlag]) -> list[tuple[str, str]]:
    """Names and values, in their order; `true` or `false` for what is on or off.

    Raises:
      FlagError: a flag is unknown or lacks its value.
      HelpWanted: help is asked for, whatever comes behind.
    """
    known = {flag.name: flag for flag in flags}
    rest = list(arguments)
    given: list[tuple[str, str]] = []
    while rest and len(rest[0]) > 1 and rest[0].startswith("-"):
        argument = rest.pop(0)
        if argument == "--":
            break
        name, has_value, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise FlagError("bad flag syntax")
        given.append((name, _value(known, name, value if has_value else None, rest)))
    return given


def _value(known: Mapping[str, GoFlag], name: str, value: str | None, rest: list[str]) -> str:
    flag = known.get(name)
    if flag is None and name in ("h", "help"):
        raise HelpWanted
    if flag is None:
        raise FlagError(f"flag provided but not defined: -{name}")
    if flag.metavar is None:
        if value is not None and value not in TRUE + FALSE:
            raise FlagError(f"invalid boolean value for -{name}")
        return "false" if value in FALSE else "true"
    if value is None and not rest:
        raise FlagError(f"flag needs an argument: -{name}")
    return rest.pop(0) if value is None else value
