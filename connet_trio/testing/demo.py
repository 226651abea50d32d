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
from pathlib import Path
from typing import Any

import click
import trio

from connet_trio.concurrency import single_error
from connet_trio.testing.certificates import openssl_command, write_certificate, write_certificate_with_openssl
from connet_trio.testing.local_site import START_SECONDS, LocalSite, Processes
from connet_trio.testing.processes import ProcessEnded, ServiceProcess, open_process, status_of

TRANSFER_SECONDS_PER_MIB = 2.0
"""Far more than it takes: a machine may be busy."""

HOSTS = ("localhost", "127.0.0.1")
CHUNK = 1 << 20


class DemoFailed(Exception):
    """Something is not as it should be; the text says what."""


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
    site = LocalSite.in_directory(directory)
    digest = _prepare(site, mib)
    async with _open_processes(site) as processes:
        _show_clients(processes, await status_of(processes.destination), await status_of(processes.source))
        await _transfer(site, processes.source, mib, digest)
        await _show_path(processes, mib)
        await _stop(processes)
    _check_ports(site)
    click.echo("\nAll well: nothing is running any more, and nothing is left on the disk.")


def _prepare(site: LocalSite, mib: int) -> str:
    """Write certificate, configurations and something to transfer; returns its SHA-256."""
    if write_certificate_with_openssl(site.directory, HOSTS):
        click.echo(f"1. A certificate for the server:\n     {' '.join(openssl_command(HOSTS))}")
    else:
        write_certificate(site.directory, HOSTS)
        click.echo("1. A certificate for the server, made with Python's cryptography (there is no usable openssl).")
    site.write_server()
    site.write_clients()
    (site.directory / "files").mkdir()
    return _write_random(site.directory / "files" / "random", mib)


def _write_random(file: Path, mib: int) -> str:
    digest = hashlib.sha256()
    with file.open("wb") as sink:
        for _ in range(mib):
            chunk = os.urandom(CHUNK)
            digest.update(chunk)
            sink.write(chunk)
    return digest.hexdigest()


@asynccontextmanager
async def _open_processes(site: LocalSite) -> AsyncIterator[Processes]:
    """Start everything, each when what it needs is up."""
    async with AsyncExitStack() as stack:

        async def start(number: int, what: str, *arguments: str) -> ServiceProcess:
            service = await stack.enter_async_context(site.open(*arguments))
            with trio.fail_after(START_SECONDS):
                await service.wait_line("is up")
            click.echo(f"{number}. {what}:\n     connet-trio {' '.join(arguments)}  (process {service.pid})")
            return service

        command = [sys.executable, "-m", "http.server", str(site.target), "--bind", "127.0.0.1", "--directory", "files"]
        await stack.enter_async_context(open_process(command, directory=site.directory))
        with trio.fail_after(START_SECONDS):
            await _wait_listening(site.target)
        click.echo(f"2. A web service, on TCP port {site.target}.")
        yield Processes(
            server=await start(3, "The server (control and a relay)", "server", "--config", "server.toml"),
            destination=await start(4, "Client D, which offers that service as serviceA", "--config", "client-d.toml"),
            source=await start(5, "Client S, which makes serviceA a local port", "--config", "client-s.toml"),
        )


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


async def _transfer(site: LocalSite, source: ServiceProcess, mib: int, digest: str) -> None:
    """Fetch the file through the source, when both ends have found the relay."""
    url = f"http://127.0.0.1:{site.source}/random"
    target = site.directory / "fetched"
    curl = shutil.which("curl")
    with trio.fail_after(START_SECONDS):
        await source.wait_line("connected through relay")
    with trio.fail_after(START_SECONDS + mib * TRANSFER_SECONDS_PER_MIB):
        begin = trio.current_time()
        if curl is not None:
            command = [curl, "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", str(target), url]
            fetched = await trio.run_process(command, capture_stderr=True, check=False)
            if fetched.returncode != 0:
                raise DemoFailed(f"curl: {fetched.stderr.decode(errors='replace').strip()}")
        else:
            await trio.to_thread.run_sync(_fetch, url, target, abandon_on_cancel=True)
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


def _fetch(url: str, target: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=START_SECONDS) as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file)


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
    memory = [f"{service.resident_bytes() >> 20} MiB" for service in processes.all]
    click.echo(f"   Memory of server, D and S: {', '.join(memory)}.")


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


def _check_ports(site: LocalSite) -> None:
    for port, kind in (
        (site.control, socket.SOCK_DGRAM),
        (site.relay, socket.SOCK_DGRAM),
        (site.source, socket.SOCK_STREAM),
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
