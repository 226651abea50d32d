"""One value at a time: what is accepted, and that nothing but ValueError comes of the rest."""

import base64
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.config import addresses, values
from connet_trio.records.model import HostPort, Role

KEY = bytes(range(32))
KEY_BASE32HEX = base64.b32hexencode(KEY).decode().rstrip("=").lower()
# The same 32 bytes as in the base58 of bitcoin, which 0.9 used.
KEY_BASE58 = "1thX6LZfHDZZKUs92febYZhYRcXddmzfzF2NvTkPNE"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2s", 2.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("7ns", 7e-9),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_durations_are_those_of_go(written: str, seconds: float) -> None:
    assert values.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["5", "s", "-1s", "1 s", "1s!", "1d", "٣s", "99999999999h", 5, 1.5, True])
def test_anything_else_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match='expected a duration such as "500ms"'):
        values.duration(written)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        (":19190", HostPort("", 19190)),
        ("127.0.0.1:0", HostPort("127.0.0.1", 0)),
        ("[::1]:80", HostPort("::1", 80)),
        ("[fe80::1%eth0]:80", HostPort("fe80::1%eth0", 80)),
        ("localhost:80", HostPort("localhost", 80)),
    ],
)
def test_addresses_to_listen_on(written: str, address: HostPort) -> None:
    assert addresses.listen_address(written) == address


@pytest.mark.parametrize("written", ["a", "::1", "[::1]", "[::1]80", "[x]:80", ":65536", ":-1", ":", "a b:1", 80])
def test_what_cannot_be_listened_on(written: object) -> None:
    with pytest.raises(ValueError, match=r"expected \[host\]:port"):
        addresses.listen_address(written)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("example.com", HostPort("example.com", 7)),
        ("example.com:8", HostPort("example.com", 8)),
        ("::1", HostPort("::1", 7)),
        ("[::1]", HostPort("::1", 7)),
        ("[::1]:8", HostPort("::1", 8)),
    ],
)
def test_addresses_to_dial_may_lack_the_port(written: str, address: HostPort) -> None:
    assert addresses.dial_address(7)(written) == address


@pytest.mark.parametrize("written", [":19190", "a:0", "a:b", "https://a:1", 5])
def test_what_cannot_be_dialled(written: object) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        addresses.dial_address(7)(written)


def test_without_a_default_the_port_is_required() -> None:
    with pytest.raises(ValueError, match='"example" has no port'):
        addresses.dial_address()("example")


def test_a_destination_without_host_is_on_this_machine_and_a_source_on_all_addresses() -> None:
    assert addresses.destination_url("tcp://:3000") == HostPort("localhost", 3000)
    assert addresses.source_url("tcp://:3000") == HostPort("", 3000)
    assert addresses.destination_url("tcp://[::1]:3000") == HostPort("::1", 3000)
    assert addresses.source_url("tcp://127.0.0.1:0") == HostPort("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("http://a:80/x", '"http" is not supported in this release, tcp is'),
        ("file:./x", '"file" is not supported in this release, tcp is'),
        ("wss://:1", '"wss" is not supported in this release, tcp is'),
        ("localhost:80", "perhaps tcp://localhost:80"),
        ("udp://a:1", '"udp://a:1" is not a tcp URL, expected tcp://host:port'),
        ("tcp:a:1", "is not a tcp URL"),
        ("tcp://a:1/path", '"tcp://a:1/path" is not a tcp URL'),
        ("tcp://a", '"tcp://a" has no port'),
        ("tcp://a:0", "its port is 0"),
        ("tcp://u:s3cr3t@a:1", "has a user name"),
        (80, "is a number, expected tcp://host:port"),
    ],
)
def test_other_urls_are_explained(written: object, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        addresses.destination_url(written)
    assert reason in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("written", [KEY_BASE32HEX, KEY_BASE32HEX.upper(), KEY_BASE58])
def test_a_reset_key_is_base32hex_or_the_base58_of_older_releases(written: str) -> None:
    assert values.reset_key(written) == KEY


@pytest.mark.parametrize("written", ["s3cr3t", "s3cr3t" * 10, KEY_BASE32HEX[:-1] + "!", KEY_BASE58 + "0", 7])
def test_a_bad_reset_key_is_not_quoted(written: object) -> None:
    with pytest.raises(ValueError, match="expected 32 bytes in base32hex") as caught:
        values.reset_key(written)
    assert str(written) not in str(caught.value)


def test_networks_and_roles_are_what_admission_takes() -> None:
    assert values.network("10.0.0.1") == ip_network("10.0.0.1/32")
    assert values.role("source") is Role.SOURCE
    assert values.name_pattern("^a") == "^a"


PARSERS: list[Callable[[object], object]] = [
    values.duration,
    values.expiry,
    values.reset_key,
    values.network,
    values.name_pattern,
    values.route,
    values.role,
    values.relay_encryption,
    values.proxy_version,
    values.balance_policy,
    values.balance_retry,
    values.balance_retry_max,
    values.boolean,
    values.path,
    values.token,
    addresses.listen_address,
    addresses.advertised_address,
    addresses.dial_address(),
    addresses.destination_url,
    addresses.source_url,
]
TOML_VALUES = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.text()), st.dates())
ALMOST_ADDRESSES = st.text(alphabet="tcp:/[]0129.%@a")


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=40, deadline=None)
@given(raw=TOML_VALUES | ALMOST_ADDRESSES)
def test_a_parser_raises_nothing_but_its_error(parse: Callable[[object], object], raw: object) -> None:
    try:
        parse(raw)
    except ValueError as exc:
        assert "expected" in str(exc) or "is not" in str(exc)  # noqa: PT017
