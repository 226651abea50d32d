"""How services of a measurement are set up, and what tells them apart."""

import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

from connet_trio.quic import CongestionControl, QuicEngine
from connet_trio.testing.bench.setups import (
    DISCOVERED,
    Own,
    Setup,
    combine,
    own_entrances,
    parse_packet_size,
    size_curves,
)
from connet_trio.testing.local_site import LocalSite

EVERYTHING = Setup(packet_size="1452", engine=QuicEngine.STOCK, congestion_control=CongestionControl.BBR)
KEYS = {"max-packet-size": 1452, "quic-engine": "stock", "congestion-control": "bbr"}


def test_a_setup_is_written_as_keys_and_told_to_transports() -> None:
    assert EVERYTHING.keys == KEYS
    assert EVERYTHING.transport_options == {
        "max_packet_size": 1452,
        "quic_engine": QuicEngine.STOCK,
        "congestion_control": CongestionControl.BBR,
    }


@pytest.mark.parametrize("setup", [Setup(), Setup(packet_size=DISCOVERED)])
def test_what_the_product_does_by_itself_is_not_written(setup: Setup) -> None:
    assert setup.keys == {}


@pytest.mark.parametrize("text", ["1200", "16384", "discovered"])
def test_packet_sizes_are_bytes_or_what_is_discovered(text: str) -> None:
    assert parse_packet_size(text) == text


@pytest.mark.parametrize("text", ["", "1199", "16385", "1452.0", "discover", "١٢٠٠"])
def test_what_is_no_packet_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected 1200 to 16384 bytes, or discovered"):
        parse_packet_size(text)


def test_setups_are_told_apart_by_what_there_is_several_of() -> None:
    found = combine(["1200", DISCOVERED], [QuicEngine.STOCK], [])
    assert found == {
        "1200": Setup(packet_size="1200", engine=QuicEngine.STOCK),
        "discovered": Setup(packet_size=DISCOVERED, engine=QuicEngine.STOCK),
    }
    assert combine([], [], []) == {"": Setup()}
    both = combine(["1200", "1452"], list(QuicEngine), [CongestionControl.CUBIC])
    assert list(both) == ["1200-fast", "1200-stock", "1452-fast", "1452-stock"]


def test_tunnels_are_opened_in_every_setup_and_the_plain_copy_once() -> None:
    setups = combine(["1200", "1452"], [], [])
    assert own_entrances(["plain", "direct"], setups) == (
        Own(name="direct-1200", kind="direct", setup=setups["1200"]),
        Own(name="direct-1452", kind="direct", setup=setups["1452"]),
        Own(name="plain", kind="plain"),
    )
    assert [own.name for own in own_entrances(["relayed"], combine([], [], []))] == ["relayed"]


def test_curves_over_the_packet_size_are_those_of_one_engine_and_control() -> None:
    assert size_curves(combine(["1200", DISCOVERED], list(QuicEngine), [])) == {
        "fast": {"1200": "1200-fast", "discovered": "discovered-fast"},
        "stock": {"1200": "1200-stock", "discovered": "discovered-stock"},
    }
    assert size_curves(combine([], [], [])) == {"": {"discovered": ""}}


def test_the_keys_of_a_site_are_in_every_service(tmp_path: Path) -> None:
    site = attrs.evolve(LocalSite.in_directory(tmp_path), keys=EVERYTHING.keys)
    site.write_server()
    site.write_control_and_relay()
    site.write_clients()

    def table(file: str, service: str) -> dict[str, Any]:
        found: dict[str, Any] = tomllib.loads((tmp_path / file).read_text())[service]
        return found

    services = {
        "server.toml": "server",
        "control.toml": "control",
        "relay.toml": "relay",
        "client-d.toml": "client",
        "client-s.toml": "client",
    }
    assert all(table(file, service).items() >= KEYS.items() for file, service in services.items())
