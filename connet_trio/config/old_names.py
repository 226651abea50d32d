"""Keys of older releases (up to 0.9), put where they belong now, each with a warning that names the new key.

A value keeps the place it was written at, so what is wrong with it is told about the key in the file.
"""

from collections.abc import Mapping

import attrs

from connet_trio.config.document import Located
from connet_trio.config.findings import Findings, Place, dotted
from connet_trio.config.values import kind_of

_RENAMED: Mapping[str, Mapping[str, str]] = {
    "client": {"server-cas": "server-cas-file"},
    "server": {"token-ip-restriction": "token-restriction"},
    "control": {
        "client-tokens": "clients-tokens",
        "client-tokens-file": "clients-tokens-file",
        "client-token-ip-restriction": "clients-token-restriction",
        "relay-tokens": "relays-tokens",
        "relay-tokens-file": "relays-tokens-file",
        "relay-token-ip-restriction": "relays-token-restriction",
    },
    "relay": {"control-cas": "control-cas-file"},
}

_EVERY_KEY = "*"
"""Stands for the keys of a table that is dissolved: `ip-restriction`."""

_MOVED: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "server": {
        "addr": {"ingress": "addr"},
        "cert-file": {"ingress": "cert-file"},
        "key-file": {"ingress": "key-file"},
        "ip-restriction": {"ingress": _EVERY_KEY},
        "relay-addr": {"relay-ingress": "addr"},
        "relay-hostname": {"relay-ingress": "hostports"},
    },
    "control": {
        "addr": {"clients-ingress": "addr"},
        "cert-file": {"clients-ingress": "cert-file", "relays-ingress": "cert-file"},
        "key-file": {"clients-ingress": "key-file", "relays-ingress": "key-file"},
        "client-ip-restriction": {"clients-ingress": _EVERY_KEY},
        "relay-ip-restriction": {"relays-ingress": _EVERY_KEY},
    },
    "relay": {
        "addr": {"ingress": "addr"},
        "hostname": {"ingress": "hostports"},
    },
}
"""Section, old key: its name in the first table of each array it went to.

One port of control once served clients and relays.
"""


def modernize(root: Located, findings: Findings) -> Located:
    """The same document in today's keys."""
    sections = {name: _modernize_section(name, section, findings) for name, section in root.table.items()}
    return attrs.evolve(root, value=sections)


def _modernize_section(name: str, section: Located, findings: Findings) -> Located:
    if not isinstance(section.value, dict):
        return section
    entries = dict(section.table)
    for old, new in _RENAMED.get(name, {}).items():
        _rename(entries, old, new, findings)
    _move_into_arrays(entries, section.place, _MOVED.get(name, {}), findings)
    for kind in ("destinations", "sources"):
        if name == "client" and kind in entries:
            entries[kind] = _modernize_endpoints(entries[kind], findings)
    return attrs.evolve(section, value=entries)


def _rename(entries: dict[str, Located], old: str, new: str, findings: Findings) -> None:
    if old not in entries:
        return
    value = entries.pop(old)
    if new in entries:
        findings.add_warning(value.place, f"is an old name of {new}, and ignored because that is set too")
    else:
        findings.add_warning(value.place, f"is an old name of {new}")
        entries[new] = value


def _move_into_arrays(
    entries: dict[str, Located], section: Place, moves: Mapping[str, Mapping[str, str]], findings: Findings
) -> None:
    arrays: dict[str, dict[str, Located]] = {}
    present = entries.keys() & {array for targets in moves.values() for array in targets}
    has_relays = bool(entries.keys() & {"relays-tokens", "relays-tokens-file", "relay-ip-restriction"})
    for old in [old for old in entries if old in moves]:
        value, targets = entries.pop(old), moves[old]
        new_name = next(iter(targets.values())).replace(_EVERY_KEY, "allow-cidrs and deny-cidrs")
        headers = " and ".join(f"[[{dotted((*section.keys, array))}]]" for array in targets)
        if present & targets.keys():
            findings.add_error(value.place, f"is an old name, expected as {new_name} in {headers}, which is there")
            continue
        findings.add_warning(value.place, f"is an old name, now {new_name} in {headers}")
        for array, new in targets.items():
            if array != "relays-ingress" or has_relays:
                arrays.setdefault(array, {}).update(_moved(value, new, findings))
    for array, first in arrays.items():
        lines = [inner.place.line for inner in first.values() if inner.place.line is not None]
        place = attrs.evolve(section.child(array), line=min(lines, default=section.line))
        entries[array] = Located(place, [Located(place.child(0), first)])


def _moved(value: Located, new: str, findings: Findings) -> dict[str, Located]:
    """What an old key becomes in the table it went to."""
    if new != _EVERY_KEY:
        return {new: attrs.evolve(value, value=[value] if value.value != "" else []) if new == "hostports" else value}
    if not isinstance(value.value, dict):
        findings.add_error(value.place, f"is {kind_of(value.value)}, expected a table")
    return value.table


def _modernize_endpoints(endpoints: Located, findings: Findings) -> Located:
    """`addr = ":3000"` was what `url = "tcp://:3000"` is now."""
    modern: dict[str, Located] = {}
    for name, endpoint in endpoints.table.items():
        entries = dict(endpoint.table)
        if "addr" in entries and isinstance(entries["addr"].value, str):
            entries["addr"] = attrs.evolve(entries["addr"], value=f"tcp://{entries['addr'].value}")
        _rename(entries, "addr", "url", findings)
        modern[name] = attrs.evolve(endpoint, value=entries) if entries else endpoint
    return attrs.evolve(endpoints, value=modern) if modern else endpoints
