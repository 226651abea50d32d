"""Control and a relay in one process, for those who need no more."""

from connet_trio.server.server import Server, open_server, run_server
from connet_trio.server.settings import ServerSettings

__all__ = ["Server", "ServerSettings", "open_server", "run_server"]
