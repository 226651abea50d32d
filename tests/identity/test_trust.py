"""How certificates are judged: each rule by a leaf that breaks it alone."""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import CertificateRejected
from connet_trio.identity import (
    Credential,
    OperatorTrust,
    PinnedServer,
    Realm,
    ServerTrust,
    check_client,
    issue_identity,
    issue_server_credential,
)

MakeCertificate = Callable[..., Credential]

NOW = 1_800_000_000.0
YEAR = 365 * 86_400.0
SERVER_AUTH, CLIENT_AUTH = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
ANY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
UNKNOWN_EXTENSION = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


def vector_leaf(vectors: dict[str, Any], kind: str) -> bytes:
    pem = vectors["certificates"][f"{kind}_pem"].encode()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def rejection(trust: ServerTrust, *chain: Credential, wall_now: float = NOW) -> str:
    """Why `trust` does not accept these certificates."""
    with pytest.raises(CertificateRejected) as raised:
        trust.check([each.der for each in chain], wall_now)
    return str(raised.value)


def client_rejection(der: bytes, expected: Sequence[bytes], wall_now: float = NOW) -> str:
    with pytest.raises(CertificateRejected) as raised:
        check_client(der, frozenset(expected), wall_now)
    return str(raised.value)


# pinned leaves


def test_the_server_leaf_of_the_original_is_accepted_where_it_is_expected(vectors: dict[str, Any]) -> None:
    der = vector_leaf(vectors, "server")
    PinnedServer(der, vectors["certificates"]["server_name"]).check([der], NOW)


def test_the_client_leaf_of_the_original_is_accepted_where_it_is_expected(vectors: dict[str, Any]) -> None:
    der = vector_leaf(vectors, "client")
    check_client(der, frozenset({b"another", der}), NOW)


def test_our_own_leaves_are_accepted_at_once_and_by_a_clock_that_is_behind() -> None:
    identity = issue_identity(Realm.PEER, wall_now=NOW, entropy=Random(1).randbytes)
    for wall_now in (NOW - 299.0, NOW, NOW + YEAR):
        PinnedServer(identity.server.der, identity.name).check([identity.server.der], wall_now)
        check_client(identity.client.der, {identity.client.der}, wall_now)


def test_another_leaf_of_the_same_name_is_not_the_pinned_one(make_certificate: MakeCertificate) -> None:
    pinned, other = make_certificate(), make_certificate()
    trust = PinnedServer(pinned.der, "control.example")
    assert rejection(trust, other) == "the server certificate is not the one announced for control.example"
    assert "not the one" in rejection(trust, other, pinned)


def test_a_certificate_below_the_pinned_one_is_not_the_pinned_one(make_certificate: MakeCertificate) -> None:
    pinned = make_certificate(is_ca=True)
    below = make_certificate(issuer=pinned)
    assert "not the one" in rejection(PinnedServer(pinned.der, "control.example"), below, pinned)


def test_a_server_without_a_certificate_is_refused() -> None:
    for trust in (PinnedServer(b"x", "a.example"), OperatorTrust((), "a.example")):
        assert rejection(trust) == "the server sent no certificate"


def test_a_leaf_is_valid_from_its_first_to_its_last_second(make_certificate: MakeCertificate) -> None:
    leaf = make_certificate(begins=NOW, ends=NOW + 10, usages=())
    trusts = (PinnedServer(leaf.der, "control.example"), OperatorTrust((leaf.der,), "control.example"))
    for wall_now in (NOW, NOW + 10):
        for trust in trusts:
            trust.check([leaf.der], wall_now)
        check_client(leaf.der, {leaf.der}, wall_now)
    for wall_now, words in ((NOW - 0.5, "is not valid before 2027-01-15 08:00:00 UTC"), (NOW + 10.5, "expired at")):
        reasons = [rejection(trust, leaf, wall_now=wall_now) for trust in trusts]
        for reason in [*reasons, client_rejection(leaf.der, [leaf.der], wall_now)]:
            assert words in reason
            assert "is one of the clocks wrong?" in reason


