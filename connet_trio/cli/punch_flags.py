"""What the flags of `connet-trio punch` say: netpunch's, and those that came with ours."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from connet_trio.cli.go_flags import FlagError, GoFlag
from connet_trio.config import values
from connet_trio.config.addresses import listen_address
from connet_trio.errors import ConfigError
from connet_trio.punch import DEFAULT_TEMPLATE, OpenHole, PunchControlSettings, PunchSettings, Template
from connet_trio.records.model import HostPort
from connet_trio.records.punch import PunchName

T = TypeVar("T")

Flags = Mapping[str, str]

FLAGS = (
    GoFlag(
        name="local",
        metavar="[HOST]:PORT",
        help="Peer: the port to make the hole from. Control node: where to listen. One for each peer, with commas",
    ),
    GoFlag(name="remote", metavar="HOST:PORT", help="Peer: the control node"),
    GoFlag(
        name="peer",
        metavar="NAME",
        help="A letter; a and b are partners, c and d, … y and z. With control nodes of connet-trio also ROOM/LETTER. "
        "Several with commas: a,c. Without it, this is a control node",
    ),
    GoFlag(
        name="secret",
        metavar="TEXT",
        help="What all three nodes share; other users of this machine can see it, so prefer --secret-file",
    ),
    GoFlag(name="secret-file", metavar="FILE", help="File that is the secret, to the last byte (a final newline too)"),
    GoFlag(name="template", metavar="TEXT", help="What to write of a hole, with fields such as {{.RemoteAddr}}"),
    GoFlag(name="template-file", metavar="FILE", help="File with the template"),
    GoFlag(name="json", help="Write an object of JSON for each hole, or for what is in its way"),
    GoFlag(
        name="exec",
        metavar="COMMAND",
        help="Program to run once the hole is open and its port free: gets the six addresses as arguments (or those of "
        "--arg and its like) and as PUNCH_… in its environment; signals are passed on, and its exit code is ours",
    ),
    GoFlag(
        name="command", metavar="PROGRAM", help="Program to become once the hole is open; see --arg, --fields, --raw"
    ),
    GoFlag(name="arg", metavar="TEMPLATE", help="An argument for it; can be repeated, as the next two"),
    GoFlag(name="fields", metavar="TEMPLATE", help="Arguments for it, separated by white space"),
    GoFlag(name="raw", metavar="TEXT", help="An argument for it, as it is"),
    GoFlag(name="timeout", metavar="DURATION", help="Peer: when to give up, and say why, such as 1m30s [never]"),
    GoFlag(
        name="second-local",
        metavar="[HOST]:PORT",
        help="Control node: a second UDP address, which shows symmetric NATs; best on another IP address of this "
        "machine, and useful only if peers can reach it; none turns it off [any free port]",
    ),
    GoFlag(name="hidden", help="Control node: be silent even when a peer with another secret asks whether it is there"),
    GoFlag(name="silent", help="Write errors only"),
    GoFlag(name="raw-logging", help="Log whole datagrams, with their signatures"),
    GoFlag(name="version", help="Write the release and exit"),
)

ARGUMENT_FLAGS = ("arg", "fields", "raw")


@attrs.frozen
class Argument:
    """One of `--arg`, `--fields` and `--raw`."""

    template: Template
    splits: bool = False

    def expand(self, hole: OpenHole) -> list[str]:
        """The arguments that it stands for."""
        text = self.template.expand(hole)
        return text.split() if self.splits else [text]


@attrs.frozen(kw_only=True)
class PunchOrder:
    """What a command line asks for."""

    control: PunchControlSettings | None
    """The control node to be; None for peers."""
    peers: tuple[PunchSettings, ...]
    template: Template
    json: bool
    exec: tuple[str, ...]
    """Program and first arguments; empty for none."""
    command: str
    arguments: tuple[Argument, ...]
    silent: bool
    secret: bytes = attrs.field(repr=False)


def read_order(given: Sequence[tuple[str, str]]) -> PunchOrder:
    """The order that flags make.

    Raises:
      FlagError: a flag's value cannot be read.
      ConfigError: flags are missing or contradict each other, all of it in one line; or a file cannot be read.
    """
    flags = dict(given)  # the last of several counts, as in Go
    arguments = tuple(_argument(name, value) for name, value in given if name in ARGUMENT_FLAGS)
    secret = _file("secret-file", flags) if flags.get("secret-file") else flags.get("secret", "").encode()
    _check(flags, secret)
    return PunchOrder(
        control=None if flags.get("peer") else _control(flags, secret),
        peers=_peers(flags, secret) if flags.get("peer") else (),
        template=_template(flags),
        json=_is_on("json", flags),
        exec=tuple(_parsed("exec", flags, shlex.split)) if flags.get("exec") else (),
        command=flags.get("command", ""),
        arguments=arguments,
        silent=_is_on("silent", flags),
        secret=secret,
    )


def _control(flags: Flags, secret: bytes) -> PunchControlSettings:
    local = _parsed("local", flags, listen_address)
    second: HostPort | None = attrs.evolve(local, port=0)
    if flags.get("second-local"):
        second = None if flags["second-local"] == "none" else _parsed("second-local", flags, listen_address)
    return PunchControlSettings(
        local=local,
        secret=secret,
        second=second,
        answers_strangers=not _is_on("hidden", flags),
        logs_signatures=_is_on("raw-logging", flags),
    )


def _peers(flags: Flags, secret: bytes) -> tuple[PunchSettings, ...]:
    control = _parsed("remote", flags, listen_address)  # no host is this one, as in netpunch
    time_limit = None
    if "timeout" in flags:
        try:
            time_limit = values.duration(flags["timeout"])
        except ValueError as exc:
            raise FlagError(f"invalid value for flag -timeout: {exc}") from None
    return tuple(
        PunchSettings(
            name=_name(name),
            local=_parsed("local", {"local": local}, listen_address),
            control=control,
            secret=secret,
            time_limit=time_limit,
            logs_signatures=_is_on("raw-logging", flags),
        )
        for name, local in zip(flags["peer"].split(","), flags["local"].split(","), strict=True)
    )


def _is_on(name: str, flags: Flags) -> bool:
    return flags.get(name) == "true"


def _check(flags: Flags, secret: bytes) -> None:
    """All that is missing or too much at once."""
    peers, locals_ = (len(flags.get(name, "").split(",")) for name in ("peer", "local"))
    is_peer = bool(flags.get("peer"))
    several = is_peer and peers > 1
    checks = {
        "-remote is for peers; add -peer, or leave it out for a control node": not is_peer and flags.get("remote"),
        "a peer needs -remote, the address of its control node": is_peer and not flags.get("remote"),
        "-secret or -secret-file is needed": not secret,
        "-local is needed": not flags.get("local"),
        "-local and -peer need as many values, separated by commas": is_peer
        and flags.get("local")
        and peers != locals_,
        "a control node has one -local, and perhaps -second-local": not is_peer and locals_ > 1,
        "-exec and -command exclude each other": flags.get("exec") and flags.get("command"),
        "-command becomes one program, so it is for one peer; -exec runs one for each": several
        and flags.get("command"),
        "each peer is there once": several and len(set(flags["peer"].split(","))) < peers,
    }
    wrong = [text for text, is_wrong in checks.items() if is_wrong]
    if wrong:
        raise ConfigError("; ".join(wrong))


def _argument(name: str, value: str) -> Argument:
    if name == "raw":
        return Argument(Template((value,)))
    try:
        return Argument(Template.parse(value), splits=name == "fields")
    except ValueError as exc:
        raise FlagError(f"invalid value for flag -{name}: {exc}") from None


def _template(flags: Flags) -> Template:
    text = flags.get("template", "")
    try:
        if not text and flags.get("template-file"):
            text = _file("template-file", flags).decode()
        return Template.parse(text or DEFAULT_TEMPLATE)
    except ValueError as exc:
        raise ConfigError(f"template: {exc}") from None


def _file(name: str, flags: Flags) -> bytes:
    path = Path(flags[name])
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def _name(text: str) -> PunchName:
    try:
        return PunchName.parse(text)
    except ValueError:
        expected = "a letter a to z, or ROOM/LETTER with letters, digits, dots and dashes"
        raise ConfigError(f'no peer can be named "{text}", expected {expected}') from None


def _parsed(name: str, flags: Flags, parse: Callable[[str], T]) -> T:
    try:
        return parse(flags[name])
    except ValueError as exc:
        raise ConfigError(f"-{name}: {exc}") from None
