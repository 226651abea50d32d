"""`connet-trio relay`: a relay alone."""

from functools import partial

import click

from connet_trio.cli.flags import Flag, flag_values, status_flag
from connet_trio.cli.ingress_flags import relay_ingress_flags, store_flag
from connet_trio.cli.service_command import ServiceKind, service_command
from connet_trio.cli.store_place import settle_store
from connet_trio.config import load_relay
from connet_trio.relay import RelaySettings, open_relay

KIND: ServiceKind[RelaySettings] = ServiceKind(
    name="relay", load=load_relay, open=open_relay, prepare=partial(settle_store, service="relay")
)

FLAGS = (
    status_flag("relay"),
    Flag(name="--token-file", key="relay.token-file", metavar="FILE", help="File whose first line is the token"),
    Flag(
        name="--token",
        key="relay.token",
        metavar="TOKEN",
        help="The token; other users of this machine can see it, so prefer --token-file",
    ),
    Flag(name="--metadata", key="relay.metadata", help="What the status of control says about this relay"),
    *relay_ingress_flags("", "relay.ingress"),
    Flag(
        name="--control-addr",
        key="relay.control-addr",
        metavar="HOST:PORT",
        help="The relays' port of the control server [localhost:19189]",
    ),
    Flag(
        name="--control-cas-file",
        key="relay.control-cas-file",
        metavar="FILE",
        help="Certificates that vouch for control's [those of the system]",
    ),
    Flag(
        name="--control-name",
        key="relay.control-name",
        metavar="NAME",
        help="The name in its certificate [the host of --control-addr]",
    ),
    Flag(
        name="--handshake-idle-timeout",
        key="relay.handshake-idle-timeout",
        metavar="DURATION",
        help="Silence after which dialling is given up [5s]",
    ),
    store_flag("relay"),
)


def relay_command() -> click.Command:
    """Runs a relay."""
    return service_command(
        KIND,
        options=[flag.option() for flag in FLAGS],
        collect=lambda params: flag_values(FLAGS, params),
        purpose="Carry streams between clients that control sends here.",
    )
