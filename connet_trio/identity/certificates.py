"""Certificates: reading anybody's, loading an operator's, issuing our own (protocol section 2.4).

Every endpoint issues itself a server leaf and a client leaf under a root key that is thrown away at once: nobody checks
that signature, both sides compare the leaf byte by byte (`connet_trio.identity.trust`). What is issued depends on the
entropy and the time handed in and on nothing else, and its size does not depend on the entropy.

The subject of somebody else's certificate is never looked at: the original writes 72 characters into a common name,
eight more than X.520 allows, and cryptography objects to that (trap T10).
"""

import binascii
import hashlib
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connet_trio.errors import CertificateRejected
from connet_trio.identity.fingerprints import Realm, certificate_key, new_name

MAX_NAME_CHARACTERS = 255
"""The longest DNS name (RFC 1035 section 2.3.4)."""

PARSED_CERTIFICATES = 128
"""Whose objects are kept: the same few peers come again and again."""

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


@attrs.frozen
class Credential:
    """A certificate with its chain, and the key that proves it is ours."""

    chain: tuple[bytes, ...] = attrs.field(repr=lambda chain: f"<{len(chain)}: {certificate_key(chain[0])}>")
    """DER, the leaf first."""
    private_key: PrivateKey = attrs.field(repr=False, eq=False)

    @property
    def der(self) -> bytes:
        """The leaf alone."""
        return self.chain[0]

    @property
    def leaf(self) -> x509.Certificate:
        """The leaf alone, parsed."""
        return parse_certificate(self.der)


@attrs.frozen
class EndpointIdentity:
    """Who an endpoint is to its peers: one leaf to listen with, one to dial with."""

    server: Credential
    client: Credential
    name: str
    """The only DNS name of the server leaf; what a peer that dials sends as SNI."""


@lru_cache(maxsize=PARSED_CERTIFICATES)
def parse_certificate(der: bytes) -> x509.Certificate:
    """The certificate of exactly these bytes, its dates, extensions and public key known to be readable.

    Raises:
      CertificateRejected: they are not a certificate, or one with a part that cannot be read.
    """
    with warnings.catch_warnings():
        # an oddity in somebody else's certificate is nothing our user can act on
        warnings.simplefilter("ignore")
        try:
            certificate = x509.load_der_x509_certificate(der)
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.extensions
            certificate.public_key()
        except (
            ValueError,
            UnsupportedAlgorithm,
            x509.InvalidVersion,
            x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType,
        ) as exc:
            raise CertificateRejected(f"{len(der)} bytes do not parse as an X.509 certificate") from exc
    return certificate


def is_certificate(der: bytes) -> bool:
    """Whether `der` parses as X.509; what control asks of certificates it hands on (protocol section 4.2)."""
    try:
        parse_certificate(der)
    except CertificateRejected:
        return False
    return True


def alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """The subjectAltName of a parsed certificate; empty without one."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def dns_names(der: bytes) -> tuple[str, ...]:
    """The DNS names in the subjectAltName, in its order; empty without one.

    Raises:
      CertificateRejected: `der` is not a certificate.
    """
    return tuple(alternative_names(parse_certificate(der)).get_values_for_type(x509.DNSName))


RENEWAL_MARGIN_SECONDS = 30 * 86_400.0
"""How long before its end a leaf of ours is replaced: longer than any clock of a peer is wrong by mistake."""


def needs_renewal(der: bytes, wall_now: float, margin_seconds: float = RENEWAL_MARGIN_SECONDS) -> bool:
    """Whether a leaf of ours should be issued again: it ends soon, has ended, or has not begun (a clock was set back).

    Args:
      der: of a `Credential`; the two leaves of an `EndpointIdentity` have the same dates.
      wall_now: Unix seconds.

    Raises:
      CertificateRejected: `der` is not a certificate.
    """
    certificate = parse_certificate(der)
    begins = certificate.not_valid_before_utc.timestamp()
    ends = certificate.not_valid_after_utc.timestamp()
    return not begins <= wall_now < ends - margin_seconds


def server_name(der: bytes) -> str:
    """The first DNS name of a server leaf: under it the leaf is dialled and verified (protocol section 2.3).

    Raises:
      CertificateRejected: `der` is not a certificate, has no DNS name, or one longer than DNS knows: as a server name
        in a ClientHello it would not fit the datagram.
    """
    name = next(iter(dns_names(der)), "")
    if not name:
        raise CertificateRejected("the server certificate has no DNS name in its subjectAltName")
    if len(name) > MAX_NAME_CHARACTERS:
        raise CertificateRejected(f"a DNS name of {len(name)} characters, at most {MAX_NAME_CHARACTERS}")
    return name


# --- an operator's files


def load_credential(certificate_pem: bytes, key_pem: bytes) -> Credential:
    """The certificates of one PEM file, all of them in the order of the file, with the key of another (or the same).

    Raises:
      CertificateRejected: a file holds no such thing, or the key is encrypted, of an unsupported kind, or belongs to
        another certificate. The text says what is wrong; which file it was is for the caller to say.
    """
    chain = _certificates_in(certificate_pem)
    if not chain:
        raise CertificateRejected(_no_certificate(certificate_pem))
    for position, der in enumerate(chain, start=1):
        if not is_certificate(der):
            raise CertificateRejected(f"certificate {position} of {len(chain)} in the file is damaged")
    private_key = _load_private_key(key_pem)
    if parse_certificate(chain[0]).public_key() != private_key.public_key():
        raise CertificateRejected(
            "the private key does not belong to the certificate"
            + (" (the first in the file: the server's own comes before its chain)" if len(chain) > 1 else "")
        )
    return Credential(chain, private_key)


def load_roots(pem: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) of a CA file; damaged ones are left out, as long as one is usable.

    Raises:
      CertificateRejected: none is.
    """
    found = _certificates_in(pem)
    usable = tuple(der for der in found if is_certificate(der))
    if not usable:
        raise CertificateRejected("no certificate in the file is readable" if found else _no_certificate(pem))
    return usable


