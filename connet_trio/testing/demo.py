"""The main job on one machine, with real processes, over both kinds of path: `scripts/demo`.

    web service ⇄ client D (destination) ⇄ client S (source) ⇄ curl                first: the direct path
    web service ⇄ client D (destination) ⇄ relay ⇄ client S (source) ⇄ curl        then: S with `route = "relay"`

Says what it does, checks what it says, and leaves nothing behind: processes are killed with the block that started
them, files are in a temporary directory. When anything is off, it tells what the processes wrote, and ends with 1.
"""

import hashlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import click
import trio

from connet_trio.concurrency import single_error
from connet_trio.testing.certificates import openssl_command, write_certificate, write_certificate_with_openssl
from connet_trio.testing.demo_steps import (
    DemoFailed,
    Payload,
    check_ports,
    show_clients,
    show_direct,
    show_health,
    show_relayed,
    transfer,
    within,
)
from connet_trio.testing.local_site import START_SECONDS, LocalSite, Processes
from connet_trio.testing.processes import ProcessEnded, ServiceProcess, open_process

HOSTS = ("localhost", "127.0.0.1")
CHUNK = 1 << 20
SHOWN_LINES = 20
"""Of what each process wrote, when the demo fails."""

FAILURES = (DemoFailed, OSError)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--mib", default=32, show_default=True, type=click.IntRange(1), help="How much to transfer, each time")
def main(mib: int) -> None:
    """Run the demo; the exit code tells how it went."""
    try:
        with tempfile.TemporaryDirectory(prefix="connet-trio-demo-") as directory:
            trio.run(run_demo, Path(directory), mib)
    except FAILURES as failure:
        click.echo(f"\nFAILED: {failure}", err=True)
        sys.exit(1)


async def run_demo(directory: Path, mib: int) -> None:
    """Do it all in `directory`.

    Raises:
      DemoFailed, OSError: something is off.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals, single_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail_on_signal, signals)
            await _run(directory, mib)
            nursery.cancel_scope.cancel()


async def _fail_on_signal(signals: AsyncIterator[int]) -> None:
    raise DemoFailed(f"stopped by {signal.Signals(await anext(signals)).name}")


async def _run(directory: Path, mib: int) -> None:
    site = LocalSite.in_directory(directory)
    _write_certificate(site)
    site.write_server()
    site.write_clients(route="any")
    payload = _write_payload(site, mib)
    open_client_s = partial(_open_service, site, "--config", "client-s.toml")
    async with (
        _open_web_service(site, "2. A web service"),
        _open_service(site, "server", "--config", "server.toml", what="3. The server (control and a relay)") as server,
        _open_service(
            site, "--config", "client-d.toml", what="4. Client D, which offers that service as serviceA"
        ) as destination,
    ):
        async with open_client_s(what="5. Client S, which makes serviceA a local port") as source:
            processes = Processes(server=server, destination=destination, source=source)
            await show_clients(processes)
            await transfer("6.", site, source, "connected directly", payload)
            await show_direct("7.", processes, payload)
            await _stop(source, "client S")
        click.echo('8. Client S has been asked to stop, and ended with 0. Now its file says route = "relay".')
        site.write_clients(route="relay")
        async with open_client_s(what="9. Client S again") as source:
            processes = Processes(server=server, destination=destination, source=source)
            await transfer("10.", site, source, "connected through relay", payload)
            await show_relayed("11.", processes, payload)
            await show_health("12.", processes)
            await _stop(source, "client S")
        await _stop(destination, "client D")
        await _stop(server, "the server")
        click.echo("13. Each has been asked to stop (SIGTERM), and ended with 0.")
    check_ports(site)
    click.echo("\nAll well: nothing is running any more, and nothing is left on the disk.")


def _write_certificate(site: LocalSite) -> None:
    if write_certificate_with_openssl(site.directory, HOSTS):
        click.echo(f"1. A certificate for the server:\n     {' '.join(openssl_command(HOSTS))}")
    else:
        write_certificate(site.directory, HOSTS)
        click.echo("1. A certificate for the server, made with Python's cryptography (there is no usable openssl).")


def _write_payload(site: LocalSite, mib: int) -> Payload:
    """Write something to transfer, where the web service finds it."""
    digest = hashlib.sha256()
    (site.directory / "files").mkdir()
    with (site.directory / "files" / Payload.NAME).open("wb") as sink:
        for _ in range(mib):
            chunk = os.urandom(CHUNK)
            digest.update(chunk)
            sink.write(chunk)
    return Payload(size=mib * CHUNK, sha256=digest.hexdigest())


@asynccontextmanager
async def _open_web_service(site: LocalSite, what: str) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "http.server", str(site.target), "--bind", "127.0.0.1", "--directory", "files"]
    async with open_process(command, directory=site.directory):
        with within(START_SECONDS, "starting the web service"):
            await _wait_listening(site.target)
        click.echo(f"{what}, on TCP port {site.target}.")
        yield


async def _wait_listening(port: int) -> None:
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.05)  # a foreign program has no other way to tell
        else:
            await stream.aclose()
            return


@asynccontextmanager
async def _open_service(site: LocalSite, *arguments: str, what: str) -> AsyncIterator[ServiceProcess]:
    """`connet-trio` with these arguments, once it is up; when the block fails, what it wrote is shown."""
    command = f"connet-trio {' '.join(arguments)}"
    async with site.open(*arguments) as service:
        try:
            with within(START_SECONDS, f"starting {command}"):
                await service.wait_line("is up")
            click.echo(f"{what}:\n     {command}  (process {service.pid})")
            yield service
        except ProcessEnded as exc:  # this process: of others nobody waits for a line in this block
            raise DemoFailed(f"{command} {exc}") from None
        except FAILURES:
            click.echo("\n".join([f"\n{command} wrote:", *service.lines[-SHOWN_LINES:]]), err=True)
            raise


async def _stop(service: ServiceProcess, name: str) -> None:
    with within(START_SECONDS, f"stopping {name}"):
        code = await service.stop()
    if code != 0:
        raise DemoFailed(f"{name} ended with {code}, expected 0")


if __name__ == "__main__":
    main()
