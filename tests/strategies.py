"""Hypothesis strategies shared by tests: every record of every conversation, every datagram, every configuration, and
bytes with something wrong.

Values are such that reading what was written gives them back: ports of 16 bits, hosts without brackets, addresses
without a zone.
"""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from connet_trio.config.schema import RootTable
from connet_trio.config.tables import Table, _Array, _fields, _Named, _Spec, _Table
from connet_trio.control.snapshot import SNAPSHOT, SavedEndpoint, SavedRelay, Snapshot
from connet_trio.records import control, control_relay, peer, relay
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Endpoint, Error, HostPort, Role, Unrecognized
from connet_trio.records.peer import ProxyVersion, RelayEncryption
from connet_trio.records.punch import (
    Close,
    Enrolment,
    Introduction,
    NatMapping,
    Partner,
    Ping,
    Pong,
    PunchName,
    Registration,
    Report,
    StrangerAnswer,
    StrangerQuestion,
)
from connet_trio.wire import Codec, codecs
from connet_trio.wire.punch import MAX_CANDIDATES

texts = st.text(max_size=12)
blobs = st.binary(max_size=40)
ports = st.integers(0, 65_535)
enum_numbers = st.integers(-(2**31), 2**31 - 1)

address_ports = st.builds(AddressPort, st.ip_addresses(), ports)
host_ports = st.builds(HostPort, st.from_regex(r"[a-z0-9.:-]{0,16}", fullmatch=True), ports)
endpoints = st.builds(Endpoint, texts)
roles = st.sampled_from(Role)
errors = st.builds(Error, st.one_of(st.sampled_from(ErrorCode), enum_numbers), texts)
relay_encryptions = st.one_of(st.sampled_from(RelayEncryption), enum_numbers)


def tuples_of(entries: SearchStrategy[Any]) -> SearchStrategy[tuple[Any, ...]]:
    """Short tuples of entries, as records hold their lists."""
    return st.lists(entries, max_size=3).map(tuple)


control_authenticates = st.builds(
    control.Authenticate, token=texts, reconnect_token=blobs, build_version=texts, metadata=texts
)
control_authenticated = st.builds(control.Authenticated, public=st.none() | address_ports, reconnect_token=blobs)
peers = st.builds(
    control.Peer,
    directs=tuples_of(address_ports),
    server_certificate=blobs,
    client_certificate=blobs,
    relay_ids=tuples_of(texts),
)
announces = st.builds(control.Announce, endpoint=st.none() | endpoints, role=roles, peer=st.none() | peers)
relay_subscriptions = st.builds(
    control.SubscribeRelays, endpoint=st.none() | endpoints, role=roles, client_certificate=blobs
)
remote_peers = st.builds(control.RemotePeer, id=texts, peer=st.none() | peers, metadata=texts)
peer_lists = st.builds(control.Peers, peers=tuples_of(remote_peers))
offered_relays = st.builds(
    control.Relay,
    id=texts,
    addresses=tuples_of(host_ports),
    server_certificate=blobs,
    authentication=blobs,
    metadata=texts,
)
relay_lists = st.builds(control.Relays, relays=tuples_of(offered_relays))

relay_control_authenticates = st.builds(
    control_relay.Authenticate,
    token=texts,
    reconnect_token=blobs,
    build_version=texts,
    addresses=tuples_of(host_ports),
    metadata=texts,
    server_certificate=blobs,
    relay_authentication_key=blobs,
)
relay_control_authenticated = st.builds(
    control_relay.Authenticated, control_id=texts, reconnect_token=blobs, control_authentication_key=blobs
)
client_authentications = st.builds(
    control_relay.ClientAuthentication, endpoint=st.none() | endpoints, role=roles, certificate_key=texts
)
relay_authenticates = st.builds(relay.Authenticate, authentication=blobs, metadata=texts, build_version=texts)

