"""Server, destination and source on three hosts of a kernel network, as the quickstart has them."""

import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

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
route = "relay"
url = "tcp://:8000"
"""


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
    (tmp_path / "files" / "random").write_bytes(random.Random(1).randbytes(4_000_000))
    return tmp_path


@asynccontextmanager
async def open_quickstart(lan: Lan, directory: Path, servers: list[str]) -> AsyncIterator[ServiceProcess]:
    """Everything on its host; yields the source once it has a path."""
    environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state"), "XDG_CACHE_HOME": str(directory)}
    async with AsyncExitStack() as stack:

        async def start(host: str, *command: str) -> ServiceProcess:
            line = lan.command(host, command)
            return await stack.enter_async_context(open_process(line, directory=directory, environment=environment))

        await start("d", sys.executable, "-m", "http.server", "3000", "--directory", "files")
        for server in servers:
            await (await start("srv", *CONNET_TRIO, server, "--config", f"{server}.toml")).wait_line("is up")
        await (await start("d", *CONNET_TRIO, "--config", "client-d.toml")).wait_line("serviceA online")
        source = await start("s", *CONNET_TRIO, "--config", "client-s.toml")
        await source.wait_line("connected through relay")
        yield source


@pytest.mark.parametrize("servers", [["server"], ["control", "relay"]], ids=["server", "control and relay"])
async def test_curl_on_one_host_reaches_a_service_on_another(lan: Lan, directory: Path, servers: list[str]) -> None:
    with trio.fail_after(90):
        async with open_quickstart(lan, directory, servers):
            curl = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "http://127.0.0.1:8000/random"]
            fetched = await trio.run_process(lan.command("s", curl), capture_stdout=True)
    assert fetched.stdout == (directory / "files" / "random").read_bytes()
