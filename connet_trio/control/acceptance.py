"""What control takes from one side to hand on to others, and how much of it.

Every word kept here is repeated to everybody concerned, so each has a limit, whatever its frame had room for.
"""

from collections.abc import Iterable, Iterator

import attrs

from connet_trio.errors import CertificateRejected, Refused
from connet_trio.identity import parse_certificate
from connet_trio.records.control import Peer
from connet_trio.records.error_code import ErrorCode

MAX_CERTIFICATE_BYTES = 1 << 14
MAX_DIRECTS = 256
MAX_RELAY_IDS = 256
MAX_RELAY_ID_CHARACTERS = 128
MAX_RELAY_IDS_BYTES = 1 << 13
"""All relay ids of one announcement; 150 of our own fit."""


def accept_peer(name: str, peer: Peer | None) -> Peer:
    """What others are told of an announced endpoint: its first addresses and relays, as many as we keep.

    Raises:
      Refused: it has no two certificates.
    """
    if peer is None:
        raise Refused(ErrorCode.ANNOUNCE_VALIDATION_FAILED, f"'{name}' is announced without a peer")
    for der, side, code in (
        (peer.client_certificate, "client", ErrorCode.ANNOUNCE_INVALID_CLIENT_CERTIFICATE),
        (peer.server_certificate, "server", ErrorCode.ANNOUNCE_INVALID_SERVER_CERTIFICATE),
    ):
        try:
            check_certificate(der)
        except CertificateRejected as exc:
            raise Refused(code, f"'{name}' {side} cert is invalid") from exc
    relay_ids = tuple(_first_relay_ids(peer.relay_ids))
    return attrs.evolve(peer, directs=peer.directs[:MAX_DIRECTS], relay_ids=relay_ids)


def check_certificate(der: bytes) -> None:
    """Check a leaf.

    Raises:
      CertificateRejected: it is no certificate, or too long for one.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise CertificateRejected(f"{len(der)} bytes, at most {MAX_CERTIFICATE_BYTES}")
    parse_certificate(der)


def _first_relay_ids(relay_ids: Iterable[str]) -> Iterator[str]:
    count, room = 0, MAX_RELAY_IDS_BYTES
    for relay_id in relay_ids:
        if len(relay_id) > MAX_RELAY_ID_CHARACTERS:
            continue
        count, room = count + 1, room - len(relay_id.encode())
        if count > MAX_RELAY_IDS or room < 0:
            return
        yield relay_id
