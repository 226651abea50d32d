"""Choice of scheme, key agreement and records of relayed streams, against what the original wrote."""

import json
import random
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base

from connet_trio.engine.encryption import (
    CLOCK_TOLERANCE_SECONDS,
    MAX_SEALED_BYTES,
    Opener,
    Sealer,
    StreamKeys,
    agree_as_destination,
    agree_as_source,
    check_choice,
    check_offer,
    choose_scheme,
    make_offer,
    scheme_names,
    seals_of_destination,
    seals_of_source,
)
from connet_trio.errors import CertificateRejected, LocalProtocolError, RemoteProtocolError
from connet_trio.identity import Credential, Realm, X25519Pair, issue_identity
from connet_trio.records.peer import EcdhOffer, RelayEncryption

NONE, TLS, DHXCP = RelayEncryption.NONE, RelayEncryption.TLS, RelayEncryption.DHXCP
VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "interop" / "connet.json").read_text())
"""Written by connet 0.16-dev (Go, commit 60545c0); see tests/interop."""
WALL = 1_800_000_000.0
ALICE, BOB = (
    issue_identity(Realm.PEER, wall_now=WALL, entropy=random.Random(name).randbytes) for name in ("alice", "bob")
)


def pair_of(secret: bytes) -> X25519Pair:
    return X25519Pair(crypto_scalarmult_base(secret), secret)


SOURCE, DESTINATION = pair_of(b"\x01" * 32), pair_of(b"\x02" * 32)

# --- choice of scheme


@pytest.mark.parametrize(
    ("offered", "allowed", "chosen"),
    [
        ((), (NONE,), NONE),
        ((NONE,), (NONE,), NONE),
        ((NONE, TLS), (NONE, TLS), TLS),
        ((NONE, DHXCP), (TLS, DHXCP, NONE), DHXCP),
        ((DHXCP, TLS), (DHXCP, TLS), TLS),
        ((TLS, NONE), (DHXCP, NONE), NONE),
    ],
)
def test_the_destination_takes_the_best_that_both_have(
    offered: tuple[RelayEncryption, ...], allowed: tuple[RelayEncryption, ...], chosen: RelayEncryption
) -> None:
    assert choose_scheme(offered, allowed) is chosen
    assert choose_scheme(tuple(reversed(offered)), tuple(reversed(allowed))) is chosen


@pytest.mark.parametrize(
    ("offered", "allowed", "text"),
    [
        ((TLS,), (NONE,), "select encryption scheme: no shared encryption schemes (source: tls; destination: none)"),
        ((), (TLS, DHXCP), "no shared encryption schemes (source: none; destination: tls, dhxcp)"),
        ((DHXCP, NONE), (TLS,), "no shared encryption schemes (source: dhxcp, none; destination: tls)"),
        ((NONE, 7), (NONE,), "unknown relay encryption scheme 7"),
    ],
)
def test_where_nothing_is_shared_both_sides_are_named(
    offered: tuple[RelayEncryption | int, ...], allowed: tuple[RelayEncryption, ...], text: str
) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        choose_scheme(offered, allowed)
    assert text in str(refused.value)


def test_a_source_takes_no_scheme_that_it_has_not_offered() -> None:
    assert check_choice(DHXCP, (TLS, DHXCP)) is DHXCP
    for chosen, name in ((NONE, "none"), (TLS, "tls"), (9, "9")):
        with pytest.raises(RemoteProtocolError, match=f"chose {name}, which was not offered"):
            check_choice(chosen, (DHXCP,))
    assert scheme_names([NONE, DHXCP]) == "dhxcp, none"


# --- key agreement


def keys_of_source(case: dict[str, str]) -> StreamKeys:
    return agree_as_source(pair_of(bytes.fromhex(case["source_secret"])), bytes.fromhex(case["destination_public"]))


def test_the_keys_are_those_of_the_original() -> None:
    for case in VECTORS["dhxcp_keys"]:
        keys = keys_of_source(case)
        assert keys.to_destination.hex() == case["key_first_half"]
        assert keys.to_source.hex() == case["key_second_half"]
        other_side = pair_of(bytes.fromhex(case["destination_secret"]))
        assert agree_as_destination(other_side, bytes.fromhex(case["source_public"])) == keys


def test_the_keys_are_those_of_the_document() -> None:
    keys = agree_as_source(SOURCE, DESTINATION.public)
    assert keys == agree_as_destination(DESTINATION, SOURCE.public)
    assert keys.to_destination.hex() == "5972934bcccff0bbd0df48ad1cfcb4b75e1d7f8cedfea896f83bd279fa6202ac"
    assert keys.to_source.hex() == "267f5bb3f8ede3c959e09a186d046d5298dfced5b678c337204b3516ed2954bc"
    assert "5972" not in repr(keys)


def test_a_public_key_of_low_order_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="unusable public key"):
        agree_as_source(SOURCE, bytes(32))


def test_the_signature_is_that_of_the_original() -> None:
    case = VECTORS["ecdh_signature"]
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(case["ed25519_seed"]))
    key_time = bytes.fromhex(case["key_time"])
    seconds = int.from_bytes(key_time[32:], "big") / 1e9
    offer = make_offer(X25519Pair(key_time[:32], b""), "name", Credential((b"",), key), seconds)
    assert offer.key_time[:32] == key_time[:32]
    assert abs(int.from_bytes(offer.key_time[32:], "big") - int.from_bytes(key_time[32:], "big")) < 1000
    assert key.sign(key_time).hex() == case["signature"]


