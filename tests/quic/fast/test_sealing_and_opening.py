"""Packets of a run are those that stock code would open, and stock code's are opened."""

import pytest
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.quic.datagram_run import DatagramRun
from connet_trio.quic.fast.backlog import Backlog
from connet_trio.quic.fast.frames import StreamHeader, read_stream_header
from connet_trio.quic.fast.opening import Opener
from connet_trio.quic.fast.sealing import first_byte, payload_capacity, seal_run
from connet_trio.quic.network_path import NetworkPath

PATH = NetworkPath(("192.0.2.1", 4000))
ID = bytes(range(8))
SUITES = [
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
]


def make_keys(suite: CipherSuite = CipherSuite.AES_128_GCM_SHA256, phase: int = 0) -> CryptoPair:
    """Keys with which one can open what one has sealed."""
    keys = CryptoPair()
    size = 48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32
    for context in (keys.send, keys.recv):
        context.key_phase = phase
        context.setup(cipher_suite=suite, secret=bytes(range(size)), version=QuicProtocolVersion.VERSION_1)
    return keys


def seal(keys: CryptoPair, payload: bytes, number: int, *, number_bytes: int = 2, spin: bool = False) -> bytes:
    """A packet as stock code makes it, with numbers of any width."""
    first = 0x40 | spin << 5 | keys.send.key_phase << 2 | (number_bytes - 1)
    header = bytes([first]) + ID + (number % (1 << 8 * number_bytes)).to_bytes(number_bytes, "big")
    return keys.send.encrypt_packet(header, payload, number)


def open_all(keys: CryptoPair, packets: list[bytes], next_number: int = 0) -> tuple[list[bytes], list[range]]:
    opener = Opener(keys.recv, destination_id=ID, next_number=next_number, number_bytes=2)
    return list(opener.payloads(runs_of(packets))), opener.taken


def runs_of(packets: list[bytes]) -> list[DatagramRun]:
    return [DatagramRun(packet, len(packet), PATH) for packet in packets]


