"""A directory from which every service can run on this machine: a certificate, free ports, configuration files."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio

from connet_trio.testing.processes import ServiceProcess, free_ports, open_service

START_SECONDS = 20.0
"""In which a process is up, on a busy machine too."""

STATUS = "127.0.0.1:0"


@attrs.frozen(kw_only=True)
class Processes:
    """A server and two clients; the server is control alone where the relay is a process of its own."""

    server: ServiceProcess
    destination: ServiceProcess
    source: ServiceProcess
    relay: ServiceProcess | None = None

    @property
    def all(self) -> tuple[ServiceProcess, ...]:
        """All of them, in the order they started."""
        relays = () if self.relay is None else (self.relay,)
        return (self.server, *relays, self.destination, self.source)


@attrs.frozen(kw_only=True)
class LocalSite:
    """Where everything is. `cert.pem` and `key.pem` are to be put into the directory."""

    directory: Path
    control: int
    """UDP port of control for clients."""
    relays: int
    """UDP port of control for relays."""
    relay: int
    """UDP port of the relay."""
    target: int
    """TCP port of the service offered."""
    source: int
    """TCP port on which it can be used."""

    @classmethod
    def in_directory(cls, directory: Path) -> "LocalSite":
        """One with ports that are free now."""
        control, relays, relay, target, source = free_ports(5)
        return cls(directory=directory, control=control, relays=relays, relay=relay, target=target, source=source)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.directory / name).write_text(text)

    def write_server(self) -> None:
        """`server.toml`: control and a relay."""
        self.write(
            "server.toml",
            f"""[server]
tokens = ["client-d-token", "client-s-token"]
status-addr = "{STATUS}"

[[server.ingress]]
addr = ":{self.control}"
cert-file = "cert.pem"
key-file = "key.pem"

[[server.relay-ingress]]
addr = ":{self.relay}"
hostports = ["localhost"]
""",
        )

    def write_control_and_relay(self) -> None:
        """`control.toml` and `relay.toml`."""
        self.write(
            "control.toml",
            f"""[control]
clients-tokens = ["client-d-token", "client-s-token"]
relays-tokens = ["relay-token"]
status-addr = "{STATUS}"

[[control.clients-ingress]]
addr = ":{self.control}"
cert-file = "cert.pem"
key-file = "key.pem"

[[control.relays-ingress]]
addr = ":{self.relays}"
cert-file = "cert.pem"
key-file = "key.pem"
""",
        )
        self.write(
            "relay.toml",
            f"""[relay]
token = "relay-token"
control-addr = "localhost:{self.relays}"
control-cas-file = "cert.pem"
status-addr = "{STATUS}"

[[relay.ingress]]
addr = ":{self.relay}"
hostports = ["localhost"]
""",
        )

    def write_clients(self) -> None:
        """`client-d.toml`, which offers the target as `serviceA`, and `client-s.toml`, which uses it over the relay."""
        destination = f'[client.destinations.serviceA]\nurl = "tcp://127.0.0.1:{self.target}"\n'
        source = f'[client.sources.serviceA]\nroute = "relay"\nurl = "tcp://127.0.0.1:{self.source}"\n'
        self.write("client-d.toml", self._client("client-d-token") + destination)
        self.write("client-s.toml", self._client("client-s-token") + source)

    def _client(self, token: str) -> str:
        return f"""[client]
token = "{token}"
server-addr = "127.0.0.1:{self.control}"
server-cas-file = "cert.pem"
status-addr = "{STATUS}"

"""

    def open(self, *arguments: str, **variables: str) -> AbstractAsyncContextManager[ServiceProcess]:
        """`connet-trio` with these arguments and environment variables, in the directory."""
        return open_service(*arguments, directory=self.directory, **variables)

    @asynccontextmanager
    async def open_relayed(self, *, separate_relay: bool = False) -> AsyncIterator[Processes]:
        """Everything, from files already written, until the source has found the destination over the relay."""
        async with AsyncExitStack() as stack:

            async def start(command: str, name: str) -> ServiceProcess:
                service = await stack.enter_async_context(self.open(command, "--config", f"{name}.toml"))
                with trio.fail_after(START_SECONDS):
                    await service.wait_line("is up")
                return service

            server = await start("control", "control") if separate_relay else await start("server", "server")
            relay = await start("relay", "relay") if separate_relay else None
            destination = await start("client", "client-d")
            source = await start("client", "client-s")
            with trio.fail_after(START_SECONDS):
                await source.wait_line("connected through relay")
            yield Processes(server=server, destination=destination, source=source, relay=relay)