def test_dates_are_told_with_the_time_it_is_here(make_certificate: MakeCertificate) -> None:
    leaf = make_certificate(ends=NOW)
    assert rejection(PinnedServer(leaf.der, "control.example"), leaf, wall_now=NOW + 86_400) == (
        "the server certificate expired at 2027-01-15 08:00:00 UTC, and it is 2027-01-16 08:00:00 UTC here; "
        "is one of the clocks wrong?"
    )


@pytest.mark.parametrize("name", ["other.example", "CONTROL.example", "control", ""])
def test_a_pinned_leaf_has_exactly_the_name_it_was_dialled_by(make_certificate: MakeCertificate, name: str) -> None:
    leaf = make_certificate()
    assert rejection(PinnedServer(leaf.der, name), leaf) == f"the server certificate is not for {name}"


def test_a_pinned_wildcard_stands_for_no_other_name(make_certificate: MakeCertificate) -> None:
    leaf = make_certificate(names=["*.example"])
    assert "not for" in rejection(PinnedServer(leaf.der, "control.example"), leaf)


@pytest.mark.parametrize("usages", [(), (SERVER_AUTH,), (CLIENT_AUTH, SERVER_AUTH), (ANY_USAGE,)])
def test_a_server_leaf_is_for_servers_or_for_anything(
    make_certificate: MakeCertificate, usages: Sequence[x509.ObjectIdentifier]
) -> None:
    leaf = make_certificate(usages=usages)
    PinnedServer(leaf.der, "control.example").check([leaf.der], NOW)
    OperatorTrust((leaf.der,), "control.example").check([leaf.der], NOW)


def test_a_client_leaf_makes_no_server(make_certificate: MakeCertificate) -> None:
    leaf = make_certificate(usages=[CLIENT_AUTH])
    assert "lacks serverAuth" in rejection(PinnedServer(leaf.der, "control.example"), leaf)
    assert "lacks serverAuth" in rejection(OperatorTrust((leaf.der,), "control.example"), leaf)


@pytest.mark.parametrize("usages", [(), (CLIENT_AUTH,), (ANY_USAGE,)])
def test_a_client_leaf_is_for_clients_or_for_anything(
    make_certificate: MakeCertificate, usages: Sequence[x509.ObjectIdentifier]
) -> None:
    leaf = make_certificate(names=[], usages=usages)
    check_client(leaf.der, {leaf.der}, NOW)


def test_a_server_leaf_makes_no_client(make_certificate: MakeCertificate) -> None:
    leaf = make_certificate(usages=[SERVER_AUTH])
    assert "lacks clientAuth" in client_rejection(leaf.der, [leaf.der])


def test_a_client_that_is_not_expected_is_refused(make_certificate: MakeCertificate) -> None:
    leaf, other = make_certificate(usages=[CLIENT_AUTH]), make_certificate(usages=[CLIENT_AUTH])
    for expected in ([], [other.der]):
        assert client_rejection(leaf.der, expected) == "the client certificate is not one expected here now"


def test_a_critical_extension_nobody_knows_is_refused_and_a_remark_is_not(make_certificate: MakeCertificate) -> None:
    leaf = make_certificate(usages=(), extensions=[(UNKNOWN_EXTENSION, True)])
    words = "a critical extension that is not understood: 1.3.6.1.4.1.99999.1"
    assert words in rejection(PinnedServer(leaf.der, "control.example"), leaf)
    assert words in rejection(OperatorTrust((leaf.der,), "control.example"), leaf)
    assert words in client_rejection(leaf.der, [leaf.der])
    remark = make_certificate(usages=(), extensions=[(UNKNOWN_EXTENSION, False)])
    PinnedServer(remark.der, "control.example").check([remark.der], NOW)
    OperatorTrust((remark.der,), "control.example").check([remark.der], NOW)
    check_client(remark.der, {remark.der}, NOW)


# certificates of operators


