"""Signed messages over one UDP socket, with a line of log for each datagram.

What nobody with the secret has sent is dropped without an answer. netpunch passes it on as if something had been said,
so that strangers keep its peers awake and get a datagram for each of theirs.
"""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from connet_trio.errors import DialFailed, RemoteProtocolError
from connet_trio.quic import DatagramSocket, NetworkPath, datagrams_of
from connet_trio.records.model import AddressPort
from connet_trio.records.punch import PunchMessage, StrangerAnswer, StrangerQuestion
from connet_trio.wire.punch import encode_body
from connet_trio.wire.punch_seal import STRANGERS_KEY, UnsignableBody, WrongSignature, seal, unseal

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
Heard = TypeVar("Heard", bound=PunchMessage)

MAX_PATHS = 1024
"""Local addresses remembered, each with the remote one that was heard through it."""

BAD_DATAGRAM_LOG_SECONDS = 10.0
"""How often, at most, datagrams that are nobody's are worth a line."""


@attrs.frozen
class Signed(Generic[Heard]):
    """Somebody with the secret says `message`."""

    message: Heard
    source: AddressPort


@attrs.frozen
class FromStranger:
    """Something signed with the key of strangers: their question to control, or control's answer to them."""

    source: AddressPort


@attrs.frozen
class WronglySigned:
    """Somebody has another secret, or none."""

    source: AddressPort


Received = Signed[Heard] | FromStranger | WronglySigned


class Mailbox(Generic[Heard]):
    """What one socket sends and receives. The caller owns the socket."""

    def __init__(
        self,
        socket: DatagramSocket,
        *,
        secret: bytes,
        decode: Callable[[bytes], Heard],
        log: Log,
        logs_signatures: bool = False,
    ) -> None:
        """
        Args:
          decode: `decode_for_control` or `decode_for_peer`.
          logs_signatures: whether whole datagrams are logged, and bodies otherwise.
        """
        self._socket = socket
        self._secret = secret
        self._decode = decode
        self._log = log
        self._logs_signatures = logs_signatures
        self._paths: dict[AddressPort, NetworkPath] = {}
        self._bad = 0
        self._bad_logged_at = float("-inf")

    def receive(self, now: float) -> list[Received[Heard]]:
        """What has arrived, at `now` (seconds, monotonic); what is no message at all is left out."""
        opened = (self._open(datagram, path, now) for datagram, path in datagrams_of(self._socket.receive_batch()))
        return [each for each in opened if each is not None]

    def send(self, message: PunchMessage, to: AddressPort) -> None:
        """Send a message; one that cannot be signed, or an address that this socket does not reach, is logged."""
        body = encode_body(message)
        key = STRANGERS_KEY if isinstance(message, StrangerQuestion | StrangerAnswer) else self._secret
        try:
            datagram, path = seal(key, body), self._paths.get(to) or self._socket.path_to(to)
        except (UnsignableBody, DialFailed) as exc:
            self._log.warning("write: %s", exc)
            return
        self._log_datagram("write", datagram, body, "->", to)
        self._socket.send_batch([(datagram, path)])

    def _open(self, datagram: bytes, path: NetworkPath, now: float) -> Received[Heard] | None:
        source = path.remote_address
        try:
            body = unseal(self._secret, datagram)
        except WrongSignature as exc:
            if _is_strangers(datagram):
                self._remember(source, path)
                return FromStranger(source)
            self._log_bad(datagram, source, exc, now)
            return WronglySigned(source)
        except RemoteProtocolError as exc:
            self._log_bad(datagram, source, exc, now)
            return None
        self._log_datagram("read", datagram, body, "<-", source)
        try:
            message = self._decode(body)
        except RemoteProtocolError as exc:
            self._log.warning("read: %s from %s: ignored", exc, source)
            return None
        self._remember(source, path)
        return Signed(message, source)

    def _remember(self, source: AddressPort, path: NetworkPath) -> None:
        """Answer from the local address that was written to, which the other side's NAT expects."""
        self._paths.pop(source, None)
        if len(self._paths) >= MAX_PATHS:
            del self._paths[next(iter(self._paths))]
        self._paths[source] = path

    def _log_datagram(self, verb: str, datagram: bytes, body: bytes, arrow: str, other: AddressPort) -> None:
        self._log.debug("%s: %s %s %s", verb, _quoted(datagram if self._logs_signatures else body), arrow, other)

    def _log_bad(self, datagram: bytes, source: AddressPort, reason: RemoteProtocolError, now: float) -> None:
        if self._logs_signatures:
            self._log.debug("read: %s <- %s", _quoted(datagram), source)
        self._bad += 1
        if now - self._bad_logged_at < BAD_DATAGRAM_LOG_SECONDS:
            return
        self._log.warning("read: %s from %s: ignored (%d such so far); another secret?", reason, source, self._bad)
        self._bad_logged_at = now


def _is_strangers(datagram: bytes) -> bool:
    try:
        return unseal(STRANGERS_KEY, datagram) in (encode_body(StrangerQuestion()), encode_body(StrangerAnswer()))
    except RemoteProtocolError:
        return False


def _quoted(data: bytes) -> str:
    """As Go's %q writes it, except that all beyond ASCII is `\\x…`: one line, whatever is in it."""
    return (
        '"'
        + "".join(_ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)
        + '"'
    )


_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", 10: "\\n", 13: "\\r", 9: "\\t"}
