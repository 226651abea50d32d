"""The main job on one machine, with real processes: `scripts/demo`.

    web service ⇄ client D (destination) ⇄ relay ⇄ client S (source) ⇄ curl

Says what it does, checks what it says, and leaves nothing behind: processes are killed with the block that started
them, files are in a temporary directory. Ends with 1 when anything is off.
"""

import hashlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from connet_trio.concurrency import single_error
from connet_trio.testing.certificates import openssl_command, write_certificate, write_certificate_with_openssl
from connet_trio.testing.processes import (
    ProcessEnded,
    ServiceProcess,
    free_ports,
    open_process,
    open_service,
    status_of,
)

START_SECONDS = 20.0
TRANSFER_SECONDS_PER_MIB = 2.0
"""Far more than it takes: a machine may be busy."""

HOSTS = ("localhost", "127.0.0.1")
CHUNK = 1 << 20


class DemoFailed(Exception):
    """Something is not as it should be; the text says what."""


@attrs.frozen(kw_only=True)
class Ports:
    """Where everything is on this machine."""

    control: int
    relay: int
    web: int
    source: int


@attrs.frozen(kw_only=True)
class Processes:
    """What runs."""

    server: ServiceProcess
    destination: ServiceProcess
    source: ServiceProcess


@click.command(help=__doc__.partition("\n")[0])
@click.option("--mib", default=32, show_default=True, type=click.IntRange(1), help="How much to transfer")
def main(mib: int) -> None:
    """Run the demo; the exit code tells how it went."""
    try:
        with tempfile.TemporaryDirectory(prefix="connet-trio-demo-") as directory:
            trio.run(run_demo, Path(directory), mib)
    except (DemoFailed, ProcessEnded, OSError) as failure:
        click.echo(f"\nFAILED: {failure}", err=True)
        sys.exit(1)
    except trio.TooSlowError:
        click.echo("\nFAILED: it took too long", err=True)
        sys.exit(1)


async def run_demo(directory: Path, mib: int) -> None:
    """Do it all in `directory`.

    Raises:
      DemoFailed, ProcessEnded, OSError, trio.TooSlowError: something is off.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals, single_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail_on_signal, signals)
            await _run(directory, mib)
            nursery.cancel_scope.cancel()


async def _fail_on_signal(signals: AsyncIterator[int]) -> None:
    raise DemoFailed(f"stopped by {signal.Signals(await anext(signals)).name}")


async def _run(directory: Path, mib: int) -> None:
    control, relay, web, source = free_ports(4)
    ports = Ports(control=control, relay=relay, web=web, source=source)
    digest = _prepare(directory, ports, mib)
    async with _open_processes(directory, ports) as processes:
        _show_clients(processes, await status_of(processes.destination), await status_of(processes.source))
        await _transfer(directory, ports, processes.source, mib, digest)
        await _show_path(processes, mib)
        await _stop(processes)
    _check_ports(ports)
    click.echo("\nAll well: nothing is running any more, and nothing is left on the disk.")


def _prepare(directory: Path, ports: Ports, mib: int) -> str:
    """Write certificate, configurations and something to transfer; returns its SHA-256."""
    if write_certificate_with_openssl(directory, HOSTS):
        click.echo(f"1. A certificate for the server:\n     {' '.join(openssl_command(HOSTS))}")
    else:
        write_certificate(directory, HOSTS)
        click.echo("1. A certificate for the server, made with Python's cryptography (there is no usable openssl).")
    (directory / "server.toml").write_text(
        f"""[server]
tokens = ["client-d-token", "client-s-token"]

[[server.ingress]]
addr = ":{ports.control}"
cert-file = "cert.pem"
key-file = "key.pem"

[[server.relay-ingress]]
addr = ":{ports.relay}"
hostports = ["localhost"]
"""
    )
    (directory / "client-d.toml").write_text(
        _client("client-d-token", ports) + f'[client.destinations.serviceA]\nurl = "tcp://127.0.0.1:{ports.web}"\n'
    )
    (directory / "client-s.toml").write_text(
        _client("client-s-token", ports)
        + f'[client.sources.serviceA]\nroute = "relay"\nurl = "tcp://127.0.0.1:{ports.source}"\n'
    )
    (directory / "files").mkdir()
    return _write_random(directory / "files" / "random", mib)


def _client(token: str, ports: Ports) -> str:
    return f"""[client]
token = "{token}"
server-addr = "127.0.0.1:{ports.control}"
server-cas-file = "cert.pem"
status-addr = "127.0.0.1:0"

