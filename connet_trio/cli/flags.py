"""Command-line flags: each one sets a key of the configuration (protocol section 12.7)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import click
import tomlkit

Params = Mapping[str, Any]
"""What click has read, by the name it gives a parameter: `server_addr` for `--server-addr`."""

Values = Mapping[str, object]
"""What `config` wants to know of flags: key paths, and values as TOML has them; None is a flag not given."""

Collect = Callable[[Params], Values]
"""From what click has read to what `config` wants to know."""


PATHS = {"FILE": click.Path(), "DIRECTORY": click.Path(file_okay=False)}
"""By metavar, what a shell completes; click checks nothing of them."""


@attrs.frozen(kw_only=True)
class Flag:
    """A flag, and the key that has its meaning, its default and its check."""

    name: str
    """As it is written: `--server-addr`."""
    key: str
    """`client.server-addr`; the keys of an array of tables are those of its first: `server.ingress.addr`."""
    help: str
    metavar: str = "TEXT"
    repeats: bool = False
    """May be given several times; the values make a list."""
    has_commas: bool = False
    """The value is a list, with commas between its items."""
    is_switch: bool = False
    """Takes no value."""

    @property
    def parameter(self) -> str:
        """What click calls it."""
        return self.name.removeprefix("--").replace("-", "_")

    def option(self) -> click.Option:
        """The flag as click wants it."""
        if self.is_switch:
            return click.Option([self.name], is_flag=True, default=None, help=self.help)
        kind = PATHS.get(self.metavar)
        return click.Option([self.name], metavar=self.metavar, multiple=self.repeats, help=self.help, type=kind)

    def value(self, params: Params) -> object:
        """What was given, None without.

        Raises:
          click.UsageError: it is not UTF-8, which arguments of a process need not be.
        """
        value = params[self.parameter]
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"the value of {self.name} is not UTF-8") from None
        if self.has_commas and value is not None:
            value = tuple(str(value).split(","))
        return None if value == () else value  # an empty list would say more than no list


LOGGING_FLAGS = (
    Flag(name="--log-level", key="log-level", metavar="LEVEL", help="fine, debug, info, warn or error [info]"),
    Flag(name="--log-format", key="log-format", metavar="FORMAT", help="text or json [text]"),
)


def status_flag(section: str) -> Flag:
    """`--status-addr` of a service."""
    return Flag(
        name="--status-addr",
        key=f"{section}.status-addr",
        metavar="[HOST]:PORT",
        help="Serve the status page there over HTTP [off]",
    )


def flag_values(flags: Sequence[Flag], params: Params) -> dict[str, object]:
    """What the flags say, by the key of each."""
    return {flag.key: flag.value(params) for flag in flags}


@attrs.frozen(kw_only=True)
class EndpointFlags:
    """The flags of the one destination (`dst`), or source (`src`), that a command line may describe."""

    prefix: str
    table: str
    """`client.destinations` or `client.sources`."""
    url_help: str

    @property
    def options(self) -> list[click.Option]:
        """As click wants them."""
        return [flag.option() for flag in (self._name_flag(), *self._flags("name"))]

    def values(self, params: Params) -> dict[str, object]:
        """What the flags say, by key.

        Raises:
          click.UsageError: there is more about an endpoint than its name, but no name.
        """
        name = self._name_flag().value(params)
        given = [flag for flag in self._flags("name") if flag.value(params) is not None]
        if name is None and given:
            raise click.UsageError(f"{given[0].name} needs --{self.prefix}-name")
        if name is None:
            return {}
        return flag_values(self._flags(tomlkit.key(str(name)).as_string()), params)

    def _name_flag(self) -> Flag:
        return Flag(
            name=f"--{self.prefix}-name",
            key="",
            metavar="NAME",
            help=f"Name of the one {'destination' if self.prefix == 'dst' else 'source'} that flags describe",
        )

    def _flags(self, name: str) -> tuple[Flag, ...]:
        table = f"{self.table}.{name}"
        return (
            Flag(name=f"--{self.prefix}-url", key=f"{table}.url", metavar="URL", help=self.url_help),
            Flag(
                name=f"--{self.prefix}-route",
                key=f"{table}.route",
                metavar="ROUTE",
                help="any, direct or relay [any]",
            ),
            Flag(
                name=f"--{self.prefix}-relay-encryption",
                key=f"{table}.relay-encryptions",
                metavar="SCHEMES",
                has_commas=True,
                help="How streams may be kept from a relay, with commas between: tls, dhxcp, none [none]",
            ),
        )
