"""Reading certificates of others, and the files of an operator."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import CertificateRejected
from connet_trio.identity import (
    Credential,
    dns_names,
    is_certificate,
    load_credential,
    load_roots,
    parse_certificate,
    server_name,
)

MakeCertificate = Callable[..., Credential]
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(32))


def der_of(vectors: dict[str, Any], kind: str) -> bytes:
    return load_pem_x509_certificate(vectors["certificates"][f"{kind}_pem"].encode()).public_bytes(Encoding.DER)


def pem_of(credential: Credential) -> bytes:
    return credential.leaf.public_bytes(Encoding.PEM)


def key_pem_of(credential: Credential) -> bytes:
    return credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def operator(make_certificate: MakeCertificate) -> Credential:
    return make_certificate(key=ED25519)


def mutated(original: bytes, changes: list[tuple[int, int]]) -> bytes:
    result = bytearray(original)
    for place, value in changes:
        result[place % len(result)] = value
    return bytes(result)


CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4)


# reading


def test_the_name_of_a_server_leaf_of_the_original_is_read_in_spite_of_its_long_subject(
    vectors: dict[str, Any],
) -> None:
    name = vectors["certificates"]["server_name"]
    assert dns_names(der_of(vectors, "server")) == (name,)
    assert server_name(der_of(vectors, "server")) == name


def test_the_first_of_several_names_is_the_server_name(make_certificate: MakeCertificate) -> None:
    der = make_certificate(names=("b.example", "a.example")).der
    assert dns_names(der) == ("b.example", "a.example")
    assert server_name(der) == "b.example"


def test_a_leaf_without_a_name_names_no_server(vectors: dict[str, Any]) -> None:
    assert dns_names(der_of(vectors, "client")) == ()
    with pytest.raises(CertificateRejected, match="no DNS name"):
        server_name(der_of(vectors, "client"))


def test_a_name_longer_than_dns_knows_names_no_server(make_certificate: MakeCertificate) -> None:
    assert server_name(make_certificate(names=("a" * 255,)).der) == "a" * 255
    with pytest.raises(CertificateRejected, match=r"^a DNS name of 256 characters, at most 255$"):
        server_name(make_certificate(names=("a" * 256,)).der)


def test_only_a_whole_certificate_is_one(vectors: dict[str, Any]) -> None:
    der = der_of(vectors, "client")
    assert is_certificate(der)
    assert not is_certificate(b"")
    assert not is_certificate(der[:-1])
    assert not is_certificate(der + b"\x00")
    assert not is_certificate(vectors["certificates"]["client_pem"].encode())


def test_a_certificate_with_an_unreadable_part_is_none(vectors: dict[str, Any]) -> None:
    der = der_of(vectors, "server")
    assert is_certificate(der)
    key_usage_value, key_usage_short = bytes.fromhex("0404030205e0"), bytes.fromhex("0404030305e0")
    assert not is_certificate(der.replace(key_usage_value, key_usage_short))


@settings(max_examples=60)
@given(data=st.binary(max_size=300))
def test_no_bytes_raise_anything_but_rejection(data: bytes) -> None:
    with pytest.raises(CertificateRejected):
        server_name(data)
    assert not is_certificate(data)


@settings(max_examples=200)
@given(changes=CHANGES)
def test_no_change_to_a_certificate_raises_anything_but_rejection(
    vectors: dict[str, Any], changes: list[tuple[int, int]]
) -> None:
    der = mutated(der_of(vectors, "server"), changes)
    try:
        parse_certificate(der)
        server_name(der)
    except CertificateRejected:
        return
    assert is_certificate(der)


# an operator's files


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384", "ed25519"])
def test_any_usual_kind_of_key_is_loaded(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey, kind: str
) -> None:
    keys = {
        "rsa": rsa_key,
        "p256": ec.derive_private_key(7, ec.SECP256R1()),
        "p384": ec.derive_private_key(7, ec.SECP384R1()),
        "ed25519": ED25519,
    }
    made = make_certificate(key=keys[kind])
    loaded = load_credential(pem_of(made), key_pem_of(made))
    assert loaded.chain == made.chain
    assert loaded.private_key.public_key() == loaded.leaf.public_key()


def test_the_whole_chain_of_the_file_is_kept_in_its_order(make_certificate: MakeCertificate) -> None:
    root = make_certificate("root", is_ca=True)
    leaf = make_certificate(issuer=root)
    loaded = load_credential(pem_of(leaf) + b"\nhere follows its issuer\n" + pem_of(root), key_pem_of(leaf))
    assert loaded.chain == (leaf.der, root.der)
    assert loaded.der == leaf.der


def test_one_file_may_hold_certificate_and_key(operator: Credential) -> None:
    both = key_pem_of(operator) + pem_of(operator)
    assert load_credential(both, both) == operator


def test_carriage_returns_and_remarks_do_no_harm(operator: Credential) -> None:
    certificate = b"\xef\xbb\xbfCertificate:\r\n  Version: 3\r\n" + pem_of(operator).replace(b"\n", b"\r\n")
    assert load_credential(certificate, b"# key\r\n" + key_pem_of(operator).replace(b"\n", b"\r\n")) == operator


def test_a_file_without_a_certificate_is_said_to_be_one(operator: Credential) -> None:
    for content in (b"", b"hello", key_pem_of(operator)):
        with pytest.raises(CertificateRejected, match="no certificate in the file"):
            load_credential(content, key_pem_of(operator))


def test_a_certificate_in_der_form_is_recognised(operator: Credential) -> None:
    with pytest.raises(CertificateRejected, match=r"DER form.*openssl x509 -inform DER"):
        load_credential(operator.der, key_pem_of(operator))
    with pytest.raises(CertificateRejected, match="DER form"):
        load_roots(operator.der)


@pytest.mark.parametrize("body", [b"AAAA", b"A", b"", b"*"])
def test_a_damaged_certificate_is_named_by_its_position(operator: Credential, body: bytes) -> None:
    damaged = b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateRejected, match="certificate 2 of 2 in the file is damaged"):
        load_credential(pem_of(operator) + damaged, key_pem_of(operator))


def test_a_key_of_another_certificate_is_refused(make_certificate: MakeCertificate, operator: Credential) -> None:
    other = make_certificate()
    with pytest.raises(CertificateRejected, match=r"^the private key does not belong to the certificate$"):
        load_credential(pem_of(operator), key_pem_of(other))
    with pytest.raises(CertificateRejected, match="comes before its chain"):
        load_credential(pem_of(other) + pem_of(operator), key_pem_of(operator))


def test_an_encrypted_key_is_refused_with_the_way_out(operator: Credential) -> None:
    encrypted = operator.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    with pytest.raises(CertificateRejected, match=r"key is encrypted.*openssl pkey"):
        load_credential(pem_of(operator), encrypted)


def test_a_file_without_a_private_key_is_said_to_be_one(operator: Credential) -> None:
    for content in (b"", b"\xff\xfe", pem_of(operator)):
        with pytest.raises(CertificateRejected, match="no private key in the file"):
            load_credential(pem_of(operator), content)


def test_a_damaged_key_is_refused_without_being_shown(operator: Credential) -> None:
    damaged = key_pem_of(operator).replace(b"MC4C", b"MC4D")
    with pytest.raises(CertificateRejected, match="damaged or of an unsupported kind") as raised:
        load_credential(pem_of(operator), damaged)
    assert damaged.splitlines()[1].decode() not in str(raised.value)


def test_a_key_that_cannot_sign_a_handshake_is_refused(operator: Credential) -> None:
    for key in (X25519PrivateKey.from_private_bytes(bytes(32)), Ed448PrivateKey.from_private_bytes(bytes(57))):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(CertificateRejected, match="RSA, ECDSA or Ed25519"):
            load_credential(pem_of(operator), pem)


def test_a_ca_file_may_hold_many_roots(make_certificate: MakeCertificate) -> None:
    roots = [make_certificate(f"root {number}", is_ca=True) for number in range(3)]
    assert load_roots(b"\n".join(pem_of(root) for root in roots)) == tuple(root.der for root in roots)


def test_a_damaged_root_does_not_spoil_the_others(operator: Credential) -> None:
    damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert load_roots(damaged + pem_of(operator)) == (operator.der,)
    with pytest.raises(CertificateRejected, match="no certificate in the file is readable"):
        load_roots(damaged)


def test_a_ca_file_without_certificates_is_refused() -> None:
    with pytest.raises(CertificateRejected, match="no certificate in the file"):
        load_roots(b"not a certificate\n")


@settings(max_examples=100)
@given(changes=CHANGES, noise=st.binary(max_size=50))
def test_no_file_raises_anything_but_rejection(
    operator: Credential, changes: list[tuple[int, int]], noise: bytes
) -> None:
    certificate, key = pem_of(operator), key_pem_of(operator)
    for files in ((mutated(certificate, changes), key), (certificate, mutated(key, changes)), (noise, noise)):
        try:
            loaded = load_credential(*files)
        except CertificateRejected:
            continue
        assert loaded.leaf.public_key() == ED25519.public_key()
