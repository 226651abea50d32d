"""A UDP socket and every QUIC connection on it: dialled and accepted, driven by three tasks, however many there are.

    open_transport ── run: turns for what has arrived ─┬─ _run_marked: turns for what is marked
                                                       └─ _run_timers: turns for what is due, from one heap

Everybody else changes a connection's core and marks it; the next turn sends. A turn takes what has arrived, feeds it
grouped by connection, fires what is due, and lets each marked connection build one burst. A connection with more to
send is marked again, so that reading stays between its bursts. A turn never waits, so no two of them ever meet.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import assert_never

import trio

from connet_trio.concurrency import outlasting, single_error
from connet_trio.engine import Candidate
from connet_trio.errors import DialFailed
from connet_trio.quic.congestion import DEFAULT_CONGESTION_CONTROL, CongestionControl
from connet_trio.quic.connection import Connection
from connet_trio.quic.core import Core, reset_token
from connet_trio.quic.datagram_run import Batch, DatagramRun, count_datagrams, datagrams_of
from connet_trio.quic.dial_failures import NoAnswer
from connet_trio.quic.ending import UNHEARD_REASON
from connet_trio.quic.engine_choice import DEFAULT_QUIC_ENGINE, QuicEngine
from connet_trio.quic.fast import FastCore
from connet_trio.quic.handshake import Dialing, Listening
from connet_trio.quic.limits import (
    ACCEPT_QUEUE,
    HANDSHAKE_IDLE_SECONDS,
    LARGEST_DATAGRAM_BYTES,
    MAX_DATAGRAM_BYTES,
    RESET_BYTES,
    RESET_TOKEN_BYTES,
)
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.quic.routing import FirstInitial, ForConnection, Forgotten, ForReset, Noise, RoutingTable
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.quic.timers import TimerHeap
from connet_trio.records.model import AddressPort

TIMER_SLACK = 1e-6
"""Seconds. At the exact deadline the core's sums of floats may find nothing due and ask for the same instant again,
which under a virtual clock is for ever."""
TURNS_PER_TICK = 4
"""Turns before other tasks get the thread: a tick of trio costs as much as ten packets."""
BUSY_DATAGRAMS = 8
"""When fewer have arrived, the next ones are waited for instead of being looked for at once."""
LONGEST_TICK_SECONDS = 0.002
"""After which they get it anyway: a hostile peer's packets may cost a hundred times as much as others."""
RESETS_PER_SECOND = 100
"""Stateless resets we send at most: each answers a datagram anybody can forge."""
HANDSHAKES_AT_ONCE = 1024
"""Listener's handshakes under way. The next Initial takes the place of the oldest whose dialer has not shown that it
gets our answers, as the sender of a forged address never will; without such a one it is dropped. Either tries again."""
CLOSING = (0, "connection closed")


@asynccontextmanager
async def open_transport(
    socket: DatagramSocket,
    *,
    wall_clock: Callable[[], float],
    reset_key: bytes | None = None,
    listening: Listening | None = None,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
    congestion_control: CongestionControl = DEFAULT_CONGESTION_CONTROL,
    quic_engine: QuicEngine = DEFAULT_QUIC_ENGINE,
    max_packet_size: int = LARGEST_DATAGRAM_BYTES,
) -> AsyncIterator["Transport"]:
    """Drive QUIC over `socket`, which the transport owns from here on, for the length of a block.

    Leaving closes what is still open with code 0 and tells each peer once.

    Args:
      wall_clock: Unix seconds, for the dates of certificates.
      reset_key: 32 bytes that outlive the process, so that peers notice a restart at once; None does without.
      listening: how to answer those who dial; None ignores them.
      congestion_control: of what this side sends.
      quic_engine: what drives the connections.
      max_packet_size: bytes of UDP payload, one of `PACKET_SIZES`: up to there, the MTU of each path is searched for.
    """
    transport = Transport(
        socket,
        wall_clock=wall_clock,
        reset_key=reset_key,
        listening=listening,
        entropy=entropy,
        congestion_control=congestion_control,
        engine=FastCore if quic_engine is QuicEngine.FAST else Core,
        max_packet_size=max_packet_size,
    )
    try:
        with single_error():
            async with outlasting(transport.run):  # the pump carries the goodbyes of the block
                try:
                    yield transport
                finally:
                    transport.close_all(*CLOSING)
    finally:
        socket.close()


