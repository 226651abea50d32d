"""`connet-trio status`: the status page of a service for people."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import click
import trio

from connet_trio.cli.commands import CONTEXT_SETTINGS
from connet_trio.cli.failures import MAX_TEXT
from connet_trio.cli.screen import Screen
from connet_trio.config import load_status_addresses
from connet_trio.config.addresses import listen_address
from connet_trio.errors import ConfigError, ConnetError, DialFailed
from connet_trio.records.model import HostPort
from connet_trio.records.text import printable
from connet_trio.status import Page, read_status, status_lines

ANSWER_SECONDS = 5.0
"""How long a service may take to answer."""

PAUSE_SECONDS = 1.0
"""Between two looks of `--watch`."""

LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""How the addresses that stand for all of them are reached on this machine."""


def status_command() -> click.Command:
    """Reads a status page and writes it to stdout."""

    def run(address: str | None, config: tuple[Path, ...], *, as_json: bool, watch: bool) -> None:
        where = choose_address(address, config)
        if watch:
            _watch_until_interrupted(where, _JsonLines() if as_json else _Tables(Screen(sys.stdout)))
            return
        page = trio.run(_read, where)
        click.echo(json.dumps(page, indent=2) if as_json else "\n".join(status_lines(page, time.time())))

    params: list[click.Parameter] = [
        click.Argument(["address"], required=False, metavar="[ADDR]"),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            multiple=True,
            help="Configuration file of the service, for its status-addr, instead of ADDR; can be repeated",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Write the page as JSON; with --watch, a line for each"),
        click.Option(["--watch"], is_flag=True, help="Show it anew every second, until Ctrl-C"),
    ]
    return click.Command(
        "status",
        callback=run,
        params=params,
        context_settings=CONTEXT_SETTINGS,
        help="Show the status page of a running service as tables. ADDR is its status-addr, as [HOST]:PORT or "
        "http://HOST:PORT/.",
    )


def choose_address(written: str | None, files: Sequence[Path]) -> HostPort:
    """Where to ask, from an argument or else from configuration files.

    Raises:
      ConfigError: neither says it, or both, or what they say cannot be dialled.
    """
    if written is not None and files:
        raise ConfigError("status: either ADDR or --config says where to ask, not both")
    if written is not None:
        return _dialled("status: ADDR", _parsed(written))
    if not files:
        raise ConfigError("status: no service to ask, expected the status-addr of one, or --config with its file")
    names = ", ".join(map(str, files))
    found = load_status_addresses(files)
    if not found:
        raise ConfigError(f"{names}: no status-addr, so the service has no status page")
    if len(found) > 1:
        raise ConfigError(f"{names}: status-addr of {' and '.join(found)}, expected one; give its ADDR instead")
    ((service, address),) = found.items()
    return _dialled(f"{names}: {service}.status-addr", address)


def _parsed(written: str) -> HostPort:
    try:
        return listen_address(written.removeprefix("http://").rstrip("/"))
    except ValueError as exc:
        raise ConfigError(f"status: ADDR: {exc}") from None


def _dialled(place: str, address: HostPort) -> HostPort:
    if address.port == 0:
        raise ConfigError(f"{place}: {address} has port 0, which stands for any; the log of the service says which")
    return HostPort(LOOPBACK.get(address.host, address.host), address.port)


class _View(Protocol):
    def show(self, page: Page) -> None: ...

    def show_error(self, text: str) -> None: ...

    def end(self) -> None: ...


class _JsonLines:
    """A line for each page, in ASCII whatever is in it."""

    def show(self, page: Page) -> None:
        click.echo(json.dumps(page))

    def show_error(self, text: str) -> None:
        self.show({"error": text})

    def end(self) -> None:
        """Every line is whole."""


class _Tables:
    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, page: Page) -> None:
        self._screen.show(status_lines(page, time.time()))

    def show_error(self, text: str) -> None:
        self._screen.show([f"error: {printable(text, MAX_TEXT)}"])

    def end(self) -> None:
        self._screen.end()


def _watch_until_interrupted(where: HostPort, view: _View) -> None:
    try:
        trio.run(_watch, where, view)
    except* KeyboardInterrupt:  # how it is meant to end
        view.end()


async def _watch(where: HostPort, view: _View) -> None:
    """Never returns. A service that was there once may go away and come back.

    Raises:
      ConnetError: it was not there in the first place.
    """
    view.show(await _read(where))
    while True:
        await trio.sleep(PAUSE_SECONDS)
        try:
            page = await _read(where)
        except ConnetError as exc:
            view.show_error(str(exc))
        else:
            view.show(page)


async def _read(where: HostPort) -> Page:
    with trio.move_on_after(ANSWER_SECONDS):
        return await read_status(where)
    raise DialFailed(f"no status page at {where}: no answer within {ANSWER_SECONDS:g} s")
