"""The machines of a chaos run: a host, a clock that may be wrong, and a disk that outlives processes."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from connet_trio.errors import StoreError
from connet_trio.quic import Surroundings
from connet_trio.testing.deployment import START, simulated_surroundings
from connet_trio.testing.network import Host, SimulatedNetwork

_WRITES = frozenset({"put", "put_made", "insert_or_get"})


class Disk:
    """A directory, and what goes wrong with it. As the runner of a store it makes every access wait."""

    def __init__(self, directory: Path) -> None:
        self._parent = directory
        self._copies = 0
        self.directory = directory / "0"
        """Of the process that starts next, or runs."""
        self.delay = 0.0
        """Seconds each access takes."""
        self.is_full = False

    def keep_as_it_is(self) -> None:
        """What the process that runs still writes is for nobody: it is being killed."""
        self._copies += 1
        copy = self._parent / str(self._copies)
        if self.directory.exists():
            shutil.copytree(self.directory, copy, ignore=shutil.ignore_patterns("*-shm"))
        self.directory = copy

    def runner(self) -> Callable[..., Any]:
        """One for each process: calls run one at a time, and are never abandoned half way."""
        lock = trio.Lock()

        async def run(function: Callable[..., Any], *args: Any) -> Any:
            await trio.lowlevel.checkpoint()
            with trio.CancelScope(shield=True):
                async with lock:
                    if self.delay:
                        await trio.sleep(self.delay)
                    if self.is_full and function.__name__ in _WRITES:
                        raise StoreError("cannot write: the disk is full")
                    return function(*args)

        return run


class Machine:
    """Where a process runs, one after the other."""

    def __init__(self, name: str, network: SimulatedNetwork, host: Host, directory: Path, seed: int) -> None:
        self.name = name
        self.host = host
        self.disk = Disk(directory)
        self.clock_ahead = 0.0
        """Seconds by which the wall clock is wrong."""
        self.is_away = False
        """In another network than its own."""
        self._network = network
        self._seed = seed
        self._starts = 0

    def surroundings(self) -> Surroundings:
        """For the next process."""
        self._starts += 1
        made = simulated_surroundings(self._network, self.host, f"{self._seed}/{self.name}/{self._starts}")
        return Surroundings(
            wall_clock=lambda: START + trio.current_time() + self.clock_ahead,
            luck=made.luck,
            entropy=made.entropy,
            open_udp_socket=made.open_udp_socket,
            resolve=made.resolve,
            interfaces=made.interfaces,
            store_runner=self.disk.runner(),
        )

    def reset_key(self) -> bytes:
        """The same for each process on it."""
        return random.Random(f"{self._seed}/{self.name}/reset key").randbytes(32)

    def kill(self) -> None:
        """The process on it is killed: not a datagram leaves, not a byte is written any more."""
        self.host.kill()
        self.disk.keep_as_it_is()
