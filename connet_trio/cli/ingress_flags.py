"""Flags that several servers have."""

from connet_trio.cli.flags import Flag


def ingress_flags(prefix: str, table: str, default: str, what: str) -> tuple[Flag, ...]:
    """The flags of an address of control: `--{prefix}addr`, its certificate, and who may connect."""
    return (
        Flag(name=f"--{prefix}addr", key=f"{table}.addr", metavar="[HOST]:PORT", help=f"{what} [{default}]"),
        Flag(
            name=f"--{prefix}cert-file",
            key=f"{table}.cert-file",
            metavar="FILE",
            help="The certificate presented there",
        ),
        Flag(name=f"--{prefix}key-file", key=f"{table}.key-file", metavar="FILE", help="Its private key"),
        *_network_flags(prefix, table),
    )


def relay_ingress_flags(prefix: str, table: str) -> tuple[Flag, ...]:
    """The flags of an address of a relay: `--{prefix}addr`, what clients are told to dial, and who may connect."""
    return (
        Flag(
            name=f"--{prefix}addr",
            key=f"{table}.addr",
            metavar="[HOST]:PORT",
            help="Where the relay accepts clients [:19191]",
        ),
        Flag(
            name=f"--{prefix}hostport",
            key=f"{table}.hostports",
            metavar="HOST[:PORT]",
            repeats=True,
            help="Where clients are told to find it, repeatable [localhost]",
        ),
        *_network_flags(prefix, table),
    )


def _network_flags(prefix: str, table: str) -> tuple[Flag, ...]:
    return (
        Flag(
            name=f"--{prefix}allow-cidr",
            key=f"{table}.allow-cidrs",
            metavar="NETWORK",
            repeats=True,
            help="Who may connect, repeatable [everybody]",
        ),
        Flag(
            name=f"--{prefix}deny-cidr",
            key=f"{table}.deny-cidrs",
            metavar="NETWORK",
            repeats=True,
            help="Who may not, even if allowed, repeatable",
        ),
    )


def expiry_flags(section: str) -> tuple[Flag, ...]:
    """How long the endpoints of a lost client stay listed."""
    return (
        Flag(
            name="--endpoint-expiry-disable",
            key=f"{section}.endpoint-expiry-disable",
            is_switch=True,
            help="Take the endpoints of a lost client off at once",
        ),
        Flag(
            name="--endpoint-expiry-timeout",
            key=f"{section}.endpoint-expiry-timeout",
            metavar="DURATION",
            help="How long the endpoints of a lost client stay listed [30s]",
        ),
    )


def store_flag(section: str) -> Flag:
    """`--store-dir`."""
    return Flag(
        name="--store-dir",
        key=f"{section}.store-dir",
        metavar="DIRECTORY",
        help="Where state is kept [CONNET_STATE_DIR, STATE_DIRECTORY, or ~/.local/state/connet-trio]",
    )
