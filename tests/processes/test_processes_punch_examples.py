"""The hand-over to WireGuard of config-examples, with an `ip` and a `wg` that only say what they are asked."""

import os
import signal
from pathlib import Path

import pytest
import trio

from connet_trio.testing.processes import open_process

EXAMPLE = Path(__file__).parents[2] / "config-examples" / "punch" / "wireguard.sh"
ADDRESSES = {"PUNCH_LOCAL_PORT": "10000", "PUNCH_REMOTE_IP": "203.0.113.8", "PUNCH_REMOTE_PORT": "61001"}


def environment(directory: Path, peer: str, **more: str) -> dict[str, str]:
    """What the script is run with; the programs that take part are in `bin`."""
    programs = directory / "bin"
    programs.mkdir()
    for name in ("ip", "wg"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >&2\n')
        (programs / name).chmod(0o755)
    (directory / "tunnel.peer").write_text("THEIR-KEY=\n")
    return {**os.environ, **ADDRESSES, "PATH": f"{programs}:{os.environ['PATH']}", "PUNCH_PEER": peer, **more}


@pytest.mark.parametrize(("peer", "own", "other"), [("a", 1, 2), ("office/b", 2, 1)])
async def test_an_interface_is_made_from_the_addresses_and_goes_with_the_script(
    tmp_path: Path, peer: str, own: int, other: int
) -> None:
    with trio.fail_after(30):
        async with open_process([str(EXAMPLE)], directory=tmp_path, environment=environment(tmp_path, peer)) as script:
            await script.wait_line("up")
            script.send_signal(signal.SIGTERM)
            assert await script.wait() == 0
    assert script.lines == [
        "ip link add dev punch-10000 type wireguard",
        "wg set punch-10000 listen-port 10000 private-key tunnel.key peer THEIR-KEY= endpoint 203.0.113.8:61001 "
        f"allowed-ips 192.168.2.{other}/32 persistent-keepalive 20",
        f"ip address add 192.168.2.{own}/32 peer 192.168.2.{other}/32 dev punch-10000",
        "ip link set dev punch-10000 up",
        "ip link delete dev punch-10000",
    ]


async def test_an_ipv6_address_gets_brackets(tmp_path: Path) -> None:
    variables = environment(tmp_path, "a", PUNCH_REMOTE_IP="2001:db8::1")
    with trio.fail_after(30):
        async with open_process([str(EXAMPLE)], directory=tmp_path, environment=variables) as script:
            assert "endpoint [2001:db8::1]:61001" in await script.wait_line("wg set")
