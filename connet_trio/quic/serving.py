"""One task for each connection that a transport accepts: the one place where an unexpected error stops."""

import logging
from collections.abc import Awaitable, Callable

import trio

from connet_trio.concurrency import first_error
from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic.connection import Connection
from connet_trio.quic.transport import Transport
from connet_trio.records.text import printable

logger = logging.getLogger(__name__)

INTERNAL_ERROR = (0, "internal error")
BROKEN_PROTOCOL = (0, "protocol violated")


class Faults:
    """How many connections ended by an error that nobody expected; a status page shows it, tests demand 0."""

    def __init__(self) -> None:
        self.count = 0


async def serve_connections(
    transport: Transport,
    handler: Callable[[Connection], Awaitable[None]],
    faults: Faults,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections and run `handler` for each. Never returns.

    A connection whose handler ended with `PathLost`, `Refused` or `RemoteProtocolError` is closed without a word in
    the log above debug; any other exception is a defect of ours, costs that connection alone, and is counted.
    """
    async with trio.open_nursery() as nursery:
        task_status.started()
        while True:
            for connection in await transport.accept_batch():
                nursery.start_soon(_serve, connection, handler, faults)


async def _serve(connection: Connection, handler: Callable[[Connection], Awaitable[None]], faults: Faults) -> None:
    try:
        await handler(connection)
    except* (PathLost, Refused) as lost:
        logger.debug("connection of %s ended: %s", connection.remote_address, printable(str(first_error(lost))))
    except* RemoteProtocolError as broken:
        what = printable(str(first_error(broken)))
        logger.debug("connection of %s broke the protocol: %s", connection.remote_address, what)
        connection.close(*BROKEN_PROTOCOL)
    except* Exception:
        faults.count += 1
        logger.exception("unexpected error on the connection of %s, which is closed", connection.remote_address)
        connection.close(*INTERNAL_ERROR)
    finally:  # a cancelled handler too
        connection.close(0, "connection closed")
