"""`connet-trio punch`: netpunch's job, with its flags, its output and its exit codes.

    peers ─┬─ signals: stop what is punching, and go on to the programs that run
           └─ one for each hole: punch, write it, run a program

0 is a hole (for each peer), 1 an error that stderr explains or a signal, 2 flags that cannot be read; with `--exec` it
is what the program ended with.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator

import click
import trio

from connet_trio.cli.commands import CONTEXT_SETTINGS
from connet_trio.cli.go_flags import FlagError, HelpWanted, read_flags
from connet_trio.cli.handover import FORWARDED, Children, addresses, as_used, become, child_environment, find_program
from connet_trio.cli.punch_flags import FLAGS, PunchOrder, read_order
from connet_trio.cli.punch_log import set_up_punch_logging
from connet_trio.concurrency import single_error
from connet_trio.errors import ConnetError
from connet_trio.punch import OpenHole, PunchControlSettings, PunchFailed, PunchSettings, punch, run_punch_control
from connet_trio.records.model import HostPort
from connet_trio.records.text import printable
from connet_trio.version import VERSION

logger = logging.getLogger(__name__)

NETPUNCH_VERSION = "0.2"
"""Whose flags and datagrams these are."""

FAILED, MISUSED = 1, 2
MAX_TEXT = 4000
"""Characters of an error."""

STOPPING = (signal.SIGINT, signal.SIGTERM)

HELP = """Open a UDP hole between two hosts behind NATs, for another program: OpenVPN, WireGuard, a game.

One dash or two, as in netpunch. A control node with a public address, and two peers:

\b
  connet-trio punch --secret-file FILE --local :7777
  connet-trio punch --secret-file FILE --peer a --remote CONTROL:7777 --local :1194
  connet-trio punch --secret-file FILE --peer b --remote CONTROL:7777 --local :1194
"""


def punch_command() -> click.Command:
    """Opens holes, or introduces those who do."""
    return _PunchCommand(
        "punch", callback=run, params=[flag.option() for flag in FLAGS], help=HELP, context_settings=CONTEXT_SETTINGS
    )


class _PunchCommand(click.Command):
    """A command whose flags are Go's; click knows them for their help only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params = {"arguments": tuple(args)}
        return []


def run(arguments: tuple[str, ...]) -> int:
    """Do what the arguments say; returns the exit code."""
    usage = click.get_current_context().get_help()
    try:
        given = read_flags(arguments, FLAGS)
        if ("version", "true") in given:
            click.echo(f"{NETPUNCH_VERSION}-connet-trio@{VERSION}")
            return 0
        return _run(read_order(given))
    except HelpWanted:
        click.echo(usage)
        return 0
    except FlagError as exc:
        sys.stderr.write(f"{printable(str(exc), MAX_TEXT)}\n{usage}\n")
        return MISUSED
    except ConnetError as exc:
        _tell(exc)
        return FAILED


def _run(order: PunchOrder) -> int:
    set_up_punch_logging(",".join(str(peer.name) for peer in order.peers), silent=order.silent)
    if order.control is not None:
        with single_error():
            trio.run(_be_control, order.control)
        return FAILED  # a signal, as in netpunch
    if order.exec:
        find_program(order.exec[0])
    peers = _PeersRun(order)
    code = trio.run(peers.run)
    if code == 0 and order.command:
        hole = peers.holes[0]
        words = [word for argument in order.arguments for word in argument.expand(hole)]
        logger.info("exec: %s", [order.command, *words])
        become(order.command, words)
    return code


async def _be_control(settings: PunchControlSettings) -> None:
    """Be a control node until a signal comes."""
    logger.info("Start in control mode on %s", settings.local)
    with trio.open_signal_receiver(*STOPPING) as signals:
        async with trio.open_nursery() as nursery:
            _first, *second = await nursery.start(run_control_task, settings)
            for place in second:
                logger.info("second address, to recognize symmetric NATs: %s", place)
            stopped = _Stopped(await anext(signals))
            nursery.cancel_scope.cancel()
    logger.info("close: ok")
    _tell(stopped)


