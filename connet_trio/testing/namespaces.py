"""Hosts as kernel network namespaces on one switch, for tests with real processes. Needs root and iproute2.

The namespaces of one run have names of their own, so that several runs do not meet, and are removed with whatever runs
in them when the block ends, however it ends. What a run that was killed outright has left is removed by the next one.
"""

import ctypes
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""linux/sched.h"""
PLACES = Path("/run/netns")
"""Where iproute2 keeps the names."""
KILL_SECONDS = 5.0
"""In which the kernel ends a process on a busy machine."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def namespaces_permitted() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    with open_namespaces() as namespaces:
        try:
            namespaces.add("probe")
        except RuntimeError:
            return False
    return True


class Namespaces:
    """The network namespaces of one run, called by short names; made by `open_namespaces`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def name(self, node: str) -> str:
        """What the namespace of `node` is called on this machine."""
        return f"{self.prefix}{node}"

    def command(self, node: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs `arguments` in the namespace of `node`."""
        return ["ip", "netns", "exec", self.name(node), *arguments]

    def add(self, *nodes: str) -> None:
        """Make namespaces in which nothing is but a loopback interface, which is up."""
        _run("ip", "-batch", "-", lines=[f"netns add {self.name(node)}" for node in nodes])
        for node in nodes:
            self.ip(node, "link set lo up")

    def ip(self, node: str, *commands: str) -> None:
        """Run commands of `ip` in the namespace of `node`, until one fails.

        Raises:
          RuntimeError: one has; the text says which and why.
        """
        _run("ip", "-n", self.name(node), "-batch", "-", lines=commands)

    def run(self, node: str, *command: str, lines: Sequence[str] = ()) -> None:
        """Run another command there, with `lines` to read; raises as `ip`."""
        _run(*self.command(node, command), lines=lines)

    def join(self, one: str, interface: str, other: str, its_interface: str) -> None:
        """Lay a cable between two nodes; both ends are up."""
        far = f"peer name {its_interface} netns {self.name(other)}"
        self.ip(one, f"link add {interface} type veth {far}", f"link set {interface} up")
        self.ip(other, f"link set {its_interface} up")

    def set_sysctl(self, node: str, values: Mapping[str, str]) -> None:
        """Write what is under /proc/sys, by paths there."""
        with self.inside(node):
            for path, value in values.items():
                Path("/proc/sys", path).write_text(value)

    def socket(self, node: str, kind: socket.SocketKind) -> socket.socket:
        """An IPv4 socket of this process in the namespace of `node`, where it stays."""
        with self.inside(node):
            return socket.socket(socket.AF_INET, kind)

    @contextmanager
    def inside(self, node: str) -> Iterator[None]:
        """This thread in the namespace of `node`, for the length of a block without an `await`."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(number: int) -> None:
            if libc.setns(number, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

        with open("/proc/thread-self/ns/net") as ours, (PLACES / self.name(node)).open() as theirs:
            enter(theirs.fileno())
            try:
                yield
            finally:
                enter(ours.fileno())


@contextmanager
def open_namespaces() -> Iterator[Namespaces]:
    """Namespaces for the length of a block; then they are gone, and the processes in them have been killed."""
    _remove_leftovers()
    namespaces = Namespaces(f"ct{os.getpid()}-{secrets.token_hex(3)}-")
    try:
        yield namespaces
    finally:
        _remove([name for name in _names() if name.startswith(namespaces.prefix)])


class Lan:
    """Hosts that reach each other by their addresses, and nothing else; made by `open_lan`."""

    SWITCH = "switch"

    def __init__(self, namespaces: Namespaces, addresses: Mapping[str, str]) -> None:
        self._namespaces = namespaces
        self.addresses = addresses

    def command(self, host: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs `arguments` on `host`."""
        return self._namespaces.command(host, arguments)

    def namespace(self, host: str) -> str:
        """The name of the namespace of `host`."""
        return self._namespaces.name(host)

    def udp_socket(self, host: str) -> socket.socket:
        """A UDP socket of this process on a host, at its address and any free port."""
        sock = self._namespaces.socket(host, socket.SOCK_DGRAM)
        sock.bind((self.addresses[host], 0))
        return sock

    def set_mtu(self, host: str, mtu: int) -> None:
        """Change the MTU of the interface of a host, which the kernel there knows."""
        self._namespaces.ip(host, f"link set eth0 mtu {mtu}")

    def narrow(self, host: str, mtu: int) -> None:
        """Let the cable from the switch to a host carry packets of `mtu` bytes; larger ones vanish, and no ICMP."""
        self._namespaces.ip(self.SWITCH, f"link set p{host} mtu {mtu}")

    def unplug(self, host: str) -> None:
        """Switch off the interface of a host."""
        self._namespaces.ip(host, "link set eth0 down")

    def plug_in(self, host: str) -> None:
        """Switch it on again."""
        self._namespaces.ip(host, "link set eth0 up")

    def isolate(self, *hosts: str) -> None:
        """Let nothing pass between these hosts any more; all others reach them as before."""
        for host in hosts:
            _run("bridge", "-n", self.namespace(self.SWITCH), "link", "set", "dev", f"p{host}", "isolated", "on")


@contextmanager
def open_lan(addresses: Mapping[str, str]) -> Iterator[Lan]:
    """A switch with a host for each name (at most 14 letters) at its IPv4 address in one /24."""
    with open_namespaces() as namespaces:
        namespaces.add(Lan.SWITCH, *addresses)
        namespaces.ip(Lan.SWITCH, "link add bridge type bridge", "link set bridge up")
        for host, address in addresses.items():
            namespaces.join(Lan.SWITCH, f"p{host}", host, "eth0")
            namespaces.ip(Lan.SWITCH, f"link set p{host} master bridge")
            # or a run of segments would cross the switch as one packet, which no MTU stops
            namespaces.ip(host, "link set eth0 gso_max_segs 1", f"address add {address}/24 dev eth0")
        yield Lan(namespaces, addresses)


def _names() -> list[str]:
    return [entry.name for entry in PLACES.iterdir()] if PLACES.is_dir() else []


def _remove_leftovers() -> None:
    """Remove what runs have left whose process is gone."""
    ours = {name: re.fullmatch(r"ct(\d+)-[0-9a-f]{6}-.*", name) for name in _names()}
    _remove([name for name, found in ours.items() if found and not Path("/proc", found[1]).exists()])


def _remove(names: Sequence[str]) -> None:
    """Remove namespaces and end what runs in them, which would keep them; no signal comes in between."""
    if not names:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        for name in names:
            listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
            for pid in listed.stdout.split():
                _kill(int(pid))
        try:
            _run("ip", "-force", "-batch", "-", lines=[f"netns delete {name}" for name in names])
        except RuntimeError:
            if set(names) & set(_names()):  # else another run has removed the same leftovers
                raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(pid: int) -> None:
    """End a process of anybody's, and wait until it has ended."""
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], KILL_SECONDS)
        finally:
            os.close(process)


def _run(*command: str, lines: Sequence[str] = ()) -> None:
    # a session of its own: Ctrl-C is for us, and would end the command half way
    result = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, check=False, start_new_session=True
    )
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join((*command, *lines[:3]))}: {result.stderr.strip()}")
