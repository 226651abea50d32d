"""The files of config-examples, and those that the READMEs of connet print, load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connet_trio.config import Loaded, load_client, load_control, load_relay, load_server
from connet_trio.engine.admission import Restriction
from connet_trio.records.model import HostPort, Role, Route

Load = Callable[..., Loaded[Any]]
LoadError = Callable[..., str]

EXAMPLES = Path(__file__).parents[2] / "config-examples"
ENVIRONMENT = {"CONNET_CACHE_DIR": "/cache"}
LOADERS: dict[str, Callable[..., Loaded[Any]]] = {
    "client": load_client,
    "server": load_server,
    "control": load_control,
    "relay": load_relay,
}


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.toml")), ids=lambda file: file.name)
@pytest.mark.usefixtures("load")  # for the files the examples name
def test_an_example_loads_without_warning(file: Path) -> None:
    service = file.stem.partition("-")[0]
    assert LOADERS[service]([file], {}, ENVIRONMENT).warnings == ()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.toml")), ids=lambda file: file.name)
@pytest.mark.usefixtures("load")
def test_what_an_example_shows_commented_out_loads_too(file: Path) -> None:
    lines = file.read_text().splitlines()
    keys = [line.removeprefix("# ") if " = " in line or line.startswith("# [[") else line for line in lines]
    Path("reset.key").write_bytes(bytes(32))
    Path("reset.key").chmod(0o600)
    Path("uncommented.toml").write_text("\n".join(keys))
    if "control" in file.name:
        Path("client.tokens").write_text("one\n")  # it shows one restriction
    LOADERS[file.stem.partition("-")[0]]([Path("uncommented.toml")], {}, ENVIRONMENT)


def test_there_is_an_example_for_each_service() -> None:
    assert {file.stem.partition("-")[0] for file in EXAMPLES.glob("*.toml")} == set(LOADERS)


# README of connet 0.9.3, "Quickstart".
QUICKSTART_SERVER = """
[server]
tokens = ["client-d-token", "client-s-token"]

[[server.ingress]]
cert-file = "cert.pem"
key-file = "key.pem"
"""
QUICKSTART_D = """
[client]
token = "client-d-token"
server-addr = "SERVER_IP:19190"
server-cas = "cert.pem"

[client.destinations.serviceA]
url = "tcp://:3000"
"""
QUICKSTART_S = """
[client]
token = "client-s-token"
server-addr = "SERVER_IP:19190"
server-cas = "cert.pem"

[client.sources.serviceA]
url = "tcp://:8000"
"""


def test_the_quickstart_of_connet_loads(load: Load) -> None:
    server = load("server", QUICKSTART_SERVER).settings
    assert server.client_tokens == (("client-d-token", Restriction()), ("client-s-token", Restriction()))
    assert [ingress.address for ingress in server.client_ingresses] == [HostPort("", 19190)]
    warning = "a.toml:5: client.server-cas: is an old name of server-cas-file"
    destination = load("client", QUICKSTART_D)
    assert destination.settings.destinations[0].target == HostPort("localhost", 3000)
    assert destination.warnings == (warning,)
    source = load("client", QUICKSTART_S)
    assert source.settings.server == HostPort("SERVER_IP", 19190)
    assert source.settings.sources[0].listen == HostPort("", 8000)
    assert source.warnings == (warning,)


# README of connet 0.9.3, "Configuration".
FULL_SERVER = """
[server]
tokens = ["client-token-1", "client-token-n"]
tokens-file = "client.tokens"
status-addr = "127.0.0.1:19180"
store-dir = "path/to/server-store"

[[server.ingress]]
addr = ":19190"
cert-file = "cert.pem"
key-file = "key.pem"
allow-cidrs = []
deny-cidrs = []

[[server.token-restriction]]
allow-cidrs = []
deny-cidrs = []
name-matches = ""
role-matches = ""

[[server.token-restriction]]
role-matches = "source"

[[server.relay-ingress]]
addr = ":19191"
hostports = ["localhost"]
allow-cidrs = []
deny-cidrs = []
"""
FULL_CONTROL = """
[control]
clients-tokens = ["client-token-1", "client-token-n"]
relays-tokens = ["relay-token-1", "relay-token-n"]
relays-tokens-file = "relay.tokens"
status-addr = "127.0.0.1:19180"
store-dir = "path/to/control-store"