def seal_some(keys: CryptoPair, data: bytes, *, number: int, offset: int, stream_id: int, count: int) -> list[bytes]:
    backlog = Backlog()
    backlog += data
    sealed = seal_run(
        header=bytes([first_byte(spin=True, key_phase=keys.key_phase)]) + ID,
        packet_number=number,
        count=count,
        stream_id=stream_id,
        offset=offset,
        backlog=backlog,
        start=0,
        payload_bytes=payload_capacity(1200, ID, stream_id),
        keys=keys.send,
    )
    return [packet for packet, _ in DatagramRun(sealed, len(sealed) // count, PATH)]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("number", [0, 65_530, 1 << 40])
@pytest.mark.parametrize("stream_id", [0, 100, 1 << 20])
def test_a_run_is_full_packets_with_a_stream_in_order(
    suite: CipherSuite, phase: int, number: int, stream_id: int
) -> None:
    keys = make_keys(suite, phase)
    data = bytes(index % 253 for index in range(10_000))
    packets = seal_some(keys, data, number=number, offset=1 << 33, stream_id=stream_id, count=8)
    received = b""
    for index, packet in enumerate(packets):
        header, payload, found = keys.recv.decrypt_packet(packet, 9, number + index)[:3]
        assert (len(packet), found, header[1:9]) == (1200, number + index, ID)
        assert header[0] == 0x40 | 0x20 | phase << 2 | 1
        buffer = Buffer(data=payload)
        assert (buffer.pull_uint8(), buffer.pull_uint_var()) == (0x0E, stream_id)
        assert buffer.pull_uint_var() == (1 << 33) + len(received)
        assert buffer.pull_uint_var() == len(payload) - buffer.tell()
        received += payload[buffer.tell() :]
    assert received == data[: len(received)]
    assert len(received) == 8 * payload_capacity(1200, ID, stream_id)
    payloads, taken = open_all(keys, packets, number)
    assert b"".join(payload[-len(received) // 8 :] for payload in payloads) == received
    assert taken == [range(number, number + 8)]


@given(
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    widths=st.lists(st.integers(2, 4), min_size=12, max_size=12),
    spins=st.lists(st.booleans(), min_size=12, max_size=12),
    suite=st.sampled_from(SUITES),
    start=st.sampled_from([0, 250, 65_400, (1 << 32) - 5]),
)
def test_whatever_the_headers_are_like_everything_that_ascends_is_opened(
    gaps: list[int], widths: list[int], spins: list[bool], suite: CipherSuite, start: int
) -> None:
    keys = make_keys(suite)
    numbers = [start + sum(gaps[: index + 1]) - 1 for index in range(len(gaps))]
    contents = [bytes([index]) * (20 + index) for index in range(len(numbers))]
    packets = [
        seal(keys, content, number, number_bytes=width, spin=spin)
        for content, number, width, spin in zip(contents, numbers, widths, spins, strict=False)
    ]
    payloads, taken = open_all(keys, packets, start)
    assert payloads == contents
    assert [number for row in taken for number in row] == numbers


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packet, keys: packet[:-1] + bytes([packet[-1] ^ 1]),
        lambda packet, keys: packet[:20],
        lambda packet, keys: keys.send.encrypt_packet(b"\x41" + bytes(8) + b"\0\5", bytes(50), 5),
        lambda packet, keys: seal(keys, bytes(50), 4),
        lambda packet, keys: seal(keys, bytes(50), 2),
        lambda packet, keys: seal(make_keys(phase=1), bytes(50), 5),
        lambda packet, keys: keys.send.encrypt_packet(bytes([0x49]) + ID + b"\0\5", bytes(50), 5),
    ],
    ids=["altered", "cut", "for another", "again", "late", "of the next key phase", "with reserved bits"],
)
def test_the_first_packet_that_is_odd_ends_the_run(spoil: object) -> None:
    keys = make_keys()
    packets = [seal(keys, bytes([number]) * 50, number) for number in range(3, 9)]
    packets[2] = spoil(packets[2], keys)  # type: ignore[operator]
    payloads, taken = open_all(keys, packets, 3)
    assert payloads == [bytes([3]) * 50, bytes([4]) * 50]
    assert taken == [range(3, 5)]


def test_what_is_not_taken_does_not_count_as_received() -> None:
    keys = make_keys()
    opener = Opener(keys.recv, destination_id=ID, next_number=0, number_bytes=2)
    payloads = opener.payloads(runs_of([seal(keys, bytes(50), number) for number in (0, 1, 5, 6)]))
    for _ in range(4):
        next(payloads)
    payloads.close()
    assert opener.taken == [range(2), range(5, 6)]


@pytest.mark.parametrize("at", [0, 1, 8, 9, 10])
def test_an_altered_header_changes_neither_content_nor_number(at: int) -> None:
    """What the seal proves is taken although stock code, which believes the header, cannot open it."""
    keys = make_keys()
    packet = seal(keys, b"genuine" * 10, 7)
    altered = packet[:at] + bytes([packet[at] ^ 4]) + packet[at + 1 :]
    with pytest.raises(ValueError, match=r"^$"):  # a CryptoError, with nothing to say
        keys.recv.decrypt_packet(altered, 9, 7)
    assert open_all(keys, [altered], 7) == ([b"genuine" * 10], [range(7, 8)])
    assert open_all(keys, [altered], 6) == ([], []), "only the very next number is guessed"


@pytest.mark.parametrize(
    ("payload", "header"),
    [
        (b"\x0e\x04\x40\x05\x40\x02ab", StreamHeader(4, 5, False, 6, 2, 2)),
        (b"\x0f\x04\x05\x02ab", StreamHeader(4, 5, True, 4, 1, 1)),
        (b"\x0c\x04\x80\x00\x00\x05ab", StreamHeader(4, 5, False, 6, 4, 0)),
        (b"\x09\x04", StreamHeader(4, 0, True, 2, 0, 0)),
        (b"\x0e\x04\x05\x01ab", None),
        (b"\x0e\x04\x05\x03ab", None),
        (b"\x0e\x04\x05", None),
        (b"\x0e\xc4", None),
        (b"\x08", None),
        (b"\x02\x04", None),
        (b"", None),
    ],
)
def test_a_packet_is_one_stream_frame_or_it_is_not(payload: bytes, header: StreamHeader | None) -> None:
    assert read_stream_header(payload) == header
