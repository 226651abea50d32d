"""Control node and peers of `connet-trio punch` as processes on loopback, and the programs they hand over to.

With the path of a netpunch (github.com/michurin/netpunch) in `NETPUNCH`, it takes every part in turn.
"""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import attrs
import pytest
import trio

from connet_trio.testing.processes import CONNET_TRIO, ServiceProcess, free_ports, open_process

SECRET = "quite-a-secret"
OURS = (*CONNET_TRIO, "punch")
NETPUNCH = os.environ.get("NETPUNCH")
LABEL = "LADDR/LHOST/LPORT/RADDR/RHOST/RPORT:"

# A program to hand the port to: binds it, says who it is, and exchanges a datagram with the other one.
TAKE_OVER = """
import json, os, socket, sys
port, remote_port = (int(os.environ[name]) for name in ("PUNCH_LOCAL_PORT", "PUNCH_REMOTE_PORT"))
remote = os.environ["PUNCH_REMOTE_IP"]
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))
sock.settimeout(0.2)
heard = None
for _ in range(100):
    sock.sendto(b"both ways" if heard else b"hello", (remote, remote_port))
    try:
        heard = sock.recv(100)
    except TimeoutError:
        continue
    if heard == b"both ways":
        sock.sendto(heard, (remote, remote_port))
        break
print(json.dumps({"arguments": sys.argv[1:], "heard": heard.decode(), "environment": dict(os.environ)}))
sys.exit(7)
"""
WAIT_FOR_SIGNALS = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, _: (print(number, flush=True), number == signal.SIGTERM and sys.exit(9)))
print("ready", flush=True)
while True:
    signal.pause()
