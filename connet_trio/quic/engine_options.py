"""How the engine is configured for one connection (protocol section 2.1)."""

import ssl
from functools import lru_cache

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from cryptography import x509

from connet_trio.quic.congestion import CongestionControl
from connet_trio.quic.engine_controllers import engine_name
from connet_trio.quic.handshake import Dialing
from connet_trio.quic.limits import CONNECTION_ID_BYTES, IDLE_TIMEOUT_SECONDS, MAX_DATAGRAM_BYTES, Windows

OWN_CHAINS = 64
"""Chains of ours whose objects are kept: a process has a few, and shows one of them in every handshake."""


@lru_cache(maxsize=OWN_CHAINS)
def parsed_chain(chain: tuple[bytes, ...]) -> tuple[x509.Certificate, ...]:
    """The certificates (DER) of a credential of ours, as the engine wants them."""
    return tuple(map(x509.load_der_x509_certificate, chain))


def engine_configuration(dialing: Dialing | None, windows: Windows, control: CongestionControl) -> QuicConfiguration:
    """For a dialer, or for a listener (None), which decides about certificates when it has seen the ClientHello."""
    configuration = QuicConfiguration(
        is_client=dialing is not None,
        alpn_protocols=list(dialing.alpns) if dialing is not None else None,
        # hardware makes AES-128 the cheapest; aioquic's own order begins with AES-256
        cipher_suites=[
            tls.CipherSuite.AES_128_GCM_SHA256,
            tls.CipherSuite.AES_256_GCM_SHA384,
            tls.CipherSuite.CHACHA20_POLY1305_SHA256,
        ],
        connection_id_length=CONNECTION_ID_BYTES,
        congestion_control_algorithm=engine_name(control),
        idle_timeout=IDLE_TIMEOUT_SECONDS,
        max_data=windows.connection,
        max_datagram_size=MAX_DATAGRAM_BYTES,
        max_stream_data=windows.stream,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=ssl.CERT_NONE,  # `judge_server` judges
    )
    if dialing is None:
        # aioquic wants some at construction; `TlsContext` sets the real ones once it has seen the server name
        configuration.certificate = configuration.private_key = "chosen by server name"
        return configuration
    configuration.server_name = dialing.server_name
    if dialing.initial_rtt_seconds is not None:
        configuration.initial_rtt = dialing.initial_rtt_seconds
    if dialing.credential is not None:
        leaf, *rest = parsed_chain(dialing.credential.chain)
        configuration.certificate, configuration.certificate_chain = leaf, rest
        configuration.private_key = dialing.credential.private_key
    return configuration
