"""QUIC on trio: a transport for each UDP socket, its connections, their streams, and records over them."""

from connet_trio.quic.authentication import (
    CLIENT_TO_CONTROL,
    CLIENT_TO_RELAY,
    RELAY_TO_CONTROL,
    Admitted,
    RefusalLog,
    authenticate,
    check_metadata,
    introduce,
    let_finish,
)
from connet_trio.quic.congestion import DEFAULT_CONGESTION_CONTROL, CongestionControl, CongestionTrace
from connet_trio.quic.connection import Connection
from connet_trio.quic.datagram_run import datagrams_of
from connet_trio.quic.dial_failures import NoAnswer
from connet_trio.quic.dialing import dial_first, dial_race
from connet_trio.quic.engine_choice import DEFAULT_QUIC_ENGINE, QuicEngine
from connet_trio.quic.handshake import Answer, ClientTrust, Dialing, Listening, any_client
from connet_trio.quic.limits import LARGEST_DATAGRAM_BYTES, PACKET_SIZES, UNAUTHENTICATED_WINDOWS, WINDOWS, Windows
from connet_trio.quic.network_path import Datagram, NetworkPath
from connet_trio.quic.open_socket import open_udp_socket
from connet_trio.quic.record_stream import RecordStream, explain
from connet_trio.quic.serving import Faults, serve_connections
from connet_trio.quic.socket_protocol import DatagramSocket
from connet_trio.quic.stream import Stream
from connet_trio.quic.surroundings import Surroundings
from connet_trio.quic.system_roots import load_system_roots
from connet_trio.quic.transport import Transport, open_transport

__all__ = [
    "CLIENT_TO_CONTROL",
    "CLIENT_TO_RELAY",
    "DEFAULT_CONGESTION_CONTROL",
    "DEFAULT_QUIC_ENGINE",
    "LARGEST_DATAGRAM_BYTES",
    "PACKET_SIZES",
    "RELAY_TO_CONTROL",
    "UNAUTHENTICATED_WINDOWS",
    "WINDOWS",
    "Admitted",
    "Answer",
    "ClientTrust",
    "CongestionControl",
    "CongestionTrace",
    "Connection",
    "Datagram",
    "DatagramSocket",
    "Dialing",
    "Faults",
    "Listening",
    "NetworkPath",
    "NoAnswer",
    "QuicEngine",
    "RecordStream",
    "RefusalLog",
    "Stream",
    "Surroundings",
    "Transport",
    "Windows",
    "any_client",
    "authenticate",
    "check_metadata",
    "datagrams_of",
    "dial_first",
    "dial_race",
    "explain",
    "introduce",
    "let_finish",
    "load_system_roots",
    "open_transport",
    "open_udp_socket",
    "serve_connections",
]
