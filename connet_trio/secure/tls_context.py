"""What `ssl` needs to know of our certificates, and of the one certificate that the other side may show."""

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connet_trio.identity import Credential

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, for which `ssl` has no name."""


def pinned_context(credential: Credential, expected: bytes, *, server_side: bool) -> ssl.SSLContext:
    """Shows `credential`, and takes a certificate for nothing but the leaf `expected` (DER).

    Its dates are not looked at, since `ssl` knows only the system's clock; whoever shakes hands has to judge
    `TlsStream.peer_certificate` (`identity.trust`). That the other side has the key is proved here.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    # below it, one direction cannot end alone
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the name is part of the leaf
    context.verify_mode = ssl.CERT_REQUIRED
    # the leaf itself is the anchor, which no authority stands behind (trap T4)
    context.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    context.load_verify_locations(cadata=expected)
    if server_side:
        context.num_tickets = 0  # nothing is ever resumed
    with _as_file(credential) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _as_file(credential: Credential) -> Iterator[str]:
    """A path for `ssl`, which loads from nothing else; in memory alone where the system can."""
    chain = "".join(map(ssl.DER_cert_to_PEM_cert, credential.chain)).encode()
    pem = chain + credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if sys.platform == "linux":
        descriptor = os.memfd_create("credential", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.TemporaryDirectory() as directory:  # 0700
        path = Path(directory, "credential.pem")
        path.write_bytes(pem)
        yield str(path)
