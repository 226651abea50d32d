"""Records ⇄ payloads: what survives, what is forgiven, what is refused."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import LocalProtocolError, RemoteProtocolError
from connet_trio.records import control, control_relay, peer, relay
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Endpoint, Error, HostPort, Role, Unrecognized
from connet_trio.records.peer import Check, Connect, Connected, RelayEncryption
from connet_trio.wire import Codec, FrameDecoder, WireVersion, codecs, encode_frame
from tests.strategies import RECORDS, field, mutations, protobuf_messages

conversations = pytest.mark.parametrize("conversation", RECORDS)

FRAMES = [  # protocol section 18.1: codec, record, V2 frame, V1 frame
    (codecs.PEER_REQUEST, Check(), "00000000", "0000000000000000"),
    (codecs.PEER_RESPONSE, Check(), "00000000", "0000000000000000"),
    (codecs.PEER_REQUEST, Connect(), "000000020a00", "00000000000000020a00"),
    (
        codecs.PEER_REQUEST,
        Connect(source_encryption=(RelayEncryption.NONE,)),
        "000000050a030a0100",
        "00000000000000050a030a0100",
    ),
    (
        codecs.PEER_REQUEST,
        Connect(source_encryption=(RelayEncryption.TLS, RelayEncryption.DHXCP)),
        "000000060a040a020102",
        "00000000000000060a040a020102",
    ),
    (codecs.PEER_RESPONSE, Connected(), "000000021200", "00000000000000021200"),
    (codecs.CONTROL_RESPONSE, control.Peers(), "000000021200", "00000000000000021200"),
    (codecs.CONTROL_RESPONSE, control.Relays(), "000000021a00", "00000000000000021a00"),
    (
        codecs.CONTROL_AUTHENTICATE_REPLY,
        control.Authenticated(public=AddressPort(IPv4Address("192.0.2.1"), 1234)),
        "0000000d120b0a060a04c000020110d209",
        "000000000000000d120b0a060a04c000020110d209",
    ),
]


@pytest.mark.parametrize(("codec", "record", "v2", "v1"), FRAMES)
def test_frames_are_those_of_the_protocol(codec: Any, record: Any, v2: str, v1: str) -> None:
    for version, frame in ((WireVersion.V2, v2), (WireVersion.V1, v1)):
        assert encode_frame(codec.encode(record), version).hex() == frame
        decoder = FrameDecoder(version)
        decoder.feed(bytes.fromhex(frame))
        payload = decoder.next_frame()
        assert payload is not None
        assert codec.decode(payload) == record


@conversations
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_records_survive_the_wire(conversation: str, data: st.DataObject) -> None:
    codec, records = RECORDS[conversation]
    record = data.draw(records)
    decoded = codec.decode(codec.encode(record))
    assert decoded == record
    assert type(decoded) is type(record)


@pytest.mark.reliability(line=33)
@conversations
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_damaged_payloads_are_read_or_refused_as_the_senders_fault(conversation: str, data: st.DataObject) -> None:
    codec, records = RECORDS[conversation]
    payload = data.draw(mutations(records.map(codec.encode)))
    try:
        record = codec.decode(payload)
    except RemoteProtocolError:
        return
    assert codec.decode(codec.encode(record)) == record


@pytest.mark.reliability(line=33)
@conversations
@settings(max_examples=80, deadline=None)
@given(payload=st.binary(max_size=64) | protobuf_messages)
def test_any_bytes_are_read_or_refused_as_the_senders_fault(conversation: str, payload: bytes) -> None:
    codec, _ = RECORDS[conversation]
    try:
        record = codec.decode(payload)
    except RemoteProtocolError:
        return
    assert codec.decode(codec.encode(record)) == record


@conversations
@settings(max_examples=20, deadline=None)
@given(data=st.data(), number=st.integers(1000, 2**29 - 1), content=st.binary(max_size=20))
def test_fields_of_a_newer_peer_are_ignored(
    conversation: str, data: st.DataObject, number: int, content: bytes
) -> None:
    codec, records = RECORDS[conversation]
    record = data.draw(records)
    extension = field(number, content)
    assert codec.decode(codec.encode(record) + extension) == record
    assert codec.decode(extension + codec.encode(record)) == record


REFUSED: dict[str, tuple[Codec[Any], bytes]] = {
    "text that is not UTF-8": (codecs.CONTROL_AUTHENTICATE, b"\x0a\x01\xff"),
    "a variant that is not UTF-8 inside": (codecs.CONTROL_RESPONSE, b"\x0a\x03\x12\x01\xff"),
    "a surrogate in CESU-8": (codecs.CONTROL_AUTHENTICATE, b"\x0a\x03\xed\xa0\x80"),
    "a truncated field": (codecs.CONTROL_AUTHENTICATE, b"\x0a\x05abc"),
    "a truncated number": (codecs.CLIENT_AUTHENTICATION, b"\x10\x80"),
    "a truncated number in a packed list": (codecs.PEER_REQUEST, b"\x0a\x03\x0a\x01\x80"),
    "a number of eleven bytes": (codecs.CLIENT_AUTHENTICATION, b"\x10" + b"\xff" * 10 + b"\x01"),
    "a wire type that does not exist": (codecs.CONTROL_AUTHENTICATE, b"\x0e\x01"),
    "field number zero": (codecs.CONTROL_AUTHENTICATE, b"\x02\x00"),
    "the end of a group that never began": (codecs.CONTROL_AUTHENTICATE, b"\x0c"),
    "a group without an end": (codecs.CONTROL_AUTHENTICATE, b"\x7b"),
    "groups nested a hundred thousand deep": (codecs.PEER_REQUEST, b"\x7b" * 100_000 + b"\x7c" * 100_000),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_message_is_refused(reason: str) -> None:
    codec, payload = REFUSED[reason]
    with pytest.raises(RemoteProtocolError):
        codec.decode(payload)


LIMITED: list[tuple[Codec[Any], tuple[int, ...], int, str]] = [
    (codecs.RELAY_CONTROL_AUTHENTICATE, (5,), 256, "Authenticate.addresses"),
    (codecs.CONTROL_REQUEST, (1, 3, 3), 1024, "Peer.directs"),
    (codecs.CONTROL_REQUEST, (1, 3, 6), 1024, "Peer.relay_ids"),
    (codecs.CONTROL_RESPONSE, (2, 1), 100_000, "Peers.peers"),
    (codecs.CONTROL_RESPONSE, (3, 2), 100_000, "Relays.relays"),
    (codecs.CONTROL_RESPONSE, (3, 2, 2), 256, "Relay.addresses"),
]


@pytest.mark.parametrize(("codec", "numbers", "limit", "name"), LIMITED, ids=[entry[-1] for entry in LIMITED])
def test_a_list_that_would_keep_us_busy_is_refused(
    codec: Codec[Any], numbers: tuple[int, ...], limit: int, name: str
) -> None:
    def payload(count: int) -> bytes:
        *outer, number = numbers
        result = field(number, b"") * count
        for around in reversed(outer):
            result = field(around, result)
        return result

    if limit <= 1024:
        codec.decode(payload(limit))
    with pytest.raises(RemoteProtocolError, match=f"^{limit + 1} items in {name}, at most {limit}$"):
        codec.decode(payload(limit + 1))


def test_a_source_offers_at_most_sixteen_schemes() -> None:
    for scheme in (b"\x08\x01", b"\x0a\x01\x01"):
        assert codecs.PEER_REQUEST.decode(field(1, scheme * 16)) == Connect(
            source_encryption=(RelayEncryption.TLS,) * 16
        )
        with pytest.raises(RemoteProtocolError, match=r"^17 items in Connect\.source_encryption, at most 16$"):
            codecs.PEER_REQUEST.decode(field(1, scheme * 17))


def test_a_refusal_names_the_message_and_its_size_but_not_its_content() -> None:
    with pytest.raises(RemoteProtocolError, match=r"^17 bytes that are no Authenticate message$") as refusal:
        codecs.CONTROL_AUTHENTICATE.decode(b"\x0a\x0cclient-token\x0a\x05a")
    assert "client-token" not in f"{refusal.value!r} {refusal.value.__cause__!r}"


def test_a_known_field_in_another_wire_type_is_ignored_like_an_unknown_one() -> None:
    assert codecs.CONTROL_AUTHENTICATE.decode(b"\x08\x01\x22\x04home") == control.Authenticate(metadata="home")
    assert codecs.PEER_REQUEST.decode(b"\x08\x01") == Check()


# What is not said


def test_a_first_announce_may_lack_everything() -> None:
    assert codecs.CONTROL_REQUEST.decode(b"\x0a\x00") == control.Announce(endpoint=None, role=Role.UNKNOWN, peer=None)


def test_a_relay_subscription_may_lack_its_endpoint() -> None:
    assert codecs.CONTROL_REQUEST.decode(b"\x12\x00") == control.SubscribeRelays(endpoint=None)


def test_a_remote_peer_may_lack_its_peer() -> None:
    expected = control.Peers(peers=(control.RemotePeer(id="x", peer=None),))
    assert codecs.CONTROL_RESPONSE.decode(bytes.fromhex("1205 0a03 0a0178")) == expected


def test_a_choice_of_tls_may_lack_its_offer() -> None:
    expected = Connected(destination_encryption=RelayEncryption.TLS, destination_tls=None)
    assert codecs.PEER_RESPONSE.decode(bytes.fromhex("1202 1001")) == expected


def test_a_sealed_token_may_lack_its_endpoint() -> None:
    expected = control_relay.ClientAuthentication(endpoint=None, role=Role.SOURCE)
    assert codecs.CLIENT_AUTHENTICATION.decode(b"\x10\x02") == expected


def test_an_empty_record_is_present_and_an_absent_one_is_not() -> None:
    assert codecs.PEER_REQUEST.encode(Connect(source_tls=peer.TlsOffer())).hex() == "0a021200"
    assert codecs.PEER_REQUEST.decode(bytes.fromhex("0a021200")) == Connect(source_tls=peer.TlsOffer())
    assert codecs.CONTROL_REQUEST.encode(control.Announce(endpoint=Endpoint(""))).hex() == "0a020a00"


# Variants


@pytest.mark.parametrize(
    ("codec", "otherwise"),
    [
        (codecs.CONTROL_AUTHENTICATE_REPLY, control.Authenticated()),
        (codecs.CONTROL_REQUEST, Unrecognized()),
        (codecs.CONTROL_RESPONSE, Unrecognized()),
        (codecs.RELAY_CONTROL_AUTHENTICATE_REPLY, control_relay.Authenticated()),
        (codecs.RELAY_AUTHENTICATE_REPLY, relay.Authenticated()),
        (codecs.PEER_REQUEST, Check()),
        (codecs.PEER_RESPONSE, Check()),
    ],
)
def test_an_empty_payload_is_the_record_without_variants(codec: Any, otherwise: Any) -> None:
    assert codec.decode(b"") == otherwise
    assert codec.decode(b"\x7a\x01x") == otherwise
    assert codec.encode(otherwise) == b""


def test_an_error_wins_over_every_other_variant() -> None:
    refused = Error(ErrorCode.ROLE_NOT_ALLOWED)
    error = codecs.CONTROL_RESPONSE.encode(refused)
    peers, relays = codecs.CONTROL_RESPONSE.encode(control.Peers()), codecs.CONTROL_RESPONSE.encode(control.Relays())
    assert codecs.CONTROL_RESPONSE.decode(relays + peers + error) == refused
    assert codecs.CONTROL_AUTHENTICATE_REPLY.decode(b"\x1a\x01x" + error) == refused


def test_of_two_variants_the_lower_number_counts() -> None:
    assert codecs.CONTROL_RESPONSE.decode(bytes.fromhex("1a001200")) == control.Peers()
    variants = {2: control.Relays, 1: control.Peers}
    codec: Codec[Any] = codecs.EnvelopeCodec("Backwards", variants, otherwise=Unrecognized)
    assert codec.decode(bytes.fromhex("12000a00")) == control.Peers()


def test_a_record_of_another_conversation_is_not_written() -> None:
    with pytest.raises(LocalProtocolError, match="Check is no Authenticate"):
        codecs.RELAY_AUTHENTICATE.encode(Check())  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="Connected is no ControlResponse"):
        codecs.CONTROL_RESPONSE.encode(Connected())  # type: ignore[arg-type]


# Numbers


def test_an_unknown_error_code_keeps_its_number() -> None:
    error = codecs.PEER_RESPONSE.decode(bytes.fromhex("0a03 08e707"))
    assert error == Error(999)
    assert codecs.PEER_RESPONSE.encode(error).hex() == "0a0308e707"


def test_a_known_error_code_is_an_enum_member() -> None:
    error = codecs.PEER_RESPONSE.decode(bytes.fromhex("0a03 08f503"))
    assert isinstance(error, Error)
    assert error.code is ErrorCode.DESTINATION_DIAL_FAILED


def test_an_unknown_role_is_the_unknown_role() -> None:
    announce = codecs.CONTROL_REQUEST.decode(bytes.fromhex("0a02 1009"))
    assert isinstance(announce, control.Announce)
    assert announce.role is Role.UNKNOWN


@pytest.mark.parametrize("payload", ["0a050a03000209", "0a06080008020809", "0a0808000a0202090a00"])
def test_encryption_schemes_are_read_packed_and_unpacked_and_unknown_ones_kept(payload: str) -> None:
    connect = codecs.PEER_REQUEST.decode(bytes.fromhex(payload))
    assert connect == Connect(source_encryption=(RelayEncryption.NONE, RelayEncryption.DHXCP, 9))
    assert codecs.PEER_REQUEST.encode(connect).hex() == "0a050a03000209"


# Addresses


def public(address_port: str) -> AddressPort | None:
    """The `public` that a reply with these bytes of an AddrPort (hex) has."""
    content = bytes.fromhex(address_port)
    reply = codecs.CONTROL_AUTHENTICATE_REPLY.decode(field(2, content))
    assert isinstance(reply, control.Authenticated)
    return reply.public


V4, V6 = "0a04c0000201", "121020010db8000000000000000000000009"


def test_an_ipv6_address_wins_over_an_ipv4_one() -> None:
    assert public(f"0a18{V4}{V6}1009") == AddressPort(IPv6Address("2001:db8::9"), 9)


def test_only_the_low_16_bits_of_a_port_count() -> None:
    assert public(f"0a06{V4}10ffff07") == AddressPort(IPv4Address("192.0.2.1"), 65_535)
    relays = codecs.CONTROL_RESPONSE.decode(bytes.fromhex("1a0b 1209 1207 0a0168 10bb8304"))
    assert relays == control.Relays(relays=(control.Relay(addresses=(HostPort("h", 443),)),))


def test_an_ipv4_mapped_address_stays_as_it_came() -> None:
    mapped = public("0a12121000000000000000000000ffffc00002011009")
    assert mapped == AddressPort(IPv6Address("::ffff:192.0.2.1"), 9)
    assert mapped.unmapped == AddressPort(IPv4Address("192.0.2.1"), 9)


UNUSABLE = {
    "no address": "1009",
    "neither kind": "0a001009",
    "3 bytes of IPv4": "0a050a03c000021009",
    "16 bytes of IPv4": "0a120a1020010db80000000000000000000000091009",
    "4 bytes of IPv6": "0a061204c00002011009",
    "17 bytes of IPv6, whatever the IPv4": f"0a19{V4}1211{'00' * 17}1009",
}


@pytest.mark.parametrize("reason", UNUSABLE)
def test_an_unusable_address_is_as_good_as_none(reason: str) -> None:
    assert public(UNUSABLE[reason]) is None


def test_unusable_addresses_are_left_out_of_their_list() -> None:
    entries = [UNUSABLE["no address"], f"0a06{V4}1009", *UNUSABLE.values(), f"0a12{V6}1009"]
    directs = b"".join(field(3, bytes.fromhex(entry)) for entry in entries)
    request = codecs.CONTROL_REQUEST.decode(field(1, field(3, directs)))
    usable = (AddressPort(IPv4Address("192.0.2.1"), 9), AddressPort(IPv6Address("2001:db8::9"), 9))
    assert request == control.Announce(peer=control.Peer(directs=usable))


def test_a_list_of_nothing_but_unusable_addresses_is_empty() -> None:
    request = codecs.CONTROL_REQUEST.decode(bytes.fromhex("0a08 1a06 1a04 0a02 0a00"))
    assert request == control.Announce(peer=control.Peer())


def test_an_address_alone_that_cannot_be_used_is_refused() -> None:
    codec = codecs.RecordCodec(AddressPort)
    assert codec.decode(bytes.fromhex(f"0a06{V4}1009")) == AddressPort(IPv4Address("192.0.2.1"), 9)
    with pytest.raises(RemoteProtocolError, match="address of 3 bytes"):
        codec.decode(bytes.fromhex(UNUSABLE["3 bytes of IPv4"]))


def test_a_zone_is_not_carried() -> None:
    reply = control.Authenticated(public=AddressPort(IPv6Address("fe80::1%eth0"), 9))
    expected = control.Authenticated(public=AddressPort(IPv6Address("fe80::1"), 9))
    assert codecs.CONTROL_AUTHENTICATE_REPLY.decode(codecs.CONTROL_AUTHENTICATE_REPLY.encode(reply)) == expected


def test_brackets_around_a_host_are_neither_believed_nor_sent() -> None:
    bare = control_relay.Authenticate(addresses=(HostPort("::1", 9),))
    bracketed = attrs.evolve(bare, addresses=(HostPort("[::1]", 9),))
    from_the_original = bytes.fromhex("2a09 0a05 5b3a3a315d 1009")
    assert codecs.RELAY_CONTROL_AUTHENTICATE.decode(from_the_original) == bare
    assert codecs.RELAY_CONTROL_AUTHENTICATE.encode(bracketed) == codecs.RELAY_CONTROL_AUTHENTICATE.encode(bare)


# What we may not send


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (control.Authenticate(token="secret \udc80"), "Authenticate.token"),
        (control.Authenticate(token=5), "Authenticate.token"),  # type: ignore[arg-type]
        (control.Authenticate(reconnect_token="secret"), "Authenticate.reconnect_token"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_does_not_fit_is_ours_and_not_shown(record: control.Authenticate, name: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{name} cannot be written: [A-Za-z]+$") as refusal:
        codecs.CONTROL_AUTHENTICATE.encode(record)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "record",
    [Error(2**31), Error(ErrorCode.UNKNOWN, "\ud800"), Connected(proxy_proto=-(2**40))],
    ids=["code", "text", "proxy"],
)
def test_numbers_and_texts_inside_variants_are_checked_too(record: Error | Connected) -> None:
    with pytest.raises(LocalProtocolError):
        codecs.PEER_RESPONSE.encode(record)


def test_a_codec_that_remembers_keeps_few_payloads_and_no_long_ones() -> None:
    decoded: list[bytes] = []

    class Counting:
        def encode(self, record: Connect) -> bytes:
            raise AssertionError

        def decode(self, payload: bytes) -> Connect:
            decoded.append(payload)
            return Connect()

    codec = codecs.RememberingCodec[Connect](Counting())
    for payload in (b"short", b"short", bytes(codecs.SHORT_BYTES + 1), bytes(codecs.SHORT_BYTES + 1)):
        assert codec.decode(payload) == Connect()
    assert decoded == [b"short", bytes(codecs.SHORT_BYTES + 1), bytes(codecs.SHORT_BYTES + 1)]
    for number in range(codecs.REMEMBERED):
        codec.decode(bytes([number]))
    codec.decode(b"short")
    assert decoded[-1] == b"short"
