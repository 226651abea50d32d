"""The status page over HTTP (protocol section 13): whatever is asked, the answer is the same JSON."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from connet_trio.forward import open_tcp_listeners
from connet_trio.http import Request, Response, serve_http
from connet_trio.records.model import HostPort

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
"""Connections served at once; one more is closed as soon as it is accepted."""

Listeners = Sequence[trio.abc.Listener[trio.abc.Stream]]


def _ignore_error() -> None:
    """Nobody counts."""


async def serve_status(
    where: HostPort | trio.abc.Listener[trio.abc.Stream],
    snapshot: Callable[[], Mapping[str, Any]],
    *,
    count_error: Callable[[], None] = _ignore_error,
    task_status: trio.TaskStatus[Listeners] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer every request with `snapshot()` as JSON, or 500 when it fails. Never returns.

    Reports started, with its listeners, once it listens.

    Args:
      where: the TCP address to listen on (an empty host: all addresses), or a listener, which is closed at the end.
      snapshot: called anew for each request; `records.status.to_json` of something.
      count_error: called for each unexpected error, which ends one connection and nothing else.

    Raises:
      BindFailed: the address cannot be listened on.
    """
    listeners: Listeners = await open_tcp_listeners(where) if isinstance(where, HostPort) else [where]
    page = _StatusPage(snapshot, count_error)
    task_status.started(listeners)
    await trio.serve_listeners(page.serve_connection, list(listeners))


class _StatusPage:
    """The page, and how many are reading it."""

    def __init__(self, snapshot: Callable[[], Mapping[str, Any]], count_error: Callable[[], None]) -> None:
        self._snapshot = snapshot
        self._count_error = count_error
        self._connections = 0

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        if self._connections >= MAX_CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            await serve_http(stream, self._answer)
        except Exception:  # the root of a connection's task: a bug here must not end the service
            logger.exception("status page failed")
            self._count_error()
        finally:
            self._connections -= 1

    async def _answer(self, _: Request) -> Response:
        body = json.dumps(self._snapshot(), indent=2).encode("ascii") + b"\n"
        return Response(headers=((b"content-type", b"application/json"),), body=body)