tls_offers = st.builds(peer.TlsOffer, client_name=texts)
ecdh_offers = st.builds(peer.EcdhOffer, client_name=texts, key_time=blobs, signature=blobs)
connects = st.builds(
    peer.Connect,
    source_encryption=tuples_of(relay_encryptions),
    source_tls=st.none() | tls_offers,
    source_dh_x25519=st.none() | ecdh_offers,
)
connected = st.builds(
    peer.Connected,
    proxy_proto=st.one_of(st.sampled_from(ProxyVersion), enum_numbers),
    destination_encryption=relay_encryptions,
    destination_tls=st.none() | tls_offers,
    destination_dh_x25519=st.none() | ecdh_offers,
)

snapshots = st.builds(
    Snapshot,
    endpoints=tuples_of(
        st.builds(
            SavedEndpoint,
            client_id=texts,
            connection_id=texts,
            endpoint=texts,
            role=roles,
            peer=st.none() | peers,
            metadata=texts,
        )
    ),
    relays=tuples_of(
        st.builds(
            SavedRelay,
            id=texts,
            addresses=tuples_of(host_ports),
            metadata=texts,
            server_certificate=blobs,
            seal_key=blobs,
        )
    ),
)
"""What control remembers between two starts."""

RECORDS: dict[str, tuple[Codec[Any], SearchStrategy[Any]]] = {
    "CONTROL_AUTHENTICATE": (codecs.CONTROL_AUTHENTICATE, control_authenticates),
    "CONTROL_AUTHENTICATE_REPLY": (codecs.CONTROL_AUTHENTICATE_REPLY, errors | control_authenticated),
    "CONTROL_REQUEST": (codecs.CONTROL_REQUEST, announces | relay_subscriptions | st.just(Unrecognized())),
    "CONTROL_RESPONSE": (codecs.CONTROL_RESPONSE, errors | peer_lists | relay_lists | st.just(Unrecognized())),
    "RELAY_CONTROL_AUTHENTICATE": (codecs.RELAY_CONTROL_AUTHENTICATE, relay_control_authenticates),
    "RELAY_CONTROL_AUTHENTICATE_REPLY": (
        codecs.RELAY_CONTROL_AUTHENTICATE_REPLY,
        errors | relay_control_authenticated,
    ),
    "CLIENT_AUTHENTICATION": (codecs.CLIENT_AUTHENTICATION, client_authentications),
    "RELAY_AUTHENTICATE": (codecs.RELAY_AUTHENTICATE, relay_authenticates),
    "RELAY_AUTHENTICATE_REPLY": (codecs.RELAY_AUTHENTICATE_REPLY, errors | st.just(relay.Authenticated())),
    "PEER_REQUEST": (codecs.PEER_REQUEST, connects | st.just(peer.Check())),
    "PEER_RESPONSE": (codecs.PEER_RESPONSE, errors | connected | st.just(peer.Check())),
    "SNAPSHOT": (SNAPSHOT, snapshots),
}
"""Each codec by its name, with the records it carries."""


punch_addresses = (
    st.builds(
        AddressPort,
        (st.ip_addresses(v=4) | st.ip_addresses(v=6)).filter(lambda it: not (it.is_unspecified or it.is_multicast)),
        st.integers(1, 65_535),
    )
    .map(lambda place: place.unmapped)
    .filter(lambda it: not (it.address.is_unspecified or it.address.is_multicast))
)
punch_sessions = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")
punch_candidates = st.lists(punch_addresses, max_size=MAX_CANDIDATES).map(tuple)
punch_names = st.builds(PunchName, st.sampled_from("abcxyz"), st.sampled_from(["", "office", "a.b-c_D1"]))
punch_partners = st.builds(
    Partner,
    address=punch_addresses,
    session=punch_sessions | st.just(""),
    mapping=st.sampled_from(NatMapping),
    candidates=punch_candidates,
)
punch_reports = st.builds(
    Report,
    session=punch_sessions,
    observed=punch_addresses,
    mapping=st.sampled_from(NatMapping),
    second=st.none() | st.integers(1, 65_535).map(lambda port: HostPort("", port)),
    partner=st.none() | punch_partners,
)
told_to_peers = (
    punch_reports
    | st.builds(Introduction, st.sampled_from("abz"), punch_addresses)
    | st.builds(Ping, punch_sessions)
    | st.builds(Pong, punch_sessions, punch_sessions)
    | st.builds(Close, punch_sessions, punch_sessions)
    | st.just(StrangerAnswer())
)
told_to_control = (
    st.builds(Enrolment, name=punch_names, session=punch_sessions, candidates=punch_candidates)
    | st.builds(Registration, st.sampled_from("abxyz"))
    | st.just(StrangerQuestion())
)
"""Bodies of punching datagrams."""

