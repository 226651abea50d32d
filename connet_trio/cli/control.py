"""`connet-trio control`: a control server alone."""

from functools import partial

import click

from connet_trio.cli.flags import Flag, Params, Values, flag_values, status_flag
from connet_trio.cli.ingress_flags import expiry_flags, ingress_flags, store_flag
from connet_trio.cli.service_command import ServiceKind, service_command
from connet_trio.cli.store_place import settle_store
from connet_trio.config import load_control
from connet_trio.control import ControlSettings, open_control

KIND: ServiceKind[ControlSettings] = ServiceKind(
    name="control", load=load_control, open=open_control, prepare=partial(settle_store, service="control")
)

CLIENTS, RELAYS = "control.clients-ingress", "control.relays-ingress"


def _token_flags(prefix: str, whom: str) -> tuple[Flag, ...]:
    return (
        Flag(
            name=f"--{prefix}-tokens-file",
            key=f"control.{prefix}-tokens-file",
            metavar="FILE",
            help=f"File with a {whom}'s token on each line",
        ),
        Flag(
            name=f"--{prefix}-tokens",
            key=f"control.{prefix}-tokens",
            metavar="TOKEN",
            repeats=True,
            help=f"The token of a {whom}, repeatable; other users of this machine can see it",
        ),
    )


FLAGS = (
    status_flag("control"),
    *_token_flags("clients", "client"),
    *ingress_flags("clients-", CLIENTS, ":19190", "Where clients find control"),
    *_token_flags("relays", "relay"),
    *ingress_flags("relays-", RELAYS, ":19189", "Where relays find control"),
    *expiry_flags("control"),
    store_flag("control"),
)

# Not keys of their own: the default of --clients-… and --relays-…, which the original has them override.
CERTIFICATE_FLAGS = (
    Flag(name="--cert-file", key="cert-file", metavar="FILE", help="The certificate for both, clients and relays"),
    Flag(name="--key-file", key="key-file", metavar="FILE", help="Its private key"),
)


def collect(params: Params) -> Values:
    """What the flags of a control server say, by key."""
    values = flag_values(FLAGS, params)
    for flag in CERTIFICATE_FLAGS:
        for table in (CLIENTS, RELAYS):
            key = f"{table}.{flag.key}"
            if values[key] is None:
                values[key] = flag.value(params)
    return values


def control_command() -> click.Command:
    """Runs a control server."""
    return service_command(
        KIND,
        options=[flag.option() for flag in (*CERTIFICATE_FLAGS, *FLAGS)],
        collect=collect,
        purpose="Introduce clients to each other, and tell them which relays to use.",
    )
