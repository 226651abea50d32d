"""Local TCP: what destinations lead to and what sources listen on."""

import errno
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address

import trio

from connet_trio.concurrency import AbortableStream, Told, Workload, ignore_code, splice
from connet_trio.errors import BindFailed, ConnectFailed, DialFailed, EndpointClosed
from connet_trio.forward.open_files import OpenFiles, too_many_open_files
from connet_trio.forward.traffic import Traffic
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.proxy import ClientAddresses
from connet_trio.records.text import printable

logger = logging.getLogger(__name__)

NO_HOST_NAME = "not a host name"
RECEIVE_BYTES = 1 << 19
"""What one read takes at most. Each costs two turns of trio's loop and one of the QUIC connection behind it, which with
trio's 64 KiB are a third of all CPU time."""
WRITES_SOCKETS = os.name == "posix"
"""Whether `os.write` takes the number of a socket."""
LINGER_NOTHING = struct.pack("ii", 1, 0)  # close sends RST: the peer must not take what it has for the whole


class TcpStream(AbortableStream):
    """A TCP connection with the two ways out that `splice` needs."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._is_broken = False
        self._tell_stopped: Told = ignore_code

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self._note_broken()
            raise

    def send_nowait(self, data: bytes) -> int:
        """See `AbortableStream.send_nowait`; what fails here fails again for who sends the rest."""
        if not WRITES_SOCKETS:
            return 0
        try:
            return os.write(self._stream.socket.fileno(), data)
        except OSError:
            return 0

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Shut down sending (TCP half-close)."""
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES if max_bytes is None else max_bytes))
        except trio.BrokenResourceError:
            self._note_broken()
            raise

    def reset(self, code: int = 0) -> None:
        """TCP can only reset both directions."""
        if self._stream.socket.fileno() != -1:
            with suppress(OSError):  # some systems refuse options of a connection that the peer has reset
                self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOTHING)
            self._stream.socket.close()
        self._note_broken()

    def stop(self, code: int = 0) -> None:
        """TCP has no word for it: the peer is held back by its window until the connection closes."""

    def on_stopped(self, tell: Told) -> None:
        """Tells when the connection is seen to be broken; TCP says so only to those who read or write."""
        self._tell_stopped = tell
        if self._is_broken:
            tell(0)

    async def aclose(self) -> None:
        """Close both directions."""
        await self._stream.aclose()

    def _note_broken(self) -> None:
        self._is_broken = True
        self._tell_stopped(0)


async def open_tcp_listeners(place: HostPort) -> list[trio.SocketListener]:
    """Listen on `place`; an empty host means all addresses.

    Raises:
      BindFailed: the address is in use, not ours, or not permitted.
    """
    try:
        return await trio.open_tcp_listeners(place.port, host=place.host or None)
    except (socket.gaierror, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, socket.gaierror) else NO_HOST_NAME
        raise BindFailed(f"cannot listen on TCP {place}: {reason}") from exc
    except OSError as exc:
        reason = os.strerror(exc.errno).lower() if exc.errno else str(exc)
        raise BindFailed(f"cannot listen on TCP {place}: {reason}", in_use=exc.errno == errno.EADDRINUSE) from exc


async def dial_tcp(target: HostPort) -> trio.SocketStream:
    """A connection to `target`.

    Raises:
      DialFailed: nobody listens there, or it cannot be reached.
    """
    try:
        return await _connect(target)
    except (OSError, UnicodeError) as exc:
        raise DialFailed(f"TCP {target} cannot be reached: {_why(exc)}") from exc