@attrs.frozen
class Authorities:
    """A root, an intermediate below it, and a server certificate below that."""

    root: Credential
    intermediate: Credential
    leaf: Credential


@pytest.fixture(scope="module")
def authorities(make_certificate: MakeCertificate) -> Authorities:
    root = make_certificate("root", is_ca=True, names=[], usages=[])
    intermediate = make_certificate("intermediate", issuer=root, is_ca=True, names=[], usages=[])
    return Authorities(root, intermediate, make_certificate(issuer=intermediate))


def test_a_chain_to_a_listed_root_is_accepted(authorities: Authorities) -> None:
    trust = OperatorTrust((authorities.root.der,), "control.example")
    trust.check([authorities.leaf.der, authorities.intermediate.der], NOW)
    trust.check([authorities.leaf.der, authorities.intermediate.der, authorities.root.der], NOW)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_the_authorities_of_a_chain_may_have_keys_of_different_kinds(
    make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey, curve: ec.EllipticCurve
) -> None:
    root = make_certificate("root", is_ca=True, key=rsa_key)
    intermediate = make_certificate("middle", issuer=root, is_ca=True, key=ec.derive_private_key(7, curve))
    leaf = make_certificate(issuer=intermediate)
    OperatorTrust((root.der,), "control.example").check([leaf.der, intermediate.der], NOW)


def test_a_listed_intermediate_is_an_anchor_like_a_root(authorities: Authorities) -> None:
    OperatorTrust((authorities.intermediate.der,), "control.example").check([authorities.leaf.der], NOW)


def test_a_listed_leaf_is_its_own_anchor(authorities: Authorities) -> None:
    OperatorTrust((authorities.leaf.der,), "control.example").check([authorities.leaf.der], NOW)


def test_the_leaf_of_a_combined_server_is_accepted_as_the_only_root() -> None:
    credential = issue_server_credential([], [IPv4Address("127.0.0.1")], wall_now=NOW, entropy=Random(1).randbytes)
    OperatorTrust((credential.der,), "127.0.0.1").check(credential.chain, NOW)


def test_damaged_certificates_beside_good_ones_do_no_harm(authorities: Authorities) -> None:
    trust = OperatorTrust((b"damaged", authorities.root.der), "control.example")
    trust.check([authorities.leaf.der, b"damaged", authorities.intermediate.der], NOW)


def test_an_unknown_authority_is_told_with_the_setting_to_change(authorities: Authorities) -> None:
    expected = (
        "the certificate of control.example is signed by an unknown authority; name a file with that authority's "
        "certificate, or with this one, as server-cas-file or control-cas-file"
    )
    assert rejection(OperatorTrust((), "control.example"), authorities.leaf) == expected
    without_intermediate = OperatorTrust((authorities.root.der,), "control.example")
    assert rejection(without_intermediate, authorities.leaf) == expected
    chain = (authorities.leaf, authorities.intermediate, authorities.root)
    assert rejection(OperatorTrust((), "control.example"), *chain) == expected


def test_a_self_signed_certificate_that_is_not_listed_is_of_an_unknown_authority(
    make_certificate: MakeCertificate,
) -> None:
    listed, other = make_certificate(), make_certificate("another")
    assert "unknown authority" in rejection(OperatorTrust((listed.der,), "control.example"), other)


def test_an_authority_with_the_right_name_and_another_key_vouches_for_nothing(
    make_certificate: MakeCertificate, authorities: Authorities
) -> None:
    impostor = make_certificate("root", is_ca=True, names=[], usages=[])
    leaf = make_certificate(issuer=impostor)
    assert "not acceptable" in rejection(OperatorTrust((authorities.root.der,), "control.example"), leaf)


def test_a_listed_server_certificate_vouches_for_no_other(make_certificate: MakeCertificate) -> None:
    listed = make_certificate()
    below = make_certificate("below", issuer=listed)
    assert "the certificate 1 above" in rejection(OperatorTrust((listed.der,), "control.example"), below, listed)


