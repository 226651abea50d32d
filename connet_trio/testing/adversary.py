"""A peer that speaks QUIC properly until it is connected, and then seals whatever frames it likes.

`Adversary` is a stock aioquic client on a socket of its own: handshake, acknowledgements and streams are as they should
be, so that what it says besides is taken for a peer's. `floods.py` has what it says. As a program it floods a service
of ours, and dials again whenever that closes the connection:

    python -m connet_trio.testing.adversary --port 19190 --flood "path challenges" --seconds 10
"""

import argparse
import json
import math
import secrets
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import trio
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionId
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch
from cryptography import x509

from connet_trio.identity import Credential, Realm, issue_identity
from connet_trio.records import control
from connet_trio.testing.floods import CREDIT_STREAMS, FLOODED_STREAM, FLOODS, HOSTILE_ID, Flood
from connet_trio.wire import ConnectionKind, WireVersion, codecs, encode_frame, protocol_names

DATAGRAM_BYTES = 1200
BURST_PACKETS = 16
"""Packets between two looks at what the other side says."""
PACKETS_PER_SECOND = 1000.0
"""Of a flood. It is about what hostile packets make a victim do and hold; of any kind there can be too many."""
TIMER_SLACK = 1e-6
"""Seconds, as in `quic/transport.py`."""

UNREACHED = 1 << 40
"""More connection IDs than anybody gives."""

_PACKET_TYPES = {
    Epoch.INITIAL: QuicPacketType.INITIAL,
    Epoch.HANDSHAKE: QuicPacketType.HANDSHAKE,
    Epoch.ONE_RTT: QuicPacketType.ONE_RTT,
}


class ClosedByVictim(Exception):
    """The other side closed the connection; the text has its code and reason."""


def seal_frames(
    connection: QuicConnection, frames: bytes, *, skipped_numbers: int = 0, epoch: Epoch = Epoch.ONE_RTT
) -> bytes:
    """A packet of a connection with these frames, which it forgets at once; it needs the keys of `epoch`.

    Args:
      frames: at most about 1150 bytes, the first frame of a type below 64.
      skipped_numbers: packet numbers to leave out before it.
    """
    assert connection._version is not None
    builder = QuicPacketBuilder(
        host_cid=connection.host_cid,
        is_client=connection._is_client,
        max_datagram_size=DATAGRAM_BYTES,
        packet_number=connection._packet_number + skipped_numbers,
        peer_cid=connection._peer_cid.cid,
        spin_bit=connection._spin_bit,
        version=connection._version,
    )
    builder.start_packet(_PACKET_TYPES[epoch], connection._cryptos[epoch])
    builder.start_frame(frames[0], capacity=len(frames)).push_bytes(frames[1:])
    ((data,), _) = builder.flush()
    connection._packet_number = builder.packet_number
    return data


def expect_anything(connection: QuicConnection) -> None:
    """Take what a flood is answered with, which a proper peer would call a violation."""
    connection._host_cids.append(QuicConnectionId(cid=HOSTILE_ID, sequence_number=UNREACHED, was_sent=True))
    for number in range(CREDIT_STREAMS):
        connection.send_stream_data(FLOODED_STREAM + 4 * number, b"")
    connection._host_cid_seq = connection._local_active_connection_id_limit = UNREACHED


