"""The files a configuration names: tokens, certificates, keys. What is wrong with one goes to the findings."""

import os
import stat
from pathlib import Path

from connet_trio.config.findings import Findings
from connet_trio.config.tables import Setting
from connet_trio.errors import CertificateRejected
from connet_trio.identity.certificates import Credential, load_credential, load_roots


def read_secret(setting: Setting[Path], findings: Findings) -> bytes | None:
    """What a file that holds a secret holds; a warning when everybody on this machine may read it."""
    opened = _read_with_mode(setting, findings)
    if opened is None:
        return None
    content, mode = opened
    if os.name == "posix" and stat.S_ISREG(mode) and mode & stat.S_IROTH:
        findings.add_warning(setting.place, f"everybody on this machine may read {setting.value}: chmod o-r it")
    return content


def read_tokens(setting: Setting[Path], findings: Findings) -> tuple[str, ...]:
    """The tokens of a file, one on each line that is not blank (trap T21)."""
    content = read_secret(setting, findings)
    if content is None:
        return ()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        findings.add_error(setting.place, f"{setting.value} is not UTF-8 text (byte {exc.start})")
        return ()
    tokens = tuple(line.strip() for line in text.split("\n") if line.strip())
    if not tokens:
        findings.add_error(setting.place, f"{setting.value} holds no token")
    return tokens


def read_token(file: Setting[Path] | None, literal: Setting[str] | None, findings: Findings) -> str | None:
    """The one token of a client or relay; the file, of which the first counts, wins over the literal."""
    if file is None:
        return literal.value if literal else None
    return next(iter(read_tokens(file, findings)), None)


def read_reset_key(setting: Setting[Path], expected_bytes: int, findings: Findings) -> bytes | None:
    """The key a file consists of."""
    content = read_secret(setting, findings)
    if content is not None and len(content) != expected_bytes:
        findings.add_error(setting.place, f"{setting.value} holds {len(content)} bytes, expected {expected_bytes}")
    return content


def read_roots(setting: Setting[Path] | None, findings: Findings) -> tuple[bytes, ...] | None:
    """The certificates of a CA file; None, for the operating system's, without one."""
    content = _read(setting, findings) if setting else None
    if setting is None or content is None:
        return None
    try:
        return load_roots(content)
    except CertificateRejected as exc:
        findings.add_error(setting.place, f"{setting.value} cannot be used: {exc}")
        return None


def read_credential(
    cert_file: Setting[Path] | None, key_file: Setting[Path] | None, findings: Findings
) -> Credential | None:
    """The certificate of one file with the key of another; None when either cannot be used."""
    certificate = _read(cert_file, findings) if cert_file else None
    private_key = read_secret(key_file, findings) if key_file else None
    if cert_file is None or key_file is None or certificate is None or private_key is None:
        return None
    try:
        return load_credential(certificate, private_key)
    except CertificateRejected as exc:
        findings.add_error(cert_file.place, f"{cert_file.value} with the key {key_file.value} cannot be used: {exc}")
        return None


def _read(setting: Setting[Path], findings: Findings) -> bytes | None:
    opened = _read_with_mode(setting, findings)
    return None if opened is None else opened[0]


def _read_with_mode(setting: Setting[Path], findings: Findings) -> tuple[bytes, int] | None:
    try:
        with setting.value.open("rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mode
    except OSError as exc:
        findings.add_error(setting.place, f"{setting.value} cannot be read: {exc.strerror or type(exc).__name__}")
        return None
