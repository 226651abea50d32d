"""What hostile frames make the engine hold: little, or the connection is closed for it."""

import tracemalloc
from collections.abc import Iterator, Sequence

import pytest
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.tls import Epoch

from connet_trio.quic.core import Core
from connet_trio.quic.fast import FastCore
from connet_trio.quic.limits import CRYPTO_BYTES, REMEMBERED_ACKNOWLEDGEMENTS, REMEMBERED_PEER_IDS
from connet_trio.quic.network_path import Datagram
from connet_trio.testing.adversary import expect_anything, seal_frames
from connet_trio.testing.floods import FLOODS, HOSTILE_ID, Flood, distant_crypto, frame
from tests.quic.conftest import RESET_KEY, WALL_NOW, dialing, listening
from tests.quic.fast.conftest import FAR, NEAR

BATCH_PACKETS = 16
BEGIN = 10.0

CLOSED_WITH = {
    "new connection IDs, many a packet": QuicErrorCode.CONNECTION_ID_LIMIT_ERROR,
    "retired connection IDs": QuicErrorCode.PROTOCOL_VIOLATION,
    "CRYPTO with gaps": QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
    "distant CRYPTO": QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
    "endless CRYPTO": QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
    "too many ACK ranges": QuicErrorCode.PROTOCOL_VIOLATION,
    "many ACKs": QuicErrorCode.PROTOCOL_VIOLATION,
    "new connection IDs": QuicErrorCode.CONNECTION_ID_LIMIT_ERROR,
    "new connection IDs, never acknowledging": QuicErrorCode.CONNECTION_ID_LIMIT_ERROR,
    "pings": QuicErrorCode.PROTOCOL_VIOLATION,
    "stream gaps": QuicErrorCode.PROTOCOL_VIOLATION,
    "streams without end": QuicErrorCode.STREAM_LIMIT_ERROR,
}
"""What ends a connection within a few packets. The others may go on."""


@pytest.fixture(params=[FastCore, Core], ids=["fast", "stock"])
def victim_kind(request: pytest.FixtureRequest) -> type[Core]:
    kind: type[Core] = request.param
    return kind


def shake_hands(victim_kind: type[Core]) -> tuple[Core, Core]:
    """A dialer, to be turned hostile, and its victim."""
    dialer = Core(dialing=dialing(), reset_key=RESET_KEY, wall_now=WALL_NOW)
    victim = new_victim(victim_kind, dialer)
    dialer.connect(FAR, now=BEGIN - 1)
    for turn in range(20):
        at = BEGIN - 1 + turn / 100
        deliver(dialer.collect(at), victim, at)
        deliver(victim.collect(at), dialer, at)
    assert victim._handshake_confirmed
    expect_anything(dialer)
    return dialer, victim


def new_victim(kind: type[Core], dialer: Core) -> Core:
    return kind(
        listening=listening(),
        original_destination_id=dialer.original_destination_connection_id,
        reset_key=RESET_KEY,
        wall_now=WALL_NOW,
    )


def deliver(datagrams: Sequence[Datagram], receiver: Core, now: float) -> None:
    path = FAR if receiver._is_client else NEAR
    receiver.receive_batch([(data, path) for data, _ in datagrams], now)
    while receiver.next_event() is not None:
        pass


def endure(flood: Flood, dialer: Core, victim: Core, batches: int, now: float) -> Iterator[float]:
    """Deliver batches of a flood until the victim has had enough; the time after each."""
    number = 0
    for _ in range(batches):
        sealed = []
        for _ in range(BATCH_PACKETS):
            sealed.append((seal_frames(dialer, flood.frames(number), skipped_numbers=flood.skipped_numbers), FAR))
            number += 1
        now += 0.03  # longer than an acknowledgement is put off
        deliver(sealed, victim, now)
        victim.fire_timers(now)
        answer = victim.collect(now)
        if victim.ending is not None:
            return
        if flood.acknowledges:
            deliver(answer, dialer, now)
            deliver(dialer.collect(now + 0.01), victim, now + 0.01)
        yield now


