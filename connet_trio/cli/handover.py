"""Handing the port of a hole over to another program: as a child of ours, or by becoming it."""

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import attrs
import trio

from connet_trio.errors import ConfigError
from connet_trio.punch import FIELDS, OpenHole, Template
from connet_trio.records.model import HostPort

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What is passed on to a child."""

SIGNALLED = 128
"""Exit code, as shells have it, of a child that a signal ended: this, and the signal's number."""

_VARIABLES = {
    "LocalAddr": "PUNCH_LOCAL_ADDR",
    "LocalIP": "PUNCH_LOCAL_IP",
    "LocalPort": "PUNCH_LOCAL_PORT",
    "RemoteAddr": "PUNCH_REMOTE_ADDR",
    "RemoteIP": "PUNCH_REMOTE_IP",
    "RemotePort": "PUNCH_REMOTE_PORT",
}


def find_program(name: str) -> str:
    """The file of a program, looked up in PATH.

    Raises:
      ConfigError: there is none, or it is not ours to run.
    """
    found = shutil.which(name)
    if found is None:
        raise ConfigError(f'"{name}": no such program can be run')
    return found


def as_used(hole: OpenHole) -> OpenHole:
    """The hole with the local port that was really used, where any free one was asked for."""
    return attrs.evolve(hole, local=HostPort(hole.local.host, hole.port))


def addresses(hole: OpenHole) -> dict[str, str]:
    """The six values, by field."""
    return {field: Template(("", field, "")).expand(hole) for field in FIELDS}


def child_environment(hole: OpenHole, environment: Mapping[str, str], secret: bytes) -> dict[str, str]:
    """What a child finds in its environment: ours, and the addresses. A variable that holds the secret is left out."""
    kept = {name: value for name, value in environment.items() if os.fsencode(value) != secret}
    told = {_VARIABLES[field]: value for field, value in addresses(hole).items()}
    return {**kept, **told, "PUNCH_PEER": str(hole.name)}


def become(program: str, arguments: Sequence[str]) -> None:
    """Be this program from now on, under the same process id and in the same environment. Returns only by an error.

    Raises:
      ConfigError: it cannot be run.
    """
    path = find_program(program)
    sys.stdout.flush()
    try:
        os.execv(path, [path, *arguments])
    except OSError as exc:
        raise ConfigError(f'"{program}": cannot be run: {exc.strerror}') from exc


class Children:
    """The programs that run at the moment."""

    def __init__(self) -> None:
        self._running: set[trio.Process] = set()
        self._ending: signal.Signals | None = None

    async def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a program to its end; returns its exit code.

        Raises:
          ConfigError: it cannot be run.
        """
        try:
            process = await trio.lowlevel.open_process(command, env=environment)
        except OSError as exc:
            raise ConfigError(f'"{command[0]}": cannot be run: {exc.strerror}') from exc
        self._running.add(process)
        if self._ending is not None:  # it came while the program was starting
            process.send_signal(self._ending)
        code = await process.wait()
        self._running.discard(process)
        return SIGNALLED - code if code < 0 else code

    def handle_signal(self, number: signal.Signals) -> None:
        """Pass a signal on, also to those that are just starting if it is one that ends."""
        if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._ending = number
        if number is signal.SIGINT and _has_terminal():
            return  # the terminal has sent it to the children as well
        for process in self._running:
            process.send_signal(number)


def _has_terminal() -> bool:
    """Whether a terminal sends its signals to our process group."""
    with suppress(OSError):
        return os.tcgetpgrp(0) == os.getpgrp()
    return False
