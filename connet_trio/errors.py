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


class PathLost(ConnetError):
    """A connection that worked is gone: `code` and `reason` are those of its close, `code` None without one."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Refused(ConnetError):
    """The other side answered with an error record, or closed the connection with one's code and text (trap T1)."""

    def __init__(self, code: ErrorCode | int, message: str) -> None:
        super().__init__(f"{message} ({code.name if isinstance(code, ErrorCode) else code})")
        self.code = code
        self.message = message


class StoreError(ConnetError):
    """The state directory cannot be used."""
