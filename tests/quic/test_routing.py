"""Which connection a datagram belongs to: bytes in, a verdict out."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.quic import Connection
from connet_trio.quic.limits import SMALLEST_RESET_BYTES
from connet_trio.quic.routing import FirstInitial, ForConnection, Forgotten, ForReset, Noise, RoutingTable

ID, OTHER_ID, ORIGINAL_ID = b"ourid-01", b"ourid-02", b"chosen-by-the-dialer"
TOKEN, OTHER_TOKEN = b"a-reset-token-01", b"a-reset-token-02"
VERSION_1 = b"\x00\x00\x00\x01"
INITIAL, ZERO_RTT, HANDSHAKE, RETRY = 0xC0, 0xD0, 0xE0, 0xF0


class FakeConnection:
    """Known by its identity alone."""


def a_connection() -> Connection:
    return cast(Connection, FakeConnection())


def long_header(
    first_byte: int = INITIAL, *, version: bytes = VERSION_1, destination: bytes = ORIGINAL_ID, size: int = 1200
) -> bytes:
    header = bytes([first_byte]) + version + bytes([len(destination)]) + destination + b"\x04abcd"
    token = b"\x00" if first_byte & 0x30 == 0 else b""
    rest = size - len(header) - len(token) - 2
    return header + token + (rest | 0x4000).to_bytes(2, "big") + bytes(rest)


def short_header(destination: bytes = OTHER_ID, size: int = 100, tail: bytes = b"") -> bytes:
    return (b"\x41" + destination).ljust(size - len(tail), b"\x11") + tail


def test_packets_for_an_id_of_ours_go_to_its_connection() -> None:
    table, connection = RoutingTable(), a_connection()
    table.add(ID, connection)
    table.add(ORIGINAL_ID, connection)
    for packet in (
        short_header(ID),
        short_header(ID, size=9),
        long_header(HANDSHAKE, destination=ID),
        long_header(INITIAL, destination=ORIGINAL_ID, size=300),
        long_header(ZERO_RTT, destination=ORIGINAL_ID),
        long_header(RETRY, destination=ID),
        b"\xc0" + bytes(4) + b"\x08" + ID + b"\x00" + VERSION_1,  # version negotiation
    ):
        assert table.find(packet) == ForConnection(connection)
    assert connection in table
    assert list(table) == [connection]
    assert len(table) == 1


def test_a_retired_id_leads_nowhere_and_the_others_still_do() -> None:
    table, connection = RoutingTable(), a_connection()
    table.add(ID, connection)
    table.add(OTHER_ID, connection)
    table.remove_id(ID)
    table.remove_id(ID)
    assert table.find(short_header(ID)) == Forgotten(ID)
    assert table.find(short_header(OTHER_ID)) == ForConnection(connection)


def test_a_forgotten_connection_leaves_nothing_behind() -> None:
    table, connection, other = RoutingTable(), a_connection(), a_connection()
    for connection_id in (ID, ORIGINAL_ID):
        table.add(connection_id, connection)
    table.set_tokens(frozenset({TOKEN}), connection)
    table.add(OTHER_ID, other)
    table.forget(connection)
    table.forget(connection)
    assert table.find(short_header(ID, tail=TOKEN)) == Forgotten(ID)
    assert connection not in table
    assert list(table) == [other]


def test_a_reset_is_known_by_its_token() -> None:
    table, connection = RoutingTable(), a_connection()
    table.add(ID, connection)
    table.set_tokens(frozenset({TOKEN, OTHER_TOKEN}), connection)
    for token in (TOKEN, OTHER_TOKEN):
        assert table.find(short_header(tail=token)) == ForReset(connection)
        assert table.find(short_header(size=SMALLEST_RESET_BYTES, tail=token)) == ForReset(connection)
    assert table.find(short_header(b"", size=SMALLEST_RESET_BYTES - 1, tail=TOKEN)) == Noise()


def test_a_packet_that_arrives_is_no_reset_whatever_it_ends_with() -> None:
    table, connection = RoutingTable(), a_connection()
    table.add(ID, connection)
    table.set_tokens(frozenset({TOKEN}), connection)
    assert table.find(short_header(ID, tail=TOKEN)) == ForConnection(connection)


def test_new_tokens_replace_the_old_ones() -> None:
    table, connection = RoutingTable(), a_connection()
    table.add(ID, connection)
    table.set_tokens(frozenset({TOKEN}), connection)
    table.set_tokens(frozenset({OTHER_TOKEN}), connection)
    assert table.find(short_header(tail=TOKEN)) == Forgotten(OTHER_ID)
    assert table.find(short_header(tail=OTHER_TOKEN)) == ForReset(connection)
    table.set_tokens(frozenset(), connection)
    assert table.find(short_header(tail=OTHER_TOKEN)) == Forgotten(OTHER_ID)


def test_a_first_initial_opens_a_connection() -> None:
    assert RoutingTable().find(long_header()) == FirstInitial(ORIGINAL_ID)
    assert RoutingTable().find(long_header(destination=b"12345678")) == FirstInitial(b"12345678")


@pytest.mark.parametrize(
    "packet",
    [
        long_header(size=1199),
        long_header(HANDSHAKE),
        long_header(ZERO_RTT),
        long_header(RETRY),
        long_header(version=bytes(4)),
        long_header(version=b"\x6b\x33\x43\xcf"),
        long_header(version=b"\x1a\x2a\x3a\x4a"),
        long_header(destination=b"1234567"),
        long_header(destination=bytes(21)),
        long_header(destination=b""),
        long_header(first_byte=0x80),  # without the fixed bit
        long_header()[:30],
        b"\xc0",
        b"\x80",
        b"\xf0" + VERSION_1 + bytes(10),  # a retry too short for its tag
    ],
)
def test_other_long_headers_are_noise(packet: bytes) -> None:
    assert RoutingTable().find(packet) == Noise()


def test_short_headers_nobody_knows_are_worth_an_answer_only_if_the_answer_is_shorter() -> None:
    table = RoutingTable()
    assert table.find(short_header(size=SMALLEST_RESET_BYTES + 1)) == Forgotten(OTHER_ID)
    assert table.find(short_header(size=SMALLEST_RESET_BYTES)) == Noise()
    assert table.find(b"\x41") == Noise()
    assert table.find(b"\x00" + bytes(100)) == Noise()  # NAT-PMP: both top bits clear


@given(st.binary(min_size=1, max_size=100) | st.binary(min_size=1, max_size=60).map(lambda tail: b"\xc0" + tail))
def test_any_bytes_belong_somewhere_or_are_noise(data: bytes) -> None:
    table, connection = RoutingTable(), a_connection()
    table.add(ID, connection)
    table.set_tokens(frozenset({TOKEN}), connection)
    assert isinstance(table.find(data), Noise | Forgotten)


@given(
    first_byte=st.integers(0x80, 0xFF),
    version=st.sampled_from([VERSION_1, bytes(4), b"\x6b\x33\x43\xcf"]) | st.binary(min_size=4, max_size=4),
    rest=st.binary(max_size=60),
)
def test_long_headers_of_any_content_are_judged_without_an_error(first_byte: int, version: bytes, rest: bytes) -> None:
    RoutingTable().find(bytes([first_byte]) + version + rest)
    RoutingTable().find((bytes([first_byte]) + version + rest).ljust(1200, b"\x00"))
