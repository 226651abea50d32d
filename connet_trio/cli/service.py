"""A service as a process: it starts, says so, serves its status, and obeys signals.

    run_service ─┬─ signals: the first stops the service, after it the next one kills the process
                 └─ the service ─┬─ status page
                                 └─ signs of life for systemd, if that started us

The first SIGTERM or SIGINT lets the service drain and leave, and the process ends with 0. From then on both signals
have their default action again, so a second one ends the process at once, however busy it is, in the way that shells
(143, 130) and systemd know; the kernel frees its sockets.
"""

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

import attrs
import trio

from connet_trio.cli.service_manager import ServiceManager
from connet_trio.cli.status_line import status_line
from connet_trio.records.model import HostPort
from connet_trio.records.status import ServerStatus, ServiceStatus, to_json
from connet_trio.status import serve_status

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Service(Protocol):
    """What `open_client`, `open_control`, `open_relay` and `open_server` yield."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about this start."""

    def status(self) -> ServiceStatus:
        """The status page."""

    async def drain(self) -> None:
        """Accept nothing new, and give what runs a bounded time to end by itself."""


async def run_service(
    name: str,
    opening: AbstractAsyncContextManager[Service],
    status_address: HostPort | None,
    manager: ServiceManager | None = None,
) -> None:
    """Run a service until a signal stops it, or an error does.

    Args:
      manager: is told what becomes of it; None when nobody is to be told.

    Raises:
      ConnetError: it cannot start, or cannot go on; also in a group.
    """
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            life = _Life(manager or ServiceManager())
            nursery.start_soon(life.obey, signals)
            await life.live(name, opening, status_address)
            nursery.cancel_scope.cancel()
    logger.info("%s stopped", name)


class _Life:
    """One service from its start to its end. Before it is up, stopping it means cancelling its start."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._starting: trio.CancelScope | None = trio.CancelScope()
        self._stopping = trio.Event()
        self._status_errors = 0

    async def live(
        self, name: str, opening: AbstractAsyncContextManager[Service], status_address: HostPort | None
    ) -> None:
        assert self._starting is not None
        self._manager.tell_starting()
        with self._starting:
            async with opening as service, trio.open_nursery() as nursery:
                if status_address is not None:
                    await nursery.start(self._serve_status, status_address, service)
                for warning in service.warnings:
                    logger.warning("%s", warning)
                logger.info("%s is up", name)
                self._starting = None
                if self._manager.is_there:
                    self._manager.tell_ready(self._line(service))
                    nursery.start_soon(self._show_life, service)
                await self._stopping.wait()
                await service.drain()
                nursery.cancel_scope.cancel()

    async def obey(self, signals: AsyncIterator[int]) -> None:
        number = await anext(signals)
        for stop_signal in STOP_SIGNALS:
            signal.signal(stop_signal, signal.SIG_DFL)
        logger.info("%s: stopping; a second signal ends this process at once", signal.Signals(number).name)
        self._manager.tell_stopping()
        if self._starting is not None:
            self._starting.cancel()
        self._stopping.set()

    async def _show_life(self, service: Service) -> None:
        """Tell the service manager again and again, also while the service drains, that this loop runs."""
        while True:
            await trio.sleep(self._manager.pause_seconds)
            self._manager.tell_alive("" if self._stopping.is_set() else self._line(service))

    def _line(self, service: Service) -> str:
        try:
            return status_line(service.status())
        except Exception:  # as for the status page: a bug there must not end the service
            logger.exception("status line failed")
            self._count_error()
            return ""

    async def _serve_status(
        self, address: HostPort, service: Service, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_status, count_error=self._count_error)
            listeners = await nursery.start(serve, address, lambda: self._page(service))
            for listener in listeners:
                logger.info("status page at http://%s/", _place(listener))
            task_status.started()

    def _page(self, service: Service) -> dict[str, Any]:
        """The service's page, errors of the page itself counted in."""
        status = service.status()
        if self._status_errors and isinstance(status, ServerStatus):
            errors = status.control.handler_errors + self._status_errors
            status = attrs.evolve(status, control=attrs.evolve(status.control, handler_errors=errors))
        elif self._status_errors and not isinstance(status, ServerStatus):
            status = attrs.evolve(status, handler_errors=status.handler_errors + self._status_errors)
        return to_json(status)

    def _count_error(self) -> None:
        self._status_errors += 1


def _place(listener: trio.SocketListener) -> HostPort:
    host, port = listener.socket.getsockname()[:2]
    return HostPort(host, port)