class Adversary:
    """A connection to a victim; made by `open_adversary`."""

    def __init__(self, connection: QuicConnection, sock: socket.socket) -> None:
        """Take over a connected socket that does not block."""
        self._connection = connection
        self._socket = sock
        self._victim = sock.getpeername()
        self._received = bytearray()
        self.packets = 0
        """Packets sent with frames of no connection."""

    async def connect(self) -> None:
        """Shake hands, until the victim has confirmed that it did.

        Raises:
          ClosedByVictim: it would not.
        """
        self._connection.connect(self._victim, now=trio.current_time())
        while not self._connection._handshake_confirmed:
            await self._turn()
        expect_anything(self._connection)

    async def ask(self, request: bytes) -> bytes:
        """Send a request on a new stream; returns the first bytes of the answer.

        Raises:
          ClosedByVictim: that was the answer.
        """
        stream_id = self._connection.get_next_available_stream_id()
        self._connection.send_stream_data(stream_id, request)
        self._received.clear()
        while not self._received:
            await self._turn()
        return bytes(self._received)

    async def flood(self, flood: Flood) -> None:
        """Send the packets of a flood, at most `PACKETS_PER_SECOND`, for ever.

        Raises:
          ClosedByVictim: it would have no more.
        """
        number = 0
        while True:
            for _ in range(BURST_PACKETS):
                data = seal_frames(self._connection, flood.frames(number), skipped_numbers=flood.skipped_numbers)
                await self._send(data)
                number += 1
                self.packets += 1
            self._take_all()
            if flood.acknowledges:
                await self._send_due()
            await trio.sleep(BURST_PACKETS / PACKETS_PER_SECOND)

    async def _turn(self) -> None:
        """Send what is due and wait for something to happen."""
        await self._send_due()
        with trio.CancelScope(deadline=self._connection.get_timer() or trio.current_time() + 1):
            await trio.lowlevel.wait_readable(self._socket)
        self._take_all()
        if (self._connection.get_timer() or math.inf) <= trio.current_time():
            self._connection.handle_timer(now=trio.current_time() + TIMER_SLACK)

    async def _send_due(self) -> None:
        for data, _ in self._connection.datagrams_to_send(now=trio.current_time()):
            await self._send(data)

    async def _send(self, data: bytes) -> None:
        while True:
            try:
                self._socket.send(data)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            else:
                return

    def _take_all(self) -> None:
        """Take what has arrived."""
        with suppress(BlockingIOError):
            while True:
                self._take(self._socket.recv(65_536))

    def _take(self, data: bytes) -> None:
        self._connection.receive_datagram(data, self._victim, now=trio.current_time())
        self._note_events()

    def _note_events(self) -> None:
        while (event := self._connection.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                self._received += event.data
        ending = self._connection._close_event
        if ending is not None:
            raise ClosedByVictim(f"{ending.reason_phrase} ({ending.error_code})")


@asynccontextmanager
async def open_adversary(*, port: int, alpns: Sequence[str], credential: Credential) -> AsyncIterator[Adversary]:
    """One that is connected to a port of this machine, whatever certificate it was shown.

    Args:
      credential: what it shows in turn, if asked.

    Raises:
      ClosedByVictim: it was turned away.
      trio.TooSlowError: nobody answered for ten seconds.
    """
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=list(alpns),
        certificate=x509.load_der_x509_certificate(credential.der),
        private_key=credential.private_key,
        server_name="localhost",
        supported_versions=[QuicProtocolVersion.VERSION_1],
        max_datagram_size=DATAGRAM_BYTES,
        verify_mode=ssl.CERT_NONE,
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        adversary = Adversary(QuicConnection(configuration=configuration), sock)
        with trio.fail_after(10):
            await adversary.connect()
        yield adversary


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a siege."""

    packets: int
    """Packets sent with frames of no connection."""
    connections: int
    """How many it took."""
    endings: dict[str, int]
    """What the victim closed them with, and how many each."""


async def besiege(flood: Flood, seconds: float, *, port: int, kind: ConnectionKind, token: str | None) -> Outcome:
    """Flood the service at a port of this machine for so long, on one connection after the other.

    Args:
      kind: as whose connections they are announced.
      token: what to log in with before each flood; None does without. Only of a client to control.
    """
    credential = issue_identity(Realm.PEER, wall_now=time.time(), entropy=secrets.token_bytes).client
    packets, connections, endings = 0, 0, Counter[str]()
    with trio.move_on_after(seconds):
        while True:
            connections += 1
            try:
                async with open_adversary(port=port, alpns=protocol_names(kind), credential=credential) as adversary:
                    try:
                        if token is not None:
                            await adversary.ask(_login(token))
                        await adversary.flood(flood)
                    finally:
                        packets += adversary.packets
            except ClosedByVictim as closed:
                endings[str(closed)] += 1
    return Outcome(packets=packets, connections=connections, endings=dict(endings))


def _login(token: str) -> bytes:
    request = codecs.CONTROL_AUTHENTICATE.encode(control.Authenticate(token=token))
    return encode_frame(request, WireVersion.V2)


def main() -> None:
    """Run one siege after the other; of each goes a line of JSON to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="UDP port of the victim, on 127.0.0.1")
    parser.add_argument("--flood", choices=FLOODS, help="one of them; all, if none is named")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each lasts (default 10)")
    parser.add_argument("--relay", action="store_true", help="the port is a relay's, not one of control's for clients")
    parser.add_argument("--token", help="log in to control with this first")
    options = parser.parse_args()
    kind = ConnectionKind.CLIENT_TO_RELAY if options.relay else ConnectionKind.CLIENT_TO_CONTROL
    for name in [options.flood] if options.flood else FLOODS:
        siege = partial(besiege, FLOODS[name], options.seconds, port=options.port, kind=kind, token=options.token)
        sys.stderr.write(json.dumps({"flood": name, **attrs.asdict(trio.run(siege))}) + "\n")


if __name__ == "__main__":
    main()
