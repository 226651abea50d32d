"""Every way to fail at the start: exit code 1, one line that says why, no traceback, no secret."""

import socket
from contextlib import ExitStack

import pytest
import trio

from connet_trio.testing.certificates import write_certificate
from connet_trio.testing.local_site import LocalSite
from connet_trio.testing.processes import free_ports

SECRET = "s3cr3t-token"


async def error_of(site: LocalSite, *arguments: str, **variables: str) -> str:
    """The one error of a command that fails."""
    with trio.fail_after(30):
        async with site.open(*arguments, **variables) as service:
            assert await service.wait() == 1, service.lines
    written = "\n".join(service.lines)
    assert "Traceback" not in written
    assert SECRET not in written
    errors = [line for line in service.lines if line.startswith("error: ")]
    assert len(errors) == 1, written
    assert service.lines[-1] == errors[0]
    return errors[0]


async def test_a_client_that_the_server_or_its_certificate_does_not_suit(site: LocalSite) -> None:
    (site.directory / "other").mkdir()
    write_certificate(site.directory / "other", ["localhost", "127.0.0.1"])
    good = ("--server-addr", f"127.0.0.1:{site.control}")
    cases = {
        "(AUTHENTICATION_FAILED)": (*good, "--server-cas-file", "cert.pem", "--token", SECRET),
        "certificate": (*good, "--server-cas-file", "other/cert.pem", "--token", "client-d-token"),
        "elsewhere.example": (
            *(*good, "--server-cas-file", "cert.pem", "--token", "client-d-token"),
            *("--server-name", "elsewhere.example"),
        ),
    }
    found: dict[str, str] = {}

    async def run(expected: str, arguments: tuple[str, ...]) -> None:
        found[expected] = await error_of(site, "client", *arguments)

    async with site.open("server", "--config", "server.toml") as server:
        with trio.fail_after(20):
            await server.wait_line("is up")
        async with trio.open_nursery() as nursery:
            for expected, arguments in cases.items():
                nursery.start_soon(run, expected, arguments)
        assert await server.stop() == 0
    assert {expected: expected in line for expected, line in found.items()} == dict.fromkeys(cases, True), found
    assert all(f"127.0.0.1:{site.control}" in line for line in (found["certificate"], found["elsewhere.example"]))


async def test_a_certificate_without_names_is_refused_with_the_way_to_make_another(site: LocalSite) -> None:
    write_certificate(site.directory, [])
    async with site.open("server", "--config", "server.toml") as server:
        with trio.fail_after(20):
            await server.wait_line("is up")
        line = await error_of(site, "client", "--config", "client-d.toml")
    assert "has no subjectAltName" in line
    assert "openssl req -x509" in line


async def test_a_key_that_does_not_exist(site: LocalSite) -> None:
    site.write("bad.toml", f'[client]\ntoken = "{SECRET}"\nserver-adr = "localhost"\n')
    assert "bad.toml:3: client.server-adr: unknown key, did you mean server-addr?" in await error_of(
        site, "--config", "bad.toml"
    )


async def test_no_token(site: LocalSite) -> None:
    assert "has no token" in await error_of(site, "client", "--server-addr", "localhost")


@pytest.mark.parametrize("port", ["control", "relay"])
async def test_a_udp_port_in_use(site: LocalSite, port: str) -> None:
    number = getattr(site, port)
    with ExitStack() as stack:
        taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        taken.bind(("", number))
        line = await error_of(site, "server", "--config", "server.toml")
    assert "cannot listen on UDP" in line
    assert f":{number}: address already in use" in line


async def test_a_tcp_port_in_use(site: LocalSite) -> None:
    async with site.open("server", "--config", "server.toml") as server:
        with trio.fail_after(20):
            await server.wait_line("is up")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", site.source))
            taken.listen()
            line = await error_of(site, "client", "--config", "client-s.toml")
            assert f"cannot listen on TCP 127.0.0.1:{site.source}: address already in use" in line
            line = await error_of(
                site, "client", "--config", "client-d.toml", "--status-addr", f"127.0.0.1:{site.source}"
            )
            assert f"cannot listen on TCP 127.0.0.1:{site.source}: address already in use" in line


async def test_a_name_that_does_not_resolve(site: LocalSite) -> None:
    line = await error_of(site, "client", "--token", SECRET, "--server-addr", "no-such-host.invalid")
    assert "no-such-host.invalid" in line


@pytest.mark.parametrize("service", ["client", "relay"])
async def test_nobody_answers(site: LocalSite, service: str) -> None:
    port = free_ports(1)[0]
    address = {
        "client": ("--server-addr", f"127.0.0.1:{port}"),
        "relay": ("--control-addr", f"127.0.0.1:{port}", "--addr", "127.0.0.1:0"),
    }
    line = await error_of(site, service, "--token", SECRET, "--handshake-idle-timeout", "500ms", *address[service])
    assert f"127.0.0.1:{port}" in line


async def test_a_relay_with_a_wrong_token(site: LocalSite) -> None:
    async with site.open("control", "--config", "control.toml") as control:
        with trio.fail_after(20):
            await control.wait_line("is up")
        line = await error_of(site, "relay", "--config", "relay.toml", "--token", SECRET)
        assert await control.stop() == 0
    assert "AUTHENTICATION_FAILED" in line


async def test_a_store_directory_of_our_choice_that_cannot_be_used(site: LocalSite) -> None:
    site.write("state", "in the way")
    line = await error_of(site, "server", "--config", "server.toml", "--store-dir", "state")
    assert "state" in line
