"""The units of config-examples: systemd reads them, and what they run tells systemd how it is."""

import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from connet_trio.testing.local_site import START_SECONDS, LocalSite
from connet_trio.testing.processes import CONNET_TRIO, ServiceProcess, open_process, service_environment

UNITS = Path(__file__).parents[2] / "config-examples" / "systemd"
SERVICES = ("client", "control", "relay", "server")
PROGRAM = "/opt/connet-trio/bin/connet-trio"
MAX_EXPOSURE = 20
"""Tenths of what `systemd-analyze security` gives each unit; a unit without hardening has 96."""


def unit_file(service: str) -> Path:
    """The unit of a service."""
    return UNITS / f"connet-trio-{service}.service"


def settings(service: str, key: str) -> list[str]:
    """The values of a key in a unit, with the lines that go on joined."""
    text = unit_file(service).read_text().replace("\\\n", " ")
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    """The units, with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    made = []
    for service in SERVICES:
        text = unit_file(service).read_text()
        assert PROGRAM in text
        copy = tmp_path / unit_file(service).name
        copy.write_text(text.replace(PROGRAM, "/bin/true"))
        made.append(copy)
    return made


def analyze(*arguments: str | Path) -> str:
    """What `systemd-analyze` writes, once it has found nothing wrong."""
    ran = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stderr


def test_there_is_a_unit_for_each_service() -> None:
    assert {file.name for file in UNITS.iterdir()} == {unit_file(service).name for service in SERVICES}


def test_systemd_finds_nothing_wrong_with_the_units(copies: list[Path]) -> None:
    assert analyze("verify", "--man=no", *copies) == ""


def test_systemd_would_find_what_is_wrong(copies: list[Path]) -> None:
    copies[0].write_text(copies[0].read_text().replace("Type=notify", "Type=notfy"))
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", copies[0]], capture_output=True, text=True)
    assert "notfy" in ran.stderr


def test_the_units_give_services_no_more_than_they_need(copies: list[Path]) -> None:
    for copy in copies:
        analyze("security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager", copy)


@pytest.fixture
def credentials(site: LocalSite) -> LocalSite:
    """A site with a configuration for each service that leaves out what the units say."""
    site.write("client.token", "client-token\n")
    site.write("client.tokens", "client-token\n")
    site.write("relay.token", "relay-token\n")
    site.write("relay.tokens", "relay-token\n")
    ingress = f'addr = ":{site.relay}"\nhostports = ["localhost"]\n'
    site.write("server.toml", f'[[server.ingress]]\naddr = ":{site.control}"\n[[server.relay-ingress]]\n{ingress}')
    site.write(
        "control.toml",
        f'[[control.clients-ingress]]\naddr = ":{site.control}"\n[[control.relays-ingress]]\naddr = ":{site.relays}"\n',
    )
    trusted = 'cas-file = "cert.pem"\n'
    site.write(
        "relay.toml",
        f'[relay]\ncontrol-addr = "localhost:{site.relays}"\ncontrol-{trusted}[[relay.ingress]]\n{ingress}',
    )
    site.write(
        "client.toml",
        f'[client]\nserver-addr = "localhost:{site.control}"\nserver-{trusted}'
        f'[client.sources.web]\nurl = "tcp://127.0.0.1:{site.source}"\n',
    )
    return site


class Started:
    """A service, and what it has told its manager."""

    def __init__(self, process: ServiceProcess, messages: trio.MemoryReceiveChannel[list[str]]) -> None:
        self.process = process
        self._messages = messages

    async def next_message(self) -> list[str]:
        """The lines of the next message."""
        return await self._messages.receive()

    async def wait_told(self, assignment: str) -> list[str]:
        """The first message from now on that says so."""
        while assignment not in (lines := await self.next_message()):
            pass
        return lines


@asynccontextmanager
async def started(service: str, site: LocalSite) -> AsyncIterator[Started]:
    """A service as its unit starts it, in a directory that has the files of /etc/connet-trio."""
    credentials = site.directory / f"credentials-{service}"
    credentials.mkdir()
    for credential in settings(service, "LoadCredential"):
        name, _, file = credential.partition(":")
        shutil.copy(site.directory / Path(file).name, credentials / name)
    (line,) = settings(service, "ExecStart")
    line = line.replace("${CREDENTIALS_DIRECTORY}", str(credentials)).replace("/etc/connet-trio/", "")
    program, *arguments = shlex.split(line)
    assert program == PROGRAM
    (watchdog,) = settings(service, "WatchdogSec")
    assert int(watchdog) > 10
    (key,) = {"StateDirectory", "CacheDirectory"} & {
        key for key in ("StateDirectory", "CacheDirectory") if settings(service, key)
    }
    own = site.directory / settings(service, key)[0]
    own.mkdir()
    variables = {key.replace("D", "_D").upper(): str(own), "WATCHDOG_USEC": "200000"}
    place = str(site.directory / f"{service}.notify")
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        await manager.bind(place)
        environment = service_environment(site.directory, NOTIFY_SOCKET=place, **variables)
        command = [*CONNET_TRIO, *arguments]
        async with (
            trio.open_nursery() as nursery,
            open_process(command, directory=site.directory, environment=environment) as process,
        ):
            heard, messages = trio.open_memory_channel[list[str]](1000)
            nursery.start_soon(listen, manager, heard)
            yield Started(process, messages)
            nursery.cancel_scope.cancel()
    assert list(own.iterdir()), f"nothing is kept in {key}"


async def listen(manager: trio.socket.SocketType, heard: trio.MemorySendChannel[list[str]]) -> None:
    """Take each message at once, as systemd does: its queue has room for ten, and services drop what has none."""
    while True:
        heard.send_nowait((await manager.recv(4096)).decode().split("\n"))


async def wait_running(service: Started, expected: str) -> None:
    assert await service.next_message() == ["STATUS=starting"]
    ready = await service.wait_told("READY=1")
    assert re.fullmatch(f"STATUS={expected}", ready[1])
    await service.wait_told("WATCHDOG=1")


async def stop(service: Started) -> None:
    with trio.fail_after(START_SECONDS):
        assert await service.process.stop() == 0
        assert await service.wait_told("STOPPING=1") == ["STOPPING=1", "STATUS=stopping"]


async def test_control_relay_and_client_run_as_their_units_say(credentials: LocalSite) -> None:
    async with started("control", credentials) as control:
        with trio.fail_after(START_SECONDS):
            await wait_running(control, "0 clients, 0 endpoints, 0 relays")
        async with started("relay", credentials) as relay:
            with trio.fail_after(START_SECONDS):
                await wait_running(relay, "connected; 0 endpoints, 0 streams")
            async with started("client", credentials) as client:
                with trio.fail_after(START_SECONDS):
                    await wait_running(client, r"connected to .*; sources: web \(0 peers\)")
                    await control.wait_told("STATUS=1 client, 1 endpoint, 1 relay")
                await stop(client)
            await stop(relay)
        await stop(control)


async def test_a_server_runs_as_its_unit_says(credentials: LocalSite) -> None:
    async with started("server", credentials) as server:
        with trio.fail_after(START_SECONDS):
            await wait_running(server, "0 clients, 0 endpoints, 1 relay; relay here: 0 endpoints, 0 streams")
        await stop(server)
