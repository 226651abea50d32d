"""Relay: which source reaches which destination (protocol sections 6.2 and 6.3).

Generic over the connection handle, which is only carried. Always: one registration for an endpoint, role and
certificate key, the latest; removing an older one leaves it alone.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role

C = TypeVar("C")

LISTED_FAILURES = 16
"""How many failures error 501 quotes; destinations write these texts, and one frame has to hold them."""

LISTED_TEXT_CHARACTERS = 256
"""How much of one failure's text error 501 quotes."""


@attrs.frozen(eq=False, kw_only=True)
class Registration(Generic[C]):
    """One authenticated connection of one endpoint; equal to itself only."""

    endpoint: str
    role: Role
    certificate_key: str
    """Of the endpoint's client leaf (`certkey`)."""
    connection: C
    metadata: str


class Switchboard(Generic[C]):
    """The endpoints connected to this relay."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, Role], dict[str, Registration[C]]] = {}

    def handle_register(
        self, endpoint: str, role: Role, certificate_key: str, connection: C, metadata: str
    ) -> Registration[C]:
        """Enter an authenticated connection, in place of an older one with the same key.

        Returns:
          what to hand to `handle_remove` when the connection ends.
        """
        registration = Registration(
            endpoint=endpoint, role=role, certificate_key=certificate_key, connection=connection, metadata=metadata
        )
        self._groups.setdefault((endpoint, role), {})[certificate_key] = registration
        return registration

    def handle_remove(self, registration: Registration[C]) -> None:
        """Take out a registration whose connection has ended; one that was replaced is out already."""
        key = (registration.endpoint, registration.role)
        group = self._groups.get(key, {})
        if group.get(registration.certificate_key) is not registration:
            return
        del group[registration.certificate_key]
        if not group:
            del self._groups[key]

    def destinations(self, endpoint: str, rtt_of: Callable[[C], float]) -> list[Registration[C]]:
        """The destinations of `endpoint` in the order to try them: ascending smoothed round-trip time.

        Args:
          rtt_of: a connection's smoothed round-trip time in seconds.
        """
        group = self._groups.get((endpoint, Role.DESTINATION), {})
        return sorted(group.values(), key=lambda registration: rtt_of(registration.connection))

    def entries(self) -> list[Registration[C]]:
        """Every registration, ordered by endpoint, role and certificate key."""
        everything = (registration for group in self._groups.values() for registration in group.values())
        return sorted(everything, key=lambda entry: (entry.endpoint, entry.role, entry.certificate_key))


def destination_not_found() -> Error:
    """What a source is told when its endpoint has no destination here."""
    return Error(ErrorCode.DESTINATION_NOT_FOUND, "could not find destination")


def dial_failed_error(failures: Sequence[Error]) -> Error:
    """What a source is told when no destination accepted.

    Args:
      failures: what destinations answered, in the order tried. Those that failed without an `Error` are not listed.
    """
    quoted = [
        f"{failure.message[:LISTED_TEXT_CHARACTERS]} ({failure.code:d})" for failure in failures[:LISTED_FAILURES]
    ]
    if len(failures) > LISTED_FAILURES:
        quoted.append(f"and {len(failures) - LISTED_FAILURES} more")
    return Error(ErrorCode.DESTINATION_DIAL_FAILED, f"could not dial destinations: [{' '.join(quoted)}]")
