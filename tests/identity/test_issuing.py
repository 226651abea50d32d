"""Leaves we issue: what is in them, that they depend on the seed alone, and that a TLS stack takes them."""

import hashlib
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.identity import (
    Credential,
    EndpointIdentity,
    Realm,
    certificate_key,
    dns_names,
    issue_identity,
    issue_server_credential,
    server_name,
)

NOW = 1_800_000_000.75
CN_CONNET = bytes.fromhex("3011310f300d06035504031306") + b"connet"  # 0x13 is PrintableString


def issued(seed: int = 1) -> EndpointIdentity:
    return issue_identity(Realm.PEER, wall_now=NOW, entropy=Random(seed).randbytes)


def written_extensions(certificate: x509.Certificate) -> list[tuple[str, bool, bytes]]:
    return [(each.oid.dotted_string, each.critical, each.value.public_bytes()) for each in certificate.extensions]


def test_the_same_seed_issues_the_same_bytes() -> None:
    assert issued(1) == issued(1)
    first, again = issued(1), issued(1)
    assert isinstance(first.server.private_key, Ed25519PrivateKey)
    assert isinstance(again.server.private_key, Ed25519PrivateKey)
    assert first.server.private_key.private_bytes_raw() == again.server.private_key.private_bytes_raw()


def test_another_seed_issues_other_names_keys_and_serials() -> None:
    first, second = issued(1), issued(2)
    assert first.name != second.name
    assert first.server.leaf.serial_number != second.server.leaf.serial_number
    assert first.client.leaf.public_key() != second.client.leaf.public_key()


@settings(max_examples=100)
@given(seed=st.binary(min_size=200, max_size=200))
def test_the_size_of_a_leaf_never_varies(seed: bytes) -> None:
    # raw bytes rather than a generator, so that serials of zeros and of ones are tried too
    position = 0

    def entropy(size: int) -> bytes:
        nonlocal position
        position += size
        return seed[position - size : position]

    identity = issue_identity(Realm.PEER, wall_now=NOW, entropy=entropy)
    assert (len(identity.server.der), len(identity.client.der)) == (387, 266)


@pytest.mark.parametrize("fill", [b"\x00", b"\x7f", b"\x80", b"\xff"])
def test_a_serial_is_positive_and_sixteen_bytes_long(fill: bytes) -> None:
    leaf = issue_identity(Realm.PEER, wall_now=NOW, entropy=lambda size: fill * size).client.leaf
    assert leaf.serial_number.bit_length() == 127


def test_the_server_leaf_names_itself_in_the_alternative_name_only() -> None:
    identity = issued()
    assert dns_names(identity.server.der) == (identity.name,)
    assert server_name(identity.server.der) == identity.name
    assert identity.server.leaf.subject.public_bytes() == CN_CONNET
    assert identity.server.leaf.issuer.public_bytes() == CN_CONNET


def test_subject_and_issuer_of_the_client_leaf_are_the_very_bytes_of_the_original(vectors: dict[str, Any]) -> None:
    original = x509.load_pem_x509_certificate(vectors["certificates"]["client_pem"].encode())
    leaf = issued().client.leaf
    assert leaf.subject.public_bytes() == original.subject.public_bytes() == CN_CONNET
    assert leaf.issuer.public_bytes() == original.issuer.public_bytes() == CN_CONNET
    assert leaf.public_bytes(Encoding.DER).count(CN_CONNET) == 2


def test_the_client_leaf_has_the_extensions_of_the_original(vectors: dict[str, Any]) -> None:
    original = x509.load_pem_x509_certificate(vectors["certificates"]["client_pem"].encode())
    assert written_extensions(issued().client.leaf) == written_extensions(original)


