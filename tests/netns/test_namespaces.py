"""Namespaces of several runs side by side, and what is left of them: nothing, however a run ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from subprocess import PIPE

import pytest

from connet_trio.testing import namespaces as module
from connet_trio.testing.namespaces import PLACES, Namespaces, namespaces_permitted, open_lan, open_namespaces

pytestmark = [
    pytest.mark.needs_netns,
    pytest.mark.skipif(not namespaces_permitted(), reason="needs root and iproute2"),
]

# Builds a host with a process in it, says so, and waits to be ended. Loads the module alone, which is soon done.
STAY = f"""
import runpy, signal, subprocess
with runpy.run_path({module.__file__!r})["open_namespaces"]() as made:
    made.add("host")
    inside = subprocess.Popen(made.command("host", ["sleep", "1000"]), start_new_session=True)
    print(made.prefix, inside.pid, flush=True)
    signal.pause()
"""


def names(prefix: str) -> list[str]:
    return [entry.name for entry in PLACES.iterdir() if entry.name.startswith(prefix)]


def end_a_run(number: signal.Signals) -> tuple[str, int]:
    """The prefix of a run that got a signal while a process ran in its namespace, and that process."""
    with subprocess.Popen([sys.executable, "-c", STAY], stdout=PIPE, stderr=PIPE, text=True) as run:
        assert run.stdout is not None
        prefix, _, pid = run.stdout.readline().partition(" ")
        assert names(prefix) == [f"{prefix}host"]
        run.send_signal(number)
    return prefix, int(pid)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def routed(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_two_runs_with_the_same_hosts_and_addresses_do_not_meet() -> None:
    with open_lan({"a": "10.77.5.1"}) as one, open_lan({"b": "10.77.5.2"}) as other:
        assert one.namespace("a") != other.namespace("a")
        assert "local" in routed(one.command("a", ["ip", "route", "get", "10.77.5.1"]))
        assert "local" not in routed(other.command("b", ["ip", "route", "get", "10.77.5.1"]))
    assert names(f"ct{os.getpid()}-") == []


def test_nothing_is_left_when_building_fails() -> None:
    def build(namespaces: Namespaces) -> None:
        namespaces.add("a", "b")
        namespaces.join("a", "eth0", "b", "eth0")
        namespaces.ip("a", "address add 10.0.0.300/24 dev eth0")

    with pytest.raises(RuntimeError, match="address add"), open_namespaces() as made:
        build(made)
    assert names(made.prefix) == []


def test_nothing_is_left_after_an_interrupt() -> None:
    prefix, pid = end_a_run(signal.SIGINT)
    assert names(prefix) == []
    assert not is_running(pid)


def test_what_a_killed_run_has_left_is_removed_by_the_next() -> None:
    prefix, pid = end_a_run(signal.SIGKILL)
    with open_namespaces():  # or some other run on this machine, which may come first
        assert names(prefix) == []
    assert not is_running(pid)
