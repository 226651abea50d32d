"""Real processes of the command on this machine, for the demo and the tests of processes."""

import itertools
import json
import os
import random
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import trio

from connet_trio.concurrency import single_error

CONNET_TRIO = (sys.executable, "-m", "connet_trio")

OWN_VARIABLES = ("CONNET_TOKEN", "CONNET_CACHE_DIR", "CACHE_DIRECTORY", "CONNET_STATE_DIR", "STATE_DIRECTORY")
"""What would change a service's mind, and is kept from it."""

UNASSIGNED_PORTS = range(20_000, 32_000)
"""Below those that systems hand out by themselves, to the sockets of somebody's clients."""


class ProcessEnded(Exception):
    """A process ended where it should have said something; the text has its exit code and what it wrote."""


class ServiceProcess:
    """A process, and what it writes to stderr; made by `open_process`."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._news = trio.Event()
        self._silent = False
        self.lines: list[str] = []
        """What it wrote so far."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait_line(self, *texts: str) -> str:
        """The first line with one of `texts`, written before or to be written.

        Raises:
          ProcessEnded: there is none and there will be none.
        """
        return await self._wait_line(lambda line: any(text in line for text in texts), " or ".join(map(repr, texts)))

    async def wait_match(self, pattern: str) -> str:
        """The first line in which a regular expression is found; otherwise as `wait_line`."""
        return await self._wait_line(lambda line: re.search(pattern, line) is not None, repr(pattern))

    async def _wait_line(self, is_wanted: Callable[[str], bool], wanted: str) -> str:
        seen = 0
        while True:
            for line in self.lines[seen:]:
                if is_wanted(line):
                    return line
            seen = len(self.lines)
            if self._silent:
                code = await self._process.wait()
                written = "\n".join(self.lines)
                raise ProcessEnded(f"ended with {code} before it wrote {wanted}; it wrote:\n{written}")
            await self._news.wait()

    async def wait(self) -> int:
        """Wait until it has ended and all it wrote is read; returns its exit code, negative for a signal."""
        code = await self._process.wait()
        while not self._silent:
            await self._news.wait()
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def stop(self) -> int:
        """Ask it to stop and wait until it has; returns its exit code."""
        self.send_signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        """End it, and whatever it started, without a word (SIGKILL), and wait until it has."""
        self.kill_group()
        await self.wait()

    def resident_bytes(self) -> int:
        """Its memory, from /proc."""
        for line in Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(f"process {self.pid} has no memory any more")

    async def pump(self) -> None:
        """Read what it writes until it ends."""
        assert self._process.stderr is not None
        unfinished = b""
        async for data in self._process.stderr:
            *whole, unfinished = (unfinished + data).split(b"\n")
            self._add(whole)
        self._silent = True
        self._add([unfinished] if unfinished else [])

    def _add(self, lines: Sequence[bytes]) -> None:
        self.lines += [line.decode(errors="replace") for line in lines]
        self._news.set()
        self._news = trio.Event()

    def kill_group(self) -> None:
        """End it, and whatever it started, now; nothing if it has ended by itself."""
        if self._process.poll() is None:  # else its number may be somebody else's by now
            os.killpg(self.pid, signal.SIGKILL)


@asynccontextmanager
async def open_process(
    command: Sequence[str], *, directory: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[ServiceProcess]:
    """A process for the length of a block, in a group of its own; what is left of the group at the end is killed."""
    process = await trio.lowlevel.open_process(
        command,
        cwd=directory,
        env=dict(os.environ if environment is None else environment),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    service = ServiceProcess(process)
    with single_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.pump)
            try:
                yield service
            finally:
                service.kill_group()
                with trio.CancelScope(shield=True):  # bounded: SIGKILL is not negotiable
                    await process.wait()
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_service(
    *arguments: str, directory: Path, program: Sequence[str] = CONNET_TRIO, **variables: str
) -> AsyncIterator[ServiceProcess]:
    """`connet-trio` with these arguments in `directory`, where it also keeps its state; otherwise as `open_process`."""
    async with open_process(
        [*program, *arguments], directory=directory, environment=service_environment(directory, **variables)
    ) as service:
        yield service


def service_environment(directory: Path, **variables: str) -> dict[str, str]:
    """Ours, without what would change a service's mind, and with `directory` as the home of its state."""
    environment = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    homes = {"XDG_STATE_HOME": str(directory / "state"), "XDG_CACHE_HOME": str(directory)}
    return {**environment, **homes, **variables}


async def status_of(service: ServiceProcess) -> dict[str, Any]:
    """The status page of a service that was told to serve one."""
    line = await service.wait_line("status page at http://")
    host, _, port = line.partition("http://")[2].partition("/")[0].rpartition(":")
    return await read_status(await trio.open_tcp_stream(host, int(port)))


async def read_status(stream: trio.SocketStream) -> dict[str, Any]:
    """The status page at the other end of a connection, which is closed."""
    async with stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n")
        answer = b"".join([data async for data in stream])
    page: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return page


def free_ports(count: int) -> list[int]:
    """Different ports that nobody uses, neither over UDP nor over TCP; a moment later somebody may."""
    candidates = random.Random().sample(UNASSIGNED_PORTS, len(UNASSIGNED_PORTS))
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, socket.socket(type=socket.SOCK_STREAM) as stream:
        try:
            datagrams.bind(("", port))
            stream.bind(("", port))
        except OSError:
            return False
    return True
