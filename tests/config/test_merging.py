"""Several files and the command line (protocol section 12.8)."""

from collections.abc import Callable
from typing import Any

import pytest

from connet_trio.config import Loaded
from connet_trio.records.model import HostPort, Role, Route

Load = Callable[..., Loaded[Any]]

CLIENT = '[client]\ntoken = "a"\n'
SERVER = '[server]\ntokens = ["a"]\n'
INGRESS = '[[server.ingress]]\ncert-file = "cert.pem"\nkey-file = "key.pem"\n'


@pytest.mark.parametrize(
    ("earlier", "later", "metadata"),
    [
        ('metadata = "one"', 'metadata = "two"', "two"),
        ('metadata = "one"', 'metadata = ""', "one"),
        ('metadata = "one"', "", "one"),
        ("", 'metadata = "two"', "two"),
    ],
)
def test_a_later_scalar_replaces_an_earlier_one_unless_it_is_empty(
    load: Load, earlier: str, later: str, metadata: str
) -> None:
    assert load("client", f"{CLIENT}{earlier}", f"[client]\n{later}").settings.metadata == metadata


def test_an_empty_duration_replaces_nothing_but_that_of_draining(load: Load) -> None:
    earlier = f'{CLIENT}handshake-idle-timeout = "1s"\ndrain-timeout = "1s"'
    later = '[client]\nhandshake-idle-timeout = "0s"\ndrain-timeout = "0s"'
    settings = load("client", earlier, later).settings
    assert (settings.handshake_idle_timeout, settings.drain_timeout) == (1.0, 0.0)


def test_a_later_list_replaces_an_earlier_one_unless_it_is_empty(load: Load) -> None:
    def tokens(later: str) -> list[str]:
        settings = load("server", SERVER + INGRESS, later).settings
        return [token for token, _ in settings.client_tokens]

    assert tokens('[server]\ntokens = ["b", "c"]') == ["b", "c"]
    assert tokens("[server]\ntokens = []") == ["a"]


@pytest.mark.parametrize(
    ("earlier", "later", "token"),
    [
        ('token-file = "client.token"', 'token = "later"', "later"),
        ('token = "earlier"', 'token-file = "client.token"', "file-token"),
        ('token = "earlier"\ntoken-file = "client.token"', 'token = "later"', "later"),
        ('token-file = "client.token"', "", "file-token"),
    ],
)
def test_a_source_that_sets_a_token_either_way_sets_both(load: Load, earlier: str, later: str, token: str) -> None:
    assert load("client", f"[client]\n{earlier}", f"[client]\n{later}").settings.token == token


def test_a_reset_key_replaces_an_earlier_file(load: Load) -> None:
    earlier = CLIENT + 'direct-stateless-reset-key-file = "missing.key"'
    later = f'[client]\ndirect-stateless-reset-key = "{"0" * 52}"'
    assert load("client", earlier, later).settings.stateless_reset_key == bytes(32)


def test_clients_and_relays_have_pairs_of_their_own(load: Load) -> None:
    ingress = 'cert-file = "cert.pem"\nkey-file = "key.pem"\n'
    earlier = (
        '[control]\nclients-tokens-file = "client.tokens"\nrelays-tokens = ["r"]\n'
        f"[[control.clients-ingress]]\n{ingress}[[control.relays-ingress]]\n{ingress}"
    )
    settings = load("control", earlier, '[control]\nrelays-tokens-file = "relay.tokens"').settings
    assert [token for token, _ in settings.client_tokens] == ["one", "two"]
    assert [token for token, _ in settings.relay_tokens] == ["relay-token"]


@pytest.mark.parametrize(("earlier", "later"), [("true", "false"), ("false", "true")])
def test_expiry_is_off_once_any_source_turns_it_off(load: Load, earlier: str, later: str) -> None:
    text = f"{SERVER}endpoint-expiry-disable = {earlier}\n{INGRESS}"
    assert load("server", text, f"[server]\nendpoint-expiry-disable = {later}").settings.endpoint_expiry is None


