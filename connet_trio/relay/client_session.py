"""One connection of a client to the relay: it says who it is, then its streams are served (protocol section 6.1).

    STRANGER ─┬─ says nothing, or nothing readable, within 5 s ─→ closed 100
              ├─ its token is refused: error record ─→ closed with the same code and text
              └─ let in ─┬─ as a source: each stream it opens is forwarded
                         ├─ as a destination: it is offered to sources, and opens no streams itself
                         └─ as neither ─→ closed 0

Name and role of an endpoint are those in the token, which control has sealed; they are never taken from elsewhere.
"""

from collections.abc import Callable
from typing import NoReturn

import attrs
import trio

from connet_trio.errors import Refused, RemoteProtocolError
from connet_trio.identity import certificate_key, open_client_authentication
from connet_trio.quic import CLIENT_TO_RELAY, Connection, authenticate, check_metadata
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Role
from connet_trio.records.relay import Authenticate, Authenticated
from connet_trio.relay.forwarding import Crossing, forward_stream
from connet_trio.wire import codecs


@attrs.frozen(kw_only=True)
class Admission:
    """What a client may be on this relay."""

    endpoint: str
    role: Role
    certificate_key: str
    metadata: str = ""


def judge_token(token: bytes, leaf: bytes, unseal_key: bytes | None) -> Admission:
    """What `token` entitles the holder of the certificate `leaf` (DER) to.

    Args:
      unseal_key: the key K of section 5.1; None before control has let this relay in.

    Raises:
      Refused: with the code and the very text the client is to be told.
    """
    if unseal_key is None:
        raise _refusal("authentication failed: no control verification key")
    try:
        payload = open_client_authentication(token, unseal_key)
    except RemoteProtocolError as exc:
        raise _refusal(str(exc)) from exc
    try:
        claim = codecs.CLIENT_AUTHENTICATION.decode(payload)
    except RemoteProtocolError as exc:
        raise _refusal("invalid authentication data") from exc
    if claim.endpoint is None:
        raise _refusal("invalid authentication data")  # ends the original (trap T12)
    if claim.certificate_key != certificate_key(leaf):
        raise _refusal("invalid certificate")
    return Admission(endpoint=claim.endpoint.name, role=claim.role, certificate_key=claim.certificate_key)


async def serve_client(connection: Connection, crossing: Crossing, unseal_key: Callable[[], bytes | None]) -> None:
    """Let a client in and serve its streams. The caller closes the connection when this returns.

    Args:
      unseal_key: the key that opens tokens now; it changes whenever control lets the relay in anew.

    Raises:
      PathLost, Refused: the client ended the connection, or it broke.
    """
    admission = await _admit(connection, crossing, unseal_key) if crossing.is_open else None
    if admission is None or admission.role is Role.UNKNOWN:
        return
    connection.raise_windows()
    registration = crossing.switchboard.handle_register(
        admission.endpoint, admission.role, admission.certificate_key, connection, admission.metadata
    )
    try:
        if admission.role is Role.SOURCE:
            await _serve_source(connection, admission.endpoint, crossing)
        else:
            await _serve_destination(connection)
    finally:
        crossing.switchboard.handle_remove(registration)


async def _admit(
    connection: Connection, crossing: Crossing, unseal_key: Callable[[], bytes | None]
) -> Admission | None:
    """Who the client is; None after it was turned away."""

    def judge(request: Authenticate) -> tuple[Admission, Authenticated]:
        admission = judge_token(request.authentication, connection.peer_certificate or b"", unseal_key())
        check_metadata(request.metadata)
        return attrs.evolve(admission, metadata=request.metadata), Authenticated(passes_on_resets=1)

    admitted = await authenticate(connection, CLIENT_TO_RELAY, judge, crossing.refusals)
    if admitted is None:
        return None
    admitted.stream.close()
    return admitted.who


async def _serve_source(connection: Connection, endpoint: str, crossing: Crossing) -> NoReturn:
    async with trio.open_nursery() as nursery:
        while True:
            stream = await connection.accept_stream()
            if crossing.is_open:
                nursery.start_soon(forward_stream, stream, endpoint, crossing)
            else:
                stream.abort()


async def _serve_destination(connection: Connection) -> NoReturn:
    while True:
        stream = await connection.accept_stream()
        stream.abort()  # destinations are only asked; left alone, it would hold their credit for good


def _refusal(text: str) -> Refused:
    return Refused(ErrorCode.AUTHENTICATION_FAILED, text)
