"""The product in a lab: a server and any number of clients, each a process of its own on its host."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import trio

from connet_trio.testing.certificates import write_certificate
from connet_trio.testing.natlab.topology import SERVER, SERVER_ADDRESSES, NatLab
from connet_trio.testing.processes import CONNET_TRIO, ServiceProcess, open_process, read_status, service_environment

TOKEN = "token of a lab"
START_SECONDS = 60.0
"""In which a process is up, also when many start at once."""
ADDRESS = SERVER_ADDRESSES[0]
STATUS_PORT, TARGET_PORT, FIRST_SOURCE_PORT = 19_180, 3000, 8000

SERVER_TOML = f"""log-format = "json"
[server]
tokens = ["{TOKEN}"]
[[server.ingress]]
cert-file = "cert.pem"
key-file = "key.pem"
[[server.relay-ingress]]
hostports = ["{ADDRESS}"]
"""


@attrs.frozen
class LoggedLine:
    """A line of a log."""

    time: float
    """Unix seconds, to the millisecond."""
    message: str

    @classmethod
    def parse(cls, line: str) -> "LoggedLine | None":
        """None if it is no line of `log-format = "json"`."""
        try:
            entry = json.loads(line)
            return cls(datetime.fromisoformat(entry["time"]).timestamp(), entry["msg"])
        except (ValueError, KeyError, TypeError):
            return None


@attrs.frozen(kw_only=True)
class LabServices:
    """Starts processes of a lab, each in a directory of its own."""

    lab: NatLab
    directory: Path

    @asynccontextmanager
    async def open_server(self) -> AsyncIterator[ServiceProcess]:
        """Control and a relay on the server, until they are up."""
        place = self._place(SERVER, SERVER_TOML)
        write_certificate(place, [ADDRESS])
        async with self._open(SERVER, place, "server") as server:
            with trio.fail_after(START_SECONDS):
                await server.wait_line("is up")
            yield server

    def open_client(
        self, host: str, *, offers: str | None = None, uses: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[ServiceProcess]:
        """A client called after its host; starting is not waited for.

        Args:
          offers: the name of a destination that leads to `TARGET_PORT` of the host.
          uses: the names of sources, which listen on the host from `FIRST_SOURCE_PORT` on.
        """
        text = f"""log-format = "json"
[client]
token = "{TOKEN}"
metadata = "{host}"
server-addr = "{ADDRESS}"
server-cas-file = "../{SERVER}/cert.pem"
status-addr = "127.0.0.1:{STATUS_PORT}"
"""
        if offers is not None:
            text += f'[client.destinations.{offers}]\nurl = "tcp://127.0.0.1:{TARGET_PORT}"\n'
        for number, name in enumerate(uses):
            text += f'[client.sources.{name}]\nurl = "tcp://127.0.0.1:{FIRST_SOURCE_PORT + number}"\n'
        return self._open(host, self._place(host, text), "client")

    async def status(self, host: str) -> Mapping[str, Any]:
        """The status page of the client on a host.

        Raises:
          OSError: there is none.
        """
        return await read_status(await self.lab.connect(host, "127.0.0.1", STATUS_PORT))

    def _place(self, host: str, text: str) -> Path:
        place = self.directory / host
        place.mkdir()
        (place / "settings.toml").write_text(text)
        return place

    def _open(self, host: str, place: Path, service: str) -> AbstractAsyncContextManager[ServiceProcess]:
        command = self.lab.command(host, [*CONNET_TRIO, service, "--config", "settings.toml"])
        return open_process(command, directory=place, environment=service_environment(place))


def logged(process: ServiceProcess) -> list[LoggedLine]:
    """What a process has logged so far."""
    return [entry for entry in map(LoggedLine.parse, process.lines) if entry is not None]
