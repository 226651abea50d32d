"""What punching datagrams say: netpunch's bodies to the byte, and our own, which netpunch passes over."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.errors import RemoteProtocolError
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.punch import (
    Close,
    Enrolment,
    Introduction,
    NatMapping,
    Partner,
    Ping,
    Pong,
    PunchMessage,
    PunchName,
    Registration,
    Report,
    StrangerAnswer,
    StrangerQuestion,
    ToControl,
    ToPeer,
)
from connet_trio.wire.punch import MAX_CANDIDATES, decode_for_control, decode_for_peer, encode_body
from tests.strategies import told_to_control, told_to_peers

S, T = "0123456789abcdef", "fedcba9876543210"
V4 = AddressPort(IPv4Address("1.2.3.4"), 5678)
V6 = AddressPort(IPv6Address("2001:db8::1"), 5678)

ORIGINAL_TO_PEER: list[tuple[PunchMessage, bytes]] = [
    (Introduction("a", V4), b"i|a|1.2.3.4:5678"),
    (Introduction("a", V6), b"i|a|[2001:db8::1]:5678"),
    (Ping(), b"x"),
    (Pong(), b"y"),
    (Close(), b"z"),
]
OURS_TO_PEER: list[tuple[PunchMessage, bytes]] = [
    (Ping(S), f"x|{S}".encode()),
    (Pong(S, T), f"y|{S}|{T}".encode()),
    (Close(S, T), f"z|{S}|{T}".encode()),
    (StrangerAnswer(), b"!"),
    (Report(session=S, observed=V4), f"m|{S}|1.2.3.4:5678|unknown|||||".encode()),
    (
        Report(
            session=S,
            observed=V4,
            mapping=NatMapping.VARIES,
            second=HostPort("", 7778),
            partner=Partner(address=V6, session=T, mapping=NatMapping.STABLE, candidates=(V4, V6)),
        ),
        f"m|{S}|1.2.3.4:5678|varies|:7778|[2001:db8::1]:5678|{T}|stable|1.2.3.4:5678,[2001:db8::1]:5678".encode(),
    ),
]
TO_CONTROL: list[tuple[PunchMessage, bytes]] = [
    *((Registration(letter), letter.encode()) for letter in "abinmxyz"),
    (Enrolment(name=PunchName("a"), session=S), f"n|a|{S}|".encode()),
    (Enrolment(name=PunchName("b", "office"), session=S, candidates=(V4,)), f"n|office/b|{S}|1.2.3.4:5678".encode()),
    (StrangerQuestion(), b"?"),
]


@pytest.mark.parametrize(("message", "body"), [*ORIGINAL_TO_PEER, *OURS_TO_PEER])
def test_what_a_peer_is_told(message: PunchMessage, body: bytes) -> None:
    assert encode_body(message) == body
    assert decode_for_peer(body) == message


@pytest.mark.parametrize(("message", "body"), TO_CONTROL)
def test_what_control_is_told(message: PunchMessage, body: bytes) -> None:
    assert encode_body(message) == body
    assert decode_for_control(body) == message


def test_an_ipv4_address_seen_on_a_dual_stack_socket_is_written_as_ipv4() -> None:
    mapped = AddressPort(IPv6Address("::ffff:1.2.3.4"), 5678)
    assert encode_body(Introduction("a", mapped)) == b"i|a|1.2.3.4:5678"


@pytest.mark.parametrize("rest", [b"", b"yz", b"|", b"|0123", b"|" + S.encode() + b"|", b"\xff\0", b" " * 1000])
def test_netpunch_looks_at_the_first_letter_only(rest: bytes) -> None:
    assert decode_for_peer(b"y" + rest) == Pong()
    assert decode_for_peer(b"z" + rest) == Close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a",
        b"q",
        b"[message skipped, since it is too short]",
        b"i",
        b"i|a",
        b"i|a|1.2.3.4:1|more",
        b"i|a|nonsense",
        b"i|a|example.com:80",
        b"i|a|1.2.3.4",
        b"i|a|1.2.3.4:0",
        b"i|a|1.2.3.4:65536",
        b"i|a|1.2.3.4:+1",
        "i|a|1.2.3.4:٣".encode(),
        b"i|a|[1.2.3.4]:1",
        b"i|a|2001:db8::1:1",
        b"i|a|[fe80::1%eth0]:1",
        b"i|a|0.0.0.0:1",
        b"i|a|[ff02::1]:1",
        b"i|a|1.2.3.4:1\xff",
        b"m|" + S.encode() + b"|1.2.3.4:1|unknown|||",
        b"m|short|1.2.3.4:1|unknown|||||",
        b"m|" + S.encode() + b"||unknown|||||",
        b"m|" + S.encode() + b"|1.2.3.4:1|unknown||nonsense|||",
    ],
)
def test_what_means_nothing_to_a_peer_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_for_peer(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"A",
        b"ab",
        b"1",
        b"\xe9",
        b"n|a",
        b"n|A|" + S.encode() + b"|",
        b"n|a|123|",
        b"n|/a|" + b"0" * 16 + b"|",
    ],
)
def test_what_means_nothing_to_control_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_for_control(body)


def test_an_unusable_candidate_is_left_out_and_too_many_are_cut() -> None:
    listed = ",".join(["nonsense", "1.2.3.4:1", "", *(f"1.2.3.4:{port}" for port in range(2, 50))])
    message = decode_for_control(f"n|a|{S}|{listed}".encode())
    assert isinstance(message, Enrolment)
    assert [place.port for place in message.candidates] == [1, 2, 3, 4, 5, 6]  # of the first eight entries
    many = Enrolment(name=PunchName("a"), session=S, candidates=tuple(message.candidates * 3))
    assert encode_body(many).count(b",") == MAX_CANDIDATES - 1


def test_a_later_release_may_say_more() -> None:
    assert decode_for_control(f"n|a|{S}||more".encode()) == Enrolment(name=PunchName("a"), session=S)
    body = f"m|{S}|1.2.3.4:5678|quantum|nowhere|||||more".encode()
    assert decode_for_peer(body) == Report(session=S, observed=V4)


@given(message=told_to_peers)
def test_what_is_told_to_peers_survives_the_way(message: ToPeer) -> None:
    body = encode_body(message)
    assert len(body) <= 1024
    assert decode_for_peer(body) == message


@given(message=told_to_control)
def test_what_is_told_to_control_survives_the_way(message: ToControl) -> None:
    assert decode_for_control(encode_body(message)) == message


@given(body=st.binary(max_size=60) | st.text("imnxyz|,:.[]0123456789abcdef%", max_size=80).map(str.encode))
def test_no_body_raises_anything_but_the_error_of_a_decoder(body: bytes) -> None:
    for decode in (decode_for_control, decode_for_peer):
        try:
            decode(body)
        except RemoteProtocolError:
            continue


@pytest.mark.parametrize(
    ("name", "partner", "chooses"),
    [("a", "b", True), ("b", "a", False), ("y", "z", True), ("z", "y", False), ("office/d", "office/c", False)],
)
def test_names_are_paired_by_their_letters(name: str, partner: str, chooses: bool) -> None:
    parsed = PunchName.parse(name)
    assert (str(parsed), str(parsed.partner), parsed.chooses) == (name, partner, chooses)


@pytest.mark.parametrize("text", ["", "A", "aa", "é", "/a", "office/", "office/A", "a|b/c", "x" * 65 + "/a", "a/b/c"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        PunchName.parse(text)
