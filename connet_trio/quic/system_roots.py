"""The certificate authorities this machine trusts, for control servers without a CA file of their own."""

import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

from connet_trio.errors import CertificateRejected
from connet_trio.identity import load_roots

HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def load_system_roots() -> tuple[bytes, ...]:
    """The roots (DER) that OpenSSL would use, in a stable order; read anew each time, since they are updated in place.

    Reads up to a few hundred files, so it belongs in a thread. Honours `SSL_CERT_FILE` and `SSL_CERT_DIR`. Empty where
    the system has none that OpenSSL knows of.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    roots = dict.fromkeys(context.get_ca_certs(binary_form=True))
    for path in _hashed_files():
        try:
            roots |= dict.fromkeys(load_roots(path.read_bytes()))
        except (OSError, CertificateRejected):
            continue
    return tuple(roots)


def _hashed_files() -> Iterator[Path]:
    """The files OpenSSL opens only when it looks for one issuer, which is why the context does not list them."""
    paths = ssl.get_default_verify_paths()
    directories = os.environ.get(paths.openssl_capath_env, paths.openssl_capath)
    for directory in filter(None, directories.split(os.pathsep)):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        yield from (Path(directory, name) for name in names if HASHED_NAME.fullmatch(name))
