"""Local sockets ⇄ streams. Handed what to dial and what was accepted, it knows no neighbour."""

from connet_trio.forward.open_files import OpenFiles
from connet_trio.forward.tcp import (
    TcpStream,
    dial_tcp,
    join,
    open_tcp_listeners,
    serve_destination_stream,
    serve_source,
)
from connet_trio.forward.traffic import Traffic

__all__ = [
    "OpenFiles",
    "TcpStream",
    "Traffic",
    "dial_tcp",
    "join",
    "open_tcp_listeners",
    "serve_destination_stream",
    "serve_source",
]
