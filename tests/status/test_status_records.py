import json
from ipaddress import IPv4Address, IPv6Address

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

V4 = AddressPort(IPv4Address("192.0.2.1"), 19192)
V6 = AddressPort(IPv6Address("2001:db8::1"), 19192)


def test_a_new_client_shows_every_key() -> None:
    assert to_json(ClientStatus(status=Status.NOT_CONNECTED)) == {
        "status": "not_connected",
        "metadata": "",
        "build-version": "",
        "server-address": "",
        "direct-address": "",
        "local-addresses": [],
        "stun-addresses": [],
        "natpmp-addresses": [],
        "destinations": {},
        "sources": {},
        "last-error": "",
        "handler-errors": 0,
    }


def test_addresses_are_written_with_their_port() -> None:
    page = to_json(ClientStatus(status=Status.CONNECTED, local_addresses=(V4, V6), stun_addresses=(V4,)))
    assert page["local-addresses"] == ["192.0.2.1:19192", "[2001:db8::1]:19192"]
    assert page["stun-addresses"] == ["192.0.2.1:19192"]


def test_an_endpoint_shows_its_relays_and_its_peers() -> None:
    peer = PeerStatus(
        id="p",
        direct_addresses=(V4,),
        connections=(
            PathStatus(style=PathStyle.RELAY, address="198.51.100.1:19191", relay_id="r"),
            PathStatus(
                style=PathStyle.OUTGOING, address="192.0.2.1:19192", rtt_ms=1.5, bytes_in=3, bytes_out=4, mtu=1472
            ),
        ),
        path=PathStyle.RELAY,
        relay_id="r",
        rtt_ms=12.5,
        since=1_700_000_000.0,
        why="the direct path does not answer",
    )
    relay = RelayLinkStatus(id="r", hostports=(HostPort("relay.example", 19191),), connection="198.51.100.1:19191")
    endpoint = EndpointStatus(
        status=Status.RECONNECTING,
        relays={"r": relay},
        peers={"p": peer},
        relay_encryptions=("tls", "none"),
        bytes_in=1,
        bytes_out=2,
    )
    page = to_json(ClientStatus(status=Status.CONNECTED, sources={"db": endpoint}))
    assert page["sources"]["db"] == {
        "status": "reconnecting",
        "relays": {
            "r": {"id": "r", "hostports": ["relay.example:19191"], "metadata": "", "connection": "198.51.100.1:19191"}
        },
        "peers": {
            "p": {
                "id": "p",
                "metadata": "",
                "direct-addresses": ["192.0.2.1:19192"],
                "connections": [
                    {
                        "style": "outgoing",
                        "address": "192.0.2.1:19192",
                        "rtt-ms": 1.5,
                        "bytes-in": 3,
                        "bytes-out": 4,
                        "mtu": 1472,
                    },
                    {
                        "style": "relay",
                        "address": "198.51.100.1:19191",
                        "relay-id": "r",
                        "rtt-ms": None,
                        "bytes-in": 0,
                        "bytes-out": 0,
                        "mtu": None,
                    },
                ],
                "path": "relay",
                "relay-id": "r",
                "rtt-ms": 12.5,
                "since": 1_700_000_000.0,
                "why": "the direct path does not answer",
            }
        },
        "relay-encryptions": ["tls", "none"],
        "bytes-in": 1,
        "bytes-out": 2,
    }


def test_a_peer_without_a_path_says_so_with_null() -> None:
    endpoint = EndpointStatus(status=Status.CONNECTED, peers={"p": PeerStatus(id="p")})
    page = to_json(ClientStatus(status=Status.CONNECTED, destinations={"db": endpoint}))
    peer = page["destinations"]["db"]["peers"]["p"]
    assert {key: peer[key] for key in ("path", "relay-id", "rtt-ms", "since", "why")} == {
        "path": None,
        "relay-id": None,
        "rtt-ms": None,
        "since": None,
        "why": "",
    }


def test_paths_are_sorted_by_style() -> None:
    paths = tuple(PathStatus(style=style, address="") for style in (PathStyle.RELAY, PathStyle.OUTGOING))
    peer = PeerStatus(id="p", connections=(*paths, PathStatus(style=PathStyle.INCOMING, address="")))
    assert [path.style.value for path in peer.connections] == ["incoming", "outgoing", "relay"]


CONTROL = ControlStatus(
    build_version="1",
    control_id="c.relay.control.invalid",
    client_ingresses=(IngressStatus(address="[::]:19190", restrictions=Restrictions(denies=("10.0.0.0/8",))),),
    relay_ingresses=(IngressStatus(address="[::]:19189"),),
    clients={"a": ControlClientStatus(id="a", conn_id="1", address="192.0.2.1:1")},
    endpoints={"db": ControlEndpointStatus(endpoint="db", sources=(AnnouncedStatus(id="a", conn_id="1"),))},
    relays={"r": ControlRelayStatus(id="r", hostports=(HostPort("::1", 19191),))},
)


def test_control_shows_the_original_s_keys_and_its_own() -> None:
    assert to_json(CONTROL) == {
        "build-version": "1",
        "relay-server-id": "c.relay.control.invalid",
        "client-ingresses": [{"address": "[::]:19190", "restrictions": {"denies": ["10.0.0.0/8"]}}],
        "relay-ingresses": [{"address": "[::]:19189", "restrictions": {}}],
        "clients": {"a": {"id": "a", "conn_id": "1", "address": "192.0.2.1:1", "metadata": ""}},
        "endpoints": {"db": {"endpoint": "db", "destinations": [], "sources": [{"id": "a", "conn_id": "1"}]}},
        "relays": {"r": {"id": "r", "hostport": ["[::1]:19191"], "metadata": ""}},
        "last-error": "",
        "handler-errors": 0,
    }


RELAY = RelayStatus(
    status=Status.DISCONNECTED,
    hostports=(HostPort("localhost", 19191),),
    server_address="127.0.0.1:19189",
    control_id="c",
    endpoints={"db": RelayEndpointStatus(endpoint="db", sources={"k": RelayClientStatus(key="k", metadata="m")})},
    bytes_forwarded=7,
    streams=1,
    streams_total=3,
)


def test_a_relay_shows_the_original_s_keys_and_its_own() -> None:
    assert to_json(RELAY) == {
        "status": "disconnected",
        "build-version": "",
        "hostports": ["localhost:19191"],
        "server-address": "127.0.0.1:19189",
        "server-id": "c",
        "endpoints": {"db": {"endpoint": "db", "destinations": {}, "sources": {"k": {"key": "k", "metadata": "m"}}}},
        "bytes-forwarded": 7,
        "streams": 1,
        "streams-total": 3,
        "last-error": "",
        "handler-errors": 0,
    }


def test_a_server_shows_both() -> None:
    page = to_json(ServerStatus(control=CONTROL, relay=RELAY))
    assert page == {"control": to_json(CONTROL), "relay": to_json(RELAY)}
    assert json.loads(json.dumps(page)) == page


def test_the_four_words() -> None:
    assert [status.value for status in Status] == ["not_connected", "connected", "reconnecting", "disconnected"]
