from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.identity import Realm, base32hex, certificate_key, new_connection_id, new_id, new_name

ALPHABET = set("0123456789abcdefghijklmnopqrstuv")


def test_bytes_are_written_as_the_original_writes_them(vectors: dict[str, Any]) -> None:
    vector = vectors["name_encoding"]
    assert base32hex(bytes.fromhex(vector["input"])) == vector["output"]


@pytest.mark.parametrize("kind", ["server", "client"])
def test_a_certificate_has_the_key_that_the_original_gives_it(vectors: dict[str, Any], kind: str) -> None:
    certificate = load_pem_x509_certificate(vectors["certificates"][f"{kind}_pem"].encode())
    expected = vectors["certificates"][f"{kind}_certificate_key"]
    assert certificate_key(certificate.public_bytes(Encoding.DER)) == expected


def test_an_id_is_52_characters_of_fresh_entropy() -> None:
    entropy = Random(1).randbytes
    first, second = new_id(entropy), new_id(entropy)
    assert len(first) == len(second) == 52
    assert set(first + second) <= ALPHABET
    assert first != second
    assert new_id(lambda size: bytes(range(size))) == base32hex(bytes(range(32)))


def test_a_connection_id_starts_with_the_time_in_nanoseconds() -> None:
    identity = new_connection_id(lambda size: b"\xff" * size, 1_800_000_000.5)
    assert identity == base32hex((1_800_000_000_500_000_000).to_bytes(8, "big") + b"\xff" * 24)
    assert len(identity) == 52


@given(earlier=st.floats(0, 2e9), pause=st.floats(1e-6, 1e9), seed=st.integers(0, 2**32))
def test_a_later_connection_has_the_later_id(earlier: float, pause: float, seed: int) -> None:
    entropy = Random(seed).randbytes
    assert new_connection_id(entropy, earlier) < new_connection_id(entropy, earlier + pause)


@pytest.mark.parametrize(
    ("realm", "end"),
    [
        (Realm.PEER, ".connet.peer.invalid"),
        (Realm.RELAY, ".reserve.relay.invalid"),
        (Realm.CONTROL, ".relay.control.invalid"),
    ],
)
def test_a_name_is_unique_in_its_realm(realm: Realm, end: str) -> None:
    entropy = Random(1).randbytes
    names = {new_name(realm, entropy) for _ in range(10)}
    assert len(names) == 10
    for name in names:
        assert name.endswith(end)
        assert len(name.removesuffix(end)) == 52
        assert set(name.removesuffix(end)) <= ALPHABET


def test_the_name_of_a_peer_is_as_long_as_in_the_original(vectors: dict[str, Any]) -> None:
    name = new_name(Realm.PEER, Random(1).randbytes)
    assert len(name) == len(vectors["certificates"]["server_name"]) == 72
