"""Hosts as kernel network namespaces on one switch, for tests with real processes. Needs root and iproute2."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager


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
    _ip("-n", namespace, "link", "set", "eth0", "up")
    _ip("-n", namespace, "link", "set", "lo", "up")


def _add_namespace(stack: ExitStack, name: str) -> None:
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
