"""The hand-over to OpenVPN of config-examples, on three hosts of a kernel network.

OpenVPN itself where it is installed, and a question through its tunnel; otherwise a program in its place, which takes
the same port and exchanges datagrams.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from connet_trio.testing.namespaces import Lan, namespaces_permitted, open_lan
from connet_trio.testing.processes import CONNET_TRIO, open_process

pytestmark = [
    pytest.mark.needs_netns,
    pytest.mark.skipif(not namespaces_permitted(), reason="needs root and iproute2"),
]

EXAMPLE = Path(__file__).parents[2] / "config-examples" / "punch" / "openvpn.sh"
CONTROL, A, B = "10.77.4.1", "10.77.4.2", "10.77.4.3"
HAS_OPENVPN = shutil.which("openvpn") is not None and Path("/dev/net/tun").exists()

ECHO = """#!/usr/bin/env python3
import socket, sys
words = sys.argv
port, place = int(words[words.index("--lport") + 1]), words[words.index("--remote") + 1 : words.index("--remote") + 3]
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.bind(("", port))
sock.settimeout(0.2)
while True:
    sock.sendto(b"hello", (place[0], int(place[1])))
    try:
        data, source = sock.recvfrom(100)
    except TimeoutError:
        continue
    if data == b"hello" and source == (place[0], int(place[1])):
        print("Initialization Sequence Completed", file=sys.stderr, flush=True)
"""

# nobody listens at the other end, and only the other end itself says so this quickly
ASK_THROUGH_TUNNEL = """
import socket
try:
    socket.create_connection(("192.168.2.2", 9), timeout=20)
except ConnectionRefusedError:
    print("refused")
"""


@pytest.fixture
def lan() -> Iterator[Lan]:
    with open_lan({"srv": CONTROL, "a": A, "b": B}) as made:
        yield made


def prepare(directory: Path) -> dict[str, str]:
    """Keys for both peers, each in its own directory, and the environment to run in."""
    (directory / "secret").write_text("a secret for the test")
    for name in ("a", "b"):
        place = directory / name
        place.mkdir()
        key, certificate = str(place / "tunnel.key"), str(place / "tunnel.crt")
        make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
        subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
        show = ["openssl", "x509", "-in", certificate, "-noout", "-sha256", "-fingerprint"]
        told = subprocess.run(show, check=True, capture_output=True, text=True).stdout
        other = directory / f"fingerprint of {name}"
        other.write_text(told.partition("=")[2])
    (directory / "fingerprint of a").rename(directory / "b" / "tunnel.fingerprint")
    (directory / "fingerprint of b").rename(directory / "a" / "tunnel.fingerprint")
    environment = dict(os.environ)
    if not HAS_OPENVPN:
        (directory / "bin").mkdir()
        (directory / "bin" / "openvpn").write_text(ECHO)
        (directory / "bin" / "openvpn").chmod(0o755)
        environment["PATH"] = f"{directory / 'bin'}:{environment['PATH']}"
    return environment


async def test_openvpn_takes_over_the_hole(lan: Lan, tmp_path: Path) -> None:
    environment = prepare(tmp_path)

    def command(host: str, *arguments: str) -> list[str]:
        return lan.command(host, [*CONNET_TRIO, "punch", "--secret-file", str(tmp_path / "secret"), *arguments])

    def peer(name: str) -> list[str]:
        remote, handover = f"{CONTROL}:7777", ["--exec", str(EXAMPLE)]
        return command(name, "--peer", name, "--remote", remote, "--local", ":10000", *handover)

    with trio.fail_after(120):
        async with open_process(command("srv", "--local", ":7777"), directory=tmp_path) as control:
            await control.wait_line("second address")
            async with (
                open_process(peer("a"), directory=tmp_path / "a", environment=environment) as a,
                open_process(peer("b"), directory=tmp_path / "b", environment=environment) as b,
            ):
                for process in (a, b):
                    await process.wait_line("Initialization Sequence Completed")
                if HAS_OPENVPN:
                    ask = lan.command("a", [sys.executable, "-c", ASK_THROUGH_TUNNEL])
                    assert (await trio.run_process(ask, capture_stdout=True)).stdout == b"refused\n"
