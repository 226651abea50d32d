"""Which connection a datagram belongs to (RFC 9000 section 5.2)."""

from collections.abc import Iterator

import attrs
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, pull_quic_header

from connet_trio.quic.connection import Connection
from connet_trio.quic.datagram_run import DatagramRun
from connet_trio.quic.limits import (
    CONNECTION_ID_BYTES,
    MAX_DATAGRAM_BYTES,
    RESET_TOKEN_BYTES,
    SMALLEST_RESET_BYTES,
)

LONG_HEADER = 0x80
FIXED_BIT = 0x40


@attrs.frozen
class ForConnection:
    """For a connection we have."""

    connection: Connection


@attrs.frozen
class ForReset:
    """A stateless reset that ends a connection we have."""

    connection: Connection


@attrs.frozen
class FirstInitial:
    """Opens a connection we do not have yet."""

    destination_id: bytes


@attrs.frozen
class Forgotten:
    """Belongs to a connection we no longer have, and is long enough to be answered with a stateless reset."""

    destination_id: bytes


@attrs.frozen
class Noise:
    """Nothing we understand, or nothing that deserves an answer."""


Destination = ForConnection | ForReset | FirstInitial | Forgotten | Noise
NOISE = Noise()


class RoutingTable:
    """Connection IDs and reset tokens, each with its connection."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Connection] = {}
        self._ids: dict[Connection, dict[bytes, None]] = {}
        self._by_token: dict[bytes, Connection] = {}
        self._tokens: dict[Connection, frozenset[bytes]] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._ids))

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._ids

    def add(self, connection_id: bytes, connection: Connection) -> None:
        """Route `connection_id` to `connection`."""
        self._by_id[connection_id] = connection
        self._ids.setdefault(connection, {})[connection_id] = None

    def remove_id(self, connection_id: bytes) -> None:
        """Route `connection_id` nowhere."""
        connection = self._by_id.pop(connection_id, None)
        if connection is not None:
            self._ids[connection].pop(connection_id, None)

    def set_tokens(self, tokens: frozenset[bytes], connection: Connection) -> None:
        """Let these tokens, and no others, reset `connection`."""
        for token in self._tokens.pop(connection, frozenset()):
            self._by_token.pop(token, None)
        if tokens:
            self._tokens[connection] = tokens
            self._by_token.update(dict.fromkeys(tokens, connection))

    def forget(self, connection: Connection) -> None:
        """Route nothing to `connection` any more."""
        for connection_id in self._ids.pop(connection, {}):
            self._by_id.pop(connection_id, None)
        self.set_tokens(frozenset(), connection)

    def connection_of(self, data: bytes) -> Connection | None:
        """The connection of a short-header packet, the common case; None leaves it to `find`."""
        return None if data[0] & LONG_HEADER else self._by_id.get(data[1 : 1 + CONNECTION_ID_BYTES])

    def connection_of_run(self, run: DatagramRun) -> Connection | None:
        """The connection of short-header packets that all have the same destination ID; None leaves each to `find`.

        The kernel coalesces by address and size: packets of two connections between the same two sockets may mix.
        """
        data, size = run.data, run.size
        connection_id = bytes(data[1 : 1 + CONNECTION_ID_BYTES])
        connection = self._by_id.get(connection_id)
        if connection is None or size <= CONNECTION_ID_BYTES or max(data[::size]) & LONG_HEADER:
            return None
        rest = len(data) % size
        if 0 < rest <= CONNECTION_ID_BYTES:
            return None
        columns = (bytes(data[at::size]) for at in range(1, 1 + CONNECTION_ID_BYTES))
        alike = all(column == column[:1] * len(column) for column in columns)
        return connection if alike else None

    def find(self, data: bytes) -> Destination:
        """Where any datagram of at least one byte belongs."""
        if not data[0] & LONG_HEADER:
            return self._find_short(data)
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CONNECTION_ID_BYTES)
        except ValueError:
            return NOISE
        connection = self._by_id.get(header.destination_cid)
        if connection is not None:
            return ForConnection(connection)
        # Versions we do not speak are dropped without an answer (section 2.1), small Initials too (RFC 9000, 14.1).
        if (
            header.packet_type is QuicPacketType.INITIAL
            and header.version == QuicProtocolVersion.VERSION_1
            and len(data) >= MAX_DATAGRAM_BYTES
            and len(header.destination_cid) >= CONNECTION_ID_BYTES
        ):
            return FirstInitial(header.destination_cid)
        return NOISE

    def _find_short(self, data: bytes) -> Destination:
        connection = self.connection_of(data)
        if connection is not None:
            return ForConnection(connection)
        if len(data) >= SMALLEST_RESET_BYTES:
            connection = self._by_token.get(data[-RESET_TOKEN_BYTES:])
            if connection is not None:
                return ForReset(connection)
        if data[0] & FIXED_BIT and len(data) > SMALLEST_RESET_BYTES:
            return Forgotten(data[1 : 1 + CONNECTION_ID_BYTES])
        return NOISE
