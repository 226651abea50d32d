import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from connet_trio.testing.local_site import LocalSite, ProcessName
from connet_trio.testing.processes import free_ports, status_of

DRAIN_SECONDS = 2.0
"""The default of drain-timeout."""
LEAVING_SECONDS = 3.0
"""What a stop may take beyond that, on a busy machine."""

SECRETS = ("client-d-token", "client-s-token", "relay-token")


async def tick(stream: trio.SocketStream) -> None:
    """A slow stream: some bytes ten times a second, for ever."""
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(b"tick")
            await trio.sleep(0.1)


@asynccontextmanager
async def slow_stream(site: LocalSite) -> AsyncIterator[trio.SocketStream]:
    """A connection through the source on which ticks arrive."""
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, tick, site.target, host="127.0.0.1"))
        async with await trio.open_tcp_stream("127.0.0.1", site.source) as stream:
            assert await stream.receive_some()
            yield stream
        nursery.cancel_scope.cancel()


async def count_ticks(stream: trio.SocketStream, ticks: "Ticks") -> None:
    """Read to the end, or until it is cut."""
    with suppress(trio.BrokenResourceError):
        async for _ in stream:
            ticks.count += 1


class Ticks:
    """How often something was read."""

    count = 0


async def wait_refused(port: int) -> None:
    """Wait until nobody listens on a TCP port."""
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        await stream.aclose()
        await trio.sleep(0.02)


async def wait_cut(port: int) -> None:
    """Connect to a TCP port until a connection is closed again without a byte from the other end.

    One that comes right after the word that the process is stopping may still be let through.
    """
    received = b"a byte"
    while received:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with suppress(trio.BrokenResourceError):
                received = b""
                received = await stream.receive_some()


def add_to(site: LocalSite, table: str, name: str, line: str) -> None:
    """One more key for a table of a configuration file."""
    written = (site.directory / name).read_text()
    site.write(name, written.replace(f"[{table}]", f"[{table}]\n{line}"))


def add_to_source(site: LocalSite, line: str) -> None:
    """One more key for client S."""
    add_to(site, "client", "client-s.toml", line)


GOODBYE = "closed by the peer: connection closed (0)"
STOPS: list[tuple[ProcessName, signal.Signals, bool, str]] = [
    ("source", signal.SIGTERM, False, GOODBYE),
    ("destination", signal.SIGINT, False, GOODBYE),
    ("server", signal.SIGTERM, False, GOODBYE),
    ("relay", signal.SIGINT, True, "not connected"),  # by its goodbye or by control's list, whichever comes first
]


@pytest.mark.reliability(line=15)
@pytest.mark.parametrize(("name", "number", "separate_relay", "farewell"), STOPS)
async def test_a_running_stream_gets_the_drain_timeout_and_then_a_clean_close(
    site: LocalSite, name: ProcessName, number: signal.Signals, separate_relay: bool, farewell: str
) -> None:
    with trio.fail_after(60):
        async with (
            site.open_relayed(separate_relay=separate_relay) as processes,
            slow_stream(site) as stream,
            trio.open_nursery() as nursery,
        ):
            ticks = Ticks()
            nursery.start_soon(count_ticks, stream, ticks)
            service = processes.process(name)
            begin = trio.current_time()
            service.send_signal(number)
            await service.wait_line("stopping")
            with trio.fail_after(DRAIN_SECONDS / 2):
                await (wait_refused(site.source) if name == "source" else wait_cut(site.source))
            assert await service.wait() == 0
            assert DRAIN_SECONDS - 0.1 <= trio.current_time() - begin < DRAIN_SECONDS + LEAVING_SECONDS
            assert ticks.count >= 10
            assert not [line for line in service.lines if "Traceback" in line]
            witness = processes.server if name in ("source", "destination") else processes.source
            with trio.fail_after(LEAVING_SECONDS):  # far less than the idle timeout
                await witness.wait_line(farewell)
            nursery.cancel_scope.cancel()


@pytest.mark.reliability(line=15)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_control_leaves_at_once_and_streams_go_on_without_it(site: LocalSite, number: signal.Signals) -> None:
    with trio.fail_after(60):
        async with (
            site.open_relayed(separate_relay=True) as processes,
            slow_stream(site) as stream,
            trio.open_nursery() as nursery,
        ):
            ticks = Ticks()
            nursery.start_soon(count_ticks, stream, ticks)
            begin = trio.current_time()
            processes.server.send_signal(number)
            assert await processes.server.wait() == 0
            assert trio.current_time() - begin < DRAIN_SECONDS  # it carries no streams that it could wait for
            check_free(site.control, socket.SOCK_DGRAM)
            check_free(site.relays, socket.SOCK_DGRAM)
            assert processes.relay is not None
            for service in (processes.relay, processes.destination, processes.source):
                await service.wait_line(GOODBYE)
            counted = ticks.count
            async with await trio.open_tcp_stream("127.0.0.1", site.source) as another:
                assert await another.receive_some()
            await trio.sleep(0.5)
            assert ticks.count > counted
            nursery.cancel_scope.cancel()


