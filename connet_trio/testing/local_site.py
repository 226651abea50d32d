"""A directory from which every service can run on this machine: a certificate, free ports, configuration files."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio

from connet_trio.concurrency import single_error
from connet_trio.testing.processes import CONNET_TRIO, ServiceProcess, free_ports, open_service

START_SECONDS = 20.0
"""In which a process is up, on a busy machine too."""

STATUS = "127.0.0.1:0"


RouteName = Literal["any", "direct", "relay"]
ProcessName = Literal["server", "relay", "destination", "source"]


@attrs.define(kw_only=True, eq=False)
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


@attrs.define(kw_only=True, eq=False)
class SiteProcesses(Processes):
    """Those of a site; whichever has ended can be started again."""

    _start: Callable[[ProcessName], Awaitable[ServiceProcess]]

    def process(self, name: ProcessName) -> ServiceProcess:
        """The latest process of that name."""
        service = getattr(self, name)
        assert isinstance(service, ServiceProcess), f"no process {name} here"
        return service

    async def start_again(self, name: ProcessName) -> ServiceProcess:
        """Start a process that has ended anew on the same files, and return it once it is up.

        Raises:
          ProcessEnded, trio.TooSlowError: it did not come up.
        """
        service = await self._start(name)
        setattr(self, name, service)
        return service


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
    keys: Mapping[str, str | int] = attrs.field(factory=dict)
    """Further keys of every service."""
    program: Sequence[str] = CONNET_TRIO
    """What services are run with."""

    @classmethod
    def in_directory(cls, directory: Path) -> "LocalSite":
        """One with ports that are free now."""
        control, relays, relay, target, source = free_ports(5)
        return cls(directory=directory, control=control, relays=relays, relay=relay, target=target, source=source)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.directory / name).write_text(text)

    def write_server(self, *, endpoint_expiry: str = "30s") -> None:
        """`server.toml`: control and a relay."""
        self.write(
            "server.toml",
            f"""[server]
tokens = ["client-d-token", "client-s-token"]
status-addr = "{STATUS}"
endpoint-expiry-timeout = "{endpoint_expiry}"
{self._further_keys}
[[server.ingress]]
addr = ":{self.control}"
cert-file = "cert.pem"
key-file = "key.pem"

[[server.relay-ingress]]
addr = ":{self.relay}"
hostports = ["localhost"]
""",
        )

    def write_control_and_relay(self, *, endpoint_expiry: str = "30s") -> None:
        """`control.toml` and `relay.toml`."""
        self.write(
            "control.toml",
            f"""[control]
clients-tokens = ["client-d-token", "client-s-token"]
relays-tokens = ["relay-token"]
status-addr = "{STATUS}"
endpoint-expiry-timeout = "{endpoint_expiry}"
{self._further_keys}
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
{self._further_keys}
[[relay.ingress]]
addr = ":{self.relay}"
hostports = ["localhost"]
""",
        )

    def write_clients(self, *, route: RouteName = "relay") -> None:
        """`client-d.toml`, which offers the target as `serviceA`, and `client-s.toml`, which uses it by `route`."""
        destination = f'[client.destinations.serviceA]\nurl = "tcp://127.0.0.1:{self.target}"\n'
        source = f'[client.sources.serviceA]\nroute = "{route}"\nurl = "tcp://127.0.0.1:{self.source}"\n'
        self.write("client-d.toml", self._client("client-d-token") + destination)
        self.write("client-s.toml", self._client("client-s-token") + source)

    def _client(self, token: str) -> str:
        return f"""[client]
token = "{token}"
server-addr = "127.0.0.1:{self.control}"
server-cas-file = "cert.pem"
status-addr = "{STATUS}"
{self._further_keys}
"""

    @property
    def _further_keys(self) -> str:
        """Lines of TOML; strings and integers are written alike there and in JSON."""
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.keys.items())

    def open(self, *arguments: str, **variables: str) -> AbstractAsyncContextManager[ServiceProcess]:
        """`connet-trio` with these arguments and environment variables, in the directory."""
        return open_service(*arguments, directory=self.directory, program=self.program, **variables)

    @asynccontextmanager
    async def open_relayed(self, *, separate_relay: bool = False) -> AsyncIterator[SiteProcesses]:
        """Everything, from files already written, until the source has found the destination over the relay."""
        async with self.open_connected("connected through relay", separate_relay=separate_relay) as processes:
            yield processes

    @asynccontextmanager
    async def open_connected(self, path: str, *, separate_relay: bool = False) -> AsyncIterator[SiteProcesses]:
        """Everything, from files already written, until the source has logged `path`."""

        async def hold(name: ProcessName, *, task_status: trio.TaskStatus[ServiceProcess]) -> None:
            async with self.open(*_command(name, separate_relay=separate_relay)) as service:
                with trio.fail_after(START_SECONDS):
                    await service.wait_line("is up")
                task_status.started(service)
                await trio.sleep_forever()

        with single_error():
            async with trio.open_nursery() as nursery:

                async def start(name: ProcessName) -> ServiceProcess:
                    service: ServiceProcess = await nursery.start(hold, name)
                    return service

                processes = SiteProcesses(
                    server=await start("server"),
                    relay=await start("relay") if separate_relay else None,
                    destination=await start("destination"),
                    source=await start("source"),
                    start=start,
                )
                with trio.fail_after(START_SECONDS):
                    await processes.source.wait_line(path)
                yield processes
                nursery.cancel_scope.cancel()


def _command(name: ProcessName, *, separate_relay: bool) -> tuple[str, str, str]:
    match name:
        case "server":
            service = "control" if separate_relay else "server"
            return service, "--config", f"{service}.toml"
        case "relay":
            return "relay", "--config", "relay.toml"
        case "destination":
            return "client", "--config", "client-d.toml"
        case "source":
            return "client", "--config", "client-s.toml"