offer_of_alice = partial(make_offer, SOURCE, ALICE.name, ALICE.server)


@pytest.mark.parametrize("off", [-CLOCK_TOLERANCE_SECONDS + 1, 0.0, CLOCK_TOLERANCE_SECONDS - 1])
def test_an_offer_of_our_time_is_accepted(off: float) -> None:
    offer = offer_of_alice(WALL + off)
    assert offer.client_name == ALICE.name
    assert check_offer(offer, ALICE.server.der, WALL) == SOURCE.public


@pytest.mark.parametrize(
    ("off", "words"), [(-301.0, "5.0 minutes before the time here"), (3600.0, "60.0 minutes ahead of")]
)
def test_an_offer_of_another_time_is_refused(off: float, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{words}.*at most 5; is one of the clocks wrong"):
        check_offer(offer_of_alice(WALL + off), ALICE.server.der, WALL)


def test_an_offer_that_is_not_the_peers_is_refused() -> None:
    good = offer_of_alice(WALL)
    later = make_offer(DESTINATION, ALICE.name, ALICE.server, WALL)
    cases = {
        "not the peer's": [
            (good, BOB.server.der),
            (EcdhOffer(client_name=ALICE.name, key_time=later.key_time, signature=good.signature), ALICE.server.der),
            (EcdhOffer(client_name=ALICE.name, key_time=good.key_time), ALICE.server.der),
        ],
        "of 39 bytes, not 40": [
            (EcdhOffer(key_time=good.key_time[:39], signature=good.signature), ALICE.server.der),
        ],
    }
    for words, offers in cases.items():
        for offer, leaf in offers:
            with pytest.raises(RemoteProtocolError, match=words):
                check_offer(offer, leaf, WALL)
    with pytest.raises(CertificateRejected):
        check_offer(good, b"not a certificate", WALL)


# --- records


def test_the_records_are_those_of_the_original() -> None:
    stream = VECTORS["dhxcp_stream"]
    case = VECTORS["dhxcp_keys"][0]
    sealer, opener = seals_of_source(keys_of_source(case))
    first = sealer.seal(b"hello connet")
    assert first.hex() == stream["source_to_destination_first_record"]
    data = b"\xab" * 70_000
    second, third = sealer.seal(data[:MAX_SEALED_BYTES]), sealer.seal(data[MAX_SEALED_BYTES:])
    assert second[:2].hex() == stream["second_record_len_prefix"]
    assert second[2:34].hex() == stream["second_record_first_32"]
    assert (len(second), len(third)) == (stream["second_record_total_len"], stream["third_record_total_len"])
    assert third[-16:].hex() == stream["third_record_last_16"]
    assert len(first + second + third) == stream["source_to_destination_total_len"]
    assert opener.open(bytes.fromhex(stream["destination_to_source"])) == b"hello back"


def test_the_records_are_those_of_the_document() -> None:
    keys = agree_as_source(SOURCE, DESTINATION.public)
    source, _ = seals_of_source(keys)
    destination, _ = seals_of_destination(keys)
    assert source.seal(b"hello").hex() == "00154440e2a91438c9dece28ff3ca40334649b87a966ae"
    assert source.seal(b"world").hex() == "00152f4d4c2c97dc1254cf4b127fd81a2a6c6f8ffdb203"
    assert destination.seal(b"hello").hex() == "00152ff1f74fd8fb5525fc8b12e7267a27ed4b1f7d84cb"


KEY = bytes(range(32))


@settings(max_examples=50, deadline=None)
@given(pieces=st.lists(st.binary(max_size=300), max_size=8), cut=st.integers(1, 200))
def test_records_open_however_they_are_cut(pieces: list[bytes], cut: int) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    sealed = b"".join(map(sealer.seal, pieces))
    opened = b"".join(opener.open(sealed[begin : begin + cut]) for begin in range(0, len(sealed), cut))
    assert opened == b"".join(pieces)
    assert opener.is_between_records


def test_a_record_of_the_longest_length_opens_and_a_longer_one_is_not_made() -> None:
    cipher_text = Sealer(KEY)._cipher.encrypt(bytes(12), b"x" * 65_519, None)
    assert Opener(KEY).open(b"\xff\xff" + cipher_text) == b"x" * 65_519
    with pytest.raises(LocalProtocolError, match="record of 65518 bytes, at most 65517"):
        Sealer(KEY).seal(bytes(65_518))


def test_an_empty_record_is_nothing() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    assert opener.open(sealer.seal(b"") + sealer.seal(b"after")) == b"after"


def test_a_record_that_was_meddled_with_does_not_open() -> None:
    sealer = Sealer(KEY)
    first, second = sealer.seal(b"first"), sealer.seal(b"second")
    altered = [first[:place] + bytes([first[place] ^ 1]) + first[place + 1 :] for place in range(2, len(first))]
    for meddled in (*altered, first + first, second + first, Sealer(bytes(32)).seal(b"first")):
        with pytest.raises(RemoteProtocolError, match="does not open"):
            Opener(KEY).open(meddled)


def test_a_record_shorter_than_its_tag_is_none() -> None:
    opener = Opener(KEY)
    assert opener.open(b"\x00") == b""
    assert not opener.is_between_records
    with pytest.raises(RemoteProtocolError, match="sealed record of 15 bytes, at least 16"):
        opener.open(b"\x0f")


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300))
def test_no_bytes_make_an_opener_raise_anything_else(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        Opener(KEY).open(data)
