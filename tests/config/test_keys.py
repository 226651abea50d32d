"""Every key of every table, its default, and what it becomes."""

import ssl
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from connet_trio.client.settings import ClientSettings, DestinationSettings, SourceSettings
from connet_trio.config import Loaded, check_files
from connet_trio.engine import BalancePolicy, BalanceRetry, Balancing
from connet_trio.engine.admission import NetworkRule, Restriction
from connet_trio.quic import CongestionControl, QuicEngine
from connet_trio.records.model import HostPort, Role, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption
from connet_trio.relay.settings import RelayIngressSettings, RelaySettings

Load = Callable[..., Loaded[Any]]

INGRESS = 'cert-file = "cert.pem"\nkey-file = "key.pem"\n'
MINIMAL = {
    "client": '[client]\ntoken = "t"\n',
    "server": f'[server]\ntokens = ["t"]\n[[server.ingress]]\n{INGRESS}',
    "control": f'[control]\nclients-tokens = ["t"]\n[[control.clients-ingress]]\n{INGRESS}',
    "relay": '[relay]\ntoken = "t"\n',
}
KEY_IN_BASE32HEX = "0" * 52


def with_line(service: str, line: str) -> str:
    """The minimal configuration with another line in the section of the service."""
    return MINIMAL[service].replace(f"[{service}]\n", f"[{service}]\n{line}\n", 1)


@pytest.mark.parametrize(
    ("service", "line", "setting", "value"),
    [
        ("client", 'token-file = "client.token"', "token", "file-token"),
        ("client", 'metadata = "box"', "metadata", "box"),
        ("client", 'server-addr = "example.com"', "server", HostPort("example.com", 19190)),
        ("client", 'server-addr = "[::1]:5"', "server", HostPort("::1", 5)),
        ("client", 'server-addr = "example.com"', "server_name", "example.com"),
        ("client", 'server-name = "other"', "server_name", "other"),
        ("client", 'direct-addr = ":5"', "direct_address", HostPort("", 5)),
        ("client", f'direct-stateless-reset-key = "{KEY_IN_BASE32HEX}"', "stateless_reset_key", bytes(32)),
        ("client", f'direct-stateless-reset-key = "{KEY_IN_BASE32HEX}"', "stateless_reset_key_directory", None),
        ("client", 'status-addr = "[::1]:0"', "status_address", HostPort("::1", 0)),
        ("client", 'handshake-idle-timeout = "1m30s"', "handshake_idle_timeout", 90.0),
        ("client", 'handshake-idle-timeout = "0s"', "handshake_idle_timeout", 5.0),
        ("client", 'drain-timeout = "500ms"', "drain_timeout", 0.5),
        ("client", 'drain-timeout = "0s"', "drain_timeout", 0.0),
        ("client", 'congestion-control = "bbr-tolerant"', "congestion_control", CongestionControl.BBR_TOLERANT),
        ("client", 'congestion-control = ""', "congestion_control", CongestionControl.CUBIC),
        ("client", 'metadata = ""', "metadata", ""),
        ("client", 'quic-engine = "fast"', "quic_engine", QuicEngine.FAST),
        ("client", 'quic-engine = "stock"', "quic_engine", QuicEngine.STOCK),
        ("client", "max-packet-size = 1452", "max_packet_size", 1452),
        ("client", "max-packet-size = 1_200", "max_packet_size", 1200),
        ("client", "max-packet-size = 16384", "max_packet_size", 16_384),
        ("server", 'tokens-file = "client.tokens"', "client_tokens", (("one", Restriction()), ("two", Restriction()))),
        ("server", "endpoint-expiry-disable = true", "endpoint_expiry", None),
        ("server", "endpoint-expiry-disable = false", "endpoint_expiry", 30.0),
        ("server", 'endpoint-expiry-timeout = "1m"', "endpoint_expiry", 60.0),
        ("server", 'status-addr = ":1"', "status_address", HostPort("", 1)),
        ("server", 'store-dir = "here"', "store_directory", Path("here")),
        ("server", 'drain-timeout = "5s"', "drain_timeout", 5.0),
        ("server", 'congestion-control = "bbr"', "congestion_control", CongestionControl.BBR),
        ("server", 'quic-engine = "stock"', "quic_engine", QuicEngine.STOCK),
        ("server", "max-packet-size = 1452", "max_packet_size", 1452),
        ("control", 'clients-tokens-file = "relay.tokens"', "client_tokens", (("relay-token", Restriction()),)),
        ("control", "endpoint-expiry-disable = true", "endpoint_expiry", None),
        ("control", 'endpoint-expiry-timeout = "1m"', "endpoint_expiry", 60.0),
        ("control", 'status-addr = ":1"', "status_address", HostPort("", 1)),
        ("control", 'store-dir = "here"', "store_directory", Path("here")),
        ("control", 'congestion-control = "bbr"', "congestion_control", CongestionControl.BBR),
        ("control", 'quic-engine = "stock"', "quic_engine", QuicEngine.STOCK),
        ("control", "max-packet-size = 1452", "max_packet_size", 1452),
        ("relay", 'token-file = "relay.token"', "token", "relay-token"),
        ("relay", 'metadata = "box"', "metadata", "box"),
        ("relay", 'control-addr = "[::1]:5"', "control", HostPort("::1", 5)),
        ("relay", 'control-addr = "example.com:5"', "control_name", "example.com"),
        ("relay", 'control-name = "other"', "control_name", "other"),
        ("relay", 'handshake-idle-timeout = "1s"', "handshake_idle_timeout", 1.0),
        ("relay", 'status-addr = ":1"', "status_address", HostPort("", 1)),
        ("relay", 'store-dir = "here"', "store_directory", Path("here")),
        ("relay", 'drain-timeout = "5s"', "drain_timeout", 5.0),
        ("relay", 'congestion-control = "bbr"', "congestion_control", CongestionControl.BBR),
        ("relay", 'quic-engine = "stock"', "quic_engine", QuicEngine.STOCK),
        ("relay", "max-packet-size = 1452", "max_packet_size", 1452),
    ],
)
def test_a_key_becomes_a_setting(load: Load, service: str, line: str, setting: str, value: object) -> None:
    assert getattr(load(service, with_line(service, line)).settings, setting) == value


