"""What the README tells people to do, done."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from connet_trio.cli.check import check
from connet_trio.cli.main import command_line
from connet_trio.config.schema import ClientTable, ControlTable, DestinationTable, RelayTable, ServerTable, SourceTable
from connet_trio.testing.local_site import START_SECONDS, LocalSite

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

LATER_KEYS = {"cas-file", "cert-file", "key-file"}
"""Of endpoints: refused in this release."""

# From the quickstart of connet 0.9, whose files are to work as they are; ours differs in one key of the clients.
OLD_KEY, NEW_KEY = "server-cas", "server-cas-file"


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def on_this_machine(text: str, site: LocalSite) -> str:
    """The same with this machine as every device, and ports that are free."""
    ports = {"19190": site.control, "19189": site.relays, "3000": site.target, "8000": site.source}
    # all at once: a port that is put in may begin like another one
    text = re.sub(r"\b(?:19190|19189)\b|(?<=:)(?:3000|8000)\b", lambda written: str(ports[written[0]]), text)
    return text.replace("SERVER_IP", "127.0.0.1").replace("RELAY_IP", "127.0.0.1")


def write_quickstart(site: LocalSite) -> None:
    server, relay_ingress, destination, source, *_ = blocks("toml")
    site.write("server.toml", on_this_machine(f"{server}\n{relay_ingress}", site))
    site.write("client-d.toml", on_this_machine(destination, site))
    site.write("client-s.toml", on_this_machine(source, site))


def make_certificate(site: LocalSite) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    (line,) = [line for line in "".join(blocks("bash")).splitlines() if line.startswith("openssl req")]
    command = shlex.split(on_this_machine(line, site))
    subprocess.run(command, cwd=site.directory, check=True, capture_output=True, timeout=30)


async def hello(stream: trio.SocketStream) -> None:
    await stream.send_all(b"hello from the service")
    await stream.send_eof()


@pytest.mark.parametrize("key", [NEW_KEY, OLD_KEY])
async def test_the_quickstart_works_as_it_is_written(site: LocalSite, key: str) -> None:
    make_certificate(site)
    write_quickstart(site)
    for name in ("client-d.toml", "client-s.toml"):
        file = site.directory / name
        file.write_text(file.read_text().replace(NEW_KEY, key))
    ports = ("--addr", f":{site.control}", "--relay-addr", f":{site.relay}")
    with trio.fail_after(3 * START_SECONDS):
        async with (
            site.open("server", "--config", "server.toml", *ports) as server,
            trio.open_nursery() as nursery,
        ):
            await server.wait_line("is up")
            assert not [line for line in server.lines if "level=warn" in line and "UDP sockets" not in line]
            await nursery.start(trio.serve_tcp, hello, site.target)
            async with (
                site.open("--config", "client-d.toml") as destination,
                site.open("--config", "client-s.toml") as source,
            ):
                await source.wait_line("connected through relay", "connected directly")  # whichever comes first
                async with await trio.open_tcp_stream("127.0.0.1", site.source) as stream:
                    assert b"".join([data async for data in stream]) == b"hello from the service"
                renamed = [line for line in (*destination.lines, *source.lines) if "is an old name of" in line]
                assert len(renamed) == (2 if key == OLD_KEY else 0)
                assert [await source.stop(), await destination.stop(), await server.stop()] == [0, 0, 0]
            nursery.cancel_scope.cancel()


def python_example(name: str) -> str:
    """The program that stands under a comment with this name."""
    found = re.search(rf"^<!-- example: {name} -->\n```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


async def test_a_program_is_tested_on_the_simulated_network_in_ten_lines(site: LocalSite) -> None:
    program = python_example("simulated")
    site.write("program.py", program)
    body = program.partition("async def scenario() -> None:\n")[2].partition("\n\n")[0]
    assert len(body.splitlines()) <= 10
    with trio.fail_after(START_SECONDS):
        ran = await trio.run_process(
            [sys.executable, "-W", "error", "program.py"],
            cwd=site.directory,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"b'still here'\n", b"")


async def test_the_program_of_the_readme_runs(site: LocalSite) -> None:
    site.write("program.py", on_this_machine(python_example("echo"), site))
    async with site.open("server", "--config", "server.toml") as server:
        with trio.fail_after(START_SECONDS):
            await server.wait_line("is up")
        with trio.fail_after(START_SECONDS):
            ran = await trio.run_process(
                [sys.executable, "program.py"],
                cwd=site.directory,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"b'hello'\n", b"")


def test_the_other_configurations_of_the_readme_are_good(site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.directory)
    *_, control, relay = blocks("toml")
    for name, text in (("control.toml", control), ("relay.toml", relay)):
        site.write(name, on_this_machine(text, site))
        assert check([Path(name)], {"CONNET_STATE_DIR": "state"}) == ()


def test_the_readme_has_every_command() -> None:
    assert set(re.findall(r"^\| `connet-trio ([\w-]+)", README, re.MULTILINE)) == set(command_line().commands)


@pytest.mark.parametrize("table", [ClientTable, DestinationTable, SourceTable, ServerTable, ControlTable, RelayTable])
def test_the_readme_has_every_key(table: type) -> None:
    named = {field.name.replace("_", "-") for field in attrs.fields(table) if field.metadata}
    keys = named - {"destinations", "sources"}
    endpoint_keys = LATER_KEYS if table in (DestinationTable, SourceTable) else set()
    missing = [key for key in keys - endpoint_keys if not re.search(rf"[`.]{key}[`\]]", README)]
    assert missing == []
