"""Bytes of a stream, sealed into full packets that differ in numbers only."""

from collections.abc import Sequence
from typing import Any

from aioquic.buffer import encode_uint_var
from aioquic.quic.packet import PACKET_FIXED_BIT, QuicFrameType
from aioquic.quic.packet_builder import PACKET_NUMBER_SEND_SIZE

from connet_trio.quic.fast.backlog import Backlog

TAG_BYTES = 16
NONCE_BYTES = 12
OFFSET_BYTES, LENGTH_BYTES = 8, 2
"""Widths of the two numbers in the header of our frames: fixed, so that each header is the last one plus a number."""
FRAME_TYPE = bytes([QuicFrameType.STREAM_BASE | 4 | 2])
"""STREAM with offset and length."""
WIDE, SHORT = 0xC0 << 56, 0x40 << 8
"""What a variable-length integer of eight and of two bytes begins with."""
SPIN_BIT, KEY_PHASE_BIT = 0x20, 0x04
SAMPLE_BYTES = 16
SAMPLE = slice(4 - PACKET_NUMBER_SEND_SIZE, 4 - PACKET_NUMBER_SEND_SIZE + SAMPLE_BYTES)
"""Where in a sealed payload the sample for header protection is (RFC 9001 section 5.4.2)."""
PROTECTED_BITS = 0x1F
"""Of the first byte of a short header."""
LOW_BITS = bytes(value & PROTECTED_BITS for value in range(256))


def payload_capacity(datagram_bytes: int, destination_id: bytes, stream_id: int) -> int:
    """How many bytes of a stream a packet of `datagram_bytes` carries."""
    header = 1 + len(destination_id) + PACKET_NUMBER_SEND_SIZE
    frame_header = len(FRAME_TYPE) + len(encode_uint_var(stream_id)) + OFFSET_BYTES + LENGTH_BYTES
    return min(datagram_bytes - header - frame_header - TAG_BYTES, (1 << 14) - 1)


def first_byte(*, spin: bool, key_phase: int) -> int:
    """The unprotected first byte of the packets that `seal_run` makes."""
    return PACKET_FIXED_BIT | spin * SPIN_BIT | key_phase * KEY_PHASE_BIT | (PACKET_NUMBER_SEND_SIZE - 1)


def seal_run(
    *,
    header: bytes,
    packet_number: int,
    count: int,
    stream_id: int,
    offset: int,
    backlog: Backlog,
    start: int,
    payload_bytes: int,
    keys: Any,
) -> bytearray:
    """`count` packets of one size, one after the other, each with the next `payload_bytes` of a stream.

    Args:
      header: first byte and destination ID, what comes before the packet number.
      packet_number: of the first.
      offset: in the stream, of the first byte.
      start: where in `backlog` that byte is.
      keys: a CryptoContext of aioquic, ready to send.
    """
    encrypt_into, iv = keys.aead._aead.encrypt_into, keys.aead._iv
    header_bytes = len(header) + PACKET_NUMBER_SEND_SIZE
    header_base = int.from_bytes(header, "big") << 16
    frame_header = FRAME_TYPE + encode_uint_var(stream_id) + (WIDE | offset).to_bytes(OFFSET_BYTES, "big")
    frame_number = int.from_bytes(frame_header + (SHORT | payload_bytes).to_bytes(LENGTH_BYTES, "big"), "big")
    frame_bytes, frame_step = len(frame_header) + LENGTH_BYTES, payload_bytes << 8 * LENGTH_BYTES
    packet_bytes = header_bytes + frame_bytes + payload_bytes + TAG_BYTES
    payloads = backlog.view(start, start + count * payload_bytes)
    packets = bytearray(count * packet_bytes)
    headers = []
    begin, body, end = 0, header_bytes, packet_bytes
    with memoryview(packets) as room:
        for number in range(packet_number, packet_number + count):
            plain = (header_base | number & 0xFFFF).to_bytes(header_bytes, "big")
            headers.append(plain)
            encrypt_into(
                (iv ^ number).to_bytes(NONCE_BYTES, "big"),
                frame_number.to_bytes(frame_bytes, "big") + payloads[begin : begin + payload_bytes],
                plain,
                room[body:end],
            )
            frame_number += frame_step
            begin += payload_bytes
            body += packet_bytes
            end += packet_bytes
        first = header_bytes + SAMPLE.start
        masks = header_masks(keys.hp, [room[at : at + SAMPLE_BYTES] for at in range(first, len(packets), packet_bytes)])
    _protect(b"".join(headers), header_bytes, masks, packets, packet_bytes)
    return packets


def header_masks(protection: Any, samples: Sequence[bytes | memoryview]) -> bytes:
    """The masks for these samples, one every 16 bytes, of which the first 5 count (RFC 9001 section 5.4.1)."""
    if protection._is_chacha20:
        return b"".join([protection._mask(bytes(sample)).ljust(SAMPLE_BYTES, b"\0") for sample in samples])
    masks: bytes = protection._encryptor.update(b"".join(samples))  # AES-ECB: each block for itself
    return masks


def _protect(headers: bytes, header_bytes: int, masks: bytes, packets: bytearray, packet_bytes: int) -> None:
    """Put a masked header before each packet: one byte of it after the other, for all packets at once."""
    for at in range(header_bytes):
        packets[at::packet_bytes] = headers[at::header_bytes]
    number_at = header_bytes - PACKET_NUMBER_SEND_SIZE
    packets[::packet_bytes] = _xor(headers[::header_bytes], masks[::SAMPLE_BYTES].translate(LOW_BITS))
    for index in range(PACKET_NUMBER_SEND_SIZE):
        plain = headers[number_at + index :: header_bytes]
        packets[number_at + index :: packet_bytes] = _xor(plain, masks[1 + index :: SAMPLE_BYTES])


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")
