"""Where servers listen and who may come in: tables → settings."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import attrs

from connet_trio.config.files import read_credential, read_tokens
from connet_trio.config.findings import Findings, Place, dotted
from connet_trio.config.schema import IngressTable, NetworksTable, RelayIngressTable, RestrictionTable
from connet_trio.config.tables import Setting, Table
from connet_trio.control.settings import IngressSettings
from connet_trio.engine.admission import NetworkRule, Restriction
from connet_trio.records.model import HostPort
from connet_trio.relay.settings import RELAY_PORT, RelayIngressSettings, default_relay_ingresses


def ingresses(
    tables: Sequence[IngressTable], default_port: int, section: Table, name: str, findings: Findings
) -> tuple[IngressSettings, ...]:
    """The ingresses of control. `section` and `name` say where one is missing."""
    if not tables and name not in section.faulty:
        header = dotted((*section.place.keys, name))
        findings.add_error(section.place, f"nothing to listen on, expected [[{header}]] with cert-file and key-file")
    usable = []
    for index, table in enumerate(tables):
        address = _address(table, index, default_port, findings)
        for key, setting in (("cert-file", table.cert_file), ("key-file", table.key_file)):
            if setting is None and key not in table.faulty:
                findings.add_error(table.place, f"has no {key}")
        credential = read_credential(table.cert_file, table.key_file, findings)
        if address and credential:
            usable.append(IngressSettings(address=address, credential=credential, networks=_networks(table)))
    return tuple(usable)


def relay_ingresses(
    tables: Sequence[RelayIngressTable], section: Place, findings: Findings
) -> tuple[RelayIngressSettings, ...]:
    """The ingresses of a relay; without a table the default one."""
    usable = []
    for index, table in enumerate(tables):
        if address := _address(table, index, RELAY_PORT, findings):
            settings = RelayIngressSettings(address=address, networks=_networks(table))
            if table.hostports:
                advertised = tuple(_advertised(hostport, address) for hostport in table.hostports.value)
                settings = attrs.evolve(settings, hostports=advertised)
            else:
                _warn_of_localhost(table.place, settings, findings)
            usable.append(settings)
    if not tables:
        for settings in default_relay_ingresses():
            _warn_of_localhost(section, settings, findings)
            usable.append(settings)
    return tuple(usable)


def tokens(
    file: Setting[Path] | None,
    literal: Setting[tuple[str, ...]] | None,
    restrictions: Sequence[NetworksTable],
    findings: Findings,
) -> tuple[tuple[str, Restriction], ...]:
    """Tokens with what each allows; a file wins over literals."""
    place = file.place if file else literal.place if literal else None
    found = read_tokens(file, findings) if file else literal.value if literal else ()
    if place is None or not found:
        return ()
    positions: dict[str, int] = {}
    for position, token in enumerate(found, start=1):
        first = positions.setdefault(token, position)
        if first != position:
            findings.add_warning(place, f"tokens {first} and {position} are the same; the last restriction counts")
    if restrictions and len(restrictions) != len(found):
        findings.add_error(
            restrictions[0].place.parent,
            f"{len(restrictions)} restrictions for {len(found)} tokens, expected one for each token in the same order",
        )
        return ()
    allowed = [_restriction(table) for table in restrictions] or [Restriction()] * len(found)
    return tuple(zip(found, allowed, strict=True))


def require_tokens(
    section: Table, name: str, given: Setting[Path] | Setting[tuple[str, ...]] | None, findings: Findings
) -> None:
    """Find it wrong that neither the file nor the list of tokens is given."""
    if given is None and not section.faulty & {name, f"{name}-file"}:
        findings.add_error(section.place, f"has no tokens, so nobody could connect, expected {name}-file or {name}")


def _restriction(table: NetworksTable) -> Restriction:
    if not isinstance(table, RestrictionTable):
        return Restriction(networks=_networks(table))
    return Restriction(
        networks=_networks(table),
        name_matches=table.name_matches.value if table.name_matches else "",
        role=table.role_matches.value if table.role_matches else None,
    )


def _networks(table: NetworksTable) -> NetworkRule:
    return NetworkRule(
        allow=table.allow_cidrs.value if table.allow_cidrs else (),
        deny=table.deny_cidrs.value if table.deny_cidrs else (),
    )


def _address(
    table: IngressTable | RelayIngressTable, index: int, default_port: int, findings: Findings
) -> HostPort | None:
    if table.addr:
        return table.addr.value
    if index > 0:
        if "addr" not in table.faulty:
            findings.add_error(table.place, f"has no addr, and only the first has a default (:{default_port})")
        return None
    return HostPort("", default_port)


def _advertised(hostport: HostPort, address: HostPort) -> HostPort:
    """What was left out of a `hostports` entry is taken from the listening address."""
    return HostPort(hostport.host or _ip_or_localhost(address.host), hostport.port or address.port)


def _ip_or_localhost(host: str) -> str:
    try:
        return "localhost" if ip_address(host).is_unspecified else host
    except ValueError:
        return "localhost"


def _warn_of_localhost(place: Place, settings: RelayIngressSettings, findings: Findings) -> None:
    advertised = ", ".join(str(hostport) for hostport in settings.hostports)
    findings.add_warning(
        place,
        f"without hostports clients are told to find the relay at {advertised}, which works on this machine only",
    )
