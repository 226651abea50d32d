"""A QUIC connection as trio tasks see it: streams to open and accept, an end to wait for.

The transport owns the datagrams and the time (`transport.py`); tasks only change the core and mark the connection.
"""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import Protocol

import trio
from aioquic.quic import events

from connet_trio.errors import PathLost
from connet_trio.quic.congestion import CongestionTrace
from connet_trio.quic.core import Core
from connet_trio.quic.datagram_run import Batch, DatagramRun
from connet_trio.quic.ending import path_lost
from connet_trio.quic.limits import SILENCE_SECONDS, WINDOWS, Windows
from connet_trio.quic.liveness import Liveness
from connet_trio.quic.network_path import Datagram
from connet_trio.quic.stream import SEND_AGAIN_BYTES, Stream
from connet_trio.records.model import AddressPort

logger = logging.getLogger(__name__)


class Router(Protocol):
    """What a connection needs of its transport."""

    def mark(self, connection: "Connection") -> None:
        """The connection may have something to send."""

    def route(self, connection_id: bytes, connection: "Connection") -> None:
        """Datagrams for this connection ID go to the connection."""

    def unroute(self, connection_id: bytes) -> None:
        """They no longer do."""

    def route_resets(self, tokens: frozenset[bytes], connection: "Connection") -> None:
        """A stateless reset with one of these tokens, and no other, ends the connection."""


