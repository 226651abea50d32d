"""Records that many streams wait to send: the bytes are shared, not copied for each."""

from typing import Any, cast

import pytest
import trio

from connet_trio.errors import LocalProtocolError
from connet_trio.quic import RecordStream, Stream
from connet_trio.wire import MAX_FRAME_BYTES, WireVersion, encode_frame


class Wire:
    """Stands for a stream; keeps the very objects it was given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(data)


def on(wire: Wire, version: WireVersion) -> RecordStream:
    return RecordStream(cast(Stream, cast(Any, wire)), version)


@pytest.mark.parametrize("version", WireVersion)
@pytest.mark.parametrize("length", [0, 1, 1 << 16, (1 << 16) + 1, MAX_FRAME_BYTES])
async def test_a_record_of_any_length_is_sent_as_one_frame(version: WireVersion, length: int) -> None:
    wire, payload = Wire(), bytes(length)
    await on(wire, version).send_payload(payload)
    assert b"".join(wire.sent) == encode_frame(payload, version)


async def test_a_long_record_is_shared_and_a_short_one_leaves_with_its_length() -> None:
    long, short = Wire(), Wire()
    payload = bytes(100_000)
    await on(long, WireVersion.V2).send_payload(payload)
    assert long.sent[1] is payload
    await on(short, WireVersion.V2).send_payload(b"short")
    assert len(short.sent) == 1


async def test_a_record_that_no_frame_can_hold_is_not_begun() -> None:
    wire = Wire()
    with pytest.raises(LocalProtocolError):
        await on(wire, WireVersion.V2).send_payload(bytes(MAX_FRAME_BYTES + 1))
    assert wire.sent == []
