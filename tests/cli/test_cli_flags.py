import re
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.cli import client, control, relay, server
from connet_trio.cli.flags import LOGGING_FLAGS, flag_values
from connet_trio.client.endpoint_names import check_endpoint_name
from connet_trio.config import load_client, load_control, load_relay, load_server
from connet_trio.errors import ConfigError
from connet_trio.records.model import HostPort, Route
from connet_trio.records.peer import RelayEncryption
from connet_trio.testing.certificates import write_certificate

COMMANDS: dict[str, tuple[Any, Any, Any]] = {
    "client": (client.client_command, client.collect, load_client),
    "server": (server.server_command, lambda params: flag_values(server.FLAGS, params), load_server),
    "control": (control.control_command, control.collect, load_control),
    "relay": (relay.relay_command, lambda params: flag_values(relay.FLAGS, params), load_relay),
}


def settings_of(service: str, *arguments: str) -> Any:
    """The settings that a command line without files comes to."""
    make, collect, load = COMMANDS[service]
    params = make().make_context(service, list(arguments)).params
    flags = {**flag_values(LOGGING_FLAGS, params), **collect(params)}
    return load([], flags, {"CONNET_STATE_DIR": "/state", "CONNET_CACHE_DIR": "/cache"}).settings


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a certificate."""
    monkeypatch.chdir(tmp_path)
    write_certificate(tmp_path, ["localhost"])
    return tmp_path


def test_every_flag_of_a_client_reaches_its_settings(place: Path) -> None:
    (place / "token").write_text("from-file\n")
    found = settings_of(
        "client",
        *("--token-file", "token", "--metadata", "attic", "--handshake-idle-timeout", "1m30s"),
        *("--server-addr", "example.com", "--server-cas-file", "cert.pem", "--server-name", "other.example"),
        *("--direct-addr", ":4000", "--nat-pmp", "disabled", "--status-addr", "127.0.0.1:0"),
        *("--dst-name", "db", "--dst-url", "tcp://:5432", "--dst-route", "relay"),
        *("--dst-relay-encryption", "dhxcp,tls"),
        *("--src-name", "db", "--src-url", "tcp://127.0.0.1:5433", "--src-relay-encryption", "tls"),
    )
    assert (found.token, found.metadata, found.handshake_idle_timeout) == ("from-file", "attic", 90.0)
    assert (found.server, found.server_name) == (HostPort("example.com", 19_190), "other.example")
    assert len(found.server_roots) == 1
    assert (found.direct_address, found.status_address) == (HostPort("", 4000), HostPort("127.0.0.1", 0))
    (destination,), (source,) = found.destinations, found.sources
    assert (destination.name, destination.target, destination.route) == ("db", HostPort("localhost", 5432), Route.RELAY)
    assert destination.relay_encryptions == (RelayEncryption.DHXCP, RelayEncryption.TLS)
    assert (source.name, source.listen, source.route) == ("db", HostPort("127.0.0.1", 5433), Route.ANY)
    assert source.relay_encryptions == (RelayEncryption.TLS,)


def test_an_item_between_commas_that_is_none_is_told_with_its_flag(place: Path) -> None:
    with pytest.raises(ConfigError, match='"aes" is not a relay encryption, expected one of none, tls, dhxcp'):
        settings_of("client", "--token", "t", "--src-name", "db", "--src-relay-encryption", "tls,aes")


def test_every_flag_of_a_server_reaches_its_settings(place: Path) -> None:
    found = settings_of(
        "server",
        *("--tokens", "one", "--tokens", "two", "--addr", ":1", "--cert-file", "cert.pem", "--key-file", "key.pem"),
        *("--allow-cidr", "10.0.0.0/8", "--allow-cidr", "::1", "--deny-cidr", "10.0.0.1"),
        *("--endpoint-expiry-timeout", "7s", "--store-dir", "kept", "--status-addr", ":2"),
        *("--relay-addr", ":3", "--relay-hostport", "a.example", "--relay-hostport", "b.example:4"),
        *("--relay-allow-cidr", "10.0.0.0/8", "--relay-deny-cidr", "10.0.0.2"),
    )
    (ingress,), (relay_ingress,) = found.client_ingresses, found.relay_ingresses
    assert [token for token, _ in found.client_tokens] == ["one", "two"]
    assert (ingress.address, len(ingress.networks.allow), len(ingress.networks.deny)) == (HostPort("", 1), 2, 1)
    assert (found.endpoint_expiry, found.store_directory, found.status_address) == (7.0, Path("kept"), HostPort("", 2))
    assert relay_ingress.address == HostPort("", 3)
    assert relay_ingress.hostports == (HostPort("a.example", 3), HostPort("b.example", 4))
    assert (len(relay_ingress.networks.allow), len(relay_ingress.networks.deny)) == (1, 1)
    assert (
        settings_of("server", "--tokens", "one", "--cert-file", "cert.pem", "--key-file", "key.pem").endpoint_expiry
        == 30
    )


def test_a_switch_needs_no_value(place: Path) -> None:
    found = settings_of(
        "server", "--tokens", "one", "--cert-file", "cert.pem", "--key-file", "key.pem", "--endpoint-expiry-disable"
    )
    assert found.endpoint_expiry is None


def test_every_flag_of_a_control_server_reaches_its_settings(place: Path) -> None:
    (place / "clients").write_text("one\ntwo\n")
    found = settings_of(
        "control",
        *(
            "--clients-tokens-file",
            "clients",
            "--clients-addr",
            ":1",
            "--relays-tokens",
            "three",
            "--relays-addr",
            ":2",
        ),
        *("--clients-cert-file", "cert.pem", "--clients-key-file", "key.pem"),
        *("--relays-cert-file", "cert.pem", "--relays-key-file", "key.pem"),
        *("--clients-allow-cidr", "10.0.0.0/8", "--relays-deny-cidr", "10.0.0.0/8", "--store-dir", "kept"),
    )
    assert [token for token, _ in found.client_tokens] == ["one", "two"]
    assert [token for token, _ in found.relay_tokens] == ["three"]
    (clients,), (relays,) = found.client_ingresses, found.relay_ingresses
    assert (clients.address, relays.address) == (HostPort("", 1), HostPort("", 2))
    assert (len(clients.networks.allow), len(relays.networks.deny)) == (1, 1)


def test_one_certificate_of_control_serves_both_ports_unless_one_has_its_own(place: Path) -> None:
    shared = ("--clients-tokens", "a", "--relays-tokens", "b", "--cert-file", "cert.pem", "--key-file", "key.pem")
    found = settings_of("control", *shared)
    assert found.client_ingresses[0].credential == found.relay_ingresses[0].credential
    (place / "other").mkdir()
    write_certificate(place / "other", ["other.example"])
    own = settings_of("control", *shared, "--relays-cert-file", "other/cert.pem", "--relays-key-file", "other/key.pem")
    assert own.client_ingresses[0].credential == found.client_ingresses[0].credential
    assert own.relay_ingresses[0].credential != found.client_ingresses[0].credential


def test_every_flag_of_a_relay_reaches_its_settings(place: Path) -> None:
    found = settings_of(
        "relay",
        *("--token", "secret", "--metadata", "eu", "--addr", ":1", "--hostport", "r.example", "--allow-cidr", "::1"),
        *("--deny-cidr", "::2", "--control-addr", "c.example:2", "--control-cas-file", "cert.pem"),
        *("--control-name", "other.example", "--handshake-idle-timeout", "2s", "--store-dir", "kept"),
    )
    assert (found.token, found.metadata, found.handshake_idle_timeout) == ("secret", "eu", 2.0)
    assert (found.control, found.control_name) == (HostPort("c.example", 2), "other.example")
    assert found.ingresses[0].hostports == (HostPort("r.example", 1),)
    assert (len(found.ingresses[0].networks.allow), len(found.ingresses[0].networks.deny)) == (1, 1)
    assert (len(found.control_roots), found.store_directory) == (1, Path("kept"))


@given(name=st.text(max_size=20))
@settings(max_examples=50)
def test_an_endpoint_may_have_any_name_that_can_be_read(name: str) -> None:
    arguments = ("client", "--token", "t", f"--src-name={name}", "--src-url", "tcp://:0")
    try:
        name.encode()
    except UnicodeEncodeError:
        with pytest.raises(click.UsageError, match="--src-name is not UTF-8"):
            settings_of(*arguments)
        return
    try:
        check_endpoint_name(name)
    except ValueError as exc:
        with pytest.raises(ConfigError, match=f"^command line: client.sources..*: {re.escape(str(exc))}"):
            settings_of(*arguments)
        return
    (source,) = settings_of(*arguments).sources
    assert source.name == name


def test_an_endpoint_without_a_name_is_an_error() -> None:
    with pytest.raises(click.UsageError, match="--dst-url needs --dst-name"):
        settings_of("client", "--token", "t", "--dst-url", "tcp://:80")
