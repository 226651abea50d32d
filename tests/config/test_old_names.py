"""Keys of releases up to 0.9: read as before, with a warning that names the new key."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from connet_trio.config import Loaded
from connet_trio.engine.admission import NetworkRule, Restriction
from connet_trio.records.model import HostPort

Load = Callable[..., Loaded[Any]]
LoadError = Callable[..., str]

PAIR = 'cert-file = "cert.pem"\nkey-file = "key.pem"\n'


def test_roots_had_another_name(load: Load) -> None:
    old = load("client", '[client]\ntoken = "t"\nserver-cas = "ca.pem"\nsources.db.url = "tcp://:1"\n')
    assert len(old.settings.server_roots) == 1
    assert old.warnings == ("a.toml:3: client.server-cas: is an old name of server-cas-file",)
    old = load("relay", '[relay]\ntoken = "t"\ncontrol-cas = "ca.pem"\n[[relay.ingress]]\nhostports = ["a"]\n')
    assert len(old.settings.control_roots) == 1
    assert old.warnings == ("a.toml:3: relay.control-cas: is an old name of control-cas-file",)


def test_an_old_name_beside_the_new_one_is_ignored(load: Load) -> None:
    text = (
        '[client]\ntoken = "t"\nserver-cas = "missing.pem"\nserver-cas-file = "ca.pem"\nsources.db.url = "tcp://:1"\n'
    )
    loaded = load("client", text)
    assert len(loaded.settings.server_roots) == 1
    assert loaded.warnings == (
        "a.toml:3: client.server-cas: is an old name of server-cas-file, and ignored because that is set too",
    )


def test_an_old_name_in_a_later_file_replaces_the_new_one_in_an_earlier(load: Load) -> None:
    earlier = '[client]\ntoken = "t"\nserver-cas-file = "missing.pem"\n'
    assert len(load("client", earlier, '[client]\nserver-cas = "ca.pem"\n').settings.server_roots) == 1


def test_the_address_of_an_endpoint_became_a_url(load: Load) -> None:
    text = (
        '[client]\ntoken = "t"\n[client.destinations.db]\naddr = ":3000"\n'
        '[client.sources.db]\naddr = "127.0.0.1:8000"\nroute = "relay"\n'
    )
    loaded = load("client", text)
    assert loaded.settings.destinations[0].target == HostPort("localhost", 3000)
    assert loaded.settings.sources[0].listen == HostPort("127.0.0.1", 8000)
    assert loaded.warnings == (
        "a.toml:4: client.destinations.db.addr: is an old name of url",
        "a.toml:6: client.sources.db.addr: is an old name of url",
    )


@pytest.mark.parametrize("address", ["5", '"nowhere"'])
def test_what_is_wrong_with_an_old_key_is_told_under_its_old_name(load_error: LoadError, address: str) -> None:
    text = f'[client]\ntoken = "t"\nsources.db.addr = {address}\n'
    error = load_error("client", text)
    assert error.startswith("a.toml:3: client.sources.db.addr: ")
    assert "\n" not in error


def test_a_server_had_one_ingress_written_into_its_section(load: Load) -> None:
    loaded = load(
        "server",
        f'[server]\ntokens = ["a"]\naddr = ":5"\n{PAIR}relay-addr = ":6"\nrelay-hostname = "example.com"\n'
        '[server.ip-restriction]\nallow-cidrs = ["192.0.2.0/24"]\ndeny-cidrs = []\n'
        '[[server.token-ip-restriction]]\ndeny-cidrs = ["::1"]\n',
    )
    (ingress,) = loaded.settings.client_ingresses
    assert ingress.address == HostPort("", 5)
    assert ingress.networks == NetworkRule(allow=(ip_network("192.0.2.0/24"),))
    (relay,) = loaded.settings.relay_ingresses
    assert (relay.address, relay.hostports) == (HostPort("", 6), (HostPort("example.com", 6),))
    restriction = Restriction(networks=NetworkRule(deny=(ip_network("::1"),)))
    assert loaded.settings.client_tokens == (("a", restriction),)
    assert loaded.warnings == (
        "a.toml:3: server.addr: is an old name, now addr in [[server.ingress]]",
        "a.toml:4: server.cert-file: is an old name, now cert-file in [[server.ingress]]",
        "a.toml:5: server.key-file: is an old name, now key-file in [[server.ingress]]",
        "a.toml:6: server.relay-addr: is an old name, now addr in [[server.relay-ingress]]",
        "a.toml:7: server.relay-hostname: is an old name, now hostports in [[server.relay-ingress]]",
        "a.toml:8: server.ip-restriction: is an old name, now allow-cidrs and deny-cidrs in [[server.ingress]]",
        "a.toml:11: server.token-ip-restriction: is an old name of token-restriction",
    )


def test_one_port_of_control_served_clients_and_relays(load: Load) -> None:
    loaded = load(
        "control",
        f'[control]\naddr = ":5"\n{PAIR}client-tokens = ["a"]\nrelay-tokens-file = "relay.tokens"\n'
        '[control.client-ip-restriction]\nallow-cidrs = ["::1"]\n[control.relay-ip-restriction]\ndeny-cidrs = ["::2"]\n'
        "[[control.client-token-ip-restriction]]\n[[control.relay-token-ip-restriction]]\n",
    )
    (clients,), (relays,) = loaded.settings.client_ingresses, loaded.settings.relay_ingresses
    assert (clients.address, clients.networks) == (HostPort("", 5), NetworkRule(allow=(ip_network("::1"),)))
    assert (relays.address, relays.networks) == (HostPort("", 19189), NetworkRule(deny=(ip_network("::2"),)))
    assert relays.credential == clients.credential
    assert loaded.settings.client_tokens == (("a", Restriction()),)
    assert loaded.settings.relay_tokens == (("relay-token", Restriction()),)
    assert (
        "a.toml:3: control.cert-file: is an old name, now cert-file in [[control.clients-ingress]] "
        "and [[control.relays-ingress]]" in loaded.warnings
    )
    assert len(loaded.warnings) == 9


def test_control_without_relays_had_no_port_for_them_either(load: Load) -> None:
    loaded = load("control", f'[control]\n{PAIR}client-tokens-file = "client.tokens"\n')
    assert loaded.settings.relay_ingresses == ()
    assert len(loaded.settings.client_tokens) == 2


def test_a_relay_had_one_ingress_written_into_its_section(load: Load) -> None:
    loaded = load("relay", '[relay]\ntoken = "t"\naddr = ":5"\nhostname = "example.com"\n')
    (ingress,) = loaded.settings.ingresses
    assert (ingress.address, ingress.hostports) == (HostPort("", 5), (HostPort("example.com", 5),))
    assert loaded.warnings == (
        "a.toml:3: relay.addr: is an old name, now addr in [[relay.ingress]]",
        "a.toml:4: relay.hostname: is an old name, now hostports in [[relay.ingress]]",
    )


def test_old_keys_and_flags_describe_the_same_ingress(load: Load) -> None:
    text = f'[server]\ntokens = ["a"]\naddr = ":5"\n{PAIR}'
    assert load("server", text, flags={"server.ingress.addr": ":7"}).settings.client_ingresses[0].address.port == 7


def test_an_old_key_beside_the_array_it_went_to_is_refused(load_error: LoadError) -> None:
    text = f'[server]\ntokens = ["a"]\naddr = ":5"\n[[server.ingress]]\n{PAIR}'
    assert load_error("server", text) == (
        "a.toml:3: server.addr: is an old name, expected as addr in [[server.ingress]], which is there"
    )


def test_an_old_table_that_is_none_is_refused(load_error: LoadError) -> None:
    text = f'[server]\ntokens = ["a"]\n{PAIR}ip-restriction = 3\n'
    assert load_error("server", text) == "a.toml:5: server.ip-restriction: is a number, expected a table"


def test_a_relay_without_hostname_was_found_on_localhost(load: Load) -> None:
    (ingress,) = load("relay", '[relay]\ntoken = "t"\nhostname = ""\n').settings.ingresses
    assert ingress.hostports == (HostPort("localhost", 19191),)


def test_the_networks_of_relays_are_kept_for_an_ingress_of_a_later_file(load: Load) -> None:
    earlier = f'[control]\n{PAIR}client-tokens = ["a"]\n[control.relay-ip-restriction]\nallow-cidrs = ["::1"]\n'
    later = f'[control]\nrelays-tokens = ["r"]\n[[control.relays-ingress]]\n{PAIR}'
    (relays,) = load("control", earlier, later).settings.relay_ingresses
    assert relays.networks == NetworkRule(allow=(ip_network("::1"),))
