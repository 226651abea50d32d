"""The status page of a control server (protocol section 13)."""

from collections.abc import Iterable, Mapping

from connet_trio.control.client_stream import Client
from connet_trio.engine import Announcement, NetworkRule, RelayEntry
from connet_trio.records.model import AddressPort, Role
from connet_trio.records.status import (
    AnnouncedStatus,
    ControlClientStatus,
    ControlEndpointStatus,
    ControlRelayStatus,
    IngressStatus,
    Restrictions,
)


def ingress_status(address: AddressPort, networks: NetworkRule) -> IngressStatus:
    """One socket, and who may connect to it."""
    allows, denies = (tuple(map(str, side)) for side in (networks.allow, networks.deny))
    return IngressStatus(address=str(address), restrictions=Restrictions(allows=allows, denies=denies))


def client_statuses(clients: Iterable[Client]) -> dict[str, ControlClientStatus]:
    """By client id; of several connections of one client, the last in `clients`."""
    return {
        client.connection.client_id: ControlClientStatus(
            id=client.connection.client_id,
            conn_id=client.connection.connection_id,
            address=str(client.address),
            metadata=client.metadata,
        )
        for client in clients
    }


def endpoint_statuses(announcements: Iterable[Announcement]) -> dict[str, ControlEndpointStatus]:
    """By name, in the order of `announcements`."""
    announced: dict[str, dict[Role, list[AnnouncedStatus]]] = {}
    for announcement in announcements:
        by_role = announced.setdefault(announcement.endpoint, {Role.DESTINATION: [], Role.SOURCE: []})
        connection = announcement.connection
        by_role[announcement.role].append(AnnouncedStatus(id=connection.client_id, conn_id=connection.connection_id))
    return {
        name: ControlEndpointStatus(
            endpoint=name, destinations=tuple(by_role[Role.DESTINATION]), sources=tuple(by_role[Role.SOURCE])
        )
        for name, by_role in announced.items()
    }


def relay_statuses(relays: Mapping[str, RelayEntry]) -> dict[str, ControlRelayStatus]:
    """By relay id."""
    return {
        relay_id: ControlRelayStatus(id=relay_id, hostports=entry.addresses, metadata=entry.metadata)
        for relay_id, entry in relays.items()
    }
