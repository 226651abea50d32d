"""A self-signed certificate in files, as a first-time user makes one."""

import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DAYS = 730
SUBJECT = "connet"


def openssl_command(hosts: Sequence[str]) -> list[str]:
    """The command line that makes `cert.pem` and `key.pem` for these names and addresses."""
    names = ",".join(f"IP:{host}" if _is_address(host) else f"DNS:{host}" for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", str(DAYS), "-subj", f"/CN={SUBJECT}"]
    return [*command, "-addext", f"subjectAltName={names}", "-keyout", "key.pem", "-out", "cert.pem"]


def write_certificate_with_openssl(directory: Path, hosts: Sequence[str]) -> bool:
    """Make `cert.pem` and `key.pem` with openssl; False where there is none, or one too old."""
    if shutil.which("openssl") is None:
        return False
    return subprocess.run(openssl_command(hosts), cwd=directory, capture_output=True, check=False).returncode == 0


def write_certificate(directory: Path, hosts: Sequence[str]) -> None:
    """Make `cert.pem` and `key.pem` without any program's help; without hosts, a certificate for none."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SUBJECT)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False)
    certificate = builder.sign(key, None)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file = directory / "key.pem"
    key_file.touch(0o600)
    key_file.write_bytes(private)
    (directory / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _general_name(host: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(host)) if _is_address(host) else x509.DNSName(host)
