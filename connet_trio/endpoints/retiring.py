"""The end of a connection that is no path any more."""

from connet_trio.quic import Connection


async def retire(connection: Connection, farewell: tuple[int, str]) -> None:
    """Let the streams that run on a connection end by themselves, then close it with the code and text given."""
    try:
        await connection.wait_idle()
    finally:
        connection.close(*farewell)
