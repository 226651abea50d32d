"""A deployment of real processes under steady load, watched for what it does not give back: `scripts/soak`.

Many short connections, one after the other and some at once, each with bytes of its own that have to come back. Now and
then the load pauses; when nothing is under way any more, memory, open files, trio tasks and connections of each process
are read. After a warm-up, the last three have to stay what they were, and memory about so.
"""

import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from connet_trio.testing.certificates import write_certificate
from connet_trio.testing.counted_tasks import count_file, read_count
from connet_trio.testing.local_site import LocalSite, RouteName, SiteProcesses
from connet_trio.testing.processes import ServiceProcess, status_of

PROGRAM = (sys.executable, "-m", "connet_trio.testing.counted_tasks")
MIB = 1 << 20
HOUR = 3600.0
LARGEST_BYTES = 1 << 16
"""Of one connection."""
CONNECTION_SECONDS = 20.0
"""In which one is over, on a busy machine too."""
PAUSE_SECONDS = 10.0
"""In which nothing is under way any more."""
SHORT_GROWTH = 2 * MIB
"""What a process may grow in the second half of a run that takes no hour."""
SLOPE = MIB
"""And by how much an hour in the second half of one that does."""


class SoakFailed(Exception):
    """The run was cut short; the text says by what."""


@attrs.frozen(kw_only=True)
class Sample:
    """One process at one moment."""

    resident: int
    """Bytes of memory."""
    files: int
    """Open files and sockets."""
    tasks: int
    """Trio tasks."""
    connections: int
    """QUIC connections, as its status page shows them."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """What has to be the same later."""
        return self.files, self.tasks, self.connections


Samples = Mapping[str, Sample]
"""By the name of the process."""


@attrs.frozen(kw_only=True)
class Look:
    """All processes when nothing was under way."""

    seconds: float
    """Since the beginning."""
    served: int
    """Connections until then."""
    samples: Samples


@attrs.frozen(kw_only=True)
class SoakPlan:
    """What to do for how long."""

    seconds: float
    interval: float
    """Seconds of load between two looks."""
    rate: float = 50.0
    """Connections a second."""
    route: RouteName = "any"
    seed: int = 18


class Load:
    """Connections through a site's source, at a steady pace."""

    def __init__(self, site: LocalSite, plan: SoakPlan) -> None:
        self._site = site
        self._rate = plan.rate
        self._luck = random.Random(plan.seed)
        self._bytes = random.Random(plan.seed).randbytes(2 * LARGEST_BYTES)
        self.served = 0
        self.failures: Counter[str] = Counter()
        """What went wrong, and how often."""

    async def run(self, seconds: float) -> None:
        """Connect for so long; returns when the last connection is over."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(round(seconds * self._rate)):
                await trio.sleep_until(began + number / self._rate)
                start = self._luck.randrange(LARGEST_BYTES)
                nursery.start_soon(self._connect, self._bytes[start : start + self._luck.randrange(1, LARGEST_BYTES)])

    async def _connect(self, data: bytes) -> None:
        try:
            with trio.fail_after(CONNECTION_SECONDS):
                answer = await self._exchange(data)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as exc:
            self.failures[type(exc).__name__] += 1
        else:
            self.served += 1
            if answer != data:
                self.failures["other bytes came back"] += 1

    async def _exchange(self, data: bytes) -> bytes:
        answer = bytearray()
        async with await trio.open_tcp_stream("127.0.0.1", self._site.source) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, data)
            async for piece in stream:
                answer += piece
        return bytes(answer)


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


@asynccontextmanager
async def open_soak(site: LocalSite, plan: SoakPlan) -> AsyncIterator["Soak"]:
    """Processes of a site, run with `PROGRAM` and connected by the route of the plan, and an echo behind them."""
    site.write_server()
    site.write_clients(route=plan.route)
    path = "connected through relay" if plan.route == "relay" else "connected directly"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, _echo, site.target, host="127.0.0.1"))
        async with site.open_connected(path) as processes:
            yield Soak(site, plan, processes)
        nursery.cancel_scope.cancel()


async def _echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)
        await stream.send_eof()


class Soak:
    """A deployment under load; made by `open_soak`."""

    def __init__(self, site: LocalSite, plan: SoakPlan, processes: SiteProcesses) -> None:
        self._site = site
        self._processes = processes
        self._load = Load(site, plan)
        self._began = trio.current_time()

    async def turn(self, seconds: float) -> Look:
        """So much load, then a pause, and a look.

        Raises:
          SoakFailed: a connection failed, or something is still under way long after.
        """
        await self._load.run(seconds)
        if self._load.failures:
            raise SoakFailed(f"of {self._load.served} connections some failed: {dict(self._load.failures)}")
        try:
            with trio.fail_after(PAUSE_SECONDS):
                await self._wait_idle()
        except trio.TooSlowError:
            raise SoakFailed(f"streams are still under way {PAUSE_SECONDS:g} s after the last connection") from None
        samples = {
            name: await self._sample(self._processes.process(name)) for name in ("server", "destination", "source")
        }
        return Look(seconds=trio.current_time() - self._began, served=self._load.served, samples=samples)

    async def _wait_idle(self) -> None:
        while (await status_of(self._processes.server))["relay"]["streams"]:  # noqa: ASYNC110  # another process
            await trio.sleep(0.1)
        await trio.sleep(1)  # in which the last acknowledgements arrive, and what waits for them ends

    async def _sample(self, service: ServiceProcess) -> Sample:
        page = await status_of(service)
        await trio.sleep(0.1)  # in which the connection that the page was read through is forgotten
        return Sample(
            resident=service.resident_bytes(),
            files=len(os.listdir(f"/proc/{service.pid}/fd")),
            tasks=read_count(count_file(self._site.directory, service.pid)),
            connections=connections_of(page),
        )


def connections_of(page: Mapping[str, Any]) -> int:
    """How many connections a status page lists."""
    if "control" in page:
        return len(page["control"]["clients"]) + len(page["control"]["relays"])
    endpoints = (*page["sources"].values(), *page["destinations"].values())
    return sum(len(peer["connections"]) for endpoint in endpoints for peer in endpoint["peers"].values())


def complaints(looks: Sequence[Look]) -> list[str]:
    """What is wrong with a run, a sentence each; memory is judged by its second half."""
    found = []
    first, half, last = looks[0], looks[len(looks) // 2], looks[-1]
    for name, sample in last.samples.items():
        before = first.samples[name]
        if sample.counts != before.counts:
            found.append(
                f"{name} has {sample.files} open files, {sample.tasks} tasks, {sample.connections} connections, "
                f"after the warm-up {before.files}, {before.tasks}, {before.connections}"
            )
        grown = sample.resident - half.samples[name].resident
        if last.seconds < HOUR and grown > SHORT_GROWTH:
            found.append(f"{name} has grown by {grown / MIB:.1f} MiB in the second half, at most {SHORT_GROWTH // MIB}")
        if last.seconds >= HOUR and (steep := slope(looks[len(looks) // 2 :], name)) > SLOPE:
            found.append(f"{name} grows by {steep / MIB:.2f} MiB an hour, at most {SLOPE // MIB}")
    return found


def slope(looks: Sequence[Look], name: str) -> float:
    """By how many bytes an hour a process grows: the line that fits best (least squares)."""
    times = [look.seconds / HOUR for look in looks]
    sizes = [look.samples[name].resident for look in looks]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (size - mean) for at, size in zip(times, sizes, strict=True)) / spread if spread else 0.0


def format_look(look: Look) -> str:
    """A line."""
    parts = (
        f"{name} {sample.resident / MIB:.1f} MiB, {sample.files} files, {sample.tasks} tasks, "
        f"{sample.connections} connections"
        for name, sample in look.samples.items()
    )
    return f"{look.seconds:7.0f} s  {look.served:8} connections  {'; '.join(parts)}"


async def run_soak(directory: Path, plan: SoakPlan) -> list[Look]:
    """All of it, with a line for each look.

    Raises:
      SoakFailed: as `Soak.turn`.
    """
    write_certificate(directory, ["localhost", "127.0.0.1"])
    looks: list[Look] = []
    async with open_soak(attrs.evolve(LocalSite.in_directory(directory), program=PROGRAM), plan) as soaking:
        while not looks or looks[-1].seconds < plan.seconds + plan.interval:
            looks.append(await soaking.turn(plan.interval))
            click.echo(format_look(looks[-1]))
    return looks


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--minutes", default=2.0, show_default=True, type=click.FloatRange(0.1), help="How long")
@click.option("--hours", default=0.0, type=click.FloatRange(0), help="How long, in place of minutes")
@click.option("--rate", default=50.0, show_default=True, type=click.FloatRange(1), help="Connections a second")
@click.option("--route", default="any", show_default=True, type=click.Choice(["any", "relay"]), help="Which way")
def main(minutes: float, hours: float, rate: float, route: RouteName) -> None:
    """Run it; the exit code tells whether anything was not given back."""
    seconds = hours * HOUR or minutes * 60
    plan = SoakPlan(seconds=seconds, interval=max(5.0, min(60.0, seconds / 12)), rate=rate, route=route)
    try:
        with tempfile.TemporaryDirectory(prefix="connet-trio-soak-") as directory:
            looks = trio.run(run_soak, Path(directory), plan)
    except* (SoakFailed, OSError) as group:
        click.echo(f"FAILED: {group.exceptions[0]}", err=True)
        sys.exit(1)
    else:
        found = complaints(looks)
        for complaint in found:
            click.echo(f"FAILED: {complaint}", err=True)
        for name in looks[-1].samples:
            steep = slope(looks[len(looks) // 2 :], name)
            click.echo(f"{name}: {steep / MIB:+.2f} MiB an hour in the second half")
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
