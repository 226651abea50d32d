"""A source: dials one of the destinations of its name, for each stream anew."""

import trio

from connet_trio.concurrency import AbortableStream
from connet_trio.endpoints.connecting import ANSWER_SECONDS, Dialled, connect_directly
from connet_trio.endpoints.endpoint import ClientContext, Endpoint
from connet_trio.endpoints.relay_encryption import PLAIN
from connet_trio.engine import Path
from connet_trio.errors import (
    ConnetError,
    DialFailed,
    NoActivePeers,
    PathLost,
    PeersUnreachable,
    Refused,
    RemoteProtocolError,
)
from connet_trio.quic import Connection, explain
from connet_trio.records.model import Role, Route
from connet_trio.records.peer import ClientAddresses, RelayEncryption
from connet_trio.wire import encode_proxy_header

SILENCE_SECONDS = 2.0
"""A path whose other end has not even acknowledged the request by then is dead: the next one is tried."""
SILENCE_ROUND_TRIPS = 8.0
"""But no sooner than after so many round trips."""


class Source(Endpoint):
    """Consumes a service. Made by `Client.add_source`."""

    def __init__(
        self,
        name: str,
        route: Route,
        dial_timeout: float | None,
        context: ClientContext,
        *,
        relay_encryptions: tuple[RelayEncryption, ...] = PLAIN,
    ) -> None:
        super().__init__(name, Role.SOURCE, route, context, relay_encryptions)
        self._attempt_seconds = ANSWER_SECONDS if dial_timeout is None else min(dial_timeout, ANSWER_SECONDS)

    async def dial(self, addresses: ClientAddresses | None = None) -> AbortableStream:
        """A stream that a destination has accepted; its local service may still turn out to be down.

        Where the destination wants a PROXY header, it has been sent.

        Every path is tried, the best first; each has `dial_timeout` seconds and never more than 5, and one from which
        nothing at all comes back 2. A path that does not answer becomes suspect and is tried last for a while.

        Args:
          addresses: of whoever this is dialled for; without them a PROXY header says that they are unknown.

        Raises:
          NoActivePeers: no destination can be reached at the moment.
          PeersUnreachable: none of them accepted.
          EndpointClosed: the source is closed.
        """
        self.check_open()
        candidates = self.known.paths.candidates(self.known.rtt_of, trio.current_time())
        if not candidates:
            await trio.lowlevel.checkpoint()
            raise NoActivePeers(f"no active destinations found for {self.label}")
        causes: list[ConnetError] = []
        for path in candidates:
            try:
                return await self._try(path, addresses)
            except (DialFailed, PathLost, Refused, RemoteProtocolError) as exc:
                causes.append(exc)
        reasons = "; ".join(map(str, causes))
        raise PeersUnreachable(f"cannot dial active destinations of {self.label}: {reasons}", tuple(causes))

    async def _try(self, path: Path, addresses: ClientAddresses | None) -> AbortableStream:
        connection = self.known.connection_of(path)
        if connection is None:
            raise PathLost(f"the path {self.log.describe_path(path)} is gone")
        stream: AbortableStream | None = None
        try:
            # one from which nothing comes, not even an acknowledgement, is given up sooner
            patience = max(SILENCE_SECONDS, SILENCE_ROUND_TRIPS * connection.smoothed_rtt)
            with connection.deadline(self._attempt_seconds, silent_seconds=patience):
                stream = await self._open(path, connection, addresses)
        except Refused:
            self.handle_answer(path)
            raise
        except BaseException:
            if stream is not None:  # cancelled just when it was accepted
                stream.abort()
            raise
        if stream is None:
            self.handle_no_answer(path)
            raise DialFailed(f"no answer {self.log.describe_path(path)}")
        self.handle_answer(path)
        return stream

    async def _open(self, path: Path, connection: Connection, addresses: ClientAddresses | None) -> AbortableStream:
        dialled = await self._connect(path, connection)
        header = encode_proxy_header(dialled.proxy, addresses)
        if header:
            try:
                await dialled.stream.send_all(header)
            except trio.BrokenResourceError as exc:
                dialled.stream.abort()
                raise explain(exc, dialled.carrier) from exc
            except BaseException:
                dialled.stream.abort()
                raise
        return dialled.stream

    async def _connect(self, path: Path, connection: Connection) -> Dialled:
        if path.kind.is_direct:
            return await connect_directly(connection)
        return await self.known.links[path.id].connect(connection)