def test_a_client_that_says_nothing_has_the_defaults_of_its_settings(load: Load) -> None:
    loaded = load("client", MINIMAL["client"])
    assert loaded.settings == ClientSettings(token="t", stateless_reset_key_directory=Path("/cache"))
    assert (loaded.log_level, loaded.log_format) == ("info", "text")


def test_a_relay_that_says_nothing_has_the_defaults_of_its_settings(load: Load) -> None:
    assert load("relay", MINIMAL["relay"]).settings == RelaySettings(token="t", store_directory=Path("/state"))


@pytest.mark.parametrize("service", ["server", "control"])
def test_a_server_that_says_nothing_listens_for_clients_alone_with_every_default(load: Load, service: str) -> None:
    settings = load(service, MINIMAL[service]).settings
    (ingress,) = settings.client_ingresses
    assert ingress.address == HostPort("", 19190)
    assert ingress.networks == NetworkRule()
    assert settings.client_tokens == (("t", Restriction()),)
    assert (settings.endpoint_expiry, settings.status_address) == (30.0, None)
    assert settings.store_directory == Path("/state")
    assert settings.relay_ingresses == (RelaySettings(token="t").ingresses if service == "server" else ())


def test_streams_of_a_server_that_says_nothing_get_two_seconds_to_end(load: Load) -> None:
    assert load("server", MINIMAL["server"]).settings.drain_timeout == 2.0


def test_a_drain_timeout_of_control_is_accepted_and_said_to_do_nothing(load: Load) -> None:
    loaded = load("control", with_line("control", 'drain-timeout = "5s"'))
    (warning,) = (warning for warning in loaded.warnings if "drain-timeout" in warning)
    assert warning.endswith("control.drain-timeout: does nothing for control, which carries no streams")
    assert loaded.settings == load("control", MINIMAL["control"]).settings


@pytest.mark.parametrize("level", ["fine", "debug", "info", "warn", "error"])
def test_logging_is_set_at_the_root(load: Load, level: str) -> None:
    loaded = load("client", f'log-level = "{level}"\nlog-format = "json"\n' + MINIMAL["client"])
    assert (loaded.log_level, loaded.log_format) == (level, "json")


def test_roots_are_read_from_the_ca_file(load: Load, authority: trustme.CA) -> None:
    client = load("client", with_line("client", 'server-cas-file = "ca.pem"')).settings
    relay = load("relay", with_line("relay", 'control-cas-file = "ca.pem"')).settings
    (root,) = client.server_roots
    assert relay.control_roots == (root,)
    assert root in _der_of(authority)


def _der_of(authority: trustme.CA) -> bytes:
    return ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())


def test_a_reset_key_file_wins_over_the_literal(load: Load, write: Callable[..., Path]) -> None:
    write("reset.key", b"k" * 32)
    lines = f'direct-stateless-reset-key = "{KEY_IN_BASE32HEX}"\ndirect-stateless-reset-key-file = "reset.key"'
    assert load("client", with_line("client", lines)).settings.stateless_reset_key == b"k" * 32


