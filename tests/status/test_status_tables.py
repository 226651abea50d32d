from ipaddress import IPv4Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.status import (
    AnnouncedStatus,
    ClientStatus,
    ControlClientStatus,
    ControlEndpointStatus,
    ControlRelayStatus,
    ControlStatus,
    EndpointStatus,
    IngressStatus,
    PathStatus,
    PathStyle,
    PeerStatus,
    RelayClientStatus,
    RelayEndpointStatus,
    RelayLinkStatus,
    RelayStatus,
    Restrictions,
    ServerStatus,
    Status,
    to_json,
)
from connet_trio.status import status_lines
from connet_trio.status.columns import cells, columns, cut_to
from connet_trio.status.units import age, byte_count, milliseconds

NOW = 1_800_000_000.0

DIRECT = PeerStatus(
    id="0123456789abcdef",
    metadata="attic",
    connections=(
        PathStatus(style=PathStyle.RELAY, address="198.51.100.1:19191", relay_id="r", rtt_ms=80.0),
        PathStatus(style=PathStyle.OUTGOING, address="192.0.2.1:19192", rtt_ms=12.34),
    ),
    path=PathStyle.OUTGOING,
    rtt_ms=12.34,
    since=NOW - 3 * 3600 - 300,
)
UNREACHED = PeerStatus(id="fedcba9876543210", why="it has no address that answers")
CLIENT = ClientStatus(
    status=Status.CONNECTED,
    build_version="1.2.3",
    server_address="203.0.113.5:19190",
    direct_address="[::]:19192",
    local_addresses=(AddressPort(IPv4Address("10.0.0.2"), 19192),),
    destinations={
        "ssh": EndpointStatus(
            status=Status.CONNECTED,
            peers={"p": DIRECT, "q": UNREACHED},
            relays={
                "r": RelayLinkStatus(id="r", connection="198.51.100.1:19191"),
                "s": RelayLinkStatus(id="s"),
            },
            bytes_in=1536,
            bytes_out=5,
        )
    },
    sources={"db": EndpointStatus(status=Status.RECONNECTING)},
    last_error="control closed the session",
)


def test_a_client_shows_its_endpoints_and_their_peers() -> None:
    assert status_lines(to_json(CLIENT), NOW) == [
        "client connected",
        "  version          1.2.3",
        "  server           203.0.113.5:19190",
        "  direct address   [::]:19192",
        "  local addresses  10.0.0.2:19192",
        "  last error       control closed the session",
        "",
        "ENDPOINT  ROLE         STATUS        PEERS  RELAYS  IN       OUT",
        "ssh       destination  connected     2      1 of 2  1.5 KiB  5 B",
        "db        source       reconnecting  0      0 of 0  0 B      0 B",
        "",
        "PEERS OF  ROLE         ID        METADATA  PATH      ADDRESS          RTT      FOR    WHY NOT BETTER",
        "ssh       destination  01234567  attic     outgoing  192.0.2.1:19192  12.3 ms  3h 5m",
        "ssh       destination  fedcba98            none                                       it has no address that "
        "answers",
    ]


def test_a_client_of_the_original_shows_every_path_since_none_is_said_to_be_selected() -> None:
    peer = {
        "id": "0123456789",
        "metadata": "",
        "direct-addresses": None,
        "connections": [
            {"style": "incoming", "address": "192.0.2.1:1"},
            {"style": "relay", "address": "198.51.100.1:19191", "relay-id": "r"},
        ],
    }
    page = {"status": "connected", "destinations": {}, "sources": {"db": {"status": "connected", "peers": {"p": peer}}}}
    assert status_lines(page, NOW) == [
        "client connected",
        "",
        "ENDPOINT  ROLE    STATUS     PEERS  RELAYS",
        "db        source  connected  1      0 of 0",
        "",
        "PEERS OF  ROLE    ID        PATH            ADDRESS",
        "db        source  01234567  incoming relay  192.0.2.1:1 198.51.100.1:19191",
    ]