[[control.clients-ingress]]
addr = ":19190"
cert-file = "cert.pem"
key-file = "key.pem"
allow-cidrs = []
deny-cidrs = []

[[control.relays-ingress]]
addr = ":19189"
cert-file = "cert.pem"
key-file = "key.pem"

[[control.relays-token-restriction]]
allow-cidrs = []
deny-cidrs = []
"""
FULL_RELAY = """
[relay]
token = "relay-token-1"
token-file = "relay.token"
control-addr = "localhost:19190"
control-cas = "ca.pem"
status-addr = "127.0.0.1:19181"
store-dir = "path/to/relay-store"

[[relay.ingress]]
addr = ":19191"
hostports = ["localhost:19191"]
allow-cidrs = []
deny-cidrs = []
"""


def test_the_full_servers_of_connet_load(load: Load) -> None:
    server = load("server", FULL_SERVER)
    assert server.warnings == ()
    assert [(token, allowed.role) for token, allowed in server.settings.client_tokens] == [
        ("one", None),
        ("two", Role.SOURCE),
    ]
    control = load("control", FULL_CONTROL)
    assert control.warnings == ()
    assert [token for token, _ in control.settings.relay_tokens] == ["relay-token"]
    relay = load("relay", FULL_RELAY)
    assert relay.warnings == ("a.toml:6: relay.control-cas: is an old name of control-cas-file",)
    assert (relay.settings.token, relay.settings.control) == ("relay-token", HostPort("localhost", 19190))


# README of connet 0.9.3, "Configuration", the parts for tcp.
FULL_CLIENT = """
[client]
token = "client-token-1"
token-file = "client.token"
server-addr = "localhost:19190"
server-cas = "ca.pem"
direct-addr = ":19192"
direct-stateless-reset-key = ""
status-addr = "127.0.0.1:19182"
nat-pmp = "system"
relay-encryptions = ["none"]

[client.destinations.serviceX]
route = "any"
proxy-proto-version = ""
url = "tcp://localhost:3000"

[client.destinations.serviceY]
route = "direct"
url = "tcp://192.168.1.100:8000"

[client.sources.serviceX]
route = "relay"
url = "tcp://:8000"

[client.sources.serviceY]
route = "direct"
url = "tcp://:8001"
"""


def test_the_full_client_of_connet_loads_as_far_as_it_is_tcp(load: Load, load_error: LoadError) -> None:
    client = load("client", FULL_CLIENT).settings
    assert (client.token, client.direct_address) == ("file-token", HostPort("", 19192))
    assert [source.route for source in client.sources] == [Route.RELAY, Route.DIRECT]
    assert client.stateless_reset_key_directory == Path("/cache")
    as_printed = FULL_CLIENT.replace('url = "tcp://localhost:3000"', 'url = "tcp://:1"\nurl = "tls://:1"')
    assert load_error("client", as_printed) == (
        "a.toml:17: is not TOML: client.destinations.serviceX.url is set twice, first on line 16"
    )


# README of connet 0.7, before there were ingresses and URLs.
OLD_SERVER = """
[server]
tokens = ["client-d-token", "client-s-token"]
cert-file = "cert.pem"
key-file = "key.pem"
"""
OLD_CLIENT = """
[client]
token = "client-d-token"
server-addr = "SERVER_IP:19190"
server-cas = "cert.pem"
[client.destinations.serviceA]
addr = ":3000"
"""
OLD_RELAY = """
[relay]
token = "relay-token-1"
addr = ":19191"
hostname = "localhost"
control-addr = "localhost:19190"
control-cas = "ca.pem"
"""


def test_the_quickstart_of_older_releases_loads(load: Load) -> None:
    assert load("server", OLD_SERVER).settings == load("server", QUICKSTART_SERVER).settings
    assert load("client", OLD_CLIENT).settings == load("client", QUICKSTART_D).settings
    assert load("relay", OLD_RELAY).settings.ingresses[0].hostports == (HostPort("localhost", 19191),)
