"""Frames that are legal one by one and of which there are too many: what a hostile peer says once it is connected."""

from collections.abc import Callable
from types import MappingProxyType

import attrs
from aioquic.buffer import UINT_VAR_MAX_SIZE, Buffer  # type: ignore[attr-defined]
from aioquic.quic.packet import QuicFrameType

PAYLOAD_BYTES = 1100
"""Frames of one packet, about."""
HOSTILE_ID = b"hostile!"
"""A connection ID that is given again and again, each time with a number of its own."""
FIRST_HOSTILE_NUMBER = 1000
"""Above those of any connection ID that the proper part of an adversary has given."""
CREDIT_STREAMS = 90
"""That an adversary may open for sure, beside those it has opened before."""
FLOODED_STREAM = 4
"""Of an adversary; 0 is for what it has to say before."""


@attrs.frozen(kw_only=True)
class Flood:
    """Packets without end."""

    frames: Callable[[int], bytes]
    """What is in the packet of a number, counted from 0."""
    skipped_numbers: int = 0
    """Packet numbers left out before each of them."""
    acknowledges: bool = True
    """Whether what the victim says is answered meanwhile, as a proper peer would; else nothing is."""


def frame(frame_type: int, *fields: int | bytes) -> bytes:
    """A frame of variable-length integers and plain bytes, in this order."""
    plain = sum(len(field) for field in fields if isinstance(field, bytes))
    buffer = Buffer(capacity=plain + (1 + len(fields)) * UINT_VAR_MAX_SIZE)
    for field in (frame_type, *fields):
        if isinstance(field, bytes):
            buffer.push_bytes(field)
        else:
            buffer.push_uint_var(field)
    return bytes(buffer.data)


def as_many_as_fit(number: int, make: Callable[[int], bytes]) -> bytes:
    """The frames of packet `number`, where `make` makes the frame of an index that never comes again."""
    size = len(make((1 << 20) - 1))
    count = PAYLOAD_BYTES // size
    return b"".join(map(make, range(number * count, (number + 1) * count)))


def path_challenges(number: int) -> bytes:
    """Each asks for an answer."""
    return as_many_as_fit(number, lambda index: frame(QuicFrameType.PATH_CHALLENGE, index.to_bytes(8, "big")))


def new_connection_id(number: int) -> bytes:
    """One connection ID that retires the one before it: each asks for an answer that has to arrive."""
    return _new_connection_id(FIRST_HOSTILE_NUMBER + number)


def new_connection_ids(number: int) -> bytes:
    """As many such in one packet as it holds."""
    return as_many_as_fit(number, lambda index: _new_connection_id(FIRST_HOSTILE_NUMBER + index))


def retired_connection_ids(number: int) -> bytes:
    """Gives the victim's IDs back as fast as it can give them, over and over again the same."""
    del number
    retire = b"".join(frame(QuicFrameType.RETIRE_CONNECTION_ID, sequence) for sequence in range(1, 8))
    return retire * (PAYLOAD_BYTES // len(retire))


def crypto_gaps(number: int) -> bytes:
    """TLS bytes that never become a message: every other one is missing."""
    return as_many_as_fit(number, lambda index: frame(QuicFrameType.CRYPTO, 2 * index + 1, 1, b"!"))


def distant_crypto(number: int) -> bytes:
    """One TLS byte far behind what is missing."""
    return frame(QuicFrameType.CRYPTO, 500_000 + number % 1000, 1, b"!")


def endless_crypto(number: int) -> bytes:
    """A TLS message of 16 MiB, in order and from its beginning."""
    message = b"\x04\xff\xff\xff" if number == 0 else b""
    data = message + bytes(PAYLOAD_BYTES - len(message))
    return frame(QuicFrameType.CRYPTO, number * PAYLOAD_BYTES, len(data), data)


def ack_ranges(number: int) -> bytes:
    """Acknowledges every other packet number there is, up to one that the victim will never reach."""
    return _ranges(number, 250)


def too_many_ack_ranges(number: int) -> bytes:
    """As many as a packet holds."""
    return _ranges(number, PAYLOAD_BYTES // 2 - 10)


def _ranges(number: int, count: int) -> bytes:
    return frame(QuicFrameType.ACK, 3 * count + number, 0, count, 0, bytes(2 * count))


def many_acks(number: int) -> bytes:
    """Acknowledges one packet over and over again."""
    del number
    acknowledgement = frame(QuicFrameType.ACK, 1, 0, 0, 0)
    return acknowledgement * (PAYLOAD_BYTES // len(acknowledgement))


def ping(number: int) -> bytes:
    """Asks for an acknowledgement."""
    del number
    return frame(QuicFrameType.PING)


def pings(number: int) -> bytes:
    """The smallest frame, as often as it fits."""
    return ping(number) * PAYLOAD_BYTES


def stream_gaps(number: int) -> bytes:
    """Bytes of a stream of which every other one is missing, within the credit of a stranger."""
    with_offset_and_length = QuicFrameType.STREAM_BASE | 6
    return as_many_as_fit(
        number, lambda index: frame(with_offset_and_length, FLOODED_STREAM, (2 * index + 1) % (1 << 16), 1, b"!")
    )


def reset_streams(number: int) -> bytes:
    """Opens the streams of a stranger's credit and resets them, over and over again the same."""
    return as_many_as_fit(number, lambda index: _reset_stream(FLOODED_STREAM + 4 * (index % CREDIT_STREAMS)))


def endless_streams(number: int) -> bytes:
    """Opens and resets ever more streams, whatever credit there is."""
    return as_many_as_fit(number, lambda index: _reset_stream(FLOODED_STREAM + 4 * index))


def _reset_stream(stream_id: int) -> bytes:
    """A byte of a stream, its reset, and that nothing of it is wanted."""
    with_length = QuicFrameType.STREAM_BASE | 2
    return (
        frame(with_length, stream_id, 1, b"!")
        + frame(QuicFrameType.RESET_STREAM, stream_id, 0, 1)
        + frame(QuicFrameType.STOP_SENDING, stream_id, 0)
    )


def _new_connection_id(sequence: int) -> bytes:
    token = sequence.to_bytes(16, "big")
    return frame(QuicFrameType.NEW_CONNECTION_ID, sequence, sequence, b"\x08", HOSTILE_ID, token)


FLOODS = MappingProxyType(
    {
        "path challenges": Flood(frames=path_challenges),
        "path challenges, never acknowledging": Flood(frames=path_challenges, acknowledges=False),
        "new connection IDs": Flood(frames=new_connection_id),
        "new connection IDs, many a packet": Flood(frames=new_connection_ids),
        "new connection IDs, never acknowledging": Flood(frames=new_connection_id, acknowledges=False),
        "retired connection IDs": Flood(frames=retired_connection_ids),
        "CRYPTO with gaps": Flood(frames=crypto_gaps),
        "distant CRYPTO": Flood(frames=distant_crypto),
        "endless CRYPTO": Flood(frames=endless_crypto),
        "ACK ranges": Flood(frames=ack_ranges),
        "too many ACK ranges": Flood(frames=too_many_ack_ranges),
        "many ACKs": Flood(frames=many_acks),
        "gaps in packet numbers": Flood(frames=ping, skipped_numbers=1),
        "pings, never acknowledging": Flood(frames=ping, acknowledges=False),
        "pings": Flood(frames=pings),
        "stream gaps": Flood(frames=stream_gaps),
        "streams that are reset": Flood(frames=reset_streams),
        "streams without end": Flood(frames=endless_streams),
    }
)
"""By name."""