CONTROL = ControlStatus(
    build_version="1",
    control_id="c.relay",
    client_ingresses=(IngressStatus(address="[::]:19190", restrictions=Restrictions(denies=("10.0.0.0/8",))),),
    relay_ingresses=(IngressStatus(address="[::]:19189"),),
    clients={"a": ControlClientStatus(id="aaaaaaaaaaaa", conn_id="1", address="192.0.2.1:1", metadata="attic")},
    endpoints={
        "db": ControlEndpointStatus(endpoint="db", sources=(AnnouncedStatus(id="aaaaaaaaaaaa", conn_id="1"),)),
    },
    relays={"r": ControlRelayStatus(id="rrrrrrrrrrrr", hostports=(HostPort("::1", 19191),), metadata="eu")},
    handler_errors=2,
)
RELAY = RelayStatus(
    status=Status.CONNECTED,
    hostports=(HostPort("relay.example", 19191),),
    server_address="203.0.113.5:19189",
    control_id="c",
    endpoints={
        "db": RelayEndpointStatus(
            endpoint="db",
            destinations={"k": RelayClientStatus(key="kkkkkkkkkkkk", metadata="attic")},
            sources={"l": RelayClientStatus(key="llllllllllll")},
        )
    },
    bytes_forwarded=3 * 1024**3,
    streams=2,
    streams_total=70,
)
CONTROL_LINES = [
    "control",
    "  version            1",
    "  id                 c.relay",
    "  errors of its own  2",
    "",
    "LISTENS FOR  ADDRESS     ALLOWED  DENIED",
    "client       [::]:19190  all      10.0.0.0/8",
    "relay        [::]:19189  all      none",
    "",
    "CLIENT    ADDRESS      METADATA",
    "aaaaaaaa  192.0.2.1:1  attic",
    "",
    "ENDPOINT  SOURCES",
    "db        aaaaaaaa",
    "",
    "RELAY     ADDRESSES    METADATA",
    "rrrrrrrr  [::1]:19191  eu",
]
RELAY_LINES = [
    "relay connected",
    "  control     203.0.113.5:19189",
    "  control id  c",
    "  addresses   relay.example:19191",
    "  streams     2 now, 70 since the start",
    "  carried     3.0 GiB",
    "",
    "ENDPOINT  DESTINATIONS    SOURCES",
    "db        kkkkkkkk attic  llllllll",
]


def test_a_control_server_shows_whom_it_knows() -> None:
    assert status_lines(to_json(CONTROL), NOW) == CONTROL_LINES


def test_a_relay_shows_whom_it_serves() -> None:
    assert status_lines(to_json(RELAY), NOW) == RELAY_LINES


def test_a_server_shows_both() -> None:
    page = to_json(ServerStatus(control=CONTROL, relay=RELAY))
    assert status_lines(page, NOW) == [*CONTROL_LINES, "", *RELAY_LINES]


def test_what_a_page_says_cannot_drive_a_terminal() -> None:
    page = to_json(ClientStatus(status=Status.CONNECTED, metadata="\x1b[2J\r\nclient", last_error="\u202eerror"))
    text = "\n".join(status_lines(page, NOW))
    assert "\\x1b[2J\\r\\nclient" in text
    assert "\\u202eerror" in text


def keys_of(page: Any) -> set[str]:
    """Every key of a page, at whatever depth."""
    if isinstance(page, list):
        return {key for item in page for key in keys_of(item)}
    return {key for name, value in page.items() for key in {name, *keys_of(value)}} if isinstance(page, dict) else set()


KEYS = sorted(keys_of(to_json(CLIENT)) | keys_of(to_json(ServerStatus(control=CONTROL, relay=RELAY))))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_page_makes_printable_lines(page: dict[str, Any]) -> None:
    for line in status_lines(page, NOW):
        assert line.isprintable()


def test_columns_are_as_wide_as_what_a_terminal_shows() -> None:
    assert columns([("NAME", "X"), ("数据库", "1"), ("e\u0301t\u0301", "2")]) == [
        "NAME    X",
        "数据库  1",
        "e\u0301t\u0301      2",
    ]


def test_a_long_text_is_cut_to_cells_and_not_to_characters() -> None:
    assert cut_to("数据库", 6) == "数据库"
    assert cut_to("数据库", 5) == "数据…"
    assert cut_to("数据库", 4) == "数…"
    assert cells(columns([("A", "B"), ("x" * 100, "y" * 100)])[1]) == 40 + 2 + 100


def test_figures_have_units() -> None:
    assert [byte_count(count) for count in (None, 0, 1023, 1024, 1.5 * 1024**2, 2.0**70)] == [
        "",
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 MiB",
        "1048576.0 PiB",
    ]
    assert [age(seconds) for seconds in (-5, 7.9, 67, 3665, 90_000)] == ["0s", "7s", "1m 7s", "1h 1m", "1d 1h"]
    assert (milliseconds(None), milliseconds(0.04)) == ("", "0.0 ms")