def _certificates_in(pem: bytes) -> tuple[bytes, ...]:
    """What stands between the markers, decoded; empty bytes for what is not base64."""
    bodies = re.findall(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----", pem)
    return tuple(_decode_base64(body) for body in bodies)


def _decode_base64(body: bytes) -> bytes:
    try:
        return binascii.a2b_base64(body)
    except binascii.Error:
        return b""


def _no_certificate(content: bytes) -> str:
    if is_certificate(content):
        return "the certificate is in DER form; make it PEM with `openssl x509 -inform DER -in FILE -out FILE.pem`"
    return "no certificate in the file: no line reads -----BEGIN CERTIFICATE-----"


def _load_private_key(pem: bytes) -> PrivateKey:
    if re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", pem) is None:
        raise CertificateRejected("no private key in the file: no line reads -----BEGIN PRIVATE KEY-----")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as exc:
        raise CertificateRejected(
            "the private key is encrypted; decrypt it with `openssl pkey -in FILE -out FILE.decrypted`"
        ) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise CertificateRejected("the private key is damaged or of an unsupported kind") from exc
    if not isinstance(key, PrivateKey):
        raise CertificateRejected("the private key is of an unsupported kind: RSA, ECDSA or Ed25519 is needed")
    return key


# --- our own

BACKDATED = timedelta(minutes=5)  # so that a peer whose clock is behind accepts a fresh leaf (trap T11)
LIFETIME = timedelta(days=2 * 365)
SERIAL_BYTES = 16

# PrintableString as in the original, which selects its client certificate by the bytes of this name (trap T9);
# cryptography writes UTF8String unless told by this private argument
CONNET = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connet", _type=_ASN1Type.PrintableString)])


def issue_identity(realm: Realm, *, wall_now: float, entropy: Callable[[int], bytes]) -> EndpointIdentity:
    """Two fresh leaves under one name; the same time and entropy issue the same bytes (protocol section 2.4).

    Args:
      wall_now: Unix seconds.
    """
    name = new_name(realm, entropy)
    root = Ed25519PrivateKey.from_private_bytes(entropy(32))
    server = _issue_server_leaf(root, [x509.DNSName(name)], wall_now, entropy)
    client = _issue_client_leaf(root, wall_now, entropy)
    return EndpointIdentity(server, client, name)


def issue_server_credential(
    names: Sequence[str],
    addresses: Sequence[IPv4Address | IPv6Address],
    *,
    wall_now: float,
    entropy: Callable[[int], bytes],
) -> Credential:
    """A fresh server leaf for these DNS names and IP addresses (at least one): a relay's, or the combined server's.

    Args:
      wall_now: Unix seconds.
    """
    root = Ed25519PrivateKey.from_private_bytes(entropy(32))
    san: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    san += [x509.IPAddress(address) for address in addresses]
    return _issue_server_leaf(root, san, wall_now, entropy)


def _issue_server_leaf(
    root: Ed25519PrivateKey,
    san: Sequence[x509.GeneralName],
    wall_now: float,
    entropy: Callable[[int], bytes],
) -> Credential:
    key = Ed25519PrivateKey.from_private_bytes(entropy(32))
    # the name stands in the SAN only: in the subject, 72 characters would be too many (trap T10)
    builder = (
        _leaf(key.public_key(), wall_now, entropy)
        .add_extension(_key_usage(key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_key_identifier(root), critical=False)
        .add_extension(x509.SubjectAlternativeName(san), critical=False)
    )
    return Credential((builder.sign(root, None).public_bytes(Encoding.DER),), key)


def _issue_client_leaf(root: Ed25519PrivateKey, wall_now: float, entropy: Callable[[int], bytes]) -> Credential:
    key = Ed25519PrivateKey.from_private_bytes(entropy(32))
    builder = (
        _leaf(key.public_key(), wall_now, entropy)
        .add_extension(_key_usage(key_agreement=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    return Credential((builder.sign(root, None).public_bytes(Encoding.DER),), key)


def _leaf(key: Ed25519PublicKey, wall_now: float, entropy: Callable[[int], bytes]) -> x509.CertificateBuilder:
    issued = datetime.fromtimestamp(int(wall_now), UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(_serial(entropy))
        .issuer_name(CONNET)
        .subject_name(CONNET)
        .not_valid_before(issued - BACKDATED)
        .not_valid_after(issued + LIFETIME)
        .public_key(key)
    )


def _serial(entropy: Callable[[int], bytes]) -> int:
    """126 random bits under the bits 01: positive and 16 bytes long, so that no leaf is shorter than another."""
    return int.from_bytes(entropy(SERIAL_BYTES), "big") % (1 << 126) + (1 << 126)


def _key_usage(*, key_encipherment: bool = False, key_agreement: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_identifier(root: Ed25519PrivateKey) -> x509.AuthorityKeyIdentifier:
    """Leftmost 160 bits of SHA-256 of the root's public key, as the original has it."""
    digest = hashlib.sha256(root.public_key().public_bytes_raw()).digest()
    return x509.AuthorityKeyIdentifier(digest[:20], None, None)
