"""A TCP port that leads to another one, through the copy loop of the product and nothing else of it."""

from functools import partial

import click
import trio

from connet_trio.concurrency import splice
from connet_trio.forward.tcp import TcpStream
from connet_trio.testing.bench.listening import LOOPBACK, run_listening


async def carry(target: int, accepted: trio.SocketStream) -> None:
    """Join a connection to a new one to TCP port `target` of this machine."""
    async with TcpStream(accepted) as near:
        try:
            connected = await trio.open_tcp_stream(LOOPBACK, target)
        except OSError:
            near.reset()
            return
        async with TcpStream(connected) as far:
            await splice(near, far)


@click.command()
@click.option("--target", type=int, required=True)
def main(target: int) -> None:
    """Serve until killed."""
    run_listening(partial(carry, target), 0)


if __name__ == "__main__":
    main()