class Transport:
    """One UDP socket that dials and listens; made by `open_transport`."""

    def __init__(
        self,
        socket: DatagramSocket,
        *,
        wall_clock: Callable[[], float],
        reset_key: bytes | None,
        listening: Listening | None,
        entropy: Callable[[int], bytes],
        engine: type[Core],
        congestion_control: CongestionControl,
        max_packet_size: int,
    ) -> None:
        self._socket = socket
        self._wall_clock = wall_clock
        self._reset_key = reset_key
        self._entropy = entropy
        self._engine = engine
        self._congestion_control = congestion_control
        self._table = RoutingTable()
        self._timers: TimerHeap[Connection] = TimerHeap()
        self._marked: dict[Connection, None] = {}
        self._wake = trio.Event()
        self._nap = trio.CancelScope()
        self._handshakes: dict[Connection, float] = {}
        self._unproved: dict[Connection, None] = {}  # those of them whose address may be forged
        self._largest_datagram = max_packet_size if socket.forbids_fragments else MAX_DATAGRAM_BYTES
        self._accepted, self._to_accept = trio.open_memory_channel[Connection](ACCEPT_QUEUE)
        self._resets_left, self._resets_since = RESETS_PER_SECOND, 0.0
        self.listening = listening
        """May be replaced while running; handshakes under way keep what they began with."""

    @property
    def local_address(self) -> AddressPort:
        """The address and port of the socket."""
        return self._socket.local_address

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Every connection not yet over, closing ones included."""
        return tuple(self._table)

    async def dial(self, remote: AddressPort, dialing: Dialing, *, zone: int = 0) -> Connection:
        """Make a connection; returns when the handshake is complete on this side.

        The listener may still refuse our certificate: only an answer on a stream proves that it did not.

        Args:
          zone: the interface, by number, of a link-local IPv6 address.

        Raises:
          NoAnswer: nobody answered within twice the idle time.
          DialFailed: the handshake failed, or the socket has no such address family. Both say where and why.
        """
        core = self._engine(
            dialing=dialing,
            reset_key=self._reset_key,
            wall_now=self._wall_clock(),
            congestion_control=self._congestion_control,
            luck=self._luck,
            largest_datagram=self._largest_datagram,
        )
        path = self._socket.path_to(remote, zone=zone)
        connection = Connection(core, self, remote_address=path.remote_address, now=trio.current_time())
        core.connect(path, now=trio.current_time())
        self.route(core.host_cid, connection)
        self.mark(connection)
        began = trio.current_time()
        try:
            with trio.move_on_after(2 * dialing.handshake_idle_seconds):
                await connection.wait_handshake()
        except BaseException:
            connection.close(0, "dial cancelled")
            raise
        if connection.is_established:
            return connection
        failure = _dial_failure(connection, Candidate(remote, zone), trio.current_time() - began)
        connection.close(0, "handshake timeout")
        raise failure from core.rejection

    async def accept(self) -> Connection:
        """The next connection whose handshake is complete, the dialer's certificate judged."""
        return await self._to_accept.receive()

    async def accept_batch(self) -> list[Connection]:
        """All that `accept` would return without waiting again, at least one.

        A waiting task runs once a tick, in which several handshakes may complete: one by one, they overfill the queue.
        """
        accepted = [await self._to_accept.receive()]
        with suppress(trio.WouldBlock):
            while True:
                accepted.append(self._to_accept.receive_nowait())
        return accepted

    async def check_alive(self, seconds: float) -> None:
        """Ask every connection for a sign of life, and abandon those that give none within `seconds`.

        For when a machine wakes up, or its network has changed: timers know nothing of the time it slept. Returns when
        each has answered or is over; handshakes under way are left alone.
        """
        async with trio.open_nursery() as nursery:
            for connection in self.connections:
                if connection.is_established:
                    # begins a tick later, when `run` has read what came before: that is no answer
                    nursery.start_soon(self._check_alive, connection, seconds)

    # --- Router, for connections

    def mark(self, connection: Connection) -> None:
        """`connection` may have something to send."""
        if connection not in self._marked:
            self._marked[connection] = None
            self._wake.set()

    def route(self, connection_id: bytes, connection: Connection) -> None:
        """Datagrams for this ID go to `connection`."""
        self._table.add(connection_id, connection)

    def unroute(self, connection_id: bytes) -> None:
        """They no longer do."""
        self._table.remove_id(connection_id)

    def route_resets(self, tokens: frozenset[bytes], connection: Connection) -> None:
        """These tokens, and no others, reset `connection`."""
        if connection in self._table:
            self._table.set_tokens(tokens, connection)

    # --- the pump

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry datagrams and timers for every connection of this socket. Never returns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_marked)
            nursery.start_soon(self._run_timers)
            task_status.started()
            while True:
                await self._socket.wait_readable()
                self._turns()

    async def _run_marked(self) -> None:
        """Turns for what is marked. To wake a task that waits for the socket itself would cost four times as much."""
        while True:
            if self._marked:
                await trio.lowlevel.checkpoint()
                self._turns()
            else:
                self._wake = trio.Event()
                await self._wake.wait()
                self._turn([], trio.current_time() + TIMER_SLACK)

    async def _run_timers(self) -> None:
        """Turns for what is due. Deadlines come earlier with nearly each packet, and hardly ever are reached."""
        while True:
            with trio.CancelScope(deadline=self._next_deadline()) as self._nap:
                await trio.sleep_forever()
            self._turn([], trio.current_time() + TIMER_SLACK)

    def _turns(self) -> None:
        until = trio.current_time() + LONGEST_TICK_SECONDS
        for _ in range(TURNS_PER_TICK):
            received = self._socket.receive_batch()
            if not received and not self._marked:
                break
            self._turn(received, trio.current_time() + TIMER_SLACK)
            if (count_datagrams(received) < BUSY_DATAGRAMS and not self._marked) or trio.current_time() > until:
                break

    def _turn(self, received: Sequence[Datagram | DatagramRun], now: float) -> None:
        self._deliver(received, now)
        self._expire_handshakes(now)
        for connection in self._timers.due(now):
            connection.fire_timers(now)
            self._marked[connection] = None
        marked, self._marked = self._marked, {}
        outgoing: Batch = []
        for connection in marked:
            outgoing += connection.collect(now)
            if connection.core.terminated:
                self._forget(connection)
                continue
            # armed even when due now: an acknowledgement that resets the probe backoff puts the timer into the past,
            # and only the heap fires timers
            if self._timers.arm(connection) <= now or connection.core.has_more:
                self._marked[connection] = None
        if outgoing:
            self._socket.send_batch(outgoing)
        if self._marked:
            self._wake.set()
        deadline = self._next_deadline()
        if deadline < self._nap.deadline:
            self._nap.deadline = deadline

    def _deliver(self, received: Sequence[Datagram | DatagramRun], now: float) -> None:
        batches: dict[Connection, Batch] = {}
        for item in received:
            connection = self._table.connection_of_run(item) if isinstance(item, DatagramRun) else None
            if connection is not None:
                batches.setdefault(connection, []).append(item)
                continue
            for datagram in datagrams_of((item,)):
                connection = self._connection_for(datagram, now)
                if connection is not None:
                    batches.setdefault(connection, []).append(datagram)
        for connection, batch in batches.items():
            connection.receive_batch(batch, now)
            self._marked[connection] = None
            if connection in self._handshakes:
                self._settle_handshake(connection)

    def _connection_for(self, datagram: Datagram, now: float) -> Connection | None:
        data, path = datagram
        if not data:
            return None
        connection = self._table.connection_of(data)
        if connection is not None:
            return connection
        match self._table.find(data):
            case ForConnection(connection):
                return connection
            case ForReset(connection):
                connection.handle_stateless_reset()
                self._marked[connection] = None
            case FirstInitial(destination_id):
                return self._begin_handshake(destination_id, datagram, now)
            case Forgotten(destination_id):
                self._answer_forgotten(destination_id, len(data), path, now)
            case Noise():
                pass
            case other:
                assert_never(other)
        return None

    def _next_deadline(self) -> float:
        return min(self._timers.next_deadline(), next(iter(self._handshakes.values()), float("inf")))

    # --- listening

    def _begin_handshake(self, destination_id: bytes, datagram: Datagram, now: float) -> Connection | None:
        listening = self.listening
        if listening is None or not self._make_room():
            return None
        remote = datagram[1].remote_address
        refused = not listening.admits(remote)
        core = self._engine(
            listening=listening,
            original_destination_id=destination_id,
            reset_key=self._reset_key,
            wall_now=self._wall_clock(),
            refused=refused or self._accepted.statistics().current_buffer_used >= ACCEPT_QUEUE,
            congestion_control=self._congestion_control,
            luck=self._luck,
            largest_datagram=self._largest_datagram,
        )
        connection = Connection(core, self, remote_address=remote, now=now)
        self.route(core.host_cid, connection)
        self.route(destination_id, connection)
        self._handshakes[connection] = now + 2 * HANDSHAKE_IDLE_SECONDS
        self._unproved[connection] = None
        return connection

    def _make_room(self) -> bool:
        """Whether there is room for one more handshake, after another was given up for it if need be."""
        if len(self._handshakes) < HANDSHAKES_AT_ONCE:
            return True
        oldest = next(iter(self._unproved), None)
        if oldest is not None:
            self._give_up_handshake(oldest, "handshake crowded out")
        return oldest is not None

    def _settle_handshake(self, connection: Connection) -> None:
        if connection.core.address_proved:
            self._unproved.pop(connection, None)
        if connection.is_closed:
            self._end_handshake(connection)
        elif connection.core.handshake_complete:
            self._end_handshake(connection)
            try:
                self._accepted.send_nowait(connection)
            except trio.WouldBlock:
                connection.refuse()

    def _expire_handshakes(self, now: float) -> None:
        while self._handshakes:
            connection, deadline = next(iter(self._handshakes.items()))
            if deadline > now:
                return
            self._give_up_handshake(connection, "handshake timeout")

    def _give_up_handshake(self, connection: Connection, reason: str) -> None:
        self._end_handshake(connection)
        connection.abandon(reason)
        self._marked[connection] = None

    def _end_handshake(self, connection: Connection) -> None:
        self._handshakes.pop(connection, None)
        self._unproved.pop(connection, None)

    def _answer_forgotten(self, destination_id: bytes, trigger_bytes: int, path: NetworkPath, now: float) -> None:
        if self._reset_key is None:
            return
        if now - self._resets_since >= 1:
            self._resets_left, self._resets_since = RESETS_PER_SECOND, now
        if self._resets_left:
            self._resets_left -= 1
            size = min(RESET_BYTES, trigger_bytes - 1)  # two that have forgotten each other must come to an end
            noise = bytearray(self._entropy(size - RESET_TOKEN_BYTES))
            noise[0] = noise[0] & 0x3F | 0x40  # looks like any short-header packet
            self._socket.send_batch([(bytes(noise) + reset_token(self._reset_key, destination_id), path)])

    def _luck(self) -> float:
        return int.from_bytes(self._entropy(4)) / (1 << 32)

    # --- ending

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection and send the closes."""
        for connection in self._table:
            connection.close(code, reason)
        self._turn([], trio.current_time() + TIMER_SLACK)

    async def _check_alive(self, connection: Connection, seconds: float) -> None:
        connection.probe()
        with trio.move_on_after(seconds):
            await connection.wait_heard()
            return
        connection.abandon(UNHEARD_REASON)
        self.mark(connection)

    def _forget(self, connection: Connection) -> None:
        self._table.forget(connection)
        self._timers.disarm(connection)
        self._end_handshake(connection)


def _dial_failure(connection: Connection, place: Candidate, seconds: float) -> DialFailed:
    if connection.core.rejection is not None:
        return DialFailed(f"{place}: {connection.core.rejection}")
    lost = connection.lost
    if lost is None or (lost.code is None and lost.quic_error is None):
        return NoAnswer(place, seconds)
    return DialFailed(f"{place}: {lost}")
