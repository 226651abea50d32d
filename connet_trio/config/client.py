"""`[client]` → `ClientSettings`."""

from collections.abc import Mapping
from pathlib import Path

from connet_trio.client.endpoint_names import check_endpoint_name, endpoint_name_warnings
from connet_trio.client.settings import (
    DEFAULT_DRAIN_TIMEOUT,
    DEFAULT_HANDSHAKE_IDLE_TIMEOUT,
    DEFAULT_RELAY_ENCRYPTIONS,
    DEFAULT_SERVER,
    RESET_KEY_BYTES,
    ClientSettings,
    DestinationSettings,
    SourceSettings,
)
from connet_trio.config import environment as environment_of
from connet_trio.config.files import read_reset_key, read_roots, read_token
from connet_trio.config.findings import Findings
from connet_trio.config.schema import ClientTable, DestinationTable, SourceTable
from connet_trio.config.tables import value_of
from connet_trio.engine import BalanceRetry, Balancing
from connet_trio.quic import DEFAULT_CONGESTION_CONTROL, DEFAULT_QUIC_ENGINE, LARGEST_DATAGRAM_BYTES
from connet_trio.records.model import HostPort, Route
from connet_trio.records.peer import ProxyVersion

COUNTED = (BalanceRetry.COUNT, BalanceRetry.TIMED)


def client_settings(table: ClientTable, environment: Mapping[str, str], findings: Findings) -> ClientSettings:
    """What the table and the environment ask of a client.

    Raises:
      ConfigError: with every error among the findings.
    """
    token = read_token(table.token_file, table.token, findings) or environment_of.client_token(environment)
    if token is None and table.token_file is None and not table.faulty & {"token", "token-file"}:
        findings.add_error(
            table.place, "has no token, expected token-file, token, or the environment variable CONNET_TOKEN"
        )
    reset_key, reset_key_directory = _reset_key(table, environment, findings)
    server = value_of(table.server_addr, DEFAULT_SERVER)
    server_roots = read_roots(table.server_cas_file, findings)
    destinations = [_destination(name, inner, findings) for name, inner in table.destinations.items()]
    sources = [_source(name, inner, findings) for name, inner in table.sources.items()]
    _warn(table, findings)
    findings.raise_errors()
    return ClientSettings(
        token=token or "",
        metadata=value_of(table.metadata, ""),
        server=server,
        server_roots=server_roots,
        server_name=value_of(table.server_name, server.host),
        direct_address=value_of(table.direct_addr, None),
        stateless_reset_key=reset_key,
        stateless_reset_key_directory=reset_key_directory,
        status_address=value_of(table.status_addr, None),
        handshake_idle_timeout=value_of(table.handshake_idle_timeout, DEFAULT_HANDSHAKE_IDLE_TIMEOUT),
        drain_timeout=value_of(table.drain_timeout, DEFAULT_DRAIN_TIMEOUT),
        congestion_control=value_of(table.congestion_control, DEFAULT_CONGESTION_CONTROL),
        quic_engine=value_of(table.quic_engine, DEFAULT_QUIC_ENGINE),
        max_packet_size=value_of(table.max_packet_size, LARGEST_DATAGRAM_BYTES),
        relay_encryptions=value_of(table.relay_encryptions, DEFAULT_RELAY_ENCRYPTIONS),
        destinations=tuple(destination for destination in destinations if destination),
        sources=tuple(source for source in sources if source),
    )


def _reset_key(
    table: ClientTable, environment: Mapping[str, str], findings: Findings
) -> tuple[bytes | None, Path | None]:
    """The key, or else where one is to be kept (protocol section 12.5); a file wins over the literal."""
    if table.direct_stateless_reset_key_file:
        return read_reset_key(table.direct_stateless_reset_key_file, RESET_KEY_BYTES, findings), None
    if table.direct_stateless_reset_key:
        return table.direct_stateless_reset_key.value, None
    directory = environment_of.reset_key_directory(environment)
    if directory is None:
        findings.add_warning(
            table.place,
            "no directory for a stateless reset key, so peers notice a restart late: set CONNET_CACHE_DIR",
        )
    return None, directory


def _destination(name: str, table: DestinationTable, findings: Findings) -> DestinationSettings | None:
    target = _url(name, table, findings)
    if target is None:
        return None
    return DestinationSettings(
        name=name,
        route=value_of(table.route, Route.ANY),
        relay_encryptions=value_of(table.relay_encryptions, None),
        target=target,
        proxy_version=value_of(table.proxy_proto_version, ProxyVersion.NONE),
        dial_timeout=value_of(table.dial_timeout, None),
    )


def _source(name: str, table: SourceTable, findings: Findings) -> SourceSettings | None:
    listen = _url(name, table, findings)
    if listen is None:
        return None
    return SourceSettings(
        name=name,
        route=value_of(table.route, Route.ANY),
        relay_encryptions=value_of(table.relay_encryptions, None),
        listen=listen,
        dial_timeout=value_of(table.dial_timeout, None),
        balancing=_balancing(table, findings),
    )


def _balancing(table: SourceTable, findings: Findings) -> Balancing:
    for setting, needed, present in (
        (table.lb_retry, "lb-policy", table.lb_policy is not None),
        (table.lb_retry_max, "lb-retry = count or timed", value_of(table.lb_retry, None) in COUNTED),
    ):
        if setting is not None and not present and not {"lb-policy", "lb-retry"} & table.faulty:
            findings.add_warning(setting.place, f"does nothing without {needed}")
    return Balancing(
        policy=value_of(table.lb_policy, None),
        retry=value_of(table.lb_retry, BalanceRetry.NEVER),
        retry_max=value_of(table.lb_retry_max, 0),
    )


def _url(name: str, table: DestinationTable | SourceTable, findings: Findings) -> HostPort | None:
    """The address an endpoint is about; None, with the reason among the findings, for one that cannot be."""
    try:
        check_endpoint_name(name)
    except ValueError as exc:
        findings.add_error(table.place, str(exc))
        return None
    for warning in endpoint_name_warnings(name):
        findings.add_warning(table.place, warning)
    if table.url is None and "url" not in table.faulty:
        findings.add_error(table.place, "has no url, expected tcp://host:port")
    return value_of(table.url, None)


def _warn(table: ClientTable, findings: Findings) -> None:
    """Say what is accepted and will not do what it says in this release."""
    if table.nat_pmp and table.nat_pmp.value == "dial":
        findings.add_warning(table.nat_pmp.place, '"dial" does nothing in this release, which has no NAT-PMP yet')
    if not table.destinations and not table.sources:
        findings.add_warning(table.place, "has neither destinations nor sources, so there is nothing to do")
