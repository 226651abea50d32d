"""Records on a stream: one frame each, in both wire versions, and what goes wrong with them."""

import pytest
import trio

from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic import RecordStream, Stream
from connet_trio.records.model import Error
from connet_trio.records.peer import Check, Connect, Connected, RelayEncryption
from connet_trio.wire import WireVersion, codecs, encode_frame
from tests.quic.conftest import Pair, virtual_time

pytestmark = virtual_time

VERSIONS = pytest.mark.parametrize("version", list(WireVersion))
REQUEST = Connect(source_encryption=(RelayEncryption.NONE,))


async def records_of(pair: Pair, version: WireVersion, max_frame_bytes: int = 1000) -> tuple[RecordStream, Stream]:
    """A record stream, and the plain stream at the other end."""
    ours, theirs = await pair.open_streams()
    return RecordStream(ours, version, max_frame_bytes=max_frame_bytes), theirs


@VERSIONS
async def test_records_go_both_ways(pair: Pair, version: WireVersion) -> None:
    ours, theirs = await pair.open_streams()
    asking, answering = RecordStream(ours, version), RecordStream(theirs, version)
    await asking.send(codecs.PEER_REQUEST, REQUEST)
    assert await answering.receive(codecs.PEER_REQUEST) == REQUEST
    await answering.send(codecs.PEER_RESPONSE, Connected())
    assert await asking.receive(codecs.PEER_RESPONSE) == Connected()
    await answering.send(codecs.PEER_RESPONSE, Error(501, "no"))
    assert await asking.receive(codecs.PEER_RESPONSE) == Error(501, "no")


@VERSIONS
async def test_a_record_is_its_length_and_its_bytes(pair: Pair, version: WireVersion) -> None:
    records, plain = await records_of(pair, version)
    await records.send_payload(b"payload")
    assert await plain.receive_some() == (7).to_bytes(version.prefix_bytes, "big") + b"payload"


@VERSIONS
async def test_an_empty_record_is_a_record(pair: Pair, version: WireVersion) -> None:
    records, plain = await records_of(pair, version)
    await plain.send_all(encode_frame(b"", version))
    assert await records.receive(codecs.PEER_REQUEST) == Check()


@VERSIONS
async def test_nothing_past_a_record_is_read(pair: Pair, version: WireVersion) -> None:
    records, plain = await records_of(pair, version)
    await plain.send_all(encode_frame(b"first", version) + encode_frame(b"second", version) + b"payload")
    assert await records.receive_payload() == b"first"
    assert await records.receive_payload() == b"second"
    assert await records.stream.receive_some() == b"payload"


@VERSIONS
async def test_a_record_may_come_byte_by_byte(pair: Pair, version: WireVersion) -> None:
    records, plain = await records_of(pair, version)

    async def trickle() -> None:
        for byte in encode_frame(b"slowly", version):
            await plain.send_all(bytes([byte]))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trickle)
        assert await records.receive_payload() == b"slowly"


async def test_what_was_read_before_counts(pair: Pair) -> None:
    ours, theirs = await pair.open_streams()
    frame = encode_frame(b"begun elsewhere", WireVersion.V1)
    await theirs.send_all(frame[4:])
    records = RecordStream(ours, WireVersion.V1, received=frame[:4])
    assert await records.receive_payload() == b"begun elsewhere"


@VERSIONS
async def test_a_record_that_is_too_long_is_refused_at_its_length(pair: Pair, version: WireVersion) -> None:
    records, plain = await records_of(pair, version, max_frame_bytes=1000)
    await plain.send_all((1001).to_bytes(version.prefix_bytes, "big"))
    with pytest.raises(RemoteProtocolError, match="1001 bytes, at most 1000"):
        await records.receive_payload()


@VERSIONS
async def test_a_record_of_the_greatest_length_is_accepted(pair: Pair, version: WireVersion) -> None:
    records, plain = await records_of(pair, version, max_frame_bytes=1000)
    await plain.send_all(encode_frame(bytes(1000), version))
    assert await records.receive_payload() == bytes(1000)


