"""A source: dials one of the destinations of its name, for each stream anew."""

import math
from random import Random

import trio

from connet_trio.concurrency import AbortableStream
from connet_trio.endpoints.connecting import ANSWER_SECONDS, Dialled, connect_directly
from connet_trio.endpoints.endpoint import ClientContext, Endpoint
from connet_trio.endpoints.relay_encryption import PLAIN
from connet_trio.engine import NO_BALANCING, Attempt, BalancePolicy, Balancer, Balancing, Path
from connet_trio.errors import (
    ConnetError,
    DialFailed,
    NoActivePeers,
    PathLost,
    PeersUnreachable,
    Refused,
    RemoteProtocolError,
)
from connet_trio.quic import Connection, Stream, explain
from connet_trio.records.model import Role, Route
from connet_trio.records.peer import RelayEncryption
from connet_trio.records.proxy import ClientAddresses
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
        balancing: Balancing = NO_BALANCING,
    ) -> None:
        super().__init__(name, Role.SOURCE, route, context, relay_encryptions)
        self._balancer = Balancer(balancing, Random(context.surroundings.luck.random()).random)
        self._running: dict[str, set[Stream]] = {}  # by client id of the destination, where that is asked for
        self._attempt_seconds = ANSWER_SECONDS if dial_timeout is None else min(dial_timeout, ANSWER_SECONDS)

    async def dial(self, addresses: ClientAddresses | None = None) -> AbortableStream:
        """A stream that a destination has accepted; its local service may still turn out to be down.

        Where the destination wants a PROXY header, it has been sent.

        Which paths are tried, and in which order, is decided in `engine.balancing`. Each has `dial_timeout` seconds and
        never more than 5, and one from which nothing at all comes back 2. A path that does not answer becomes suspect
        and is tried last for a while.

        Args:
          addresses: of whoever this is dialled for; without them a PROXY header says that they are unknown.

        Raises:
          NoActivePeers: no destination can be reached at the moment.
          PeersUnreachable: none of them accepted.
          EndpointClosed: the source is closed.
        """
        self.check_open()
        attempts = self._attempts()
        if not attempts:
            await trio.lowlevel.checkpoint()
            raise NoActivePeers(f"no active destinations found for {self.label}")
        causes: list[ConnetError] = []
        seconds = self._balancer.balancing.seconds
        with trio.move_on_after(math.inf if seconds is None else seconds) as time:
            for attempt in attempts:
                began = trio.current_time()
                try:
                    return await self._try(attempt, addresses)
                except (DialFailed, PathLost, Refused, RemoteProtocolError) as exc:
                    causes.append(exc)
        if time.cancelled_caught:
            causes.append(self._note_out_of_time(attempt.path, trio.current_time() - began, seconds))
        reasons = "; ".join(map(str, causes))
        raise PeersUnreachable(f"cannot dial active destinations of {self.label}: {reasons}", tuple(causes))

    def _attempts(self) -> list[Attempt]:
        paths, now = self.known.paths, trio.current_time()
        candidates = paths.candidates(self.known.rtt_of, now)
        if self._balancer.balancing.policy is None:
            relays_of: dict[str, tuple[str, ...]] = {}
        else:
            relays_of = {
                peer_id: remote.peer.relay_ids if remote.peer else () for peer_id, remote in paths.peers.items()
            }
            for gone in self._running.keys() - relays_of.keys():
                self._count_streams(gone)
        return self._balancer.attempts(
            candidates,
            relays_of,
            is_suspect=lambda path: paths.is_suspect(path, now),
            streams_of=self._count_streams,
        )

    def _note_out_of_time(self, path: Path, waited: float, seconds: float | None) -> DialFailed:
        """The time for all attempts is over; the last of them may have had some, and got no answer in it."""
        if waited >= SILENCE_ROUND_TRIPS * self.known.rtt_of(path):
            self.handle_no_answer(path)
        return DialFailed(f"no answer {self.log.describe_path(path)} until the {seconds:g} s of lb-retry-max were over")

    def _count_streams(self, peer_id: str) -> int:
        running = {stream for stream in self._running.pop(peer_id, ()) if not stream.is_over}
        if running:
            self._running[peer_id] = running
        return len(running)

    async def _try(self, attempt: Attempt, addresses: ClientAddresses | None) -> AbortableStream:
        path = attempt.path
        connection = self.known.connection_of(path)
        if connection is None:
            raise PathLost(f"the path {self.log.describe_path(path)} is gone")
        dialled: Dialled | None = None
        try:
            # one from which nothing comes, not even an acknowledgement, is given up sooner
            patience = max(SILENCE_SECONDS, SILENCE_ROUND_TRIPS * connection.smoothed_rtt)
            with connection.deadline(self._attempt_seconds, silent_seconds=patience):
                dialled = await self._open(path, connection, addresses)
        except Refused:
            self.handle_answer(path)
            raise
        except BaseException:
            if dialled is not None:  # cancelled just when it was accepted
                dialled.stream.abort()
            raise
        if dialled is None:
            self.handle_no_answer(path)
            raise DialFailed(f"no answer {self.log.describe_path(path)}")
        self.handle_answer(path)
        if attempt.peer_id is not None and self._balancer.balancing.policy is BalancePolicy.LEAST_CONNS:
            self._running.setdefault(attempt.peer_id, set()).add(dialled.carrier)
        return dialled.stream

    async def _open(self, path: Path, connection: Connection, addresses: ClientAddresses | None) -> Dialled:
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
        return dialled

    async def _connect(self, path: Path, connection: Connection) -> Dialled:
        if path.kind.is_direct:
            return await connect_directly(connection)
        return await self.known.links[path.id].connect(connection)
