"""A service in one line, for `systemctl status`."""

from collections.abc import Mapping

from connet_trio.records.status import (
    ClientStatus,
    ControlStatus,
    EndpointStatus,
    RelayStatus,
    ServerStatus,
    ServiceStatus,
)
from connet_trio.records.text import printable

MAX_NAME = 60
MAX_LINE = 500
"""Characters; what is longer is cut."""


def status_line(status: ServiceStatus) -> str:
    """What a service does, without line ends."""
    match status:
        case ClientStatus():
            line = _client(status)
        case ControlStatus():
            line = _control(status)
        case RelayStatus():
            line = f"{_words(status.status.value)}; {_relay(status)}"
        case ServerStatus():
            line = f"{_control(status.control)}; relay here: {_relay(status.relay)}"
    return printable(line, MAX_LINE)


def _client(status: ClientStatus) -> str:
    server = f" to {status.server_address}" if status.server_address else ""
    parts = [
        _words(status.status.value) + server,
        _endpoints("destinations", status.destinations),
        _endpoints("sources", status.sources),
    ]
    return "; ".join(part for part in parts if part)


def _endpoints(kind: str, endpoints: Mapping[str, EndpointStatus]) -> str:
    listed = ", ".join(f"{printable(name, MAX_NAME)} ({_peers(endpoint)})" for name, endpoint in endpoints.items())
    return f"{kind}: {listed}" if listed else ""


def _peers(endpoint: EndpointStatus) -> str:
    peers = endpoint.peers.values()
    reached = sum(peer.path is not None for peer in peers)
    unreached = len(peers) - reached
    return _count(reached, "peer") + (f", {unreached} not reached" if unreached else "")


def _control(status: ControlStatus) -> str:
    clients, endpoints, relays = map(len, (status.clients, status.endpoints, status.relays))
    return f"{_count(clients, 'client')}, {_count(endpoints, 'endpoint')}, {_count(relays, 'relay')}"


def _relay(status: RelayStatus) -> str:
    return f"{_count(len(status.endpoints), 'endpoint')}, {_count(status.streams, 'stream')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _words(status: str) -> str:
    return status.replace("_", " ")