def test_the_server_leaf_has_the_extensions_of_the_original_but_for_name_and_root(vectors: dict[str, Any]) -> None:
    original = x509.load_pem_x509_certificate(vectors["certificates"]["server_pem"].encode())
    ours, theirs = written_extensions(issued().server.leaf), written_extensions(original)
    assert [(oid, critical, len(value)) for oid, critical, value in ours] == [
        (oid, critical, len(value)) for oid, critical, value in theirs
    ]
    key_usage, extended_key_usage = ours[:2]
    assert key_usage == theirs[0]
    assert key_usage[2] == bytes.fromhex("030205e0")
    assert extended_key_usage == theirs[1]


def test_a_leaf_is_valid_from_five_minutes_ago_for_two_years() -> None:
    now = datetime.fromtimestamp(int(NOW), UTC)
    for credential in (issued().server, issued().client):
        assert credential.leaf.not_valid_before_utc == now - timedelta(minutes=5)
        assert credential.leaf.not_valid_after_utc == now + timedelta(days=730)


def test_both_leaves_are_signed_by_the_root_that_the_server_leaf_identifies() -> None:
    generator, drawn = Random(1), []

    def entropy(size: int) -> bytes:
        drawn.append(generator.randbytes(size))
        return drawn[-1]

    identity = issue_identity(Realm.PEER, wall_now=NOW, entropy=entropy)
    keys = [Ed25519PrivateKey.from_private_bytes(draw).public_key() for draw in drawn if len(draw) == 32]
    identifier = identity.server.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    (root,) = [key for key in keys if hashlib.sha256(key.public_bytes_raw()).digest()[:20] == identifier.key_identifier]
    for leaf in (identity.server.leaf, identity.client.leaf):
        root.verify(leaf.signature, leaf.tbs_certificate_bytes)
    with pytest.raises(InvalidSignature):
        root.verify(identity.server.leaf.signature, identity.client.leaf.tbs_certificate_bytes)


def test_each_leaf_has_a_key_of_its_own() -> None:
    identity = issued()
    for credential in (identity.server, identity.client):
        assert credential.leaf.public_key() == credential.private_key.public_key()
    assert identity.server.private_key.public_key() != identity.client.private_key.public_key()


def test_the_leaf_of_a_combined_server_is_for_an_address() -> None:
    credential = issue_server_credential([], [IPv4Address("127.0.0.1")], wall_now=NOW, entropy=Random(1).randbytes)
    names = credential.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.IPAddress(IPv4Address("127.0.0.1"))]
    assert credential.chain == (credential.der,)


def test_the_leaf_of_a_relay_is_for_its_names() -> None:
    names = ("a.reserve.relay.invalid", "b.reserve.relay.invalid")
    credential = issue_server_credential(names, [], wall_now=NOW, entropy=Random(1).randbytes)
    assert dns_names(credential.der) == names
    again = issue_server_credential(names, [], wall_now=NOW, entropy=Random(1).randbytes)
    assert again == credential


def test_a_credential_is_shown_by_the_key_of_its_certificate_alone() -> None:
    server = issued().server
    assert repr(server) == f"Credential(chain=<1: {certificate_key(server.der)}>)"


def test_python_tls_takes_the_leaves_for_each_other(tmp_path: Path) -> None:
    # the standard library knows no time but its own
    identity = issue_identity(Realm.PEER, wall_now=time.time(), entropy=Random(1).randbytes)
    server = _tls_context(ssl.PROTOCOL_TLS_SERVER, identity.server, identity.client, tmp_path)
    client = _tls_context(ssl.PROTOCOL_TLS_CLIENT, identity.client, identity.server, tmp_path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    accepting = server.wrap_bio(to_server, to_client, server_side=True)
    dialling = client.wrap_bio(to_client, to_server, server_hostname=identity.name)
    pending = {accepting, dialling}
    for _ in range(10):
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not pending
    assert dialling.getpeercert(binary_form=True) == identity.server.der
    assert accepting.getpeercert(binary_form=True) == identity.client.der


def _tls_context(protocol: int, own: Credential, trusted: Credential, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=trusted.der)
    file = folder / "own.pem"
    file.write_bytes(
        own.leaf.public_bytes(Encoding.PEM)
        + own.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context.load_cert_chain(file)
    return context
