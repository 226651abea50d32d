"""What an endpoint needs of a session with control."""

import attrs

from connet_trio.quic import Connection, RecordStream
from connet_trio.wire import WireVersion


@attrs.frozen(kw_only=True)
class ControlLink:
    """One authenticated connection to control."""

    connection: Connection
    version: WireVersion

    async def open_records(self) -> RecordStream:
        """A new stream to control.

        Raises:
          PathLost: the connection is over.
        """
        return RecordStream(await self.connection.open_stream(), self.version)