@pytest.mark.parametrize(
    ("service", "line", "setting"),
    [("client", 'token-file = "relay.token"', "token"), ("server", 'tokens-file = "relay.tokens"', "client_tokens")],
)
def test_a_token_file_wins_over_the_literal_beside_it(load: Load, service: str, line: str, setting: str) -> None:
    assert "relay-token" in str(getattr(load(service, with_line(service, line)).settings, setting))


def test_endpoints_of_both_roles_may_share_a_name(load: Load) -> None:
    settings = load(
        "client",
        MINIMAL["client"] + '[client.destinations.db]\nurl = "tcp://:3000"\n'
        '[client.sources]\n"my.db" = { url = "tcp://[::1]:8000", route = "relay", dial-timeout = "3s" }\n'
        'db = { url = "tcp://:8001", dial-timeout = "0s", lb-retry-max = 0 }\n',
    ).settings
    assert settings.destinations == (DestinationSettings(name="db", target=HostPort("localhost", 3000)),)
    assert settings.sources == (
        SourceSettings(name="my.db", listen=HostPort("::1", 8000), route=Route.RELAY, dial_timeout=3.0),
        SourceSettings(name="db", listen=HostPort("", 8001)),
    )


@pytest.mark.parametrize(
    ("written", "version"), [("", ProxyVersion.NONE), ("v1", ProxyVersion.V1), ("v2", ProxyVersion.V2)]
)
def test_a_destination_says_which_proxy_header_its_service_wants(
    load: Load, written: str, version: ProxyVersion
) -> None:
    text = f'[client.destinations.db]\nurl = "tcp://:3000"\nproxy-proto-version = "{written}"\n'
    (destination,) = load("client", MINIMAL["client"] + text).settings.destinations
    assert destination.proxy_version is version


def test_a_source_says_how_to_choose_among_destinations(load: Load) -> None:
    def balancing(lines: str) -> tuple[Balancing, tuple[str, ...]]:
        text = f'[client.sources.db]\nurl = "tcp://:8000"\n{lines}\n'
        loaded = load("client", MINIMAL["client"] + text)
        return loaded.settings.sources[0].balancing, loaded.warnings

    assert balancing("") == (Balancing(), ())
    for policy in BalancePolicy:
        assert balancing(f'lb-policy = "{policy.value}"') == (Balancing(policy=policy), ())
    counted = 'lb-policy = "random"\nlb-retry = "count"\nlb-retry-max = 3'
    assert balancing(counted) == (
        Balancing(policy=BalancePolicy.RANDOM, retry=BalanceRetry.COUNT, retry_max=3),
        (),
    )
    assert balancing('lb-retry = "all"\nlb-retry-max = 3')[1] == (
        "a.toml:5: client.sources.db.lb-retry: does nothing without lb-policy",
        "a.toml:6: client.sources.db.lb-retry-max: does nothing without lb-retry = count or timed",
    )


def test_endpoints_take_the_relay_encryptions_of_their_client_unless_they_say(load: Load) -> None:
    none, tls, dhxcp = RelayEncryption
    settings = load(
        "client",
        MINIMAL["client"] + 'relay-encryptions = ["dhxcp", "none"]\n'
        '[client.destinations.db]\nurl = "tcp://:3000"\nrelay-encryptions = []\n'
        '[client.sources.db]\nurl = "tcp://:8000"\nrelay-encryptions = ["tls"]\n',
    ).settings
    assert settings.relay_encryptions == (dhxcp, none)
    assert [endpoint.relay_encryptions for endpoint in settings.destinations + settings.sources] == [None, (tls,)]
    assert load("client", MINIMAL["client"]).settings.relay_encryptions == (none,)


@pytest.mark.parametrize("route", list(Route))
@pytest.mark.parametrize("kind", ["destinations", "sources"])
def test_each_route_is_accepted(load: Load, kind: str, route: Route) -> None:
    text = f'{MINIMAL["client"]}[client.{kind}.db]\nurl = "tcp://:1"\nroute = "{route.value}"\n'
    ((endpoint,),) = [getattr(load("client", text).settings, kind)]
    assert endpoint.route is route


