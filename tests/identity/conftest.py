"""Recorded bytes, and a maker of certificates such as operators have."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connet_trio.identity import Credential, PrivateKey

NOW = 1_800_000_000.0


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Bytes the original produced; the leaves in it are valid from November 2026 to November 2028."""
    document: dict[str, Any] = json.loads((Path(__file__).parents[1] / "interop" / "connet.json").read_text())
    return document


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2048)


@pytest.fixture(scope="session")
def make_certificate() -> Callable[..., Credential]:
    """Makes a certificate that a test then judges around `NOW`; without `issuer` it signs itself."""
    entropy = Random(1).randbytes

    def make(
        subject: str = "control",
        *,
        issuer: Credential | None = None,
        names: Sequence[str] = ("control.example",),
        addresses: Sequence[IPv4Address | IPv6Address] = (),
        usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
        begins: float = NOW - 1000,
        ends: float = NOW + 1000,
        is_ca: bool = False,
        key: PrivateKey | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> Credential:
        key = key or Ed25519PrivateKey.from_private_bytes(entropy(32))
        own_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(own_name)
            .issuer_name(own_name if issuer is None else issuer.leaf.subject)
            .serial_number(int.from_bytes(entropy(16), "big") + 1)
            .public_key(key.public_key())
            .not_valid_before(datetime.fromtimestamp(begins, UTC))
            .not_valid_after(datetime.fromtimestamp(ends, UTC))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
        san: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        san += [x509.IPAddress(address) for address in addresses]
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        signer = key if issuer is None else issuer.private_key
        algorithm = None if isinstance(signer, Ed25519PrivateKey) else hashes.SHA256()
        return Credential((builder.sign(signer, algorithm).public_bytes(Encoding.DER),), key)

    return make
