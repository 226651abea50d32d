"""Frames however they arrive."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import LocalProtocolError, RemoteProtocolError
from connet_trio.wire import MAX_FRAME_BYTES, FrameDecoder, WireVersion, detect_version, encode_frame
from tests.strategies import fragments, mutations

versions = st.sampled_from(WireVersion)
every_version = pytest.mark.parametrize("version", WireVersion)
payload_lists = st.lists(st.binary(max_size=300), max_size=5)


def frames_of(decoder: FrameDecoder) -> list[bytes]:
    """Every payload that is complete by now."""
    frames = []
    while (payload := decoder.next_frame()) is not None:
        frames.append(payload)
    return frames


@settings(deadline=None)
@given(data=st.data(), version=versions, payloads=payload_lists)
def test_frames_survive_any_fragmentation(data: st.DataObject, version: WireVersion, payloads: list[bytes]) -> None:
    stream = b"".join(encode_frame(payload, version) for payload in payloads)
    decoder, received = FrameDecoder(version), []
    for piece in data.draw(fragments(stream)):
        decoder.feed(piece)
        received += frames_of(decoder)
    assert received == payloads
    assert decoder.take_rest() == b""


@settings(deadline=None)
@given(version=versions, payloads=payload_lists, rest=st.binary(max_size=40))
def test_reading_what_is_wanted_never_reads_past_a_frame(
    version: WireVersion, payloads: list[bytes], rest: bytes
) -> None:
    stream = b"".join(encode_frame(payload, version) for payload in payloads) + rest
    decoder, place = FrameDecoder(version), 0
    for payload in payloads:
        while decoder.wanted:
            place, piece = place + decoder.wanted, stream[place : place + decoder.wanted]
            decoder.feed(piece)
        assert decoder.next_frame() == payload
        assert decoder.take_rest() == b""
    assert stream[place:] == rest


@pytest.mark.reliability(line=33)
@settings(max_examples=200, deadline=None)
@given(data=st.data(), version=versions)
def test_damaged_frames_are_read_or_refused_as_the_senders_fault(data: st.DataObject, version: WireVersion) -> None:
    frames = st.binary(max_size=40).map(lambda payload: encode_frame(payload, version))
    decoder = FrameDecoder(version, max_frame_bytes=100)
    for piece in data.draw(mutations(frames).flatmap(fragments)):
        decoder.feed(piece)
        try:
            payloads = frames_of(decoder)
        except RemoteProtocolError:
            return
        assert all(len(payload) <= 100 for payload in payloads)
        assert decoder.wanted > 0


@every_version
def test_bytes_past_a_frame_stay_available(version: WireVersion) -> None:
    decoder = FrameDecoder(version)
    decoder.feed(encode_frame(b"connected", version) + b"SSH-2.0-")
    assert decoder.next_frame() == b"connected"
    decoder.feed(b"OpenSSH")
    assert decoder.take_rest() == b"SSH-2.0-OpenSSH"
    assert decoder.take_rest() == b""
    decoder.feed(encode_frame(b"again", version))
    assert decoder.next_frame() == b"again"


@every_version
def test_what_is_wanted_counts_down(version: WireVersion) -> None:
    decoder = FrameDecoder(version)
    assert decoder.wanted == version.prefix_bytes
    decoder.feed(encode_frame(b"abc", version)[:3])
    assert decoder.wanted == version.prefix_bytes - 3
    decoder.feed(encode_frame(b"abc", version)[3:-1])
    assert decoder.wanted == 1
    assert decoder.next_frame() is None
    decoder.feed(b"c and more")
    assert decoder.wanted == 0
    assert decoder.next_frame() == b"abc"


@every_version
def test_a_stream_may_end_between_frames_only(version: WireVersion) -> None:
    frame = encode_frame(bytes(version.prefix_bytes), version)
    decoder = FrameDecoder(version)
    assert decoder.is_between_frames
    decoder.feed(frame[: version.prefix_bytes])
    assert decoder.wanted == version.prefix_bytes  # as many as at the start, but a frame has begun
    assert not decoder.is_between_frames
    decoder.feed(frame[version.prefix_bytes :])
    assert not decoder.is_between_frames
    decoder.next_frame()
    assert decoder.is_between_frames


@every_version
def test_an_empty_frame_is_a_frame(version: WireVersion) -> None:
    decoder = FrameDecoder(version)
    decoder.feed(bytes(version.prefix_bytes))
    assert decoder.wanted == 0
    assert decoder.next_frame() == b""
    assert decoder.next_frame() is None


@every_version
def test_the_longest_frame_passes_and_a_longer_one_does_not(version: WireVersion) -> None:
    longest = bytes(MAX_FRAME_BYTES)
    decoder = FrameDecoder(version)
    decoder.feed(encode_frame(longest, version))
    assert decoder.next_frame() == longest
    with pytest.raises(LocalProtocolError, match=r"^frame of 16777217 bytes, at most 16777216$"):
        encode_frame(longest + b"x", version)


@pytest.mark.reliability(line=23)
@every_version
def test_an_oversized_frame_is_refused_at_its_length(version: WireVersion) -> None:
    prefix = (70_000).to_bytes(version.prefix_bytes, "big")
    decoder = FrameDecoder(version, max_frame_bytes=65_536)
    decoder.feed(prefix[:-1])
    assert decoder.next_frame() is None
    decoder.feed(prefix[-1:])
    assert decoder.wanted == 0
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=r"^frame of 70000 bytes, at most 65536$"):
            decoder.next_frame()


def test_a_v1_length_with_the_top_bit_set_is_large_and_not_negative() -> None:
    decoder = FrameDecoder(WireVersion.V1)
    decoder.feed(b"\xff" * 8)
    with pytest.raises(RemoteProtocolError, match=f"^frame of {2**64 - 1} bytes, at most 16777216$"):
        decoder.next_frame()


def cpu_seconds_of(data: bytes, piece_bytes: int, version: WireVersion) -> float:
    started = time.process_time()
    decoder = FrameDecoder(version)
    for start in range(0, len(data), piece_bytes):
        decoder.feed(data[start : start + piece_bytes])
        frames_of(decoder)
    assert decoder.take_rest() == b""
    return time.process_time() - started


# Copying what is buffered for each piece or frame would move over 100 GB here, for ten seconds or more.


def test_a_long_frame_in_small_pieces_takes_linear_time() -> None:
    frame = encode_frame(bytes(8 * 1024 * 1024), WireVersion.V2)
    assert cpu_seconds_of(frame, 256, WireVersion.V2) < 5


def test_many_short_frames_in_one_piece_take_linear_time() -> None:
    frames = encode_frame(bytes(60), WireVersion.V2) * 100_000
    assert cpu_seconds_of(frames, len(frames), WireVersion.V2) < 5


@settings(deadline=None)
@given(payload=st.binary(min_size=1, max_size=40), version=versions)
def test_the_version_of_a_frame_that_is_not_empty_shows_in_its_first_four_bytes(
    payload: bytes, version: WireVersion
) -> None:
    frame = encode_frame(payload, version)
    assert detect_version(frame[:4]) is version
    assert detect_version(frame) is version


@pytest.mark.parametrize("first", [b"", b"\x00", b"\x00\x00\x01", b"\x00\x00\x00"])
def test_less_than_four_bytes_show_no_version(first: bytes) -> None:
    assert detect_version(first) is None
