"""How the certificate of the other side is judged (protocol section 2.5).

Leaves that travel in records are *pinned*: the very bytes are expected, and signatures of issuers, common names and CA
bits count for nothing. Certificates of control servers are *operated*: an operator bought or made them, so they are
either among the roots themselves or lead to one of them. Any listed certificate is an anchor, self-signed or not, which
OpenSSL calls a partial chain (trap T4).

Either way the dates must hold, the name must be in the subjectAltName, and an extended key usage, where there is one,
must name the job. That the other side has the private key is proved by TLS, not here.
"""

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

import attrs
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID
from OpenSSL import crypto

from connet_trio.errors import CertificateRejected
from connet_trio.identity.certificates import alternative_names, parse_certificate

Address = IPv4Address | IPv6Address | IPv4Network | IPv6Network


class ServerTrust(Protocol):
    """Which server certificates a dialer accepts."""

    def check(self, chain: Sequence[bytes], wall_now: float) -> None:
        """Return when `chain` (DER, the leaf first, as the server sent it) is accepted at `wall_now` (Unix seconds).

        Raises:
          CertificateRejected: it is not; the text says why.
        """


@attrs.frozen
class PinnedServer:
    """Trust in one leaf that came in a record: of a peer or of a relay."""

    der: bytes = attrs.field(repr=False)
    name: str
    """Its first DNS name, which was sent as SNI."""

    def check(self, chain: Sequence[bytes], wall_now: float) -> None:
        """See `ServerTrust.check`."""
        leaf = _leaf_of(chain)
        if leaf != self.der:
            raise CertificateRejected(f"the server certificate is not the one announced for {self.name}")
        certificate = parse_certificate(leaf)
        _require_understood(certificate, "server certificate")
        _require_current(certificate, wall_now, "server certificate")
        if self.name not in alternative_names(certificate).get_values_for_type(x509.DNSName):
            raise CertificateRejected(f"the server certificate is not for {self.name}")
        _require_usage(certificate, ExtendedKeyUsageOID.SERVER_AUTH, "server certificate")


def check_client(der: bytes, expected: Container[bytes], wall_now: float) -> None:
    """Return when the client leaf `der` is one of those `expected` now, and usable at `wall_now` (Unix seconds).

    Raises:
      CertificateRejected: it is not; the text says why.
    """
    if der not in expected:
        raise CertificateRejected("the client certificate is not one expected here now")
    certificate = parse_certificate(der)
    _require_understood(certificate, "client certificate")
    _require_current(certificate, wall_now, "client certificate")
    _require_usage(certificate, ExtendedKeyUsageOID.CLIENT_AUTH, "client certificate")


MAX_INTERMEDIATES = 16  # of those a server sends, the first ones; public chains have one to three