SECRET = "a token that nobody may read"
SAID = st.sampled_from(
    [
        *("", "x", "any", "direct", "relay", "none", "tls", "source", "destination", "bbr", "fast", "system", "info"),
        *("30s", "1m30s", "-1s", "1e9h", "0s", "json", "debug", "^a+$", "a(", "10.0.0.0/8", "::/0", "10.0.0.1/99"),
        *(
            "tcp://127.0.0.1:80",
            "tcp://:0",
            "http://x",
            "tcp://[::1",
            ":19190",
            "localhost",
            "localhost:70000",
            "[::]:1",
        ),
        *("cert.pem", "/", "\x00", "no such file", "fe80::1%eth0", "e\u0301", "\u202e"),
    ]
)
"""What people write, or nearly."""
ODD = (
    st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, 1200, 16_384])
    | st.booleans()
    | st.floats()
    | st.datetimes()
    | st.text(max_size=8)
)
SCALARS = SAID | ODD


def configurations(table: type[Table] = RootTable) -> SearchStrategy[dict[str, Any]]:
    """Some keys of a table of the configuration, with values of about the kind they should have."""
    keys = {name: _values(name, spec) for name, (_, spec) in _fields(table).items()}
    return st.fixed_dictionaries({}, optional=keys) | st.dictionaries(st.sampled_from([*keys, "typo"]), SCALARS)


def _values(name: str, spec: _Spec) -> SearchStrategy[Any]:
    match spec:
        case _Table(table):
            return st.deferred(lambda: configurations(table)) | SCALARS
        case _Array(table):
            return st.lists(st.deferred(lambda: configurations(table)), max_size=2) | SCALARS
        case _Named(table):
            names = st.sampled_from(["db", "a b", "", "\x1b", "x" * 1001])
            return st.dictionaries(names, st.deferred(lambda: configurations(table)), max_size=2) | SCALARS
    if name in ("token", "tokens", "clients-tokens", "relays-tokens", "direct-stateless-reset-key"):
        return st.lists(st.just(SECRET), max_size=3) if name.endswith("s") else st.just(SECRET)
    return SCALARS | st.lists(SCALARS, max_size=3)


def varint(number: int) -> bytes:
    """A protobuf number that is not negative."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def field(number: int, value: int | bytes) -> bytes:
    """A protobuf field: a number, or bytes behind their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


protobuf_messages: SearchStrategy[bytes] = st.recursive(
    st.binary(max_size=5),
    lambda inner: st.lists(
        st.builds(field, st.integers(1, 9), st.one_of(inner, st.integers(0, 4), st.integers(0, 2**64 - 1)))
    ).map(b"".join),
    max_leaves=10,
)
"""Well-formed messages, nested, whose fields are those of some record by luck only."""


@st.composite
def fragments(draw: st.DrawFn, data: bytes) -> Sequence[bytes]:
    """`data` cut into pieces, some of them empty, that join to it again."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def mutations(draw: st.DrawFn, valid: SearchStrategy[bytes]) -> bytes:
    """Valid bytes with one to four things done to them: a bit flipped, cut off, bytes put in, spliced with others."""
    data = draw(valid)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "cut", "insert", "splice"])):
            case "flip" if place < len(data):
                flipped = data[place] ^ 1 << draw(st.integers(0, 7))
                data = data[:place] + bytes([flipped]) + data[place + 1 :]
            case "cut":
                data = data[:place]
            case "insert":
                data = data[:place] + draw(st.binary(max_size=8)) + data[place:]
            case _:
                other = draw(valid)
                data = data[:place] + other[draw(st.integers(0, len(other))) :]
    return data