@pytest.mark.parametrize(
    ("version", "missing"),
    [(version, missing) for version in WireVersion for missing in range(1, version.prefix_bytes + 10)],
)
async def test_a_stream_that_ends_inside_a_record_breaks_the_protocol(
    pair: Pair, version: WireVersion, missing: int
) -> None:
    records, plain = await records_of(pair, version)
    frame = encode_frame(b"ten bytes.", version)
    await plain.send_all(frame[:-missing])
    await plain.send_eof()
    with pytest.raises(RemoteProtocolError, match="inside a record"):
        await records.receive_or_end(codecs.PEER_REQUEST)


async def test_exactly_a_length_missing_is_no_clean_end(pair: Pair) -> None:
    """The payload lacks as many bytes as a length has: a reader that asked for a length would take it for one."""
    records, plain = await records_of(pair, WireVersion.V1)
    frame = encode_frame(bytes(16), WireVersion.V1)
    await plain.send_all(frame[:-8])
    await plain.send_eof()
    with pytest.raises(RemoteProtocolError, match="inside a record"):
        await records.receive_or_end(codecs.PEER_REQUEST)


@VERSIONS
async def test_a_stream_that_ends_between_records_ends_cleanly(pair: Pair, version: WireVersion) -> None:
    records, plain = await records_of(pair, version)
    await plain.send_all(encode_frame(codecs.PEER_REQUEST.encode(REQUEST), version))
    await plain.send_eof()
    assert await records.receive_or_end(codecs.PEER_REQUEST) == REQUEST
    assert await records.receive_or_end(codecs.PEER_REQUEST) is None
    with pytest.raises(RemoteProtocolError, match="ended where a record was expected"):
        await records.receive(codecs.PEER_REQUEST)


async def test_bytes_that_are_no_record_break_the_protocol(pair: Pair) -> None:
    records, plain = await records_of(pair, WireVersion.V2)
    await plain.send_all(encode_frame(b"\xff\xff", WireVersion.V2))
    with pytest.raises(RemoteProtocolError):
        await records.receive(codecs.PEER_REQUEST)


async def test_a_reset_stream_is_a_lost_path_with_its_code(pair: Pair) -> None:
    records, plain = await records_of(pair, WireVersion.V2)
    plain.reset(11)
    with pytest.raises(PathLost, match=r"reset this stream \(code 11\)"):
        await records.receive_payload()


async def test_a_stopped_stream_is_a_lost_path(pair: Pair) -> None:
    records, plain = await records_of(pair, WireVersion.V2)
    plain.stop(12)
    await records.stream.wait_stopped()
    with pytest.raises(PathLost, match="code 12"):
        await records.send_payload(b"x")


async def test_a_lost_connection_is_a_lost_path(pair: Pair) -> None:
    records, plain = await records_of(pair, WireVersion.V2)
    plain.connection.close(0, "connection closed")
    with pytest.raises(PathLost, match="closed by the peer: connection closed"):
        await records.receive_payload()
    with pytest.raises(PathLost):
        await records.send_payload(b"x")


async def test_an_answer_that_came_before_the_close_is_still_read(pair: Pair) -> None:
    """Trap T1, as a server of ours does it: the answer, then a close that says the same."""
    records, plain = await records_of(pair, WireVersion.V2)
    await plain.send_all(encode_frame(b"no, because", WireVersion.V2))
    await plain.send_eof()
    await plain.wait_delivered()
    plain.connection.close(100, "no, because")
    await records.stream.connection.wait_closed()
    assert await records.receive_payload() == b"no, because"


async def test_a_cancelled_receive_leaves_the_record_for_the_next(pair: Pair) -> None:
    records, plain = await records_of(pair, WireVersion.V1)
    frame = encode_frame(b"in two halves", WireVersion.V1)
    await plain.send_all(frame[:10])
    with trio.move_on_after(1):
        await records.receive_payload()
    await plain.send_all(frame[10:])
    assert await records.receive_payload() == b"in two halves"


async def test_a_refusal_keeps_the_code_of_the_close(pair: Pair) -> None:
    records, plain = await records_of(pair, WireVersion.V2)
    plain.connection.close(302, "keepalive closed")
    with pytest.raises(Refused) as refused:
        await records.receive_payload()
    assert (refused.value.code, refused.value.message) == (302, "keepalive closed")