def test_ingresses_carry_addresses_credentials_and_networks(load: Load, issued: trustme.LeafCert) -> None:
    settings = load(
        "control",
        MINIMAL["control"] + 'allow-cidrs = ["192.0.2.0/24", "::1"]\n'
        f'[[control.clients-ingress]]\naddr = "[::1]:7"\ndeny-cidrs = ["192.0.2.7"]\n{INGRESS}'
        f"[[control.relays-ingress]]\n{INGRESS}",
    ).settings
    first, second = settings.client_ingresses
    assert first.networks == NetworkRule(allow=(ip_network("192.0.2.0/24"), ip_network("::1/128")))
    assert second.address == HostPort("::1", 7)
    assert second.networks == NetworkRule(deny=(ip_network("192.0.2.7/32"),))
    assert [ingress.address for ingress in settings.relay_ingresses] == [HostPort("", 19189)]
    assert first.credential.der == _leaf_der(issued)


def _leaf_der(issued: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


@pytest.mark.parametrize(
    ("lines", "advertised"),
    [
        ("", [HostPort("localhost", 19191)]),
        ('addr = ":7"', [HostPort("localhost", 7)]),
        ('addr = "192.0.2.1:7"', [HostPort("localhost", 7)]),
        ('hostports = ["example.com"]', [HostPort("example.com", 19191)]),
        (
            'hostports = ["[::1]:9", "::1", "[::1]"]',
            [HostPort("::1", 9), HostPort("::1", 19191), HostPort("::1", 19191)],
        ),
        ('addr = "192.0.2.1:7"\nhostports = [":9"]', [HostPort("192.0.2.1", 9)]),
        ('addr = "[::]:7"\nhostports = [":9"]', [HostPort("localhost", 9)]),
        ('addr = ":7"\nhostports = [":9", "a"]', [HostPort("localhost", 9), HostPort("a", 7)]),
    ],
)
def test_what_hostports_leave_out_comes_from_the_address(load: Load, lines: str, advertised: list[HostPort]) -> None:
    relay = load("relay", f"{MINIMAL['relay']}[[relay.ingress]]\n{lines}\n").settings
    server = load("server", f"{MINIMAL['server']}[[server.relay-ingress]]\n{lines}\n").settings
    assert list(relay.ingresses[0].hostports) == advertised
    assert server.relay_ingresses == relay.ingresses


def test_a_relay_ingress_has_networks(load: Load) -> None:
    text = MINIMAL["relay"] + '[[relay.ingress]]\nallow-cidrs = ["::1"]\ndeny-cidrs = ["10.0.0.0/8"]\n'
    assert load("relay", text).settings.ingresses == (
        RelayIngressSettings(
            networks=NetworkRule(allow=(ip_network("::1"),), deny=(ip_network("10.0.0.0/8"),)),
        ),
    )


RESTRICTIONS = """
[[{array}]]
allow-cidrs = ["192.0.2.0/24"]
name-matches = "^home-"
role-matches = "source"
[[{array}]]
deny-cidrs = ["::1"]
role-matches = "destination"
[[{array}]]
"""


@pytest.mark.parametrize(
    ("service", "key", "array"),
    [
        ("server", "tokens", "server.token-restriction"),
        ("control", "clients-tokens", "control.clients-token-restriction"),
    ],
)
def test_restrictions_go_with_tokens_in_their_order(load: Load, service: str, key: str, array: str) -> None:
    text = MINIMAL[service].replace(f'{key} = ["t"]', f'{key} = ["a", "b", "c"]') + RESTRICTIONS.format(array=array)
    assert load(service, text).settings.client_tokens == (
        (
            "a",
            Restriction(
                networks=NetworkRule(allow=(ip_network("192.0.2.0/24"),)), name_matches="^home-", role=Role.SOURCE
            ),
        ),
        ("b", Restriction(networks=NetworkRule(deny=(ip_network("::1"),)), role=Role.DESTINATION)),
        ("c", Restriction()),
    )


def test_tokens_of_relays_are_restricted_by_network(load: Load) -> None:
    text = with_line("control", 'relays-tokens = ["r"]') + (
        f'[[control.relays-ingress]]\naddr = ":5"\n{INGRESS}'
        '[[control.relays-token-restriction]]\nallow-cidrs = ["::1"]\n'
    )
    settings = load("control", text).settings
    assert settings.relay_tokens == (("r", Restriction(networks=NetworkRule(allow=(ip_network("::1"),)))),)
    assert settings.relay_ingresses[0].address == HostPort("", 5)


def test_a_file_may_configure_every_service(load: Load, write: Callable[..., Path]) -> None:
    everything = "".join(MINIMAL.values())
    for service in MINIMAL:
        load(service, everything)
    assert check_files([write("all.toml", everything)]) == ()


def test_checking_opens_no_file_that_is_named(write: Callable[..., Path]) -> None:
    assert check_files([write("x.toml", '[server]\ntokens-file = "no"\n[[server.ingress]]\ncert-file = "no"\n')]) == ()