def test_a_chain_beyond_the_bound_is_not_searched(make_certificate: MakeCertificate, authorities: Authorities) -> None:
    stranger = make_certificate("stranger", is_ca=True)
    trust = OperatorTrust((authorities.root.der,), "control.example")
    trust.check([authorities.leaf.der, *[stranger.der] * 15, authorities.intermediate.der], NOW)
    reason = rejection(trust, authorities.leaf, *[stranger] * 16, authorities.intermediate)
    assert "unknown authority" in reason


def test_an_expired_authority_is_told_apart_from_an_expired_certificate(make_certificate: MakeCertificate) -> None:
    root = make_certificate("root", is_ca=True, ends=NOW + 10)
    leaf = make_certificate(issuer=root, ends=NOW + 1000)
    trust = OperatorTrust((root.der,), "control.example")
    trust.check([leaf.der], NOW + 5)
    reason = rejection(trust, leaf, wall_now=NOW + 20)
    assert reason.startswith("the certificate 1 above that of control.example is not acceptable: ")
    assert "expired" in reason


def test_an_authority_for_clients_only_vouches_for_no_server(make_certificate: MakeCertificate) -> None:
    root = make_certificate("root", is_ca=True, usages=[CLIENT_AUTH])
    leaf = make_certificate(issuer=root)
    reason = rejection(OperatorTrust((root.der,), "control.example"), leaf)
    assert reason.startswith("the authority behind control.example")
    assert reason.endswith("lacks serverAuth")


def test_an_authority_for_other_domains_does_not_vouch_for_this_one(make_certificate: MakeCertificate) -> None:
    limits = x509.NameConstraints([x509.DNSName("other.example")], None)
    root = make_certificate("root", is_ca=True, names=[], extensions=[(limits, True)])
    leaf = make_certificate(issuer=root)
    assert "not acceptable" in rejection(OperatorTrust((root.der,), "control.example"), leaf)


def test_a_sha1_signature_vouches_for_nothing(make_certificate: MakeCertificate, rsa_key: rsa.RSAPrivateKey) -> None:
    root = make_certificate("root", is_ca=True, key=rsa_key)
    leaf = make_certificate(issuer=root)
    trust = OperatorTrust((root.der,), "control.example")
    trust.check([leaf.der], NOW)
    assert "SHA-1" in rejection(trust, signed_with_sha1(leaf, rsa_key))
    old_root = signed_with_sha1(root, rsa_key)  # an anchor is trusted for itself, as many an old root is
    OperatorTrust((old_root.der,), "control.example").check([leaf.der], NOW)


def signed_with_sha1(leaf: Credential, root_key: rsa.RSAPrivateKey) -> Credential:
    """`leaf` with its signature made anew; no library makes this one any more."""
    rsa_sha256, rsa_sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    der = leaf.der.replace(rsa_sha256, rsa_sha1)
    to_sign = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    signature = root_key.sign(to_sign, padding.PKCS1v15(), hashes.SHA1())
    return Credential((der[: -len(signature)] + signature,), leaf.private_key)


@pytest.mark.parametrize(
    ("names", "name", "accepted"),
    [
        (["control.example"], "control.example", True),
        (["control.example"], "CONTROL.Example", True),
        (["CONTROL.Example"], "control.example", True),
        (["control.example"], "control.example.", True),
        (["other.example", "control.example"], "control.example", True),
        (["*.example"], "control.example", True),
        (["*.EXAMPLE"], "control.example", True),
        (["localhost"], "localhost", True),
        (["other.example"], "control.example", False),
        (["example"], "control.example", False),
        (["control.example.org"], "control.example", False),
        (["*.example"], "example", False),
        (["*.example"], ".example", False),
        (["*.example"], "eu.control.example", False),
        (["control.*"], "control.example", False),
        (["c*.example"], "control.example", False),
        (["*.*"], "control.example", False),
        (["10.0.0.1"], "10.0.0.1", False),
    ],
)
def test_a_host_name_matches_as_it_does_on_the_web(
    make_certificate: MakeCertificate, names: list[str], name: str, *, accepted: bool
) -> None:
    leaf = make_certificate(names=names)
    trust = OperatorTrust((leaf.der,), name)
    if accepted:
        trust.check([leaf.der], NOW)
    else:
        assert rejection(trust, leaf).startswith(f"the certificate is not for {name} but for '{names[0]}'")


