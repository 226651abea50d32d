"""Signed datagrams: the vectors of the protocol document, which a running netpunch accepted, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from connet_trio.wire.punch_seal import UnsignableBody, WrongSignature, check_secret, seal, unseal

VECTORS = {
    "V1": (
        b"MORN",
        b"data",
        "5653322f573a596f5e426c354b5d5159265f6e41443b493e57215865213f505922723e30706d22532064617461",
    ),
    "V2": (b"x", b"a", "2a2d664964637465555d3833336c62574063255d5f5c2455734266344164684c32623869586f36242061"),
    "V3": (b"x", b"b", "3e3f3c2f6b25515024272b393f53626828644437535d524e60725b343153644553353f436062214e2062"),
    "V4": (
        b"x",
        b"i|a|127.0.0.1:5000",
        "41286561484f3b6c386a6f4d402c555d433b4650352f612c5b2c5a306354604f536947412950362220"
        "697c617c3132372e302e302e313a35303030",
    ),
    "V5": (b"x", b"x", "505e4369265a493c2856235129522540652b35553d46295e7333647124514f3471474836633f39632078"),
    "V6": (b"x", b"y", "296364663a5d754636333d582f603d4d664e656e2b5c3b68404d3a695e4a3246536270252b27384f2079"),
    "V7": (b"x", b"z", "3d707574333c4d69567423235465442427376b3130456450312c363f565d6754723733413e53264a207a"),
    "V8": (
        b"x",
        b"i|b|[2001:db8::1]:40000",
        "6f4a5b454f2b2527266d5843585f6550442e376438483940373c6d5d6d3e643e2562293152614e4420"
        "697c627c5b323030313a6462383a3a315d3a3430303030",
    ),
    "V9": (
        b"TheSecretWord",
        b"a",
        "4b266241384a352e246853704d5e5a513c536431383257242247334b483f2a682765582c3d56515a2061",
    ),
    "V10": (b"", b"a", "51352d42293869276c6d6026352a4d3c356e27333922412131462f675a392d563e23255b562629442061"),
    "V11": (b"x\n", b"a", "2445253e35693a4a4d395726505e3a4c4f286d3626754271744e343d3b3f64293736383f67604c2c2061"),
}
UNLUCKY_SECRET = b"k344760320"
"""V12: its signature of the body `a` has a word of zeros."""


@pytest.mark.parametrize("name", VECTORS)
def test_datagrams_are_those_of_netpunch_to_the_byte(name: str) -> None:
    secret, body, datagram = VECTORS[name]
    assert seal(secret, body).hex() == datagram
    assert unseal(secret, bytes.fromhex(datagram)) == body


def test_a_body_whose_signature_has_a_zero_word_is_never_sent() -> None:
    with pytest.raises(UnsignableBody):
        seal(UNLUCKY_SECRET, b"a")
    assert len(seal(UNLUCKY_SECRET, b"b")) == 42


@pytest.mark.parametrize("signature", [b"!" * 40, b"z" + b"!" * 39])
def test_a_body_whose_signature_has_a_zero_word_is_a_wrong_signature_when_it_arrives(signature: bytes) -> None:
    with pytest.raises(WrongSignature):
        unseal(UNLUCKY_SECRET, signature + b" a")


def test_an_unlucky_secret_is_found_at_the_start() -> None:
    check_secret(UNLUCKY_SECRET, [b"b", b"x", b"y", b"z"])
    with pytest.raises(ConfigError, match="take another") as caught:
        check_secret(UNLUCKY_SECRET, [b"a"])
    assert UNLUCKY_SECRET.decode() not in str(caught.value)


def test_any_separator_is_taken() -> None:
    datagram = bytearray(seal(b"x", b"a"))
    datagram[40] = 0
    assert unseal(b"x", bytes(datagram)) == b"a"


@pytest.mark.parametrize("size", [0, 1, 40, 41, 41 + 1025, 2000])
def test_a_datagram_of_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"datagram of {size} bytes") as caught:
        unseal(b"x", bytes(size))
    assert not isinstance(caught.value, WrongSignature)


def test_the_largest_body_passes() -> None:
    body = bytes(1024)
    assert unseal(b"x", seal(b"x", body)) == body


@pytest.mark.parametrize("body", [b"", bytes(1025)])
def test_a_body_that_no_netpunch_would_take_is_not_sent(body: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        seal(b"x", body)


@given(secret=st.binary(max_size=40), body=st.binary(min_size=1, max_size=200), other=st.binary(max_size=40))
def test_only_the_same_secret_opens_a_datagram(secret: bytes, body: bytes, other: bytes) -> None:
    datagram = seal(secret, body)
    assert unseal(secret, datagram) == body
    if other.rstrip(b"\0") != secret.rstrip(b"\0"):  # HMAC pads keys with zeros
        with pytest.raises(WrongSignature):
            unseal(other, datagram)


@given(datagram=st.binary(max_size=1200))
def test_no_datagram_raises_anything_but_the_errors_of_a_decoder(datagram: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        unseal(b"x", datagram)


@given(body=st.binary(min_size=1, max_size=100), place=st.integers(0, 139), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed_everywhere_but_in_the_separator(body: bytes, place: int, bit: int) -> None:
    datagram = bytearray(seal(b"x", body))
    place %= len(datagram)
    datagram[place] ^= 1 << bit
    if place == 40:
        assert unseal(b"x", bytes(datagram)) == body
    else:
        with pytest.raises(WrongSignature):
            unseal(b"x", bytes(datagram))
