"""Says when the system gives UDP sockets less buffer than a fast transfer fills."""

import logging
from collections.abc import Awaitable, Callable

from connet_trio.quic import DatagramSocket, open_udp_socket
from connet_trio.quic.plain_socket import WANTED_BUFFER_BYTES, PlainSocket
from connet_trio.records.model import HostPort

logger = logging.getLogger(__name__)


def open_udp_socket_with_advice(
    open_socket: Callable[[HostPort], Awaitable[PlainSocket]] = open_udp_socket,
) -> Callable[[HostPort], Awaitable[DatagramSocket]]:
    """`open_udp_socket`, with a warning for the first socket whose buffers are small."""
    warned = False

    async def open_and_look(address: HostPort) -> DatagramSocket:
        nonlocal warned
        socket = await open_socket(address)
        granted = min(socket.receive_buffer_bytes, socket.send_buffer_bytes)
        if granted < WANTED_BUFFER_BYTES and not warned:
            warned = True
            logger.warning(
                "UDP sockets get buffers of %d KiB, %d KiB are wanted: transfers are slower than they could be; "
                "on Linux: sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000",
                granted // 1024,
                WANTED_BUFFER_BYTES // 1024,
            )
        return socket

    return open_and_look