"""


@attrs.frozen
class Ended:
    """A process that has ended."""

    pid: int
    code: int
    out: str


@asynccontextmanager
async def started(command: Sequence[str], directory: Path) -> AsyncIterator[trio.Process]:
    """A process whose output can be read, for the length of a block."""
    process = await trio.lowlevel.open_process(command, cwd=directory, stdout=PIPE)
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # bounded: SIGKILL is not negotiable
            await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


@attrs.frozen(kw_only=True)
class PunchSite:
    """Ports on loopback, and a directory."""

    directory: Path
    control: int
    ports: tuple[int, ...]
    host: str = "127.0.0.1"

    def peer(self, names: str, *more: str, program: Sequence[str] = OURS) -> list[str]:
        """The command line of peers; each letter has a port of its own."""
        places = ",".join(f"{self.host}:{self.ports['abcd'.index(name[-1])]}" for name in names.split(","))
        remote = f"{self.host}:{self.control}"
        return [*program, "-peer", names, "-secret", SECRET, "-local", places, "-remote", remote, "-silent", *more]

    @asynccontextmanager
    async def open_control(self, program: Sequence[str] = OURS) -> AsyncIterator[ServiceProcess]:
        """A control node that listens."""
        command = [*program, "-secret", SECRET, "-local", f"{self.host}:{self.control}"]
        async with open_process(command, directory=self.directory) as control:
            # netpunch says so a moment before it does
            await control.wait_line("second address" if program == OURS else "Start in control mode")
            yield control

    async def run(self, command: Sequence[str]) -> Ended:
        """Run a command to its end."""
        async with started(command, self.directory) as process:
            assert process.stdout is not None
            written = b"".join([data async for data in process.stdout])
            return Ended(process.pid, await process.wait(), written.decode())

    async def run_all(self, *commands: Sequence[str]) -> list[Ended]:
        """Run commands at once; what became of each, in their order."""
        ended: dict[int, Ended] = {}

        async def run(number: int) -> None:
            ended[number] = await self.run(commands[number])

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(len(commands)):
                    nursery.start_soon(run, number)
        return [ended[number] for number in range(len(commands))]

    def line(self, own: str, partner: str) -> str:
        """What a peer writes of its hole."""
        words = [f"{self.host}:{port} {self.host.strip('[]')} {port}" for port in map(self.port, (own, partner))]
        return f"{LABEL} {' '.join(words)}\n"

    def port(self, letter: str) -> int:
        return self.ports["abcd".index(letter)]


@pytest.fixture
def punch_site(tmp_path: Path) -> PunchSite:
    control, *ports = free_ports(5)
    return PunchSite(directory=tmp_path, control=control, ports=tuple(ports))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_two_pairs_meet_and_write_a_line_each_and_nothing_else(punch_site: PunchSite, host: str) -> None:
    site = attrs.evolve(punch_site, host=host)
    async with site.open_control():
        one, other, last = await site.run_all(site.peer("a,c"), site.peer("b"), site.peer("d"))
    assert [ended.code for ended in (one, other, last)] == [0, 0, 0]
    assert sorted(one.out.splitlines(keepends=True)) == sorted([site.line("a", "b"), site.line("c", "d")])
    assert (other.out, last.out) == (site.line("b", "a"), site.line("d", "c"))


async def test_a_program_takes_the_port_over_and_its_exit_code_is_ours(punch_site: PunchSite) -> None:
    (punch_site.directory / "take.py").write_text(TAKE_OVER)
    handover = ["-exec", f"{sys.executable} take.py first", "-template", ""]
    async with punch_site.open_control():
        peers = await punch_site.run_all(punch_site.peer("a", *handover), punch_site.peer("b", *handover))
    for ended, own, partner in zip(peers, "ab", "ba", strict=True):
        assert ended.code == 7
        line, told = ended.out.splitlines(keepends=True)
        assert line == punch_site.line(own, partner)
        child = json.loads(told)
        assert child["heard"] == "both ways"
        assert child["arguments"] == ["first", *line.split()[1:]]
        assert child["environment"]["PUNCH_REMOTE_PORT"] == str(punch_site.port(partner))
        assert SECRET not in told


async def test_signals_are_passed_on_to_the_program(punch_site: PunchSite) -> None:
    (punch_site.directory / "wait.py").write_text(WAIT_FOR_SIGNALS)
    command = punch_site.peer("a", "-exec", f"{sys.executable} wait.py", "-template", "hole\n")
    with trio.fail_after(60):
        async with (
            punch_site.open_control(),
            started(command, punch_site.directory) as process,
            started(punch_site.peer("b"), punch_site.directory),
        ):
            assert process.stdout is not None
            answers = {b"ready\n": signal.SIGUSR1, b"\n10\n": signal.SIGTERM}
            written = b""
            async for data in process.stdout:
                written += data
                for text in [text for text in answers if text in written]:
                    process.send_signal(answers.pop(text))
            assert (written, await process.wait()) == (b"hole\nready\n10\n15\n", 9)


async def test_a_command_takes_the_place_of_the_process(punch_site: PunchSite) -> None:
    show = ["-raw", "-c", "-raw", 'echo $$ "$@"', "-raw", "sh", "-arg", "{{.LocalPort}}/", "-fields", "1 {{.RemoteIP}}"]
    async with punch_site.open_control():
        ended, _ = await punch_site.run_all(punch_site.peer("a", "-command", "sh", *show), punch_site.peer("b"))
    line, shown = ended.out.splitlines()
    assert (line + "\n", ended.code) == (punch_site.line("a", "b"), 0)
    assert shown == f"{ended.pid} {punch_site.port('a')}/ 1 127.0.0.1"


async def test_a_command_that_is_not_there_is_an_error_after_the_line(punch_site: PunchSite) -> None:
    async with punch_site.open_control():
        ended, _ = await punch_site.run_all(punch_site.peer("a", "-command", "no-such-program"), punch_site.peer("b"))
    assert (ended.out, ended.code) == (punch_site.line("a", "b"), 1)


async def test_json_tells_of_holes_and_of_what_is_in_the_way(punch_site: PunchSite) -> None:
    command = punch_site.peer("a,office/c", "-json", "-timeout", "2s")
    async with punch_site.open_control():
        ended, _ = await punch_site.run_all(command, punch_site.peer("b", "-timeout", "20s"))
    told = {entry["peer"]: entry for entry in map(json.loads, ended.out.splitlines())}
    own, partner = punch_site.port("a"), punch_site.port("b")
    assert told["a"]["local"] == {"address": f"127.0.0.1:{own}", "ip": "127.0.0.1", "port": own}
    assert told["a"]["remote"] == {"address": f"127.0.0.1:{partner}", "ip": "127.0.0.1", "port": partner}
    assert (told["office/c"]["cause"], told["office/c"]["side"]) == ("partner-absent", None)
    assert ended.code == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_both_kinds_of_node_at_once_with_exit_code_1(
    punch_site: PunchSite, number: signal.Signals
) -> None:
    peer = [argument for argument in punch_site.peer("a") if argument != "-silent"]
    with trio.fail_after(60):
        async with punch_site.open_control() as control, open_process(peer, directory=punch_site.directory) as waiting:
            await waiting.wait_line("absent")
            for process in (waiting, control):
                begin = trio.current_time()
                process.send_signal(number)
                assert await process.wait() == 1
                assert trio.current_time() - begin < 2
                assert process.lines[-1] == f"Error: stopped by {number.name}"
                assert not [line for line in process.lines if SECRET in line or "Traceback" in line]


async def test_a_trace_has_a_line_for_each_datagram(punch_site: PunchSite) -> None:
    async with punch_site.open_control() as control:
        await punch_site.run_all(punch_site.peer("a"), punch_site.peer("b"))
        registered = await control.wait_line('read: "b" <- ')
    prefix = rf"\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{{6}} \[{control.pid}\] \[info\] "
    assert re.fullmatch(prefix + rf'read: "b" <- 127\.0\.0\.1:{punch_site.port("b")}', registered)


MIXED = [("ours", "ours", "netpunch"), ("netpunch", "ours", "netpunch"), ("netpunch", "netpunch", "ours")]
MIXED += [("ours", "netpunch", "netpunch"), ("netpunch", "ours", "ours"), ("ours", "netpunch", "ours")]


@pytest.mark.parametrize("parts", [("ours", "ours", "ours"), *(MIXED if NETPUNCH else [])], ids=" ".join)
async def test_any_part_may_be_netpunch(punch_site: PunchSite, parts: tuple[str, str, str]) -> None:
    programs = {"ours": OURS, "netpunch": (str(NETPUNCH),)}
    control, a, b = (programs[part] for part in parts)
    async with punch_site.open_control(control):
        one, other = await punch_site.run_all(punch_site.peer("a", program=a), punch_site.peer("b", program=b))
    assert (one.code, other.code) == (0, 0)
    assert (one.out, other.out) == (punch_site.line("a", "b"), punch_site.line("b", "a"))
