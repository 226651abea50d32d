"""Clients: who is let in, and what their connections do (protocol section 4).

client connection ─┬─ authentication stream: its end
                   └─ one task for each stream: an endpoint announced, or relays asked for
"""

import logging
from collections.abc import Callable
from functools import partial
from operator import attrgetter

import trio

from connet_trio.control.client_stream import Client, ClientStream
from connet_trio.control.directory import Directory
from connet_trio.control.identities import Identities
from connet_trio.engine import AnnouncePace, ClientConnection, TokenTable
from connet_trio.errors import PathLost
from connet_trio.quic import (
    CLIENT_TO_CONTROL,
    Admitted,
    Connection,
    RefusalLog,
    authenticate,
    check_metadata,
    let_finish,
)
from connet_trio.records.control import Authenticate, Authenticated

logger = logging.getLogger(__name__)

ANNOUNCE_BURST = 20
"""Announcements of one endpoint that count at once: it announces itself anew with each relay that it reaches."""
ANNOUNCES_PER_SECOND = 2.0


class ClientSessions:
    """The connections of all clients."""

    def __init__(
        self, *, tokens: TokenTable, identities: Identities, directory: Directory, entropy: Callable[[int], bytes]
    ) -> None:
        """Let in whom `tokens` says, and tell them what `directory` holds."""
        self._tokens = tokens
        self._identities = identities
        self._directory = directory
        self._entropy = entropy
        self._refusals = RefusalLog()
        self._live: dict[ClientConnection, Client] = {}

    def live(self) -> list[Client]:
        """Every connection that has authenticated, ordered by client and age."""
        connections = sorted(self._live, key=attrgetter("client_id", "connection_id"))
        return [self._live[connection] for connection in connections]

    async def serve(self, connection: Connection) -> None:
        """Serve one connection to its end."""

        def judge(request: Authenticate) -> tuple[Client, Authenticated]:
            return self._judge(connection, request)

        admitted = await authenticate(connection, CLIENT_TO_CONTROL, judge, self._refusals)
        if admitted is None:
            return
        connection.raise_windows()
        client = admitted.who
        client_id = client.connection.client_id
        self._live[client.connection] = client
        logger.info("client %.8s connected from %s, metadata %r", client_id, client.address, client.metadata)
        try:
            lost = await self._serve_streams(connection, admitted)
            logger.info("client %.8s from %s is gone: %r", client_id, client.address, str(lost))
        finally:
            del self._live[client.connection]
            self._directory.disconnect(client.connection)

    def _judge(self, connection: Connection, request: Authenticate) -> tuple[Client, Authenticated]:
        address = connection.remote_address
        grant = self._tokens.authenticate(request.token, address.address)
        check_metadata(request.metadata)
        client_id, reconnect_token = self._identities.recognize(request.reconnect_token)
        client = Client(
            connection=ClientConnection(client_id, self._identities.new_connection_id()),
            address=address,
            metadata=request.metadata,
            grant=grant,
        )
        return client, Authenticated(public=address, reconnect_token=reconnect_token)

    async def _serve_streams(self, connection: Connection, admitted: Admitted[Client]) -> PathLost:
        client_stream = partial(
            ClientStream,
            version=admitted.version,
            client=admitted.who,
            directory=self._directory,
            announcing={},
            pace=AnnouncePace(burst=ANNOUNCE_BURST, per_second=ANNOUNCES_PER_SECOND),
            entropy=self._entropy,
        )
        # Left to end by themselves: one that the client finished before it closed the connection is withdrawn at once.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(let_finish, admitted.stream)
            while True:
                try:
                    stream = await connection.accept_stream()
                except PathLost as lost:
                    return lost
                nursery.start_soon(client_stream(stream).serve)
