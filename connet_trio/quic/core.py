"""Our subclass of aioquic's connection. Only this module and its parts touch private names of aioquic's.

What stock aioquic lacks and a relay needs: client certificates that are required and judged, a certificate chosen by
server name, credit that follows consumption instead of arrival, a look at the send backlog, stateless resets sent and
detected, keepalives, key updates, and a close that is repeated. `tests/quic/test_core_contract.py` pins every private
name used here, so that a release of aioquic which moves one fails loudly.
"""

import hashlib
import hmac
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic import connection as aioquic_connection
from aioquic.quic.connection import QuicConnectionError, QuicConnectionState
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode, QuicFrameType

from connet_trio.engine import PathMtu
from connet_trio.errors import CertificateRejected
from connet_trio.quic.congestion import DEFAULT_CONGESTION_CONTROL, CongestionControl, CongestionTrace
from connet_trio.quic.datagram_run import Batch, DatagramRun, datagrams_of
from connet_trio.quic.datagram_sizing import MtuAwareRecovery
from connet_trio.quic.engine_options import engine_configuration
from connet_trio.quic.handshake import Answer, Dialing, Listening
from connet_trio.quic.leftovers import forget_handshake
from connet_trio.quic.limits import (
    CONNECTION_IDS_KEPT,
    HANDSHAKE_IDLE_SECONDS,
    IDLE_TIMEOUT_SECONDS,
    KEY_UPDATE_PACKETS,
    MAX_DATAGRAM_BYTES,
    RESET_TOKEN_BYTES,
    SMALLEST_IDLE_TIMEOUT_SECONDS,
)
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.quic.stream_credit import CreditedConnection
from connet_trio.quic.tls_context import TlsContext, encode_certificate

ONE_RTT = tls.Epoch.ONE_RTT  # here, since to look it up in its enumeration is slow
STATELESS_RESET_REASON = "stateless reset"
PING_PADDING_BYTES = 24
"""Makes a keepalive longer than 43 bytes, so that a peer that restarted can answer it with a stateless reset."""
LONE_ACK_SECONDS = 0.005
"""How long a single packet waits for its acknowledgement, which may leave together with an answer; the transport
parameters allow 25 ms. From the second packet on (RFC 9000 section 13.2.2) it waits no longer than aioquic lets it."""
AMPLIFICATION = 3
"""How many times what came from an address is sent to it before it has shown that it gets what we send."""
CLOSE_REPEATS = 8
"""How often at most a close is repeated to a peer that goes on talking, when it has sent twice as much each time."""
DUPLICATE_WINDOW_PACKETS = 1024
"""What arrives later than that many packets is taken for a duplicate; aioquic's 128 are 1.5 ms at 1 Gbit/s."""
REASON_BYTES = 300
"""How much of a reason a close carries: a close during the handshake says it up to three times in one datagram."""


class SilentLogger:
    """Takes the place of aioquic's logger: a library in somebody's program prints nothing, and formatting costs."""

    def debug(self, message: object, *arguments: object) -> None:
        pass

    info = warning = error = debug


def reset_token(key: bytes, connection_id: bytes) -> bytes:
    """The stateless reset token of a connection ID (section 2.1, the original's derivation)."""
    return hmac.digest(key, connection_id, hashlib.sha256)[:RESET_TOKEN_BYTES]


