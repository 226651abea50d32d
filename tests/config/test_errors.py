"""What is wrong is told with file, line and key, all of it at once, and without secrets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connet_trio.config import Loaded, check_files, load_client, load_control, load_relay, load_server
from connet_trio.config.findings import Findings, Place
from connet_trio.config.schema import RootTable
from connet_trio.config.tables import array_paths
from connet_trio.errors import ConfigError

Load = Callable[..., Loaded[Any]]
LoadError = Callable[..., str]

CLIENT = '[client]\ntoken = "s3cr3t"\n'
SERVER = '[server]\ntokens = ["s3cr3t"]\n'
PAIR = 'cert-file = "cert.pem"\nkey-file = "key.pem"\n'
INGRESS = f"[[server.ingress]]\n{PAIR}"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "tokn = 's3cr3t'",
            "client.tokn: unknown key, did you mean token? expected one of token-file, token",
        ),
        ("xyz = 1", "client.xyz: unknown key, expected one of token-file, token, metadata, server-addr"),
        ('"a.b" = 1', 'client."a.b": unknown key'),
        ("metadata = 5", "client.metadata: is a number, expected text"),
        ("metadata = true", "client.metadata: is true or false, expected text"),
        ("metadata = []", "client.metadata: is a list, expected text"),
        ("metadata = 2020-01-01", "client.metadata: is a date or time, expected text"),
        ("server-cas-file = 1", "client.server-cas-file: is a number, expected a path"),
        ("server-cas-file = 'no.pem'", "client.server-cas-file: no.pem cannot be read: No such file or directory"),
        ("server-cas-file = '.'", "client.server-cas-file: . cannot be read: Is a directory"),
        ("server-cas-file = 'key.pem'", "client.server-cas-file: key.pem cannot be used: "),
        ("server-addr = 'a:b'", 'client.server-addr: "a:b" is not an address, expected host:port'),
        ("direct-addr = '[::1]'", 'client.direct-addr: "[::1]" has no port, expected [host]:port'),
        ("status-addr = '::1:80:x'", 'client.status-addr: "::1:80:x" is not an address'),
        ("direct-stateless-reset-key = 's3cr3t!'", "client.direct-stateless-reset-key: is not base32hex"),
        (
            "direct-stateless-reset-key-file = 'client.token'",
            "client.direct-stateless-reset-key-file: client.token holds 11 bytes, expected 32",
        ),
        ("nat-pmp = 'upnp'", 'client.nat-pmp: "upnp" is not a way to find the gateway, expected one of system, dial'),
        ("handshake-idle-timeout = '5'", 'client.handshake-idle-timeout: "5" is not a duration, expected'),
        ("relay-encryptions = 'none'", "client.relay-encryptions: is text, expected a list"),
        (
            "relay-encryptions = ['tls', 'aes']",
            'client.relay-encryptions[1]: "aes" is not a relay encryption, expected one of none, tls, dhxcp',
        ),
        ("relay-encryptions = [1]", "client.relay-encryptions[0]: is a number, expected one of none, tls, dhxcp"),
        ("sources = 1", "client.sources: is a number, expected a table for each name"),
        ("sources.db = 1", "client.sources.db: is a number, expected a table"),
        ("sources.db = {}", "client.sources.db: has no url, expected tcp://host:port"),
        (
            "sources.db.rout = 1",
            "client.sources.db.rout: unknown key, did you mean route? expected one of route, relay",
        ),
        ("sources.db.lb-retry-max = -1", "client.sources.db.lb-retry-max: -1 is out of range, expected a whole"),
        ("sources.db.lb-retry-max = '3'", "client.sources.db.lb-retry-max: is text, expected a whole number"),
        ("sources.db.lb-retry-max = 1.5", "client.sources.db.lb-retry-max: is a number, expected a whole number"),
        ("sources.db.lb-policy = 'nearest'", 'client.sources.db.lb-policy: "nearest" is not a policy, expected one of'),
        ("sources.db.lb-retry = 'never'", 'client.sources.db.lb-retry: "never" is not a way to try again, expected'),
        ("destinations.db.lb-policy = 'random'", "client.destinations.db.lb-policy: unknown key"),
        ("sources.db.cas-file = 'x'", "client.sources.db.cas-file: is not supported in this release"),
        ("sources.db.proxy-proto-version = 'v1'", "client.sources.db.proxy-proto-version: unknown key"),
        (
            "destinations.db.proxy-proto-version = 'none'",
            'client.destinations.db.proxy-proto-version: "none" is not a version of the PROXY protocol, expected',
        ),
        (
            "destinations.db.proxy-proto-version = 2",
            "client.destinations.db.proxy-proto-version: is a number, expected",
        ),
        ("destinations.db.cert-file = 'x'", "client.destinations.db.cert-file: is not supported in this release"),
        ("destinations.db.key-file = 'x'", "client.destinations.db.key-file: is not supported in this release"),
        ("destinations.db.relay-encryptions = ['']", 'client.destinations.db.relay-encryptions[0]: "" is not a relay'),
        ("destinations.db.url = 'https://x'", 'client.destinations.db.url: "https" is not supported in this release'),
        ("destinations.db.dial-timeout = 3", "client.destinations.db.dial-timeout: is a number, expected a duration"),
    ],
)
def test_a_wrong_line_of_a_client(load_error: LoadError, line: str, error: str) -> None:
    text = load_error("client", f"{CLIENT}\n{line}\n")
    assert f"a.toml:4: {error}" in text
    assert "s3cr3t" not in text


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ("[server.ingress]", "a.toml:3: server.ingress: is a table, expected an array of tables: [[server.ingress]]"),
        ("", "a.toml:1: server: nothing to listen on, expected [[server.ingress]] with cert-file and key-file"),
        ("[[server.ingress]]\nkey-file = 'key.pem'", "a.toml:3: server.ingress[0]: has no cert-file"),
        ("[[server.ingress]]\ncert-file = 'cert.pem'", "a.toml:3: server.ingress[0]: has no key-file"),
        (
            f"{INGRESS}\n[[server.ingress]]\n{PAIR}",
            "a.toml:7: server.ingress[1]: has no addr, and only the first has a default (:19190)",
        ),
        (
            f"{INGRESS}allow-cidrs = ['::1', 'x']",
            "a.toml:6: server.ingress[0].allow-cidrs[1]: 'x' is not an IP address",
        ),
        (
            f"{INGRESS}deny-cidrs = [7]",
            "a.toml:6: server.ingress[0].deny-cidrs[0]: is a number, expected an IP address",
        ),
        (
            f"{INGRESS}[[server.relay-ingress]]\nhostports = ['']",
            "a.toml:7: server.relay-ingress[0].hostports[0]: is empty, expected host or host:port",
        ),
        (
            f"{INGRESS}[[server.relay-ingress]]\nhostports = ['a:b']",
            'a.toml:7: server.relay-ingress[0].hostports[0]: "a:b" is not an address',
        ),
        (
            f"{INGRESS}[[server.token-restriction]]\n[[server.token-restriction]]",
            "a.toml:6: server.token-restriction: 2 restrictions for 1 tokens, expected one for each token",
        ),
        (
            f"{INGRESS}[[server.token-restriction]]\nname-matches = '('",
            "a.toml:7: server.token-restriction[0].name-matches: '(' is not an RE2 regular expression",
        ),
        (
            f"{INGRESS}[[server.token-restriction]]\nrole-matches = 'both'",
            'a.toml:7: server.token-restriction[0].role-matches: "both" is not a role, expected one of source,',
        ),
        (
            "endpoint-expiry-disable = 1",
            "a.toml:3: server.endpoint-expiry-disable: is a number, expected true or false",
        ),
        (
            "endpoint-expiry-timeout = '0s'",
            "a.toml:3: server.endpoint-expiry-timeout: is no time at all, expected a duration, or endpoint-",
        ),
        ("drain-timeout = 2", "a.toml:3: server.drain-timeout: is a number, expected a duration"),
        (
            'congestion-control = "vegas"',
            'a.toml:3: server.congestion-control: "vegas" is not a congestion control, expected one of cubic, bbr, '
            "bbr-tolerant",
        ),
        (
            "congestion-control = true",
            "a.toml:3: server.congestion-control: is true or false, expected one of cubic, bbr, bbr-tolerant",
        ),
        ("store-dir = 2", "a.toml:3: server.store-dir: is a number, expected a path"),
        (
            'quic-engine = "quick"',
            'a.toml:3: server.quic-engine: "quick" is not an engine, expected one of fast, stock',
        ),
        ("quic-engine = true", "a.toml:3: server.quic-engine: is true or false, expected one of fast, stock"),
        (
            "max-packet-size = 1199",
            "server.max-packet-size: 1199 is not a packet size, expected a number of bytes from 1200 to 16384",
        ),
        ("max-packet-size = 0", "a.toml:3: server.max-packet-size: 0 is not a packet size, expected a number of bytes"),
        ("max-packet-size = 16385", "a.toml:3: server.max-packet-size: 16385 is not a packet size, expected a number"),
        ("max-packet-size = 1452.5", "a.toml:3: server.max-packet-size: 1452.5 is not a packet size, expected a"),
        ("max-packet-size = true", "a.toml:3: server.max-packet-size: is true or false, expected a number of bytes"),
        ('max-packet-size = "jumbo"', "a.toml:3: server.max-packet-size: is text, expected a number of bytes from 12"),
    ],
)
def test_wrong_lines_of_a_server(load_error: LoadError, lines: str, error: str) -> None:
    text = load_error("server", f"{SERVER}{lines}\n")
    assert error in text
    assert "s3cr3t" not in text


def test_every_problem_is_told_at_once_by_file_and_line(load_error: LoadError) -> None:
    first = '[client]\nmetadata = 1\n[client.sources.db]\nroute = "drect"\nurl = "tcp://:1"\n'
    second = 'log-level = "loud"\n[client.sources.other]\n'
    assert load_error("client", first, second).splitlines() == [
        "a.toml:1: client: has no token, expected token-file, token, or the environment variable CONNET_TOKEN",
        "a.toml:2: client.metadata: is a number, expected text",
        'a.toml:4: client.sources.db.route: "drect" is not a route, expected one of any, direct, relay',
        'b.toml:1: log-level: "loud" is not a log level, expected one of fine, debug, info, warn, error',
        "b.toml:2: client.sources.other: has no url, expected tcp://host:port",
    ]


def test_an_error_in_a_value_is_not_told_again_as_a_missing_value(load_error: LoadError) -> None:
    text = load_error("client", '[client]\ntoken = 5\n[client.sources.db]\nurl = "x"\n')
    assert [line.split(": ")[1] for line in text.splitlines()] == ["client.token", "client.sources.db.url"]
    text = load_error("server", '[server]\ntokens = 5\n[[server.ingress]]\naddr = 1\ncert-file = 1\nkey-file = "no"\n')
    assert [line.split(": ")[1] for line in text.splitlines()] == [
        "server.tokens",
        "server.ingress[0].addr",
        "server.ingress[0].cert-file",
        "server.ingress[0].key-file",
    ]


def test_a_misspelt_key_is_not_told_again_as_a_missing_one(load_error: LoadError) -> None:
    assert "\n" not in load_error("client", '[client]\ntokn = "s3cr3t"\n')
    assert "\n" not in load_error("server", f"{SERVER}[[server.ingres]]\n{PAIR}")


def test_a_blank_token_does_not_make_the_restrictions_too_many(load_error: LoadError) -> None:
    text = f'[server]\ntokens = ["a", ""]\n{INGRESS}[[server.token-restriction]]\n[[server.token-restriction]]\n'
    assert load_error("server", text) == "a.toml:2: server.tokens[1]: is empty, expected a token"


def test_an_unknown_section_suggests_the_one_that_was_meant(load_error: LoadError) -> None:
    assert "a.toml:1: clinet: unknown key, did you mean client? expected one of log-level" in load_error(
        "client", '[clinet]\ntoken = "s3cr3t"\n'
    )


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_said_to_be_missing(write: Callable[..., Path]) -> None:
    file = write("x.toml", "[client]\nmetadata = 5")
    with pytest.raises(ConfigError) as caught:
        load_client([Path("no.toml"), file, Path()], {}, {})
    assert str(caught.value).splitlines() == [
        "no.toml: cannot be read: No such file or directory",
        "x.toml:2: client.metadata: is a number, expected text",
        ".: cannot be read: Is a directory",
    ]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "x.token cannot be read: No such file or directory"),
        (b"", "x.token holds no token"),
        (b"\n  \n\t\n", "x.token holds no token"),
        (b"s3cr3t\xff", "x.token is not UTF-8 text (byte 6)"),
    ],
)
def test_a_token_file_that_holds_none(
    load_error: LoadError, write: Callable[..., Path], content: bytes | None, error: str
) -> None:
    if content is not None:
        write("x.token", content)
    assert load_error("client", '[client]\ntoken-file = "x.token"') == f"a.toml:2: client.token-file: {error}"
    assert load_error("relay", '[relay]\ntoken-file = "x.token"') == f"a.toml:2: relay.token-file: {error}"
    text = f'[server]\ntokens-file = "x.token"\n{INGRESS}'
    assert load_error("server", text) == f"a.toml:2: server.tokens-file: {error}"


def test_servers_without_tokens_are_told_how_to_give_some(load_error: LoadError) -> None:
    assert load_error("relay", "[relay]") == "a.toml:1: relay: has no token, expected token-file or token"
    assert load_error("server", f"[server]\n{INGRESS}") == (
        "a.toml:1: server: has no tokens, so nobody could connect, expected tokens-file or tokens"
    )
    assert "expected clients-tokens-file or clients-tokens" in load_error("control", "[control]")


def test_a_blank_token_is_refused(load_error: LoadError) -> None:
    assert load_error("server", f'[server]\ntokens = ["s3cr3t", " "]\n{INGRESS}') == (
        "a.toml:2: server.tokens[1]: is empty, expected a token"
    )


def test_control_that_would_listen_on_nothing_is_refused(load_error: LoadError) -> None:
    error = load_error("control", '[control]\nclients-tokens = ["a"]\nrelays-tokens = ["b"]\n')
    assert error.splitlines() == [
        f"a.toml:1: control: nothing to listen on, expected [[control.{name}]] with cert-file and key-file"
        for name in ("clients-ingress", "relays-ingress")
    ]


def test_relays_tokens_know_no_names(load_error: LoadError) -> None:
    text = (
        f'[control]\nclients-tokens = ["a"]\n[[control.clients-ingress]]\n{PAIR}[[control.relays-token-restriction]]\n'
    )
    assert load_error("control", f'{text}name-matches = "x"\n') == (
        "a.toml:7: control.relays-token-restriction[0].name-matches: unknown key, "
        "expected one of allow-cidrs, deny-cidrs"
    )


def test_a_certificate_and_a_key_that_do_not_belong_together(
    load_error: LoadError, write: Callable[..., Path], authority: trustme.CA
) -> None:
    write("other.pem", authority.issue_cert("other").private_key_pem.bytes())
    text = load_error("server", SERVER + INGRESS.replace("key.pem", "other.pem"))
    assert text.startswith("a.toml:4: server.ingress[0].cert-file: cert.pem with the key other.pem cannot be used: ")
    assert "PRIVATE KEY" not in text


def test_a_damaged_certificate_or_key_is_named(load_error: LoadError, write: Callable[..., Path]) -> None:
    write("bad.pem", "nothing")
    assert "bad.pem with the key key.pem cannot be used" in load_error(
        "server", SERVER + INGRESS.replace("cert.", "bad.")
    )
    assert "cert.pem with the key bad.pem cannot be used" in load_error(
        "server", SERVER + INGRESS.replace("key.p", "bad.p")
    )


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            '[client]\ntoken-file = "open.token"\n',
            "a.toml:2: client.token-file: everybody on this machine may read open.",
        ),
        (CLIENT, "a.toml:1: client: has neither destinations nor sources, so there is nothing to do"),
        (f'{CLIENT}nat-pmp = "dial"\n', 'a.toml:3: client.nat-pmp: "dial" does nothing in this release'),
    ],
)
def test_a_client_is_warned(load: Load, write: Callable[..., Path], text: str, warning: str) -> None:
    write("open.token", "s3cr3t", mode=0o604)
    warnings = load("client", text).warnings
    assert any(found.startswith(warning) for found in warnings)
    assert "s3cr3t" not in str(warnings)


@pytest.mark.parametrize("method", ["system", "disabled"])
def test_an_ordinary_client_is_not_warned(load: Load, method: str) -> None:
    assert load("client", f'{CLIENT}nat-pmp = "{method}"\nsources.db.url = "tcp://:1"\n').warnings == ()


def test_a_server_is_warned_of_an_open_key_and_of_tokens_listed_twice(load: Load) -> None:
    Path("key.pem").chmod(0o644)
    text = f'[server]\ntokens = ["s3cr3t", "x", "s3cr3t"]\n{INGRESS}[[server.relay-ingress]]\nhostports = ["a"]\n'
    assert load("server", text).warnings == (
        "a.toml:2: server.tokens: tokens 1 and 3 are the same; the last restriction counts",
        "a.toml:5: server.ingress[0].key-file: everybody on this machine may read key.pem: chmod o-r it",
    )


def test_a_relay_that_only_this_machine_finds_is_warned_of(load: Load) -> None:
    warning = (
        "without hostports clients are told to find the relay at localhost:19191, which works on this machine only"
    )
    assert load("server", SERVER + INGRESS).warnings == (f"a.toml:1: server: {warning}",)
    relay = '[relay]\ntoken = "t"\n[[relay.ingress]]\n'
    assert load("relay", relay).warnings == (f"a.toml:3: relay.ingress[0]: {warning}",)


def test_control_without_relays_is_warned_of(load: Load) -> None:
    text = f'[control]\nclients-tokens = ["t"]\n[[control.clients-ingress]]\n{PAIR}'
    assert load("control", text).warnings == (
        "a.toml:1: control: no relay can join without relays-tokens, and this release connects through relays only",
    )


def test_a_check_tells_of_unknown_keys_and_unusable_values(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_files([write("x.toml", '[relay]\ntokn = "s3cr3t"\n[client]\ndirect-addr = "x"\n')])
    assert [line.partition(" ")[0] for line in str(caught.value).splitlines()] == ["x.toml:2:", "x.toml:4:"]


def test_a_place_without_a_source_is_its_keys() -> None:
    findings = Findings()
    findings.add_error(Place("", ("a", 0, 'b "c"')), "is wrong")
    with pytest.raises(ConfigError, match=r'^a\[0\]\."b \\"c\\"": is wrong$'):
        findings.raise_errors()


SCALARS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.just("tcp://:1"), st.just("1s"))
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.just("addr"), inner)))
KEYS = st.sampled_from(
    ["token", "tokens", "sources", "ingress", "addr", "clients-ingress", "ip-restriction", "cert-file", "hostname"]
)


LOADERS = (load_client, load_server, load_control, load_relay)


@pytest.mark.reliability(line=33)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(section=VALUES | st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES)), loader=st.sampled_from(LOADERS))
def test_no_shape_of_a_document_raises_anything_but_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, section: object, loader: Callable[..., Loaded[Any]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "shape.toml"
    content = dict.fromkeys(("client", "server", "control", "relay"), section)
    file.write_text(tomlkit.dumps(content), newline="")
    with pytest.raises(ConfigError):
        loader([file], {"log-level": "never right"}, {})


def test_every_array_of_tables_is_known_to_flags() -> None:
    assert set(array_paths(RootTable)) == {
        ("server", "ingress"),
        ("server", "token-restriction"),
        ("server", "relay-ingress"),
        ("control", "clients-ingress"),
        ("control", "clients-token-restriction"),
        ("control", "relays-ingress"),
        ("control", "relays-token-restriction"),
        ("relay", "ingress"),
    }
