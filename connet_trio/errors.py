"""Exceptions that cross an API boundary, all under `ConnetError`.

Whose fault it is picks the class. As in trio, *closed* is what we did and *lost* is what happened to us.
"""

from connet_trio.records.error_code import ErrorCode


class ConnetError(Exception):
    """Anything connet_trio raises on purpose."""


class ConfigError(ConnetError):
    """A setting cannot be used; the text says which file, line and key, and what is accepted."""


class LocalProtocolError(ConnetError):
    """We tried to send what the protocol forbids: a bug in this program."""


class RemoteProtocolError(ConnetError):
    """The other side sent what the protocol forbids; its stream or connection is closed."""


class CertificateRejected(ConnetError):
    """The other side's certificate is not one we accept; the text says why."""


class DialFailed(ConnetError):
    """A connection could not be made; the text says to where and why."""


class BindFailed(ConnetError):
    """A local address cannot be listened on; the text says which and why. `in_use`: somebody else has the port."""

    def __init__(self, message: str, *, in_use: bool = False) -> None:
        super().__init__(message)
        self.in_use = in_use


class PathLost(ConnetError):
    """A connection that worked is gone; the text says how."""

    def __init__(
        self, message: str, *, code: int | None = None, reason: str = "", quic_error: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        """Application code of a close by the peer."""
        self.reason = reason
        """The text that came with it."""
        self.quic_error = quic_error
        """QUIC transport error, TLS alerts (0x100 and up) included."""


class Refused(ConnetError):
    """The other side answered with an error record, or closed the connection with one's code and text (trap T1)."""

    def __init__(self, code: ErrorCode | int, message: str) -> None:
        known = {entry.value: entry for entry in ErrorCode}.get(code, code)
        super().__init__(f"{message} ({known.name if isinstance(known, ErrorCode) else known})")
        self.code = known
        self.message = message


class StoreError(ConnetError):
    """The state directory cannot be used."""


class ConnectFailed(ConnetError):
    """A source could not reach a destination for one stream."""


class NoActivePeers(ConnectFailed):
    """No path to any destination stands at the moment."""


class PeersUnreachable(ConnectFailed):
    """Every path was tried and none led to a destination; `causes` has an error for each."""

    def __init__(self, message: str, causes: tuple[ConnetError, ...]) -> None:
        super().__init__(message)
        self.causes = causes


class EndpointClosed(ConnetError):
    """This endpoint has been closed, by leaving its client or by `close`."""
