"""A source: dials one of the destinations of its name, for each stream anew."""

from functools import partial

import trio

from connet_trio.endpoints.connecting import ANSWER_SECONDS, connect_through_relay
from connet_trio.endpoints.endpoint import ClientContext, Endpoint
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
from connet_trio.quic import Stream
from connet_trio.records.model import Role, Route
from connet_trio.wire import ConnectionKind, wire_version


class Source(Endpoint):
    """Consumes a service. Made by `Client.add_source`."""

    def __init__(self, name: str, route: Route, dial_timeout: float | None, context: ClientContext) -> None:
        super().__init__(name, Role.SOURCE, route, context)
        self._attempt_seconds = ANSWER_SECONDS if dial_timeout is None else min(dial_timeout, ANSWER_SECONDS)

    async def dial(self) -> Stream:
        """A stream that a destination has accepted; its local service may still turn out to be down.

        Every path is tried, the best first; each has `dial_timeout` seconds and never more than 5. A path that does
        not answer becomes suspect and is tried last for a while.

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
                return await self._try(path)
            except (DialFailed, PathLost, Refused, RemoteProtocolError) as exc:
                causes.append(exc)
        reasons = "; ".join(map(str, causes))
        raise PeersUnreachable(f"cannot dial active destinations of {self.label}: {reasons}", tuple(causes))

    async def _try(self, path: Path) -> Stream:
        link = self.known.links.get(path.id)
        if link is None or link.connection is None:
            raise PathLost(f"relay {path.id[:8]} is gone")
        version = wire_version(ConnectionKind.CLIENT_TO_RELAY, link.connection.alpn)
        connect = partial(connect_through_relay, link.connection, version)
        with trio.move_on_after(self._attempt_seconds):
            try:
                stream = await connect()
            except Refused:
                self.handle_answer(path)
                raise
            self.handle_answer(path)
            return stream
        self.handle_no_answer(path)
        raise DialFailed(f"no answer through relay {link.label} in {self._attempt_seconds:g} s")