@pytest.mark.reliability(line=21)
@pytest.mark.reliability(line=22)
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_borne_without_growing_or_ends_its_connection(name: str, victim_kind: type[Core]) -> None:
    dialer, victim = shake_hands(victim_kind)
    batches = endure(FLOODS[name], dialer, victim, batches=20, now=BEGIN)
    tracemalloc.start()
    try:
        held = [tracemalloc.get_traced_memory()[0] for _ in batches]
    finally:
        tracemalloc.stop()
    ending = None if victim.ending is None else victim.ending.error_code
    assert ending == CLOSED_WITH.get(name)
    assert max(held, default=0) < 1 << 20
    if ending is None:
        assert len(held) == 20


def test_acknowledgements_that_are_never_heard_of_are_not_remembered_for_ever(victim_kind: type[Core]) -> None:
    dialer, victim = shake_hands(victim_kind)
    now = BEGIN
    for _ in range(4 * REMEMBERED_ACKNOWLEDGEMENTS):
        now += 0.03
        deliver([(seal_frames(dialer, frame(QuicFrameType.PING)), FAR)], victim, now)
        assert victim.collect(now) != [] or victim.collect(now + 0.026) != []
    assert victim.ending is None
    kept = victim._spaces[Epoch.ONE_RTT].sent_packets
    assert REMEMBERED_ACKNOWLEDGEMENTS <= len(kept) <= 2 * REMEMBERED_ACKNOWLEDGEMENTS + 100
    assert victim._packet_number - 1 in [number for number, _ in kept.items()], "the newest are"


def test_connection_ids_given_one_by_one_are_not_remembered_for_ever(victim_kind: type[Core]) -> None:
    """Those the victim itself has retired: the peer need not say that it has, and many never do."""
    _, victim = shake_hands(victim_kind)
    context = type("Context", (), {"quic_logger_frames": None, "host_cid": b""})()
    for number in range(1000, 1000 + 3 * REMEMBERED_PEER_IDS):
        victim.change_connection_id()
        victim._retire_connection_ids.clear()
        fields = frame(QuicFrameType.NEW_CONNECTION_ID, number, 0, b"\x08", HOSTILE_ID, bytes(16))[1:]
        victim._handle_new_connection_id_frame(context, QuicFrameType.NEW_CONNECTION_ID, Buffer(data=fields))
    assert len(victim._peer_cid_sequence_numbers) <= REMEMBERED_PEER_IDS
    assert victim._peer_cid.sequence_number is not None
    assert victim._peer_cid.sequence_number > 1000 + 3 * REMEMBERED_PEER_IDS - 20


def test_a_peer_that_retires_every_id_it_has_given_is_told_so(victim_kind: type[Core]) -> None:
    """It names again one that the victim has used and retired, as the one to retire all before."""
    dialer, victim = shake_hands(victim_kind)

    def give(number: int, retired: int) -> bytes:
        return frame(QuicFrameType.NEW_CONNECTION_ID, number, retired, b"\x08", HOSTILE_ID, bytes(16))

    deliver([(seal_frames(dialer, give(1009, 1009) + give(1008, 0)), FAR)], victim, BEGIN)
    deliver([(seal_frames(dialer, give(1019, 1010) + give(1015, 0)), FAR)], victim, BEGIN)
    victim.change_connection_id()  # to 1015; 1019 was used and is retired
    deliver([(seal_frames(dialer, give(1019, 1019)), FAR)], victim, BEGIN)
    assert victim.ending is not None
    assert victim.ending.error_code == QuicErrorCode.PROTOCOL_VIOLATION


def test_a_stranger_cannot_make_us_hold_much_before_its_hello_is_complete(victim_kind: type[Core]) -> None:
    dialer = Core(dialing=dialing(), reset_key=RESET_KEY, wall_now=WALL_NOW)
    victim = new_victim(victim_kind, dialer)
    dialer.connect(FAR, now=BEGIN)
    tracemalloc.start()
    try:
        deliver([(seal_frames(dialer, distant_crypto(0), epoch=Epoch.INITIAL), FAR)], victim, BEGIN)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 16 * CRYPTO_BYTES
    assert victim.ending is not None
    assert victim.ending.error_code == QuicErrorCode.CRYPTO_BUFFER_EXCEEDED
