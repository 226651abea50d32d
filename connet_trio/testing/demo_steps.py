"""What the demo does with the processes it has started: each step checks something, then says it in a line or two."""

import hashlib
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import attrs
import click
import trio

from connet_trio.records.status import PathStyle
from connet_trio.testing.local_site import START_SECONDS, LocalSite, Processes
from connet_trio.testing.processes import ServiceProcess, status_of

MIB = 1 << 20

TRANSFER_SECONDS_PER_MIB = 2.0
ROUND_TRIP_MS = 5000.0
"""Both far more than it takes: a machine may be busy."""

OVERHEAD_BYTES = 1 << 16
"""What may come along with a payload: the headers of HTTP, and what clients say to each other."""

MEMORY_BYTES = 160 * MIB
"""Of one process; Python with what it has loaded takes some 60 MiB, and no transfer may add much to it."""


class DemoFailed(Exception):
    """Something is not as it should be; the text says what."""


@attrs.frozen(kw_only=True)
class Payload:
    """What is transferred: a file of the web service."""

    NAME: ClassVar[str] = "random"
    size: int
    """Bytes."""
    sha256: str


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Bounds a block.

    Raises:
      DemoFailed: it took longer; the text says what did.
    """
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise DemoFailed(f"{what} has not ended within {seconds:g} s") from None


async def show_clients(processes: Processes) -> None:
    """Two clients on one machine: the usual port is for one of them at most, and whoever has another one says so."""
    addresses: dict[str, str] = {}
    warnings: list[tuple[str, str]] = []
    for name, service in (("D", processes.destination), ("S", processes.source)):
        addresses[name] = (await _page(service))["direct-address"]
        warnings += [(name, _message(line)) for line in service.lines if "is taken" in line]
    used = " and ".join(f"{name} uses UDP {address}" for name, address in addresses.items())
    if addresses["D"] == addresses["S"]:
        raise DemoFailed(f"{used}: one address for both")
    if not warnings or not all(addresses[name] in warning for name, warning in warnings):
        raise DemoFailed(f"{used}, expected a warning from whoever found the usual port taken; warnings: {warnings}")
    click.echo(f"   Two clients on one machine: {used}.")
    for name, warning in warnings:
        click.echo(f"   {name} has warned: {warning}")


async def transfer(number: str, site: LocalSite, source: ServiceProcess, path: str, payload: Payload) -> None:
    """Fetch the payload through the source, once that has logged `path`."""
    url = f"http://127.0.0.1:{site.source}/{Payload.NAME}"
    target = site.directory / "fetched"
    with within(START_SECONDS, f"waiting until client S says {path!r}"):
        line = await source.wait_line(path)
    seconds_allowed = START_SECONDS + payload.size / MIB * TRANSFER_SECONDS_PER_MIB
    begin = trio.current_time()
    with within(seconds_allowed, f"fetching {url}"):
        program = await _fetch(url, target)
    seconds = trio.current_time() - begin
    with target.open("rb") as file:
        arrived = hashlib.file_digest(file, "sha256").hexdigest()
    target.unlink()  # or the next transfer might be taken for this one
    if arrived != payload.sha256:
        raise DemoFailed(f"what arrived has SHA-256 {arrived}, expected {payload.sha256}")
    mib = payload.size // MIB
    click.echo(
        f"{number} Client S says: {_message(line)}\n"
        f"   {program} has fetched {mib} MiB from {url} in {seconds:.1f} s ({mib / seconds:.0f} MiB/s):\n"
        f"     SHA-256 {arrived}, the same as that of the file."
    )


async def _fetch(url: str, target: Path) -> str:
    """Fetch `url` as `target`; returns the name of the program that did."""
    curl = shutil.which("curl")
    if curl is None:
        await trio.to_thread.run_sync(_fetch_in_thread, url, target, abandon_on_cancel=True)
        return "Python"
    command = [curl, "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", str(target), url]
    fetched = await trio.run_process(command, capture_stderr=True, check=False)
    if fetched.returncode != 0:
        raise DemoFailed(f"curl: {fetched.stderr.decode(errors='replace').strip()}")
    return "curl"


def _fetch_in_thread(url: str, target: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=START_SECONDS) as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file)


async def show_direct(number: str, processes: Processes, payload: Payload) -> None:
    """The status pages say that all of it came directly, and that the relay had nothing to do."""
    peer = await _source_peer(processes, payload)
    if peer["path"] not in (PathStyle.INCOMING.value, PathStyle.OUTGOING.value):
        raise DemoFailed(f"client S says its path is {peer['path']} ({peer['why']}), expected a direct one")
    direct = [connection for connection in peer["connections"] if connection["style"] != PathStyle.RELAY.value]
    came = sum(connection["bytes-in"] for connection in direct)  # two may stand, and either may have been selected
    _check_count("on direct connections, client S counts", came, payload.size)
    forwarded, streams = await _forwarded(processes)
    if (forwarded, streams) != (0, 0):
        raise DemoFailed(
            f"the relay has forwarded {forwarded} bytes in {streams} streams, expected none on a direct path"
        )
    click.echo(
        f"{number} The status pages say: path {peer['path']} ({_round_trip(peer)}), {came} bytes have come directly,\n"
        f"     the relay has forwarded {forwarded} bytes."
    )


async def show_relayed(number: str, processes: Processes, payload: Payload) -> None:
    """The status pages say that all of it came through the relay, in one stream."""
    peer = await _source_peer(processes, payload)
    styles = [connection["style"] for connection in peer["connections"]]
    if (peer["path"], styles) != (PathStyle.RELAY.value, [PathStyle.RELAY.value]):
        raise DemoFailed(
            f"client S says its path is {peer['path']} ({peer['why']}) and its connections are {styles}, "
            "expected one through the relay and no other"
        )
    forwarded, streams = await _forwarded(processes)
    _check_count("the relay counts", forwarded, payload.size)
    if streams != 1:
        raise DemoFailed(f"the relay has served {streams} streams, expected 1")
    click.echo(
        f"{number} The status pages say: path {peer['path']} ({_round_trip(peer)}), "
        f"the relay has forwarded {forwarded} bytes in {streams} stream."
    )


async def show_health(number: str, processes: Processes) -> None:
    """Nothing has gone wrong unseen; and what the work has cost, where there is a /proc to read it from."""
    clients = [await _page(processes.destination), await _page(processes.source)]
    errors = sum(page["handler-errors"] for page in (*clients, *(await _page(processes.server)).values()))
    if errors:
        raise DemoFailed(f"the status pages count {errors} unexpected errors, expected none")
    click.echo(f"{number} No unexpected errors{_memory(processes)}.")


def _memory(processes: Processes) -> str:
    if not Path("/proc/self/status").exists():
        return ""
    resident = [service.resident_bytes() for service in processes.all]
    memory = ", ".join(f"{count / MIB:.0f} MiB" for count in resident)
    if max(resident) > MEMORY_BYTES:
        raise DemoFailed(f"memory of server, D and S is {memory}, expected at most {MEMORY_BYTES / MIB:.0f} MiB each")
    return f"; memory of server, D and S: {memory}"


def check_ports(site: LocalSite) -> None:
    """Nobody listens any more where the services and the web service did.

    Raises:
      DemoFailed: somebody does.
    """
    for port, kind in (
        (site.control, socket.SOCK_DGRAM),
        (site.relay, socket.SOCK_DGRAM),
        (site.target, socket.SOCK_STREAM),
        (site.source, socket.SOCK_STREAM),
    ):
        with socket.socket(type=kind) as probe:
            reuse = kind == socket.SOCK_STREAM  # TIME_WAIT is no owner
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise DemoFailed(f"port {port} is still in use: {exc.strerror}") from exc


async def _source_peer(processes: Processes, payload: Payload) -> dict[str, Any]:
    """What client S says of its only peer, if it has received the payload from there."""
    endpoint = (await _page(processes.source))["sources"]["serviceA"]
    if len(endpoint["peers"]) != 1:
        raise DemoFailed(f"client S says it has {len(endpoint['peers'])} peers, expected 1")
    _check_count("client S counts", endpoint["bytes-in"], payload.size)
    (peer,) = endpoint["peers"].values()
    return dict(peer)


async def _forwarded(processes: Processes) -> tuple[int, int]:
    """Bytes and streams that the relay has forwarded."""
    relay = (await _page(processes.server))["relay"]
    return relay["bytes-forwarded"], relay["streams-total"]


def _round_trip(peer: dict[str, Any]) -> str:
    milliseconds: float = peer["rtt-ms"]
    if not 0 < milliseconds < ROUND_TRIP_MS:
        raise DemoFailed(f"client S says the round trip takes {milliseconds:g} ms, expected at most {ROUND_TRIP_MS:g}")
    return f"{milliseconds:.1f} ms"


def _check_count(who: str, count: int, expected: int) -> None:
    if not expected <= count < expected + OVERHEAD_BYTES:
        raise DemoFailed(f"{who} {count} bytes, expected {expected} and at most {OVERHEAD_BYTES} more")


async def _page(service: ServiceProcess) -> dict[str, Any]:
    with within(START_SECONDS, "reading a status page"):
        return await status_of(service)


def _message(line: str) -> str:
    """The message of a line of log, quoted as it is there."""
    return line.partition("msg=")[2]
