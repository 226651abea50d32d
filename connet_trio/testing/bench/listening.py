"""Running a small TCP service as a process: binds, says where on stderr, serves until it is killed."""

import sys
from collections.abc import Awaitable, Callable

import click
import trio

from connet_trio.errors import BindFailed
from connet_trio.forward import open_tcp_listeners
from connet_trio.records.model import HostPort
from connet_trio.testing.processes import ServiceProcess

LOOPBACK = "127.0.0.1"
LISTENING = f"listening on {LOOPBACK}:"


def run_listening(handler: Callable[[trio.SocketStream], Awaitable[object]], port: int) -> None:
    """Serve on TCP `port` of this machine (0: any free one); ends with 1 where that is taken. Never returns."""
    try:
        trio.run(_serve, handler, port)
    except BindFailed as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(1)


async def _serve(handler: Callable[[trio.SocketStream], Awaitable[object]], port: int) -> None:
    listeners = await open_tcp_listeners(HostPort(LOOPBACK, port))
    click.echo(f"{LISTENING}{listeners[0].socket.getsockname()[1]}", err=True)
    await trio.serve_listeners(handler, listeners)


async def wait_listening(service: ServiceProcess) -> int:
    """The port on which such a process serves, when it does.

    Raises:
      ProcessEnded: it never will.
    """
    return int((await service.wait_line(LISTENING)).rpartition(":")[2])