@pytest.mark.reliability(line=15)
async def test_a_stream_that_ends_by_itself_ends_the_draining(site: LocalSite) -> None:
    with trio.fail_after(60):
        async with site.open_relayed() as processes, slow_stream(site) as stream:
            processes.source.send_signal(signal.SIGTERM)
            await processes.source.wait_line("stopping")
            begin = trio.current_time()
            assert await stream.receive_some()
            await stream.aclose()
            assert await processes.source.wait() == 0
            assert trio.current_time() - begin < DRAIN_SECONDS


@pytest.mark.reliability(line=15)
@pytest.mark.parametrize(
    ("name", "number"), [("source", signal.SIGTERM), ("source", signal.SIGINT), ("relay", signal.SIGTERM)]
)
async def test_a_second_signal_ends_a_process_at_once(
    site: LocalSite, name: ProcessName, number: signal.Signals
) -> None:
    add_to_source(site, 'drain-timeout = "1m"')
    add_to(site, "relay", "relay.toml", 'drain-timeout = "1m"')
    with trio.fail_after(60):
        async with site.open_relayed(separate_relay=name == "relay") as processes, slow_stream(site):
            service = processes.process(name)
            service.send_signal(signal.SIGTERM)
            await service.wait_line("stopping")
            begin = trio.current_time()
            service.send_signal(number)
            assert await service.wait() == -number  # a shell shows 128 + the number
            assert trio.current_time() - begin < 1
            if name == "source":
                check_free(site.source)
            else:
                check_free(site.relay, socket.SOCK_DGRAM)


@pytest.mark.reliability(line=15)
async def test_everything_is_free_when_all_have_stopped(site: LocalSite) -> None:
    with trio.fail_after(60):
        async with site.open_relayed(separate_relay=True) as processes:
            begin = trio.current_time()
            assert [await service.stop() for service in processes.all] == [0] * 4
            assert trio.current_time() - begin < 4 * DRAIN_SECONDS  # nothing runs, so nobody waits for long
    for port in (site.control, site.relays, site.relay):
        check_free(port, socket.SOCK_DGRAM)
    check_free(site.source)


def check_free(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    with socket.socket(type=kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no owner
        probe.bind(("127.0.0.1", port))


async def test_state_is_private_under_any_umask(site: LocalSite) -> None:
    add_to_source(site, f'direct-addr = ":{free_ports(1)[0]}"')  # a reset key is kept for a port that is known
    old_mask = os.umask(0)
    try:
        async with site.open_relayed() as processes:
            await processes.source.stop()
    finally:
        os.umask(old_mask)
    state = site.directory / "state" / "connet-trio"
    modes = {path.relative_to(state): stat.S_IMODE(path.stat().st_mode) for path in (state, *state.rglob("*"))}
    databases = [path for path in modes if path.name == "connet-trio.sqlite3"]
    assert sorted(str(path.parent) for path in databases) == ["control", "relay"]
    for path, mode in modes.items():
        assert mode == (0o700 if (state / path).is_dir() else 0o600), path
    keys = list(site.directory.rglob("stateless-reset-*.key"))
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


@pytest.mark.reliability(line=25)
async def test_no_secret_is_in_a_log_or_on_a_status_page_at_any_level(site: LocalSite) -> None:
    for name in ("control", "relay", "client-d", "client-s"):
        file = site.directory / f"{name}.toml"
        file.write_text('log-level = "fine"\n' + file.read_text())
    with trio.fail_after(60):
        async with site.open_relayed(separate_relay=True) as processes:
            async with slow_stream(site):
                pages = [str(await status_of(service)) for service in processes.all]
            logs = []
            for service in reversed(processes.all):
                await service.stop()
                logs.append("\n".join(service.lines))
    assert any("level=debug" in log for log in logs)
    private_key = (site.directory / "key.pem").read_text().splitlines()[1]
    written = "\n".join([*pages, *logs])
    assert [secret for secret in (*SECRETS, private_key) if secret in written] == []


@pytest.mark.reliability(line=32)
async def test_what_a_client_says_of_itself_cannot_forge_a_line_of_log(site: LocalSite) -> None:
    hostile = "attic\r\ntime=forged\x1b[2J"
    with trio.fail_after(30):
        async with site.open("server", "--config", "server.toml") as server:
            await server.wait_line("is up")
            async with site.open("--config", "client-d.toml", "--metadata", hostile) as client:
                await client.wait_line("is up")
                await client.stop()
            line = await server.wait_line("attic")
            await server.stop()
    assert "\\x1b[2J" in line
    assert all(line.isprintable() and line.startswith("time=2") for line in server.lines)


async def test_a_server_without_a_place_for_state_runs_and_warns(site: LocalSite) -> None:
    (site.directory / "state").write_text("in the way")
    with trio.fail_after(30):
        async with site.open("server", "--config", "server.toml") as server:
            await server.wait_line("is up")
            assert await server.stop() == 0
    assert [line for line in server.lines if "level=warn" in line and "identity" in line]