@attrs.frozen
class OperatorTrust:
    """Trust in whoever the roots vouch for under one name: how a control server is known."""

    roots: tuple[bytes, ...] = attrs.field(repr=False)
    """DER. Of a CA file, or of the operating system."""
    name: str
    """A host name, or an IP address as text."""

    def check(self, chain: Sequence[bytes], wall_now: float) -> None:
        """See `ServerTrust.check`."""
        leaf = _leaf_of(chain)
        certificate = parse_certificate(leaf)
        _require_understood(certificate, f"certificate of {self.name}")
        _require_current(certificate, wall_now, f"certificate of {self.name}")
        self._require_name(certificate)
        _require_usage(certificate, ExtendedKeyUsageOID.SERVER_AUTH, f"certificate of {self.name}")
        if leaf not in self.roots:
            self._require_chain(chain, wall_now)

    def _require_name(self, certificate: x509.Certificate) -> None:
        names = alternative_names(certificate)
        hosts = names.get_values_for_type(x509.DNSName)
        addresses = names.get_values_for_type(x509.IPAddress)
        wanted = _ip_literal(self.name)
        if not hosts and not addresses:
            kind = "DNS" if wanted is None else "IP"
            raise CertificateRejected(
                f"the certificate of {self.name} has no subjectAltName, and its common name (CN) is not consulted; "
                "make one with `openssl req -x509 -newkey ed25519 -nodes -days 730 -keyout key.pem -out cert.pem "
                f"-subj /CN=connet -addext subjectAltName={kind}:{wanted or self.name}`"
            )
        if wanted is not None:
            matches = any(_unmapped(address) == wanted for address in addresses)
        else:
            matches = any(_matches_host(pattern, self.name) for pattern in hosts)
        if not matches:
            listed = ", ".join(repr(str(name)) for name in [*hosts, *addresses][:8])
            raise CertificateRejected(f"the certificate is not for {self.name} but for {listed}")

    def _require_chain(self, chain: Sequence[bytes], wall_now: float) -> None:
        store = crypto.X509Store()
        for root in _loaded(self.roots):
            store.add_cert(root)
        store.set_time(datetime.fromtimestamp(wall_now, UTC))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        try:
            leaf = crypto.load_certificate(crypto.FILETYPE_ASN1, chain[0])
            intermediates = _loaded(chain[1 : 1 + MAX_INTERMEDIATES])
            found = crypto.X509StoreContext(store, leaf, intermediates).get_verified_chain()
        except crypto.X509StoreContextError as exc:
            raise CertificateRejected(self._why_not(exc)) from exc
        except crypto.Error as exc:
            raise CertificateRejected(f"the certificate of {self.name} cannot be checked by OpenSSL") from exc
        links = [parse_certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, link)) for link in found]
        for authority in links[1:]:
            _require_usage(authority, ExtendedKeyUsageOID.SERVER_AUTH, f"authority behind {self.name}")
        # not the last one: the anchor is trusted for itself, whatever signed it
        if any(link.signature_algorithm_oid in _FORGEABLE for link in links[:-1]):
            raise CertificateRejected(
                f"the certificate of {self.name} is signed with SHA-1 or MD5, which can be forged"
            )

    def _why_not(self, error: crypto.X509StoreContextError) -> str:
        code, depth, words = error.errors
        if code in _UNKNOWN_ISSUER:
            return (
                f"the certificate of {self.name} is signed by an unknown authority; name a file with that authority's "
                "certificate, or with this one, as server-cas-file or control-cas-file"
            )
        where = f"the certificate {depth} above that of {self.name}" if depth else f"the certificate of {self.name}"
        return f"{where} is not acceptable: {words}"


# X509_V_ERR_*: no issuer at all, no issuer known here, self-signed leaf, self-signed root, leaf that nobody vouches for
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})

_FORGEABLE = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_MD5,
        SignatureAlgorithmOID.RSA_WITH_SHA1,
        SignatureAlgorithmOID.ECDSA_WITH_SHA1,
        SignatureAlgorithmOID.DSA_WITH_SHA1,
    }
)

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    }
)


def _leaf_of(chain: Sequence[bytes]) -> bytes:
    if not chain:
        raise CertificateRejected("the server sent no certificate")
    return chain[0]


def _require_understood(certificate: x509.Certificate, whose: str) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            unknown = extension.oid.dotted_string
            raise CertificateRejected(f"the {whose} has a critical extension that is not understood: {unknown}")


def _require_current(certificate: x509.Certificate, wall_now: float, whose: str) -> None:
    """Both ends of the validity belong to it."""
    now = datetime.fromtimestamp(wall_now, UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        verdict = f"is not valid before {_words(begin)}"
    elif now > end:
        verdict = f"expired at {_words(end)}"
    else:
        return
    raise CertificateRejected(f"the {whose} {verdict}, and it is {_words(now)} here; is one of the clocks wrong?")


def _words(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _require_usage(certificate: x509.Certificate, usage: x509.ObjectIdentifier, whose: str) -> None:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if usage not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
        job = "serverAuth" if usage == ExtendedKeyUsageOID.SERVER_AUTH else "clientAuth"
        raise CertificateRejected(f"the {whose} may not be used for this: its extended key usage lacks {job}")


def _ip_literal(name: str) -> Address | None:
    """The address that `name` spells, without zone; None for a host name."""
    try:
        return _unmapped(ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0]))
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _matches_host(pattern: str, host: str) -> bool:
    """Equal but for case, or but for the first label where that of `pattern` is `*`."""
    wanted = host.lower().removesuffix(".").split(".")
    offered = pattern.lower().split(".")
    if offered[0] == "*" and len(offered) == len(wanted) and wanted[0]:
        return offered[1:] == wanted[1:]
    return offered == wanted


def _loaded(ders: Sequence[bytes]) -> list[crypto.X509]:
    """As OpenSSL objects, without those it cannot read: one bad entry of a list is no reason to refuse the rest."""
    loaded = []
    for der in ders:
        try:
            loaded.append(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
        except crypto.Error:
            continue
    return loaded
