"""The service behind every entrance.

A client says in one line what it wants, `VERB COUNT`:

- `send`: COUNT bytes from here, then the end
- `receive`: the client sends COUNT bytes; the answer is COUNT in decimal, then the end
- `echo`: the client sends COUNT bytes (at most 1 MiB), which come back when all of them are here, then the end

A line that says anything else is answered with the end alone. Payload repeats one incompressible megabyte.
"""

import random

import click
import trio

from connet_trio.testing.bench.listening import run_listening

PAYLOAD = memoryview(random.Random(0).randbytes(1 << 20))
MAX_LINE_BYTES = 32
BUFFER_BYTES = 1 << 18
"""What one receive takes at most: neither end of the load is to be what limits a tunnel."""


def request_line(verb: str, count: int) -> bytes:
    """What a client says first."""
    return f"{verb} {count}\n".encode("ascii")


async def send_payload(stream: trio.SocketStream, count: int) -> None:
    """Send `count` bytes of payload."""
    while count:
        piece = PAYLOAD[:count]
        await stream.send_all(piece)
        count -= len(piece)


async def discard(stream: trio.SocketStream, count: int) -> int:
    """Receive until `count` bytes or the end are here; returns how many there were."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    received = 0
    while received < count:
        size = await stream.socket.recv_into(buffer, min(len(buffer), count - received))
        if not size:
            break
        received += size
    return received


async def receive_exactly(stream: trio.SocketStream, count: int) -> bytes:
    """Receive `count` bytes, or fewer when the end comes first."""
    pieces = []
    while count:
        piece = await stream.receive_some(count)
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


async def serve_target(stream: trio.SocketStream) -> None:
    """Do what one client asks."""
    async with stream:
        try:
            await _serve(stream)
        except (trio.BrokenResourceError, OSError):
            return  # the client is gone, and knows


async def _serve(stream: trio.SocketStream) -> None:
    line, early = await _receive_line(stream)
    verb, _, number = line.partition(" ")
    count = int(number) if number.isdecimal() else 0
    if verb == "send":
        await send_payload(stream, count)
    elif verb == "receive":
        count = len(early) + await discard(stream, count - len(early))
        await stream.send_all(b"%d" % count)
    elif verb == "echo" and count <= len(PAYLOAD):
        await stream.send_all(early + await receive_exactly(stream, count - len(early)))


async def _receive_line(stream: trio.SocketStream) -> tuple[str, bytes]:
    """The first line, and what came with it; an empty line if there is none of that length."""
    data = b""
    while len(data) < MAX_LINE_BYTES:
        piece = await stream.receive_some()
        data += piece
        if b"\n" in data[:MAX_LINE_BYTES]:
            line, _, early = data.partition(b"\n")
            return line.decode("ascii", "replace"), early
        if not piece:
            break
    return "", b""


@click.command()
@click.option("--port", type=int, default=0)
def main(port: int) -> None:
    """Serve until killed."""
    run_listening(serve_target, port)


if __name__ == "__main__":
    main()
