"""netpunch's signed datagrams: a signature of 40 letters, a separator, a body (netpunch protocol section 2).

The signature is the Ascii85 text of HMAC-SHA256 over the body, the secret its key. Ascii85 writes four zero bytes as
one `z`, so about one MAC in 537 million has a shorter text. netpunch ends when it has to write or check such a body.
Here it cannot be sent, and one that arrives is a wrong signature like any other.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable

from connet_trio.errors import ConfigError, LocalProtocolError, RemoteProtocolError

SIGNATURE_BYTES = 40
SEPARATOR = b" "
MAX_BODY_BYTES = 1024
_OVERHEAD_BYTES = SIGNATURE_BYTES + len(SEPARATOR)

STRANGERS_KEY = b"connet-trio punch, for strangers"
"""Signs what is said to and by those who may not have the secret. Everybody knows it."""


class UnsignableBody(LocalProtocolError):
    """The signature of this body under this secret has a zero word: no netpunch could check it."""


class WrongSignature(RemoteProtocolError):
    """Somebody else's datagram, or one of somebody who has another secret."""


def seal(secret: bytes, body: bytes) -> bytes:
    """The datagram that carries `body`, of 1 to 1024 bytes.

    Raises:
      UnsignableBody: no datagram can carry it under this secret.
      LocalProtocolError: the body is empty or too long.
    """
    if not 1 <= len(body) <= MAX_BODY_BYTES:
        raise LocalProtocolError(f"body of {len(body)} bytes, 1 to {MAX_BODY_BYTES} can be sent")
    signature = _signature(secret, body)
    if len(signature) != SIGNATURE_BYTES:
        raise UnsignableBody(f"the signature of a body of {len(body)} bytes has a zero word")
    return signature + SEPARATOR + body


def unseal(secret: bytes, datagram: bytes) -> bytes:
    """The body of a datagram that was signed with `secret`. Any byte is taken for the separator, as netpunch does.

    Raises:
      WrongSignature: it was not.
      RemoteProtocolError: it is too short or too long to be one.
    """
    if not _OVERHEAD_BYTES < len(datagram) <= _OVERHEAD_BYTES + MAX_BODY_BYTES:
        limits = f"{_OVERHEAD_BYTES + 1} to {_OVERHEAD_BYTES + MAX_BODY_BYTES}"
        raise RemoteProtocolError(f"datagram of {len(datagram)} bytes, not {limits}")
    body = datagram[_OVERHEAD_BYTES:]
    # a shorter text, with its zero word, equals no 40 bytes
    if not hmac.compare_digest(_signature(secret, body), datagram[:SIGNATURE_BYTES]):
        raise WrongSignature(f"wrong signature on a body of {len(body)} bytes")
    return body


def check_secret(secret: bytes, bodies: Iterable[bytes]) -> None:
    """Check that every one of these bodies can be sent.

    Raises:
      ConfigError: one cannot, by bad luck; any other secret will do.
    """
    for body in bodies:
        if len(_signature(secret, body)) != SIGNATURE_BYTES:
            raise ConfigError("this secret cannot sign everything that has to be said (one in millions): take another")


def _signature(secret: bytes, body: bytes) -> bytes:
    return base64.a85encode(hmac.new(secret, body, hashlib.sha256).digest())
