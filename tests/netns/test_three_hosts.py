"""Server, destination and source on three hosts of a kernel network, as the quickstart has them.

Which path carried the bytes is read from the status pages, never inferred from success.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from connet_trio.testing.certificates import write_certificate
from connet_trio.testing.namespaces import Lan, namespaces_permitted, open_lan
from connet_trio.testing.processes import CONNET_TRIO, ServiceProcess, open_process

pytestmark = [
    pytest.mark.needs_netns,
    pytest.mark.skipif(
        not namespaces_permitted() or shutil.which("curl") is None, reason="needs root, iproute2 and curl"
    ),
]

SERVER, DESTINATION, SOURCE = "10.77.3.1", "10.77.3.2", "10.77.3.3"

SERVER_TOML = f"""
[server]
tokens = ["client-d-token", "client-s-token"]
[[server.ingress]]
cert-file = "cert.pem"
key-file = "key.pem"
[[server.relay-ingress]]
hostports = ["{SERVER}"]
"""
CONTROL_TOML = """
[control]
clients-tokens = ["client-d-token", "client-s-token"]
relays-tokens = ["relay-token"]
[[control.clients-ingress]]
cert-file = "cert.pem"
key-file = "key.pem"
[[control.relays-ingress]]
cert-file = "cert.pem"
key-file = "key.pem"
"""
RELAY_TOML = f"""
[relay]
token = "relay-token"
control-addr = "{SERVER}:19189"
control-cas-file = "cert.pem"
[[relay.ingress]]
hostports = ["{SERVER}:19191"]
"""
DESTINATION_TOML = f"""
[client]
token = "client-d-token"
server-addr = "{SERVER}:19190"
server-cas = "cert.pem"
[client.destinations.serviceA]
url = "tcp://:3000"
"""
SOURCE_TOML = f"""
[client]
token = "client-s-token"
server-addr = "{SERVER}:19190"
server-cas = "cert.pem"
[client.sources.serviceA]
url = "tcp://:8000"
"""
FILE_BYTES = 4_000_000
STATUS_PORTS = {"server": 19180, "control": 19180, "relay": 19181, "client-d": 19182, "client-s": 19182}


@pytest.fixture
def lan() -> Iterator[Lan]:
    with open_lan({"srv": SERVER, "d": DESTINATION, "s": SOURCE}) as made:
        yield made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_certificate(tmp_path, [SERVER])
    files = {
        "server": SERVER_TOML,
        "control": CONTROL_TOML,
        "relay": RELAY_TOML,
        "client-d": DESTINATION_TOML,
        "client-s": SOURCE_TOML,
    }
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "random").write_bytes(random.Random(1).randbytes(FILE_BYTES))
    return tmp_path


@attrs.frozen(kw_only=True)
class Quickstart:
    """The processes of the quickstart on their hosts."""

    lan: Lan
    directory: Path
    servers: dict[str, ServiceProcess]
    source: ServiceProcess

    async def fetch(self) -> bytes:
        """The file of the service on D, over port 8000 of S."""
        return await self._curl("s", "http://127.0.0.1:8000/random")

    async def path(self) -> dict[str, Any]:
        """What the source says about its one peer."""
        [peer] = (await self.status("s", "client-s"))["sources"]["serviceA"]["peers"].values()
        return dict(peer)

    async def bytes_forwarded(self) -> int:
        """What the relay has carried."""
        if "relay" in self.servers:
            return int((await self.status("srv", "relay"))["bytes-forwarded"])
        return int((await self.status("srv", "server"))["relay"]["bytes-forwarded"])

    async def status(self, host: str, name: str) -> dict[str, Any]:
        """A status page."""
        page: dict[str, Any] = json.loads(await self._curl(host, f"http://127.0.0.1:{STATUS_PORTS[name]}/"))
        return page

    async def _curl(self, host: str, url: str) -> bytes:
        curl = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", url]
        return (await trio.run_process(self.lan.command(host, curl), capture_stdout=True)).stdout


@asynccontextmanager
async def open_quickstart(
    lan: Lan, directory: Path, servers: list[str], *, route: str, until: str
) -> AsyncIterator[Quickstart]:
    """Everything on its host, until the source has logged `until`."""
    environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state"), "XDG_CACHE_HOME": str(directory)}
    for name in ("client-d", "client-s"):
        place = directory / f"{name}.toml"
        place.write_text(place.read_text().replace("serviceA]\n", f'serviceA]\nroute = "{route}"\n'))
    async with AsyncExitStack() as stack:

        async def start(host: str, *command: str) -> ServiceProcess:
            line = lan.command(host, command)
            return await stack.enter_async_context(open_process(line, directory=directory, environment=environment))

        async def start_service(host: str, name: str, ready: str, *command: str) -> ServiceProcess:
            status = f"127.0.0.1:{STATUS_PORTS[name]}"
            service = await start(host, *CONNET_TRIO, *command, "--config", f"{name}.toml", "--status-addr", status)
            await service.wait_line(ready)
            return service

        await start("d", sys.executable, "-m", "http.server", "3000", "--directory", "files")
        running = {name: await start_service("srv", name, "is up", name) for name in servers}
        await start_service("d", "client-d", "serviceA online")
        source = await start_service("s", "client-s", until)
        yield Quickstart(lan=lan, directory=directory, servers=running, source=source)


SERVERS = pytest.mark.parametrize("servers", [["server"], ["control", "relay"]], ids=["server", "control and relay"])


@SERVERS
async def test_route_relay_carries_every_byte_through_the_relay(lan: Lan, directory: Path, servers: list[str]) -> None:
    with trio.fail_after(90):
        async with open_quickstart(lan, directory, servers, route="relay", until="connected through relay") as run:
            fetched = await run.fetch()
            path, forwarded = await run.path(), await run.bytes_forwarded()
    assert fetched == (directory / "files" / "random").read_bytes()
    assert path["path"] == "relay"
    assert [connection["style"] for connection in path["connections"]] == ["relay"]
    assert forwarded >= FILE_BYTES


@SERVERS
async def test_route_any_goes_directly_where_the_network_lets_it(lan: Lan, directory: Path, servers: list[str]) -> None:
    with trio.fail_after(90):
        async with open_quickstart(lan, directory, servers, route="any", until="connected directly") as run:
            fetched = await run.fetch()
            path, forwarded = await run.path(), await run.bytes_forwarded()
    assert fetched == (directory / "files" / "random").read_bytes()
    assert path["path"] in ("incoming", "outgoing")
    direct = [connection for connection in path["connections"] if connection["style"] != "relay"]
    assert sum(connection["bytes-in"] for connection in direct) >= FILE_BYTES
    for connection in direct:  # the link-local address of D works as well
        assert connection["address"] == f"{DESTINATION}:19192" or connection["address"].startswith("[fe80::")
    assert forwarded == 0


async def test_the_quickstart_of_the_original_works_as_it_is_written(lan: Lan, directory: Path) -> None:
    """Its server does not say where its relay is found, so the clients have to meet directly."""
    written, _, _ = SERVER_TOML.partition("[[server.relay-ingress]]")
    (directory / "server.toml").write_text(written)
    with trio.fail_after(90):
        async with open_quickstart(lan, directory, ["server"], route="any", until="connected directly") as run:
            assert await run.fetch() == (directory / "files" / "random").read_bytes()
            assert await run.bytes_forwarded() == 0


async def test_route_direct_needs_no_relay(lan: Lan, directory: Path) -> None:
    with trio.fail_after(90):
        async with open_quickstart(
            lan, directory, ["control", "relay"], route="direct", until="connected directly"
        ) as run:
            await run.servers["relay"].stop()
            fetched = await run.fetch()
            path = await run.path()
    assert fetched == (directory / "files" / "random").read_bytes()
    assert path["path"] in ("incoming", "outgoing")
    assert sum(connection["bytes-in"] for connection in path["connections"]) >= FILE_BYTES


async def test_route_any_goes_through_the_relay_where_nothing_passes_between_the_clients(
    lan: Lan, directory: Path
) -> None:
    lan.isolate("d", "s")
    with trio.fail_after(90):
        async with open_quickstart(lan, directory, ["server"], route="any", until="connected through relay") as run:
            fetched = await run.fetch()
            path, forwarded = await run.path(), await run.bytes_forwarded()
    assert fetched == (directory / "files" / "random").read_bytes()
    assert path["path"] == "relay"
    assert path["why"].startswith("not directly: ")
    assert forwarded >= FILE_BYTES


async def test_a_network_that_comes_back_is_used_directly_again(lan: Lan, directory: Path) -> None:
    with trio.fail_after(120):
        async with open_quickstart(lan, directory, ["server"], route="any", until="connected directly") as run:
            lan.unplug("s")
            await run.source.wait_line("10.77.3.3 went")
            await run.source.wait_line("not connected")
            lan.plug_in("s")
            began = trio.current_time()
            await run.source.wait_line("10.77.3.3 came")
            while (await run.path())["path"] not in ("incoming", "outgoing"):
                assert trio.current_time() - began < 20
                await trio.sleep(0.2)
            assert await run.fetch() == (directory / "files" / "random").read_bytes()
            assert await run.bytes_forwarded() == 0
