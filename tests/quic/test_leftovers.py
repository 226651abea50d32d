"""What is dropped of a handshake, and what may still come after it."""

import random

import pytest
from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.packet import QuicErrorCode
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.quic.core import Core
from connet_trio.quic.fast import FastCore
from connet_trio.quic.limits import CONNECTION_IDS_KEPT
from tests.quic.conftest import DIALER, LISTENER
from tests.quic.fast.conftest import FAR, NEAR, handshake

NOW = 100.0
TICKET = tls.NewSessionTicket(ticket_lifetime=60, ticket_age_add=1, ticket_nonce=b"n", ticket=bytes(64))
HELLO = b"\x01\x00\x00\x00"
UNEXPECTED = QuicErrorCode.CRYPTO_ERROR + tls.AlertDescription.unexpected_message


@pytest.fixture(params=[Core, FastCore], ids=["stock", "fast"])
def cores(request: pytest.FixtureRequest) -> tuple[Core, Core]:
    """A dialer and a listener whose handshake is complete."""
    return handshake(request.param, NOW)


def say(speaker: Core, hearer: Core, message: bytes) -> None:
    """Have `speaker` say something in TLS after the handshake, and the answers to it exchanged."""
    speaker._crypto_streams[tls.Epoch.ONE_RTT].sender.write(message)
    from_speaker = FAR if hearer.configuration.is_client else NEAR
    from_hearer = NEAR if hearer.configuration.is_client else FAR
    for turn in range(4):
        now = NOW + 1 + turn / 100
        hearer.receive_batch([(data, from_speaker) for data, _ in speaker.collect(now)], now)
        speaker.receive_batch([(data, from_hearer) for data, _ in hearer.collect(now)], now)


def test_buffers_keys_and_certificates_go_with_the_handshake(cores: tuple[Core, Core]) -> None:
    for core in cores:
        assert [buffer.capacity for buffer in core._crypto_buffers.values()] == [0, 0, 0]
        assert core.tls.key_schedule is None
        assert core.tls._x25519_private_key is None
        assert core.tls.certificate_private_key is None
        assert core.tls._peer_certificate is None


def test_who_the_other_side_is_stays_known(cores: tuple[Core, Core]) -> None:
    dialer, listener = cores
    assert dialer.peer_certificate == LISTENER.server.der
    assert listener.peer_certificate == DIALER.client.der


def test_a_session_ticket_that_nobody_asked_for_is_ignored(cores: tuple[Core, Core]) -> None:
    dialer, listener = cores
    buffer = Buffer(capacity=256)
    tls.push_new_session_ticket(buffer, TICKET)
    say(listener, dialer, buffer.data)
    assert dialer.ending is None
    assert listener._crypto_streams[tls.Epoch.ONE_RTT].sender._buffer_start == len(buffer.data)  # it was acknowledged


@pytest.mark.parametrize("dialer_speaks", [False, True])
def test_another_handshake_is_refused(cores: tuple[Core, Core], dialer_speaks: bool) -> None:
    dialer, listener = cores
    speaker, hearer = (dialer, listener) if dialer_speaks else (listener, dialer)
    say(speaker, hearer, HELLO)
    assert hearer.ending is not None
    assert hearer.ending.error_code == UNEXPECTED


@given(seed=st.integers(0, 1000))
def test_whatever_comes_after_the_handshake_is_ignored_or_refused(seed: int) -> None:
    luck = random.Random(seed)
    dialer, listener = handshake(FastCore, NOW)
    kind, body = luck.choice(list(tls.HandshakeType)), luck.randbytes(luck.randrange(40))
    speaker, hearer = luck.sample([dialer, listener], 2)
    say(speaker, hearer, bytes([kind]) + len(body).to_bytes(3, "big") + body)
    assert hearer.ending is None or hearer.ending.error_code >= QuicErrorCode.CRYPTO_ERROR


def test_connections_share_their_sets_of_epochs(cores: tuple[Core, Core]) -> None:
    known = [{id(epochs) for _, epochs in vars(core)["_QuicConnection__frame_handlers"].values()} for core in cores]
    assert known[0] == known[1]
    assert len(known[0]) < 8


def test_each_side_keeps_a_few_connection_ids_of_the_other(cores: tuple[Core, Core]) -> None:
    for core in cores:
        assert 1 + len(core._peer_cid_available) in (CONNECTION_IDS_KEPT - 1, CONNECTION_IDS_KEPT)
        assert len(core._host_cids) == CONNECTION_IDS_KEPT