class Connection:
    """One connection of a `Transport`. Ends once; `lost` then says how, and every stream with it."""

    def __init__(self, core: Core, router: Router, *, remote_address: AddressPort, now: float) -> None:
        self.core = core
        self.dialled = core.configuration.is_client
        self._first_address = remote_address
        self.lost: PathLost | None = None
        self.ends_are_whole = True
        """Whether FIN on a stream means that its sender said all; false behind a relay that makes FIN of a break."""
        self.blocked: dict[int, Stream] = {}
        self.delivering: dict[int, Stream] = {}
        self._router = router
        self._liveness = Liveness(now, asks_first=self.dialled)
        self._streams: dict[int, Stream] = {}  # those the engine still has
        self._open: dict[int, Stream] = {}  # those the application is not done with
        self._idle: trio.Event | None = None
        self._accepted, self._to_accept = trio.open_memory_channel[Stream](core.windows.streams)
        self._credit = trio.Event()
        self._established = trio.Event()
        self._closed = trio.Event()
        self.bytes_received = 0
        self.bytes_sent = 0

    # --- for everybody

    @property
    def remote_address(self) -> AddressPort:
        """Where the other side is now; a dialer's NAT may have moved it meanwhile."""
        path = self.core.current_path
        return self._first_address if path is None else path.remote_address

    @property
    def alpn(self) -> str:
        """The protocol name both sides agreed on."""
        return self.core.tls.alpn_negotiated or ""

    @property
    def peer_certificate(self) -> bytes | None:
        """The other side's leaf (DER), if it showed one."""
        return self.core.peer_certificate

    @property
    def smoothed_rtt(self) -> float:
        """Round trip time in seconds."""
        return self.core.smoothed_rtt

    def congestion_trace(self) -> CongestionTrace:
        """How fast this side sends, and why."""
        return self.core.congestion_trace()

    @property
    def datagram_size(self) -> int:
        """Bytes of UDP payload in a full datagram we send now; grows and shrinks as the path shows what it carries."""
        return self.core.datagram_size

    @property
    def server_name(self) -> str | None:
        """At a listener, the name (SNI) the dialer asked for, in lower case; None if none, and at a dialer."""
        name = self.core.asked_name
        return None if name is None else name.lower()

    @property
    def last_heard(self) -> float:
        """When the peer was last heard (trio's clock), forged and misdirected datagrams apart; at first, the begin."""
        return self._liveness.last_heard

    @property
    def stream_count(self) -> int:
        """Streams that are not over: not ended both ways and read to their end, or sent but not yet acknowledged."""
        if self.lost is not None:
            return 0
        lingering = (stream_id for stream_id in self._streams if stream_id not in self._open)
        return len(self._open) + sum(not self.core.is_delivered(stream_id) for stream_id in lingering)

    async def open_stream(self) -> Stream:
        """A new stream, once the peer allows one more. The peer learns of it with its first byte.

        Raises:
          PathLost: the connection is over.
        """
        await trio.lowlevel.checkpoint()
        while (stream := self.open_stream_nowait()) is None:
            await self._credit.wait()
        return stream

    def open_stream_nowait(self) -> Stream | None:
        """As `open_stream`, None while the peer does not allow one more."""
        self._raise_if_lost()
        stream_id = self.core.open_stream_id()
        return None if stream_id is None else self._add_stream(stream_id)

    async def accept_stream(self) -> Stream:
        """The next stream the peer opens.

        Raises:
          PathLost: the connection is over.
        """
        try:
            return await self._to_accept.receive()
        except trio.EndOfChannel:
            assert self.lost is not None
            raise copy(self.lost) from None

    def raise_windows(self, windows: Windows = WINDOWS) -> None:
        """Grant full credit to a peer that has authenticated."""
        self.core.raise_windows(windows)
        self._router.mark(self)

    def set_keepalive(self, seconds: float) -> None:
        """Ask for a sign of life after `seconds` of silence, instead of the usual 10."""
        self._liveness.keepalive_seconds = seconds
        self._router.mark(self)

    def probe(self) -> None:
        """Ask for a sign of life now, whatever was heard; does nothing on a connection that is not established."""
        if self.is_established:
            self._liveness.note_asked()
            self.core.probe()
            self._router.mark(self)

    async def wait_silent(self, seconds: float) -> None:
        """Wait until nothing has been heard for `seconds`, or the connection is over."""
        await self._liveness.wait_silent(seconds)

    async def wait_heard(self) -> None:
        """Wait until something is heard from now on, or the connection is over."""
        await self._liveness.wait_heard()

    def deadline(self, seconds: float, *, silent_seconds: float) -> AbstractContextManager[trio.CancelScope]:
        """A scope that is cancelled after `seconds`, or after `silent_seconds` from now in which nothing was heard."""
        return self._liveness.deadline(seconds, silent_seconds=silent_seconds)

    async def wait_idle(self) -> None:
        """Wait until there is no stream that is not over (`stream_count`), or the connection is."""
        await trio.lowlevel.checkpoint()
        while self.stream_count:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()

    def close(self, code: int, reason: str) -> None:
        """End the connection, telling the peer an application code and a text."""
        if self.lost is None:
            self.core.close(error_code=code, reason_phrase=reason)
            self._end(PathLost(f"closed by this side: {reason} ({code})"))
            self._router.mark(self)

    def refuse(self) -> None:
        """Turn away a dialer whose handshake is done: nobody accepts it in time."""
        self.core.refuse()
        self.process_events()
        self._router.mark(self)

    async def wait_closed(self) -> PathLost:
        """Wait for the end, whoever brings it, and say how it came."""
        await self._closed.wait()
        assert self.lost is not None
        return self.lost

    @property
    def is_closed(self) -> bool:
        return self.lost is not None

    @property
    def is_established(self) -> bool:
        """Whether the handshake is done on this side, and the connection not over."""
        return self.lost is None and self.core.handshake_complete

    async def wait_handshake(self) -> None:
        """Wait until the handshake is over, well (`lost` is None) or badly."""
        await self._established.wait()

    # --- for streams

    def write(self, stream_id: int, data: bytes | memoryview, *, fin: bool = False) -> None:
        """Append to a stream; the caller has seen that it may."""
        if self.lost is None and self.core.is_open(stream_id):
            self.core.send_stream_data(stream_id, data, end_stream=fin)  # type: ignore[arg-type]  # it copies
            self.bytes_sent += len(data)
            self._router.mark(self)

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Abandon the sending direction of a stream."""
        self.blocked.pop(stream_id, None)
        if self.lost is None:
            self.core.reset(stream_id, code)
            self._router.mark(self)

    def stop_stream(self, stream_id: int, code: int) -> None:
        """Abandon the receiving direction of a stream."""
        if self.lost is None:
            self.core.stop(stream_id, code)
            self.core.release(stream_id)
            self._router.mark(self)

    def consume(self, stream_id: int, count: int) -> None:
        """The application took `count` bytes off a stream."""
        if self.lost is None and self.core.consume(stream_id, count):
            self._router.mark(self)

    def end_stream(self, stream_id: int) -> None:
        """The application is done with a stream; what it sent may still be under way."""
        if self._open.pop(stream_id, None) is not None:
            self._tell_idle()

    # --- for the transport

    def receive_batch(self, batch: Sequence[Datagram | DatagramRun], now: float) -> None:
        """Feed datagrams; a defect of the engine ends this connection alone."""

        def feed() -> None:
            if self.core.receive_batch(batch, now):
                if now - self._liveness.last_heard >= SILENCE_SECONDS and self.core.answer_keepalive(now):
                    self._liveness.note_keepalive()
                self._liveness.note_heard(now)

        self._guarded(feed)
        self.process_events()

    def fire_timers(self, now: float) -> None:
        """Run timers that are due, the keepalive's among them."""
        self._guarded(lambda: self.core.fire_timers(now))
        if now >= self._keepalive_at():
            self._liveness.note_asked()
            self.core.ping()
        self.process_events()

    def collect(self, now: float) -> Batch:
        """Datagrams to send now."""
        datagrams: Batch = []

        def collect() -> None:
            datagrams.extend(self.core.collect_batch(now))

        self._guarded(collect)
        self.process_events()  # new connection IDs are announced while packets are built
        for stream_id in self.core.take_discarded():
            self._streams.pop(stream_id, None)
            self.blocked.pop(stream_id, None)
        return datagrams

    def next_deadline(self) -> float:
        """When `fire_timers` is due, `inf` when never again."""
        deadline = self.core.next_deadline()
        if deadline is None:
            return math.inf
        return min(deadline, self._keepalive_at())

    def abandon(self, reason: str) -> None:
        """End without a word to the peer."""
        self.core.abandon(reason)
        self.process_events()
        self._router.mark(self)

    def handle_stateless_reset(self) -> None:
        """The peer said that it has forgotten this connection."""
        self.core.handle_stateless_reset()
        self.process_events()

    def process_events(self) -> None:
        """Carry what the engine reports to streams and waiters."""
        self._guarded(self._handle_events)
        if self.lost is None and self.core.ending is not None:
            self._end(path_lost(self.core.ending, by_peer=self.core.ended_by_peer, dialled=self.dialled))
        if self.blocked or self.delivering:
            self._wake_senders()
        if self.core.stream_credit_changed:
            self.core.stream_credit_changed = False
            self._credit.set()
            self._credit = trio.Event()
        if self.core.reset_tokens_changed:
            self._router.route_resets(self.core.reset_tokens(), self)
        self._tell_idle()

    def _keepalive_at(self) -> float:
        if not self.is_established:
            return math.inf
        return self._liveness.ask_at(idle_timeout=self.core.idle_timeout, probe_timeout=self.core.probe_timeout)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # what a peer's bytes can make the engine or a taker raise must not cost others
            logger.exception(
                "QUIC engine failed on a connection, which is closed", extra={"remote": str(self.remote_address)}
            )
            self.core.abandon("internal error")

    def _handle_events(self) -> None:
        while (event := self.core.next_event()) is not None:
            self._handle_event(event)

    def _handle_event(self, event: events.QuicEvent) -> None:
        match event:
            case events.StreamDataReceived():
                self.bytes_received += len(event.data)
                stream = self._stream(event.stream_id)
                if not stream.handle_data(event.data, fin=event.end_stream):
                    self.core.release(event.stream_id)
            case events.StreamReset():
                self.core.release(event.stream_id)
                self._stream(event.stream_id).handle_reset(event.error_code)
            case events.StopSendingReceived():
                self.core.drop_backlog(event.stream_id)
                self._stream(event.stream_id).handle_stop(event.error_code)
            case events.ConnectionIdIssued():
                self._router.route(event.connection_id, self)
            case events.ConnectionIdRetired():
                self._router.unroute(event.connection_id)
            case events.HandshakeCompleted():
                self._established.set()
            case _:
                pass  # pings acknowledged, protocol negotiated, the end (seen earlier): nothing to carry

    def _stream(self, stream_id: int) -> Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._add_stream(stream_id)
            try:
                self._accepted.send_nowait(stream)
            except trio.WouldBlock:
                # only a peer that ends streams before anybody accepted them gets past its stream credit
                stream.abort()
        return stream

    def _add_stream(self, stream_id: int) -> Stream:
        stream = self._streams[stream_id] = self._open[stream_id] = Stream(self, stream_id)
        return stream

    def _tell_idle(self) -> None:
        if self._idle is not None and not self.stream_count:
            self._idle.set()
            self._idle = None

    def _wake_senders(self) -> None:
        for stream in [s for s in self.blocked.values() if self.core.send_room(s.id) >= SEND_AGAIN_BYTES]:
            del self.blocked[stream.id]
            stream.handle_room()
        for stream in [s for s in self.delivering.values() if self.core.is_delivered(s.id)]:
            del self.delivering[stream.id]
            stream.handle_delivered()

    def _raise_if_lost(self) -> None:
        if self.lost is not None:
            raise copy(self.lost)  # one that is raised again and again would collect every frame it passes

    def _end(self, lost: PathLost) -> None:
        if self.lost is not None:
            return
        self.lost = lost
        for stream in self._streams.values():
            stream.handle_lost()
        self._open.clear()
        self.blocked.clear()
        self.delivering.clear()
        self._liveness.note_closed()
        self._tell_idle()
        self._accepted.close()
        self._established.set()
        self._credit.set()
        self._closed.set()