@pytest.mark.parametrize(
    ("address", "name", "accepted"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("192.0.2.7", "[::ffff:192.0.2.7]", True),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("2001:db8::7", "2001:db8::7", True),
        ("2001:db8::7", "[2001:DB8:0::7]", True),
        ("fe80::7", "fe80::7%eth0", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("2001:db8::7", "2001:db8::8", False),
        ("192.0.2.7", "control.example", False),
    ],
)
def test_an_address_matches_addresses_only(
    make_certificate: MakeCertificate, address: str, name: str, *, accepted: bool
) -> None:
    parsed = IPv6Address(address) if ":" in address else IPv4Address(address)
    leaf = make_certificate(names=[], addresses=[parsed])
    trust = OperatorTrust((leaf.der,), name)
    if accepted:
        trust.check([leaf.der], NOW)
    else:
        assert rejection(trust, leaf) == f"the certificate is not for {name} but for '{parsed}'"


@pytest.mark.parametrize(
    ("name", "entry"),
    [("control.example", "DNS:control.example"), ("192.0.2.7", "IP:192.0.2.7"), ("[2001:db8::7]", "IP:2001:db8::7")],
)
def test_a_certificate_with_a_common_name_only_is_refused_with_the_command_for_a_better_one(
    make_certificate: MakeCertificate, name: str, entry: str
) -> None:
    leaf = make_certificate("control.example", names=[])
    assert rejection(OperatorTrust((leaf.der,), name), leaf) == (
        f"the certificate of {name} has no subjectAltName, and its common name (CN) is not consulted; make one with "
        "`openssl req -x509 -newkey ed25519 -nodes -days 730 -keyout key.pem -out cert.pem "
        f"-subj /CN=connet -addext subjectAltName={entry}`"
    )


def test_trust_is_shown_without_its_certificates(authorities: Authorities) -> None:
    assert repr(OperatorTrust((authorities.root.der,), "a.example")) == "OperatorTrust(name='a.example')"
    assert repr(PinnedServer(authorities.leaf.der, "a.example")) == "PinnedServer(name='a.example')"


# whatever a stranger sends


CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=3)


@pytest.mark.reliability(line=33)
@settings(max_examples=60)
@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_rejection(authorities: Authorities, data: bytes) -> None:
    for trust in (PinnedServer(data, "control.example"), OperatorTrust((data,), "control.example")):
        with pytest.raises(CertificateRejected):
            trust.check([data], NOW)
    with pytest.raises(CertificateRejected):
        check_client(data, {data}, NOW)
    trust = OperatorTrust((authorities.root.der,), "control.example")
    trust.check([authorities.leaf.der, authorities.intermediate.der, data], NOW)


@settings(max_examples=150)
@given(changes=CHANGES)
def test_no_changed_certificate_is_accepted_or_raises_anything_but_rejection(
    authorities: Authorities, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(authorities.leaf.der)
    for place, value in changes:
        changed[place % len(changed)] = value
    if changed == authorities.leaf.der:
        return
    trust = OperatorTrust((authorities.root.der,), "control.example")
    with pytest.raises(CertificateRejected):
        trust.check([bytes(changed), authorities.intermediate.der], NOW)


@settings(max_examples=150)
@given(changes=CHANGES)
def test_a_changed_intermediate_never_raises_anything_but_rejection(
    authorities: Authorities, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(authorities.intermediate.der)
    for place, value in changes:
        changed[place % len(changed)] = value
    if changed == authorities.intermediate.der:
        return
    trust = OperatorTrust((authorities.root.der,), "control.example")
    with pytest.raises(CertificateRejected):
        trust.check([authorities.leaf.der, bytes(changed)], NOW)
