from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import RemoteProtocolError
from connet_trio.identity import (
    X25519Pair,
    new_key_pair,
    open_client_authentication,
    open_reconnect_token,
    seal_client_authentication,
    seal_reconnect_token,
    shared_key,
)

KEY = bytes(range(32))
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.fixture
def nacl(vectors: dict[str, Any]) -> dict[str, bytes]:
    """The vectors as bytes; one of them is a text."""
    return {
        name: value.encode() if name == "reconnect_plain" else bytes.fromhex(value)
        for name, value in vectors["nacl"].items()
    }


def test_a_key_pair_is_that_of_the_original(nacl: dict[str, bytes]) -> None:
    drawn = iter([nacl["control_secret"], nacl["relay_secret"]])
    for side in ("control", "relay"):
        pair = new_key_pair(lambda size: next(drawn)[:size])
        assert pair == X25519Pair(nacl[f"{side}_public"], nacl[f"{side}_secret"])


def test_both_sides_compute_the_shared_key_of_the_original(nacl: dict[str, bytes]) -> None:
    assert shared_key(nacl["relay_public"], nacl["control_secret"]) == nacl["shared_key"]
    assert shared_key(nacl["control_public"], nacl["relay_secret"]) == nacl["shared_key"]


def test_a_client_token_is_sealed_as_by_the_original(nacl: dict[str, bytes]) -> None:
    sealed = seal_client_authentication(nacl["plain"], nacl["shared_key"], lambda size: nacl["nonce"][:size])
    assert sealed == nacl["sealed_relay_authentication"]


def test_a_client_token_of_the_original_opens(nacl: dict[str, bytes]) -> None:
    assert open_client_authentication(nacl["sealed_relay_authentication"], nacl["shared_key"]) == nacl["plain"]


def test_a_reconnect_token_is_sealed_as_by_the_original(nacl: dict[str, bytes]) -> None:
    identity = nacl["reconnect_plain"].decode()
    sealed = seal_reconnect_token(identity, nacl["reconnect_secret"], lambda size: nacl["nonce"][:size])
    assert sealed == nacl["reconnect_token"]


def test_a_reconnect_token_of_the_original_opens(nacl: dict[str, bytes]) -> None:
    identity = nacl["reconnect_plain"].decode()
    assert open_reconnect_token(nacl["reconnect_token"], nacl["reconnect_secret"]) == identity


def test_a_reconnect_token_of_a_full_id_has_92_bytes() -> None:
    assert len(seal_reconnect_token("v" * 52, KEY, Random(1).randbytes)) == 92


def test_the_secret_half_is_not_shown() -> None:
    pair = new_key_pair(Random(1).randbytes)
    assert repr(pair) == f"X25519Pair(public={pair.public!r})"


@pytest.mark.parametrize("public", [b"", bytes(31), b"\x09" + bytes(32), *LOW_ORDER])
def test_a_public_key_that_agrees_on_nothing_secret_is_refused(public: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^invalid key$"):
        shared_key(public, KEY)


@pytest.mark.parametrize("size", [0, 1, 23])
def test_a_token_shorter_than_its_nonce_is_too_short(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^authentication data too short$"):
        open_client_authentication(bytes(size), KEY)
    assert open_reconnect_token(bytes(size), KEY) is None


@pytest.mark.parametrize("size", [24, 39, 40, 200])
def test_a_token_that_was_never_sealed_is_invalid(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^invalid authentication$"):
        open_client_authentication(bytes(size), KEY)
    assert open_reconnect_token(bytes(size), KEY) is None


def test_a_token_under_a_key_replaced_since_does_not_open() -> None:
    with pytest.raises(RemoteProtocolError, match=r"^invalid authentication$"):
        open_client_authentication(seal_client_authentication(b"x", KEY, Random(1).randbytes), KEY[::-1])
    assert open_reconnect_token(seal_reconnect_token("x", KEY, Random(1).randbytes), KEY[::-1]) is None


def test_a_reconnect_token_with_another_text_than_ascii_counts_as_none() -> None:
    # XSalsa20-Poly1305 both: a box under a precomputed key is a secretbox under that key
    sealed = seal_client_authentication(b"caf\xe9", KEY, Random(1).randbytes)
    assert open_reconnect_token(sealed, KEY) is None


@settings(max_examples=50)
@given(payload=st.binary(max_size=300), seed=st.integers(0, 2**32))
def test_what_is_sealed_opens_between_any_two_sides(payload: bytes, seed: int) -> None:
    entropy = Random(seed).randbytes
    control, relay = new_key_pair(entropy), new_key_pair(entropy)
    token = seal_client_authentication(payload, shared_key(relay.public, control.secret), entropy)
    assert len(token) == len(payload) + 40
    assert open_client_authentication(token, shared_key(control.public, relay.secret)) == payload


@settings(max_examples=50)
@given(identity=st.text(st.characters(max_codepoint=127), max_size=60), seed=st.integers(0, 2**32))
def test_an_id_comes_back_from_its_token(identity: str, seed: int) -> None:
    assert open_reconnect_token(seal_reconnect_token(identity, KEY, Random(seed).randbytes), KEY) == identity


@settings(max_examples=100)
@given(place=st.integers(0, 91), flip=st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(place: int, flip: int) -> None:
    token = bytearray(seal_reconnect_token("v" * 52, KEY, Random(1).randbytes))
    token[place] ^= flip
    assert open_reconnect_token(bytes(token), KEY) is None
    with pytest.raises(RemoteProtocolError, match=r"^invalid authentication$"):
        open_client_authentication(bytes(token), KEY)


@settings(max_examples=100)
@given(token=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_protocol_error(token: bytes) -> None:
    assert open_reconnect_token(token, KEY) is None
    with pytest.raises(RemoteProtocolError):
        open_client_authentication(token, KEY)