class Core(CreditedConnection):
    """One QUIC connection, sans-IO: datagrams, the time and calls in; datagrams and events out."""

    def __init__(
        self,
        *,
        dialing: Dialing | None = None,
        listening: Listening | None = None,
        original_destination_id: bytes | None = None,
        reset_key: bytes | None,
        wall_now: float,
        refused: bool = False,
        congestion_control: CongestionControl = DEFAULT_CONGESTION_CONTROL,
        luck: Callable[[], float] = float,
        largest_datagram: int = MAX_DATAGRAM_BYTES,
    ) -> None:
        """Exactly one of `dialing` and `listening` is given.

        Args:
          wall_now: Unix seconds, for certificates.
          luck: gives numbers from 0 to 1, so that connections do not probe the network in step.
          largest_datagram: bytes up to which the path's MTU is searched for.
        """
        role: Dialing | Listening | None = dialing or listening
        assert role is not None
        self._dialing, self._listening = dialing, listening
        self._answer: Answer | None = None
        self._refused = refused
        self._reset_key, self._wall_now = reset_key, wall_now
        super().__init__(
            windows=role.windows,
            configuration=engine_configuration(dialing, role.windows, congestion_control),
            path_mtu=PathMtu(limit=largest_datagram),
            original_destination_connection_id=original_destination_id,
        )
        self._logger = self._loss._logger = SilentLogger()  # type: ignore[assignment]
        self._recovery = MtuAwareRecovery.adopt(
            self._loss, control=congestion_control, datagram_bytes=self._max_datagram_size, luck=luck
        )
        self._recovery.path_mtu = self.path_mtu
        self._local_active_connection_id_limit = CONNECTION_IDS_KEPT
        self._agreed_idle: float | None = None
        self._next_key_update = KEY_UPDATE_PACKETS
        self._close_datagrams: Batch = []
        self._closing_heard, self._repeat_close_at = 0, 1
        self.peer_certificate: bytes | None = None
        """The other side's leaf (DER) once the handshake is complete, if it showed one."""
        self.asked_name: str | None = None
        """At a listener, the server name of the ClientHello."""
        self.rejection: CertificateRejected | None = None
        """Why we refused the other side's certificate."""
        self.has_more = False
        """Whether the last burst left something that could have gone with it."""
        self.reset_tokens_changed = False
        """The set of tokens that would reset us is new; cleared by whoever reads `reset_tokens`."""
        if reset_key is not None and not self._is_client:
            self._host_cids[0].stateless_reset_token = reset_token(reset_key, self.host_cid)

    # --- handshake

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self._loss.spaces[-1].received_packets._size = DUPLICATE_WINDOW_PACKETS
        context = self.tls
        context.__class__ = TlsContext
        assert isinstance(context, TlsContext)
        context.core = self
        # one key share instead of four: 40 % of a dialer's handshake; the original takes X25519 (trap T7)
        context._supported_groups = [tls.Group.X25519] if self._is_client else [tls.Group.X25519, tls.Group.SECP256R1]

    def choose_answer(self, server_name: str | None) -> Answer:
        """Pick certificate, protocols and trust for a ClientHello."""
        assert self._listening is not None
        self.asked_name = server_name
        if self._refused:
            raise QuicConnectionError(QuicErrorCode.CONNECTION_REFUSED, QuicFrameType.CRYPTO, "connection refused")
        self._answer = self._listening.choose(server_name)
        if self._answer is None:
            raise tls.AlertInternalError("no such server name")  # alert 80, as the original answers
        return self._answer

    def judge_client(self, leaf: bytes) -> None:
        """Judge a dialer's certificate, whose key it has proved to hold."""
        assert self._answer is not None
        assert self._answer.client_trust is not None
        try:
            self._answer.client_trust(leaf, self._wall_now)
        except CertificateRejected as exc:
            self.rejection = exc
            raise

    def judge_server(self, chain: Sequence[bytes]) -> None:
        """Judge a listener's certificate, whose key it has proved to hold."""
        assert self._dialing is not None
        try:
            self._dialing.trust.check(chain, self._wall_now)
        except CertificateRejected as exc:
            self.rejection = exc
            raise

    @property
    def handshake_complete(self) -> bool:
        return bool(self._handshake_complete)

    @property
    def address_proved(self) -> bool:
        """Whether the peer has shown that it gets what we send to its address (RFC 9000 section 8.1)."""
        return bool(self._network_paths and self._network_paths[0].is_validated)

    def _handle_crypto_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        under_way = not self._handshake_complete
        super()._handle_crypto_frame(context, frame_type, buf)
        if under_way and self._handshake_complete:
            leaf = self.tls._peer_certificate
            self.peer_certificate = None if leaf is None else encode_certificate(leaf)
            forget_handshake(self)

    # --- time

    def _idle_timeout(self) -> float:
        # asked once for every packet received
        return max(self.idle_timeout, 3 * self._loss.get_probe_timeout())

    @property
    def idle_timeout(self) -> float:
        """Seconds of silence after which both sides give the connection up; shorter during the handshake."""
        if not self._handshake_complete:
            return HANDSHAKE_IDLE_SECONDS if self._dialing is None else self._dialing.handshake_idle_seconds
        if self._agreed_idle is None:
            asked = self._remote_max_idle_timeout
            if asked is None:
                asked = IDLE_TIMEOUT_SECONDS
            self._agreed_idle = min(IDLE_TIMEOUT_SECONDS, max(asked, SMALLEST_IDLE_TIMEOUT_SECONDS))
        return self._agreed_idle

    @property
    def probe_timeout(self) -> float:
        """Seconds after which an unanswered packet is probed for (PTO, RFC 9002 section 6.2)."""
        return float(self._loss.get_probe_timeout())

    def next_deadline(self) -> float | None:
        """When `fire_timers` is due, None when the connection is over or has not begun."""
        if self._close_at is None:
            return None
        at: float | None = self.get_timer()
        return at

    def fire_timers(self, now: float) -> None:
        """Run what is due; harmless when nothing is."""
        deadline = self.next_deadline()
        if deadline is not None and deadline <= now:
            self.handle_timer(now)

    # --- datagrams

    def receive_batch(self, batch: Iterable[Datagram | DatagramRun], now: float) -> bool:
        """Take datagrams addressed to this connection; returns whether any of them was a sign of life.

        That is one with a new packet that the peer has sealed, from where it may send. Others go no further.
        """
        # aioquic clears this with each such packet, and looks at it only when it sends
        sent, self._ack_eliciting_sent_since_receipt = self._ack_eliciting_sent_since_receipt, True
        for data, path in datagrams_of(batch):
            if self._close_pending:
                break  # what comes between our close and its departure is for nobody
            self._receive_one(data, self._known_path(path), now)
            if self._state is QuicConnectionState.CLOSING:
                self._closing_heard += 1
                if self._network_paths[0].addr == path:  # aioquic no longer counts
                    self._network_paths[0].bytes_received += len(data)
        heard = not self._ack_eliciting_sent_since_receipt
        self._ack_eliciting_sent_since_receipt = sent and not heard
        return heard

    def _receive_one(self, data: bytes, path: NetworkPath, now: float) -> None:
        space = self._spaces.get(ONE_RTT)
        if space is None:
            self.receive_datagram(data, path, now)
            return
        awaited, space.ack_at = space.ack_at, None
        self.receive_datagram(data, path, now)
        eliciting, space.ack_at = space.ack_at is not None, awaited
        self._note_eliciting(int(eliciting), now)

    def _note_eliciting(self, packets: int, now: float) -> None:
        """So many more packets ask for an acknowledgement; `ack_at` is when those before them are acknowledged."""
        if packets:
            space = self._spaces[ONE_RTT]
            is_lone = space.ack_at is None and packets == 1
            # a hair early: at the very instant aioquic asks the pacer too, which never lets go where time stands still
            due_at = math.nextafter(now + (LONE_ACK_SECONDS if is_lone else self._ack_delay), -math.inf)
            space.ack_at = due_at if space.ack_at is None else min(space.ack_at, due_at)

    @property
    def current_path(self) -> NetworkPath | None:
        """The path that is sent on, None before the first datagram."""
        path: NetworkPath | None = self.get_peer_address()
        return path

    def _known_path(self, path: NetworkPath) -> NetworkPath:
        # A dialer knows only the remote address until an answer shows the local one; to aioquic that is another path.
        if self._is_client and self._network_paths and self._network_paths[0].addr.remote == path.remote:
            dialled: NetworkPath = self._network_paths[0].addr
            return dialled
        return path

    def collect(self, now: float) -> list[Datagram]:
        """As `collect_batch`, every datagram for itself."""
        return list(datagrams_of(self.collect_batch(now)))

    def collect_batch(self, now: float) -> Batch:
        """Datagrams to send now, at most one burst; `has_more` afterwards says whether to call again."""
        self._now = now
        self.has_more = False
        if self._state in aioquic_connection.END_STATES:
            return self._repeat_close()
        if not self._network_paths:
            return []
        if self._handshake_confirmed and self._packet_number >= self._next_key_update:
            self._next_key_update = self._packet_number + KEY_UPDATE_PACKETS
            self.request_key_update()
        if self._handshake_complete:
            # RFC 9000 section 10.1 lets what is sent after a silence prolong it: with keepalives, 20 s would become 30
            self._ack_eliciting_sent_since_receipt = True
        closing = self._close_pending
        datagrams = self.sized_datagrams(now)
        self.forget_acknowledgements()
        self._note_send_limit()
        if closing:
            # aioquic bounds what it sends to an address that may be forged, but for this
            self._close_datagrams = datagrams = datagrams if self._may_have_sent(0) else []
        if self._pacing_at is not None and self._pacing_at <= now:  # the burst is spent; there is nothing to wait for
            self.has_more, self._pacing_at = True, None
        return datagrams

    def _note_send_limit(self) -> None:
        """To be called by whatever builds datagrams, when it has built all it could."""
        self._recovery.note_limit(paced=self._pacing_at is not None)

    def congestion_trace(self) -> CongestionTrace:
        """How fast it sends, and why."""
        return self._recovery.trace()

    def _repeat_close(self) -> Batch:
        if self._closing_heard < self._repeat_close_at or self._repeat_close_at >= 1 << CLOSE_REPEATS:
            return []
        size = sum(len(data) for data, _ in self._close_datagrams)
        if not self._may_have_sent(size):
            return []
        self._network_paths[0].bytes_sent += size
        self._repeat_close_at = 2 * self._closing_heard
        return self._close_datagrams

    def _may_have_sent(self, more: int) -> bool:
        """Whether so many bytes, beyond those counted, may go to where we send (RFC 9000 section 8.1)."""
        path = self._network_paths[0]
        return bool(path.is_validated or path.bytes_sent + more <= AMPLIFICATION * path.bytes_received)

    @property
    def ending(self) -> ConnectionTerminated | None:
        """How the connection ends, as soon as that is known; aioquic reports it three PTO later."""
        event: ConnectionTerminated | None = self._close_event
        return event

    @property
    def ended_by_peer(self) -> bool:
        """Whether the peer sent the close."""
        return self._state is QuicConnectionState.DRAINING

    def close(
        self, error_code: int = QuicErrorCode.NO_ERROR, frame_type: int | None = None, reason_phrase: str = ""
    ) -> None:
        """End the connection, telling the peer; a long reason is cut."""
        reason = reason_phrase.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore")
        super().close(error_code, frame_type, reason)

    def refuse(self) -> None:
        """Tell a dialer that there is no room (section 2.1, accept queue)."""
        self.close(QuicErrorCode.CONNECTION_REFUSED, QuicFrameType.PADDING, "connection refused")

    @property
    def terminated(self) -> bool:
        return self._state is QuicConnectionState.TERMINATED

    # --- connection IDs and stateless resets

    def _replenish_connection_ids(self) -> None:
        known = len(self._host_cids)
        super()._replenish_connection_ids()
        if self._reset_key is not None:
            for connection_id in self._host_cids[known:]:
                connection_id.stateless_reset_token = reset_token(self._reset_key, connection_id.cid)
        self.reset_tokens_changed = True  # the handshake is done: the peer's transport parameters may hold one

    def _handle_new_connection_id_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        super()._handle_new_connection_id_frame(context, frame_type, buf)
        self.reset_tokens_changed = True
        if not self._peer_cid.stateless_reset_token:
            # a dialer cannot give its first ID a token: move to one whose owner can say that it has restarted
            self.change_connection_id()

    def reset_tokens(self) -> frozenset[bytes]:
        """Tokens with which the peer can say that it has forgotten this connection."""
        self.reset_tokens_changed = False
        known = (self._peer_cid, *self._peer_cid_available)
        return frozenset(entry.stateless_reset_token for entry in known if entry.stateless_reset_token)

    def handle_stateless_reset(self) -> None:
        """The peer has forgotten this connection: end it without another word."""
        if self._state not in aioquic_connection.END_STATES:
            self._close_event = ConnectionTerminated(
                error_code=QuicErrorCode.NO_ERROR,
                frame_type=QuicFrameType.PADDING,
                reason_phrase=STATELESS_RESET_REASON,
            )
            self._close_end()

    def abandon(self, reason: str) -> None:
        """End without telling the peer: the handshake took too long, or the engine failed."""
        if not self.terminated:
            self._close_event = ConnectionTerminated(
                error_code=QuicErrorCode.INTERNAL_ERROR, frame_type=QuicFrameType.PADDING, reason_phrase=reason
            )
            self._close_pending = False
            self._close_end()

    # --- keepalive

    def ping(self) -> None:
        """Ask for a sign of life; answered by a PingAcknowledged event."""
        self.send_ping(0)

    def probe(self) -> None:
        """As `ping`, even where the congestion window is full of what nobody has acknowledged."""
        self.ping()
        self._send_probe()

    def answer_keepalive(self, now: float) -> bool:
        """Acknowledge what has just been received without delay, if it asks for that and brings nothing for anybody."""
        space = self._spaces.get(tls.Epoch.ONE_RTT)
        if space is None or space.ack_at is None or self._events:
            return False
        # before now: at that very instant the pacer would have a say, and where time stands still it may never let go
        space.ack_at = min(space.ack_at, math.nextafter(now, -math.inf))
        return True

    def _write_ping_frame(self, builder: Any, uids: Any = (), comment: str = "") -> None:
        super()._write_ping_frame(builder, uids, comment)
        if uids:
            buf = builder.start_frame(QuicFrameType.PADDING, capacity=PING_PADDING_BYTES)
            buf.push_bytes(bytes(PING_PADDING_BYTES - 1))
