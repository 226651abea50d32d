"""Hosts as kernel network namespaces on one switch, for tests with real processes. Needs root and iproute2."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

CLONE_NEWNET = 0x40000000
"""linux/sched.h"""


def namespaces_permitted() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    probe = f"ctp{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode == 0
    if made:
        _ip("netns", "delete", probe)
    return made


class Lan:
    """Hosts that reach each other by their addresses, and nothing else; made by `open_lan`."""

    def __init__(self, prefix: str, addresses: Mapping[str, str]) -> None:
        self._prefix = prefix
        self.addresses = addresses

    def command(self, host: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs `arguments` on `host`."""
        return ["ip", "netns", "exec", self.namespace(host), *arguments]

    def namespace(self, host: str) -> str:
        """The name of the namespace of `host`."""
        return f"{self._prefix}{host}"

    def udp_socket(self, host: str) -> socket.socket:
        """A UDP socket of this process on a host, at its address and any free port."""
        with _inside(self.namespace(host)):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.addresses[host], 0))
        return sock

    def set_mtu(self, host: str, mtu: int) -> None:
        """Change the MTU of the interface of a host, which the kernel there knows."""
        _ip("-n", self.namespace(host), "link", "set", "eth0", "mtu", str(mtu))

    def narrow(self, host: str, mtu: int) -> None:
        """Let the cable from the switch to a host carry packets of `mtu` bytes; larger ones vanish, and no ICMP."""
        _ip("-n", f"{self._prefix}sw", "link", "set", f"p{host}", "mtu", str(mtu))

    def unplug(self, host: str) -> None:
        """Switch off the interface of a host."""
        _ip("-n", self.namespace(host), "link", "set", "eth0", "down")

    def plug_in(self, host: str) -> None:
        """Switch it on again."""
        _ip("-n", self.namespace(host), "link", "set", "eth0", "up")

    def isolate(self, *hosts: str) -> None:
        """Let nothing pass between these hosts any more; all others reach them as before."""
        for host in hosts:
            _run("bridge", "-n", f"{self._prefix}sw", "link", "set", "dev", f"p{host}", "isolated", "on")


@contextmanager
def open_lan(addresses: Mapping[str, str]) -> Iterator[Lan]:
    """A switch with a host for each name (at most 4 letters) at its IPv4 address in one /24."""
    prefix = f"ct{os.getpid() % 100_000}"
    lan = Lan(prefix, addresses)
    switch = f"{prefix}sw"
    with ExitStack() as stack:
        _add_namespace(stack, switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for name, address in addresses.items():
            _add_host(stack, lan.namespace(name), switch, f"p{name}", address)
        yield lan


def _add_host(stack: ExitStack, namespace: str, switch: str, port: str, address: str) -> None:
    _add_namespace(stack, namespace)
    _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
    _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
    # or a run of segments would cross the switch as one packet, which no MTU stops
    _ip("-n", namespace, "link", "set", "eth0", "gso_max_segs", "1")
    _ip("-n", namespace, "link", "set", "eth0", "up")
    _ip("-n", namespace, "link", "set", "lo", "up")


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread in another network namespace, for the length of a block without an `await`."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(number: int) -> None:
        if libc.setns(number, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    with open("/proc/thread-self/ns/net") as ours, open(f"/var/run/netns/{namespace}") as theirs:
        enter(theirs.fileno())
        try:
            yield
        finally:
            enter(ours.fileno())


def _add_namespace(stack: ExitStack, name: str) -> None:
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
