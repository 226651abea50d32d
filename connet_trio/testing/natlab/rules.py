"""The nftables rules that make a router behave as a kind of NAT; its outside interface is `wan`, its inside `lan`.

Every kind begins as what Linux is: one mapping for each inside socket with the same port outside if that is free, a
filter by address and port. What each adds was found by asking four server ports and sending from others.
"""

from connet_trio.testing.natlab.kinds import NatKind

MAPPING_LIFETIME = "120s"
"""Of what the cones have learned; that of all others is conntrack's own."""

REMAPPED_PORTS = "40000-60000"
"""Above those that our commands use inside: a port in the range would be kept."""

ADDRESS_RANGES = 16
"""Of ports: one for each address of the server, which nobody shares, the rest for all others."""

SERVERS = "198.51.100.1", "198.51.100.2"
FIRST_RANGE, RANGE_PORTS = 40_000, 1024

LEARN = f"""
    ct direction original update @mapped {{ udp sport timeout {MAPPING_LIFETIME} : ct original ip saddr . ct original proto-src }}
    ct direction reply update @mapped {{ udp sport timeout {MAPPING_LIFETIME} : ct reply ip saddr . ct reply proto-src }}
    update @contacted {{ udp sport . ip daddr timeout {MAPPING_LIFETIME} }}"""  # noqa: E501
"""After the source has been translated: then the header has the outside port, and conntrack the inside one."""

DROP_EARLY = 'iifname "wan" meta l4proto udp ct state new drop'
"""Or what comes too early would be booked as the router's own, and the inside's flow get another port."""

ADMIT_ALL = 'iifname "wan" meta l4proto udp dnat ip to udp dport map @mapped'
ADMIT_ADDRESS = 'iifname "wan" meta l4proto udp udp dport . ip saddr @contacted dnat ip to udp dport map @mapped'

# a newline or a semicolon has to be before each closing brace
FIREWALL = """
table inet natlab {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" accept
    }
}"""


def router_rules(kind: NatKind, outside: str, *, hairpinning: bool = False) -> str:
    """What `nft` loads into a router of a kind.

    Args:
      outside: its outside address.
      hairpinning: whether the inside reaches itself by it.
    """
    if kind is NatKind.FIREWALL:
        return FIREWALL
    learns = hairpinning or kind in (NatKind.FULL, NatKind.ADDRESS)
    span = f":{REMAPPED_PORTS}" if kind is NatKind.REMAP else ""
    before, after = _admission(kind), _translation(kind)
    if hairpinning:
        before += f'\niifname "lan" ip daddr {outside} meta l4proto udp dnat ip to udp dport map @mapped'
        # or a hairpin flow would make a mapping of its own
        after = f'iifname "lan" oifname "lan" meta l4proto udp ct status dnat snat to {outside}{span}\n{after}'
    return f"""
table ip natlab {{
    map mapped {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; size 65535; }}
    set contacted {{ type inet_service . ipv4_addr; flags dynamic,timeout; size 65535; }}
    chain note {{
        {LEARN if learns else ""}
    }}
    chain input {{
        type filter hook input priority filter;
        {"" if kind is NatKind.NAIVE else DROP_EARLY}
    }}
    chain forward {{
        type filter hook forward priority filter;
        {"meta l4proto udp drop" if kind is NatKind.BLOCKED else ""}
        iifname "wan" oifname "lan" ct state new ct status & dnat == 0 drop
    }}
    chain before {{
        type nat hook prerouting priority dstnat;
        {before}
    }}
    chain after {{
        type nat hook postrouting priority srcnat;
        {after}
        oifname "wan" masquerade
    }}
    chain learn {{
        type filter hook postrouting priority srcnat + 10;
        oifname "wan" meta l4proto udp jump note
    }}
}}"""


def _admission(kind: NatKind) -> str:
    """Who else than those that a flow is open to may send in."""
    return {NatKind.FULL: ADMIT_ALL, NatKind.ADDRESS: ADMIT_ADDRESS}.get(kind, "")


def _translation(kind: NatKind) -> str:
    """How the source of a new flow is translated, if not as Linux does it unasked."""
    match kind:
        case NatKind.SYMMETRIC:
            return 'oifname "wan" masquerade fully-random'
        case NatKind.REMAP:
            return f'oifname "wan" meta l4proto udp masquerade to :{REMAPPED_PORTS}'
        case NatKind.ADDRESS_SYMMETRIC:
            return "\n".join(_range_rule(number) for number in range(ADDRESS_RANGES))
        case _:
            return ""


def _range_rule(number: int) -> str:
    if number < len(SERVERS):
        chosen = f"ip daddr {SERVERS[number]}"
    else:
        others = f"ip daddr != {{ {', '.join(SERVERS)} }}"
        shared = ADDRESS_RANGES - len(SERVERS)
        chosen = f"{others} jhash ip daddr mod {shared} seed 0x5eed == {number - len(SERVERS)}"
    first = FIRST_RANGE + RANGE_PORTS * number
    return f'oifname "wan" meta l4proto udp {chosen} masquerade to :{first}-{first + RANGE_PORTS - 1}'