def test_endpoints_are_merged_by_name_and_key_by_key(load: Load) -> None:
    earlier = CLIENT + '[client.sources]\na = { url = "tcp://:1", route = "relay" }\nb = { url = "tcp://:2" }\n'
    later = '[client.sources]\na = { url = "tcp://:3" }\nc = { url = "tcp://:4" }\n'
    sources = {source.name: source for source in load("client", earlier, later).settings.sources}
    assert {name: source.listen.port for name, source in sources.items()} == {"a": 3, "b": 2, "c": 4}
    assert sources["a"].route is Route.RELAY


def test_arrays_of_one_length_are_merged_table_by_table(load: Load) -> None:
    (ingress,) = load("server", SERVER + INGRESS, '[[server.ingress]]\naddr = ":5"').settings.client_ingresses
    assert ingress.address == HostPort("", 5)


def test_a_later_array_of_another_length_replaces_the_earlier_one(load: Load) -> None:
    later = INGRESS + 'addr = ":5"\n' + INGRESS + 'addr = ":6"\n'
    settings = load("server", SERVER + INGRESS, later).settings
    assert [ingress.address.port for ingress in settings.client_ingresses] == [5, 6]
    restrictions = '[[server.token-restriction]]\nrole-matches = "source"\n'
    settings = load("server", SERVER + INGRESS + restrictions, "[server]\ntoken-restriction = []").settings
    assert settings.client_tokens[0][1].role is Role.SOURCE


def test_flags_replace_what_files_say(load: Load) -> None:
    flags = {
        "client.token": "flag",
        "client.sources.db.url": "tcp://:9",
        'client.sources."my.db".url': "tcp://:10",
        "client.metadata": None,
        "log-level": "debug",
    }
    text = (
        '[client]\ntoken-file = "missing"\nmetadata = "box"\n[client.sources.db]\nurl = "tcp://:1"\nroute = "relay"\n'
    )
    loaded = load("client", text, flags=flags)
    assert loaded.settings.token == "flag"
    assert loaded.settings.metadata == "box"
    assert [(source.name, source.listen.port, source.route) for source in loaded.settings.sources] == [
        ("db", 9, Route.RELAY),
        ("my.db", 10, Route.ANY),
    ]
    assert loaded.log_level == "debug"


def test_flags_describe_one_ingress(load: Load) -> None:
    flags = {
        "server.tokens": ("x", "y"),
        "server.ingress.addr": ":5",
        "server.ingress.cert-file": "cert.pem",
        "server.ingress.key-file": "key.pem",
        "server.endpoint-expiry-disable": True,
        "server.relay-ingress.hostports": ("example.com",),
    }
    alone = load("server", flags=flags).settings
    assert [ingress.address for ingress in alone.client_ingresses] == [HostPort("", 5)]
    assert alone.relay_ingresses[0].hostports == (HostPort("example.com", 19191),)
    assert [token for token, _ in alone.client_tokens] == ["x", "y"]
    assert alone.endpoint_expiry is None
    over_two = load("server", SERVER + INGRESS + INGRESS + 'addr = ":6"', flags=flags).settings
    assert [ingress.address.port for ingress in over_two.client_ingresses] == [5]


def test_without_flags_for_an_ingress_those_of_the_file_stay(load: Load) -> None:
    text = SERVER + INGRESS + INGRESS + 'addr = ":6"'
    settings = load("server", text, flags={"server.ingress.addr": None, "server.store-dir": "x"}).settings
    assert [ingress.address.port for ingress in settings.client_ingresses] == [19190, 6]


def test_what_is_wrong_with_a_flag_is_told_as_such(load_error: Callable[..., str]) -> None:
    error = load_error(
        "client", CLIENT, flags={"client.sources.db.route": "drect", "client.sources.db.url": "tcp://:1"}
    )
    assert error == (
        'command line: client.sources.db.route: "drect" is not a route, expected one of any, direct, relay'
    )