async def serve_source(
    listeners: list[trio.SocketListener],
    name: str,
    dial: Callable[[ClientAddresses | None], Awaitable[AbortableStream]],
    *,
    traffic: Traffic,
    streams: trio.Nursery,
    workload: Workload,
    files: OpenFiles,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Carry each TCP connection to a destination. Never returns; cancelling it leaves running streams alone.

    Args:
      streams: where running streams live on while this one no longer accepts.
    """

    async def handle(accepted: trio.SocketStream) -> None:
        async with TcpStream(accepted) as local:
            if files.refuses(accepted.socket, name):
                local.reset()
                return
            with workload.job():
                try:
                    remote = await dial(_addresses_of(accepted))
                except (ConnectFailed, EndpointClosed) as exc:
                    logger.warning("%s: connection from here not carried: %s", printable(name), printable(str(exc)))
                    return
                await join(local, remote, traffic)

    await trio.serve_listeners(handle, listeners, handler_nursery=streams, task_status=task_status)


def _addresses_of(accepted: trio.SocketStream) -> ClientAddresses | None:
    try:
        names = accepted.socket.getpeername(), accepted.socket.getsockname()
    except OSError:  # the client has gone already
        return None
    source, destination = (AddressPort(ip_address(host.partition("%")[0]), port) for host, port, *_ in names)
    return ClientAddresses(source, destination)


async def serve_destination_stream(
    remote: AbortableStream,
    name: str,
    target: HostPort,
    dial_timeout: float | None,
    *,
    traffic: Traffic,
    files: OpenFiles,
) -> None:
    """Carry one accepted stream to the local service; a service that cannot be reached resets it at once."""
    try:
        with trio.fail_after(dial_timeout) if dial_timeout is not None else trio.CancelScope():
            accepted = await _connect(target)
            if files.refuses(accepted.socket, name):
                await trio.aclose_forcefully(accepted)
                raise too_many_open_files()
    except (OSError, UnicodeError, trio.TooSlowError) as exc:
        if _errno(exc) == errno.EMFILE:
            files.tell(name)
        level = logging.DEBUG if _errno(exc) == errno.EMFILE else logging.WARNING  # not a line for each stream
        why = _why(exc, dial_timeout)
        logger.log(level, "%s: the service at %s cannot be reached: %s", printable(name), target, why)
        # not an end, which whoever dialled could not tell from an empty answer
        remote.reset()
        remote.stop()
        return
    except BaseException:
        remote.reset()
        remote.stop()
        raise
    async with TcpStream(accepted) as local:
        await join(local, remote, traffic)


async def _connect(target: HostPort) -> trio.SocketStream:
    """A connection to `target`; a numeric address is dialled without the race between the addresses of a name."""
    try:
        family = socket.AF_INET if ip_address(target.host).version == 4 else socket.AF_INET6
    except ValueError:
        return await trio.open_tcp_stream(target.host, target.port)
    dialled = trio.socket.socket(family)
    try:
        await dialled.connect((target.host, target.port))
    except BaseException:
        dialled.close()
        raise
    return trio.SocketStream(dialled)


async def join(local: AbortableStream, remote: AbortableStream, traffic: Traffic) -> None:
    """Splice until both directions have ended; if cut short, both sides are told that it is not the whole."""
    try:
        await splice(local, remote, to_right=traffic.count_out, to_left=traffic.count_in)
    except BaseException:
        local.reset()
        raise
    finally:
        # whatever has ended by itself takes no notice
        remote.reset()
        remote.stop()


def _why(exc: OSError | UnicodeError | trio.TooSlowError, dial_timeout: float | None = None) -> str:
    if isinstance(exc, trio.TooSlowError):
        return f"no answer within {dial_timeout:g} s"
    if isinstance(exc, UnicodeError):
        return NO_HOST_NAME
    if isinstance(exc, socket.gaierror):
        return str(exc.strerror)
    number = _errno(exc)
    return os.strerror(number).lower() if number else printable(str(exc))


def _errno(exc: BaseException | None) -> int | None:
    """The number of the first attempt that failed: trio tries every address of a host and groups the failures."""
    if exc is None:
        return None
    if isinstance(exc, OSError) and exc.errno:
        return exc.errno
    if isinstance(exc, BaseExceptionGroup):
        return _errno(exc.exceptions[0])
    return _errno(exc.__cause__)
