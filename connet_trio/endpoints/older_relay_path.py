"""A second connection of a source to a relay of the original, in wire version 1 alone (trap T2, part d).

The original's relay frames a request for the destination as its source did, so a source that speaks version 2 there
does not reach a destination of connet 0.13 to 0.15; one whose connection was made with the older protocol name does.
"""

from collections.abc import Awaitable, Callable

import trio

from connet_trio.endpoints.connecting import Dialled, connect_through_relay
from connet_trio.endpoints.relay_encryption import NotEncrypted, Offer, plain_offer
from connet_trio.endpoints.retiring import retire
from connet_trio.errors import ConnetError, DialFailed, PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection
from connet_trio.records.error_code import ErrorCode
from connet_trio.wire import ConnectionKind, WireVersion, protocol_names, wire_version

OLDER_NAMES = tuple(
    name
    for name in protocol_names(ConnectionKind.CLIENT_TO_RELAY)
    if wire_version(ConnectionKind.CLIENT_TO_RELAY, name) is WireVersion.V1
)
"""What such a connection offers."""


class OlderRelayPath:
    """Dialled when first needed, and again when lost; `preferred` once it has led to a destination."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Connection]],
        *,
        make_offer: Callable[[], Offer] = plain_offer,
        preferred: bool = False,
    ) -> None:
        """`dial` makes an authenticated connection that speaks version 1; raises as `Transport.dial`."""
        self.preferred = preferred
        self.make_offer = make_offer
        self._dial = dial
        self._connection: Connection | None = None
        self._farewell: tuple[int, str] | None = None
        self._lock = trio.Lock()

    async def connect(self) -> Dialled:
        """A stream that a destination has accepted; raises as `connect_through_relay`, and DialFailed."""
        async with self._lock:
            connection = self._connection
            if connection is None or connection.is_closed:
                self._check_open()
                connection = await self._dial()
                if self._farewell is not None:  # ended while it was dialled
                    connection.close(*self._farewell)
                self._check_open()
                self._connection = connection
        return await connect_through_relay(connection, WireVersion.V1, self.make_offer())

    def close(self, farewell: tuple[int, str]) -> None:
        """End it, with the connection it stands in for, by the code and text given."""
        self._farewell = farewell
        if self._connection is not None:
            self._connection.close(*farewell)

    async def retire(self, farewell: tuple[int, str]) -> None:
        """Dial it no more, and close it when the streams that run on it have ended."""
        self._farewell = farewell
        if self._connection is not None:
            await retire(self._connection, farewell)

    def _check_open(self) -> None:
        if self._farewell is not None:
            raise PathLost("the connection to the relay is gone")


async def connect_either_way(newer: Connection, older: OlderRelayPath) -> Dialled:
    """A stream over the connection that last led to a destination, or over the other when none understood the first.

    Raises as `OlderRelayPath.connect`, for the first of the two.
    """

    async def connect_newer() -> Dialled:
        return await connect_through_relay(newer, WireVersion.V2, older.make_offer())

    older_first = older.preferred
    first, second = (older.connect, connect_newer) if older_first else (connect_newer, older.connect)
    try:
        return await first()
    except (DialFailed, PathLost, Refused, RemoteProtocolError) as exc:
        if not (_may_be_misunderstood(exc) or (older_first and isinstance(exc, DialFailed | PathLost))):
            raise
        try:
            stream = await second()
        except (DialFailed, PathLost, Refused, RemoteProtocolError):
            raise exc from None
    older.preferred = not older_first  # others may have found out meanwhile
    return stream


def _may_be_misunderstood(error: ConnetError) -> bool:
    """Whether an attempt failed as it does when the destination takes the frame for something else.

    A destination that understood and refused is quoted in the brackets of the relay's answer.
    """
    if isinstance(error, Refused):
        return error.code == ErrorCode.DESTINATION_DIAL_FAILED and error.message.rstrip().endswith("[]")
    return isinstance(error, RemoteProtocolError) and not isinstance(error, NotEncrypted)
