"""`[control]`, `[relay]` and `[server]` → their settings."""

from collections.abc import Mapping
from pathlib import Path

from connet_trio.config.environment import state_directory
from connet_trio.config.files import read_roots, read_token
from connet_trio.config.findings import Findings
from connet_trio.config.ingresses import ingresses, relay_ingresses, require_tokens, tokens
from connet_trio.config.schema import ControlTable, RegistryTable, RelayTable, ServerTable, ServiceTable
from connet_trio.config.tables import value_of
from connet_trio.control import settings as control_defaults
from connet_trio.control.settings import CLIENTS_PORT, RELAYS_PORT, ControlSettings
from connet_trio.quic import DEFAULT_CONGESTION_CONTROL, DEFAULT_QUIC_ENGINE, LARGEST_DATAGRAM_BYTES
from connet_trio.relay import settings as relay_defaults
from connet_trio.relay.settings import RelaySettings
from connet_trio.server.settings import ServerSettings


def control_settings(table: ControlTable, environment: Mapping[str, str], findings: Findings) -> ControlSettings:
    """What the table and the environment ask of a control server.

    Raises:
      ConfigError: with every error among the findings.
    """
    require_tokens(table, "clients-tokens", table.clients_tokens_file or table.clients_tokens, findings)
    client_tokens = tokens(table.clients_tokens_file, table.clients_tokens, table.clients_token_restriction, findings)
    client_ingresses = ingresses(table.clients_ingress, CLIENTS_PORT, table, "clients-ingress", findings)
    relay_tokens = tokens(table.relays_tokens_file, table.relays_tokens, table.relays_token_restriction, findings)
    has_relay_tokens = bool(table.relays_tokens_file or table.relays_tokens)
    relay_ingress_settings = (
        ingresses(table.relays_ingress, RELAYS_PORT, table, "relays-ingress", findings)
        if table.relays_ingress or has_relay_tokens
        else ()
    )
    if not has_relay_tokens:
        findings.add_warning(
            table.place, "no relay can join without relays-tokens, and this release connects through relays only"
        )
    if table.drain_timeout is not None:
        findings.add_warning(table.drain_timeout.place, "does nothing for control, which carries no streams")
    store_directory = _store_directory(table, environment, "control", findings)
    findings.raise_errors()
    return ControlSettings(
        client_ingresses=client_ingresses,
        client_tokens=client_tokens,
        relay_ingresses=relay_ingress_settings,
        relay_tokens=relay_tokens,
        endpoint_expiry=_endpoint_expiry(table),
        congestion_control=value_of(table.congestion_control, DEFAULT_CONGESTION_CONTROL),
        quic_engine=value_of(table.quic_engine, DEFAULT_QUIC_ENGINE),
        max_packet_size=value_of(table.max_packet_size, LARGEST_DATAGRAM_BYTES),
        status_address=value_of(table.status_addr, None),
        store_directory=store_directory,
    )


def relay_settings(table: RelayTable, environment: Mapping[str, str], findings: Findings) -> RelaySettings:
    """What the table and the environment ask of a relay server.

    Raises:
      ConfigError: with every error among the findings.
    """
    token = read_token(table.token_file, table.token, findings)
    if token is None and table.token_file is None and not table.faulty & {"token", "token-file"}:
        findings.add_error(table.place, "has no token, expected token-file or token")
    control = value_of(table.control_addr, relay_defaults.DEFAULT_CONTROL_OF_RELAYS)
    control_roots = read_roots(table.control_cas_file, findings)
    relay_ingress_settings = relay_ingresses(table.ingress, table.place, findings)
    store_directory = _store_directory(table, environment, "relay", findings)
    findings.raise_errors()
    return RelaySettings(
        token=token or "",
        metadata=value_of(table.metadata, ""),
        control=control,
        control_roots=control_roots,
        control_name=value_of(table.control_name, control.host),
        ingresses=relay_ingress_settings,
        handshake_idle_timeout=value_of(table.handshake_idle_timeout, relay_defaults.DEFAULT_HANDSHAKE_IDLE_TIMEOUT),
        congestion_control=value_of(table.congestion_control, DEFAULT_CONGESTION_CONTROL),
        quic_engine=value_of(table.quic_engine, DEFAULT_QUIC_ENGINE),
        max_packet_size=value_of(table.max_packet_size, LARGEST_DATAGRAM_BYTES),
        status_address=value_of(table.status_addr, None),
        store_directory=store_directory,
        drain_timeout=value_of(table.drain_timeout, relay_defaults.DEFAULT_DRAIN_TIMEOUT),
    )


def server_settings(table: ServerTable, environment: Mapping[str, str], findings: Findings) -> ServerSettings:
    """What the table and the environment ask of control and relay in one process.

    Raises:
      ConfigError: with every error among the findings.
    """
    require_tokens(table, "tokens", table.tokens_file or table.tokens, findings)
    client_tokens = tokens(table.tokens_file, table.tokens, table.token_restriction, findings)
    client_ingresses = ingresses(table.ingress, CLIENTS_PORT, table, "ingress", findings)
    relay_ingress_settings = relay_ingresses(table.relay_ingress, table.place, findings)
    store_directory = _store_directory(table, environment, "", findings)
    findings.raise_errors()
    return ServerSettings(
        client_ingresses=client_ingresses,
        client_tokens=client_tokens,
        endpoint_expiry=_endpoint_expiry(table),
        relay_ingresses=relay_ingress_settings,
        congestion_control=value_of(table.congestion_control, DEFAULT_CONGESTION_CONTROL),
        quic_engine=value_of(table.quic_engine, DEFAULT_QUIC_ENGINE),
        max_packet_size=value_of(table.max_packet_size, LARGEST_DATAGRAM_BYTES),
        status_address=value_of(table.status_addr, None),
        store_directory=store_directory,
        drain_timeout=value_of(table.drain_timeout, relay_defaults.DEFAULT_DRAIN_TIMEOUT),
    )


def _endpoint_expiry(table: RegistryTable) -> float | None:
    if table.endpoint_expiry_disable:
        return None
    return value_of(table.endpoint_expiry_timeout, control_defaults.DEFAULT_ENDPOINT_EXPIRY)


def _store_directory(
    table: ServiceTable, environment: Mapping[str, str], subdirectory: str, findings: Findings
) -> Path | None:
    if table.store_dir:
        return table.store_dir.value
    directory = state_directory(environment, subdirectory)
    if directory is None:
        findings.add_warning(
            table.place,
            "no directory to keep state in, so its identity is lost on restart: set store-dir or CONNET_STATE_DIR",
        )
    return directory
