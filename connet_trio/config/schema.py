"""Every key of the configuration: protocol sections 12.1 to 12.4, and those that are ours: `drain-timeout`,
`congestion-control`, `quic-engine` and `max-packet-size`.

Defaults are those of each service's settings. What older releases called otherwise is in `old_names`.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs

from connet_trio.config.addresses import (
    advertised_address,
    destination_url,
    dial_address,
    listen_address,
    source_url,
)
from connet_trio.config.tables import Setting, Table, array_of, key, keys, named, subtable
from connet_trio.config.values import (
    balance_policy,
    balance_retry,
    balance_retry_max,
    boolean,
    congestion_control,
    duration,
    expiry,
    name_pattern,
    network,
    not_supported,
    one_of,
    packet_size,
    path,
    proxy_version,
    quic_engine,
    relay_encryption,
    reset_key,
    role,
    route,
    text,
    token,
)
from connet_trio.control.settings import CLIENTS_PORT
from connet_trio.engine.admission import IPNetwork
from connet_trio.engine.balancing import BalancePolicy, BalanceRetry
from connet_trio.quic import CongestionControl, QuicEngine
from connet_trio.records.model import HostPort, Role, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption


@attrs.frozen(kw_only=True)
class EndpointTable(Table):
    """What `[client.destinations.<name>]` and `[client.sources.<name>]` share."""

    route: Setting[Route] | None = key(route)
    relay_encryptions: Setting[tuple[RelayEncryption, ...]] | None = keys(relay_encryption)
    dial_timeout: Setting[float] | None = key(duration)
    cas_file: Setting[None] | None = key(not_supported)
    cert_file: Setting[None] | None = key(not_supported)
    key_file: Setting[None] | None = key(not_supported)


@attrs.frozen(kw_only=True)
class DestinationTable(EndpointTable):
    """`[client.destinations.<name>]`"""

    url: Setting[HostPort] | None = key(destination_url)
    proxy_proto_version: Setting[ProxyVersion] | None = key(proxy_version)


@attrs.frozen(kw_only=True)
class SourceTable(EndpointTable):
    """`[client.sources.<name>]`"""

    url: Setting[HostPort] | None = key(source_url)
    lb_policy: Setting[BalancePolicy] | None = key(balance_policy)
    lb_retry: Setting[BalanceRetry] | None = key(balance_retry)
    lb_retry_max: Setting[int] | None = key(balance_retry_max)


@attrs.frozen(kw_only=True)
class ClientTable(Table):
    """`[client]`"""

    token_file: Setting[Path] | None = key(path, pair="token")
    """First line that is not blank; wins over `token`."""
    token: Setting[str] | None = key(text, pair="token")
    metadata: Setting[str] | None = key(text)
    server_addr: Setting[HostPort] | None = key(dial_address(CLIENTS_PORT))
    server_cas_file: Setting[Path] | None = key(path)
    server_name: Setting[str] | None = key(text)
    direct_addr: Setting[HostPort] | None = key(listen_address)
    direct_stateless_reset_key: Setting[bytes] | None = key(reset_key, pair="reset key")
    direct_stateless_reset_key_file: Setting[Path] | None = key(path, pair="reset key")
    """Exactly 32 bytes; wins over `direct-stateless-reset-key`."""
    status_addr: Setting[HostPort] | None = key(listen_address)
    nat_pmp: Setting[str] | None = key(one_of("a way to find the gateway", "system", "dial", "disabled"))
    handshake_idle_timeout: Setting[float] | None = key(duration)
    relay_encryptions: Setting[tuple[RelayEncryption, ...]] | None = keys(relay_encryption)
    drain_timeout: Setting[float] | None = key(duration, zero_counts=True)
    congestion_control: Setting[CongestionControl] | None = key(congestion_control)
    quic_engine: Setting[QuicEngine] | None = key(quic_engine)
    max_packet_size: Setting[int] | None = key(packet_size)
    destinations: Mapping[str, DestinationTable] = named(DestinationTable)
    sources: Mapping[str, SourceTable] = named(SourceTable)


@attrs.frozen(kw_only=True)
class NetworksTable(Table):
    """Networks that may connect; also `[[control.relays-token-restriction]]` as it is."""

    allow_cidrs: Setting[tuple[IPNetwork, ...]] | None = keys(network)
    deny_cidrs: Setting[tuple[IPNetwork, ...]] | None = keys(network)


@attrs.frozen(kw_only=True)
class RestrictionTable(NetworksTable):
    """`[[server.token-restriction]]`, `[[control.clients-token-restriction]]`"""

    name_matches: Setting[str] | None = key(name_pattern)
    role_matches: Setting[Role] | None = key(role)


@attrs.frozen(kw_only=True)
class IngressTable(NetworksTable):
    """`[[server.ingress]]`, `[[control.clients-ingress]]`, `[[control.relays-ingress]]`"""

    addr: Setting[HostPort] | None = key(listen_address)
    cert_file: Setting[Path] | None = key(path)
    key_file: Setting[Path] | None = key(path)


@attrs.frozen(kw_only=True)
class RelayIngressTable(NetworksTable):
    """`[[server.relay-ingress]]`, `[[relay.ingress]]`"""

    addr: Setting[HostPort] | None = key(listen_address)
    hostports: Setting[tuple[HostPort, ...]] | None = keys(advertised_address)


@attrs.frozen(kw_only=True)
class ServiceTable(Table):
    """What `[server]`, `[control]` and `[relay]` share."""

    status_addr: Setting[HostPort] | None = key(listen_address)
    store_dir: Setting[Path] | None = key(path)
    drain_timeout: Setting[float] | None = key(duration, zero_counts=True)
    congestion_control: Setting[CongestionControl] | None = key(congestion_control)
    quic_engine: Setting[QuicEngine] | None = key(quic_engine)
    max_packet_size: Setting[int] | None = key(packet_size)


@attrs.frozen(kw_only=True)
class RegistryTable(ServiceTable):
    """What `[server]` and `[control]` share."""

    endpoint_expiry_disable: Setting[bool] | None = key(boolean)
    endpoint_expiry_timeout: Setting[float] | None = key(expiry)


@attrs.frozen(kw_only=True)
class ServerTable(RegistryTable):
    """`[server]`"""

    tokens_file: Setting[Path] | None = key(path, pair="tokens")
    """A token on each line; wins over `tokens`."""
    tokens: Setting[tuple[str, ...]] | None = keys(token, pair="tokens")
    ingress: tuple[IngressTable, ...] = array_of(IngressTable)
    token_restriction: tuple[RestrictionTable, ...] = array_of(RestrictionTable)
    relay_ingress: tuple[RelayIngressTable, ...] = array_of(RelayIngressTable)


@attrs.frozen(kw_only=True)
class ControlTable(RegistryTable):
    """`[control]`"""

    clients_tokens_file: Setting[Path] | None = key(path, pair="clients")
    clients_tokens: Setting[tuple[str, ...]] | None = keys(token, pair="clients")
    clients_ingress: tuple[IngressTable, ...] = array_of(IngressTable)
    clients_token_restriction: tuple[RestrictionTable, ...] = array_of(RestrictionTable)
    relays_tokens_file: Setting[Path] | None = key(path, pair="relays")
    relays_tokens: Setting[tuple[str, ...]] | None = keys(token, pair="relays")
    relays_ingress: tuple[IngressTable, ...] = array_of(IngressTable)
    relays_token_restriction: tuple[NetworksTable, ...] = array_of(NetworksTable)


@attrs.frozen(kw_only=True)
class RelayTable(ServiceTable):
    """`[relay]`"""

    token_file: Setting[Path] | None = key(path, pair="token")
    """First line that is not blank; wins over `token`."""
    token: Setting[str] | None = key(text, pair="token")
    metadata: Setting[str] | None = key(text)
    control_addr: Setting[HostPort] | None = key(dial_address())
    control_cas_file: Setting[Path] | None = key(path)
    control_name: Setting[str] | None = key(text)
    handshake_idle_timeout: Setting[float] | None = key(duration)
    ingress: tuple[RelayIngressTable, ...] = array_of(RelayIngressTable)


@attrs.frozen(kw_only=True)
class RootTable(Table):
    """A whole file."""

    log_level: Setting[str] | None = key(one_of("a log level", "fine", "debug", "info", "warn", "error"))
    log_format: Setting[str] | None = key(one_of("a log format", "text", "json"))
    client: ClientTable | None = subtable(ClientTable)
    server: ServerTable | None = subtable(ServerTable)
    control: ControlTable | None = subtable(ControlTable)
    relay: RelayTable | None = subtable(RelayTable)