"""


def _write_random(file: Path, mib: int) -> str:
    digest = hashlib.sha256()
    with file.open("wb") as sink:
        for _ in range(mib):
            chunk = os.urandom(CHUNK)
            digest.update(chunk)
            sink.write(chunk)
    return digest.hexdigest()


@asynccontextmanager
async def _open_processes(directory: Path, ports: Ports) -> AsyncIterator[Processes]:
    """Start everything, each as soon as what it needs is up."""
    async with AsyncExitStack() as stack:
        command = [sys.executable, "-m", "http.server", str(ports.web), "--bind", "127.0.0.1", "--directory", "files"]
        await stack.enter_async_context(open_process(command, directory=directory))
        with trio.fail_after(START_SECONDS):
            await _wait_listening(ports.web)
        click.echo(f"2. A web service with {directory.name}/files, on TCP port {ports.web}.")
        started: list[ServiceProcess] = []
        for name, what, arguments in (
            ("server", "The server (control and a relay)", ("server", "--status-addr", "127.0.0.1:0")),
            ("client-d", "Client D, which offers the web service as serviceA", ()),
            ("client-s", "Client S, which makes serviceA a local port", ()),
        ):
            opening = open_service(*arguments, "--config", f"{name}.toml", directory=directory)
            service = await stack.enter_async_context(opening)
            with trio.fail_after(START_SECONDS):
                await service.wait_line("is up")
            click.echo(f"{len(started) + 3}. {what}:\n     {_command_line(arguments, name)}  (process {service.pid})")
            started.append(service)
        server, destination, source = started
        yield Processes(server=server, destination=destination, source=source)


def _command_line(arguments: tuple[str, ...], name: str) -> str:
    return " ".join(["connet-trio", *arguments[:1], "--config", f"{name}.toml"])


async def _wait_listening(port: int) -> None:
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.05)  # a foreign program has no other way to tell
        else:
            await stream.aclose()
            return


def _show_clients(processes: Processes, destination: dict[str, Any], source: dict[str, Any]) -> None:
    """Two clients on one machine: the second cannot have the usual port, and says so."""
    addresses = destination["direct-address"], source["direct-address"]
    if addresses[0] == addresses[1]:
        raise DemoFailed(f"both clients say they use {addresses[0]}")
    warnings = [line for line in processes.source.lines if "is taken" in line]
    if not warnings:
        raise DemoFailed("the second client on this machine did not warn that the usual UDP port is taken")
    click.echo(
        f"   Two clients on one machine: D has UDP {addresses[0]}, S {addresses[1]}. S has warned:\n     {warnings[0]}"
    )


async def _transfer(directory: Path, ports: Ports, source: ServiceProcess, mib: int, digest: str) -> None:
    """Fetch the file through the source, when both ends have found the relay."""
    url = f"http://127.0.0.1:{ports.source}/random"
    target = directory / "fetched"
    curl = shutil.which("curl")
    with trio.fail_after(START_SECONDS):
        await source.wait_line("connected through relay")
    with trio.fail_after(START_SECONDS + mib * TRANSFER_SECONDS_PER_MIB):
        begin = trio.current_time()
        if curl is not None:
            command = [curl, "--silent", "--show-error", "--fail", "--output", str(target), url]
            fetched = await trio.run_process(command, capture_stderr=True, check=False)
            if fetched.returncode != 0:
                raise DemoFailed(f"curl: {fetched.stderr.decode(errors='replace').strip()}")
        else:
            fetch = partial(urllib.request.urlretrieve, url, target)
            await trio.to_thread.run_sync(fetch, abandon_on_cancel=True)
        seconds = trio.current_time() - begin
    with target.open("rb") as file:
        arrived = hashlib.file_digest(file, "sha256").hexdigest()
    if arrived != digest:
        raise DemoFailed(f"what arrived has SHA-256 {arrived}, expected {digest}")
    program = "curl" if curl is not None else "Python"
    click.echo(
        f"6. {program} has fetched {mib} MiB from {url} in {seconds:.1f} s ({mib / seconds:.0f} MiB/s):\n"
        f"     SHA-256 {arrived}, the same as that of the file."
    )


async def _show_path(processes: Processes, mib: int) -> None:
    """What the status pages say of how it went."""
    source = (await status_of(processes.source))["sources"]["serviceA"]
    relay = (await status_of(processes.server))["relay"]
    paths = [peer["path"] for peer in source["peers"].values()]
    if paths != ["relay"]:
        raise DemoFailed(f"the source says its paths are {paths}, expected one through the relay")
    forwarded, expected = relay["bytes-forwarded"], mib * CHUNK
    if forwarded < expected or source["bytes-in"] < expected:
        raise DemoFailed(f"relay and source count {forwarded} and {source['bytes-in']} bytes, expected {expected}")
    (peer,) = source["peers"].values()
    click.echo(
        f"7. The status pages say: path {peer['path']} ({peer['rtt-ms']:.1f} ms), the relay has forwarded {forwarded} "
        f"bytes in {relay['streams-total']} stream(s).\n"
        "     This release connects through relays; direct paths come with a later one."
    )
    memory = {name: service.resident_bytes() >> 20 for name, service in attrs.asdict(processes, recurse=False).items()}
    click.echo("   Memory: " + ", ".join(f"{name} {size} MiB" for name, size in memory.items()))


async def _stop(processes: Processes) -> None:
    with trio.fail_after(START_SECONDS):
        for name, service in (
            ("client S", processes.source),
            ("client D", processes.destination),
            ("server", processes.server),
        ):
            code = await service.stop()
            if code != 0:
                raise DemoFailed(f"{name} ended with {code}, expected 0; it wrote:\n" + "\n".join(service.lines))
    click.echo("8. Each was asked to stop (SIGTERM) and ended with 0.")


def _check_ports(ports: Ports) -> None:
    for port, kind in (
        (ports.control, socket.SOCK_DGRAM),
        (ports.relay, socket.SOCK_DGRAM),
        (ports.source, socket.SOCK_STREAM),
    ):
        with socket.socket(type=kind) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM
            )  # TIME_WAIT is no owner
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise DemoFailed(f"port {port} is still in use: {exc.strerror}") from exc


if __name__ == "__main__":
    main()
