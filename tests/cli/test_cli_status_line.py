import pytest

from connet_trio.cli.status_line import MAX_LINE, status_line
from connet_trio.records.status import (
    ClientStatus,
    ControlClientStatus,
    ControlStatus,
    EndpointStatus,
    PathStyle,
    PeerStatus,
    RelayEndpointStatus,
    RelayStatus,
    ServerStatus,
    ServiceStatus,
    Status,
)

REACHED, UNREACHED = PeerStatus(id="p", path=PathStyle.RELAY), PeerStatus(id="q")
CLIENT = ClientStatus(
    status=Status.CONNECTED,
    server_address="203.0.113.5:19190",
    destinations={"ssh": EndpointStatus(status=Status.CONNECTED, peers={"p": REACHED, "q": UNREACHED})},
    sources={"a": EndpointStatus(status=Status.CONNECTED), "b\n": EndpointStatus(status=Status.CONNECTED)},
)
CONTROL = ControlStatus(clients={"a": ControlClientStatus(id="a", conn_id="1", address="192.0.2.1:1")})
RELAY = RelayStatus(status=Status.NOT_CONNECTED, endpoints={"a": RelayEndpointStatus(endpoint="a")}, streams=2)


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (ClientStatus(status=Status.RECONNECTING), "reconnecting"),
        (
            CLIENT,
            "connected to 203.0.113.5:19190; destinations: ssh (1 peer, 1 not reached); "
            "sources: a (0 peers), b\\n (0 peers)",
        ),
        (CONTROL, "1 client, 0 endpoints, 0 relays"),
        (RELAY, "not connected; 1 endpoint, 2 streams"),
        (
            ServerStatus(control=CONTROL, relay=RELAY),
            "1 client, 0 endpoints, 0 relays; relay here: 1 endpoint, 2 streams",
        ),
    ],
)
def test_a_service_is_one_line(status: ServiceStatus, line: str) -> None:
    assert status_line(status) == line


def test_a_line_has_an_end() -> None:
    sources = {f"{number} {'x' * 900}": EndpointStatus(status=Status.CONNECTED) for number in range(1000)}
    line = status_line(ClientStatus(status=Status.CONNECTED, sources=sources))
    assert len(line) == MAX_LINE + 1