async def run_control_task(
    settings: PunchControlSettings, *, task_status: trio.TaskStatus[tuple[HostPort, ...]]
) -> None:
    """`run_punch_control` with its settings in the first place, as nurseries want it."""
    await run_punch_control(settings, task_status=task_status)


class _Stopped(ConnetError):
    """A signal has come; logged where this is made."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}")
        logger.info("Shutting down due to signal: %s (0x%02X)", name, number)


class _PeersRun:
    """The peers of one process, from their start to the end of the programs they were started for."""

    def __init__(self, order: PunchOrder) -> None:
        self._order = order
        self._children = Children()
        self._punching: set[trio.CancelScope] = set()
        self._stopped: _Stopped | None = None
        self._codes: list[int] = []
        self.holes: list[OpenHole] = []
        """Those that have been opened."""

    async def run(self) -> int:
        """Punch every hole, and run what is to be run; returns the exit code."""
        with trio.open_signal_receiver(*(FORWARDED if self._order.exec else STOPPING)) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                async with trio.open_nursery() as peers:
                    for settings in self._order.peers:
                        peers.start_soon(self._run_peer, settings)
                nursery.cancel_scope.cancel()
        return next((code for code in self._codes if code), 0)

    async def _run_peer(self, settings: PunchSettings) -> None:
        """One peer; its trouble is its own, and the others go on."""
        try:
            code = await self._punch_and_run(settings)
        except ConnetError as exc:
            code = FAILED
            _tell(exc)
            if self._order.json:
                _write(json.dumps(_failure(settings, exc)) + "\n")
        self._codes.append(code)

    async def _punch_and_run(self, settings: PunchSettings) -> int:
        logger.info(
            "Start in peer mode on %s to server at %s", settings.local, settings.control, extra=_named(settings)
        )
        with trio.CancelScope() as scope:
            self._punching.add(scope)
            hole = await punch(settings)
            self._punching.discard(scope)
        if self._stopped is not None:
            raise self._stopped
        self.holes.append(hole)
        _write(json.dumps(_success(hole)) + "\n" if self._order.json else self._order.template.expand(hole))
        if not self._order.exec:
            return 0
        used = as_used(hole)
        own = [word for argument in self._order.arguments for word in argument.expand(used)]
        command = [*self._order.exec, *(own or addresses(used).values())]
        logger.info("exec: %s", command, extra=_named(settings))
        return await self._children.run(command, child_environment(used, os.environ, self._order.secret))

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            self._children.handle_signal(signal.Signals(number))
            if number not in (signal.SIGUSR1, signal.SIGUSR2):
                self._stopped = self._stopped or _Stopped(number)
                for scope in self._punching:
                    scope.cancel()


def _named(settings: PunchSettings) -> dict[str, str]:
    return {"punch_name": str(settings.name)}


def _success(hole: OpenHole) -> dict[str, object]:
    local, remote = hole.local, hole.remote
    return {
        "peer": str(hole.name),
        "local": {"address": str(as_used(hole).local), "ip": local.host or None, "port": hole.port},
        "remote": {"address": str(remote), "ip": str(remote.address), "port": remote.port},
    }


def _failure(settings: PunchSettings, error: ConnetError) -> dict[str, object]:
    told: dict[str, object] = {"peer": str(settings.name), "error": str(error)}
    if isinstance(error, PunchFailed):
        diagnosis = error.diagnosis
        told |= {"cause": diagnosis.cause.value, "side": None if diagnosis.side is None else diagnosis.side.value}
    return told


def _write(text: str) -> None:
    """To stdout, at once: whoever reads it is waiting."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(error: BaseException) -> None:
    sys.stderr.write(f"Error: {printable(str(error), MAX_TEXT)}\n")
