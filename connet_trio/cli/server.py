"""`connet-trio server`: control and a relay in one process."""

from functools import partial

import click

from connet_trio.cli.flags import Flag, flag_values, status_flag
from connet_trio.cli.ingress_flags import expiry_flags, ingress_flags, relay_ingress_flags, store_flag
from connet_trio.cli.service_command import ServiceKind, service_command
from connet_trio.cli.store_place import settle_store
from connet_trio.config import load_server
from connet_trio.server import ServerSettings, open_server

KIND: ServiceKind[ServerSettings] = ServiceKind(
    name="server", load=load_server, open=open_server, prepare=partial(settle_store, service="server")
)

FLAGS = (
    status_flag("server"),
    Flag(
        name="--tokens-file", key="server.tokens-file", metavar="FILE", help="File with a client's token on each line"
    ),
    Flag(
        name="--tokens",
        key="server.tokens",
        metavar="TOKEN",
        repeats=True,
        help="The token of a client, repeatable; other users of this machine can see it, so prefer --tokens-file",
    ),
    *ingress_flags("", "server.ingress", ":19190", "Where clients find control"),
    *relay_ingress_flags("relay-", "server.relay-ingress"),
    *expiry_flags("server"),
    store_flag("server"),
)


def server_command() -> click.Command:
    """Runs control and a relay."""
    return service_command(
        KIND,
        options=[flag.option() for flag in FLAGS],
        collect=lambda params: flag_values(FLAGS, params),
        purpose="Introduce clients to each other, and relay between them: control and a relay in one process.",
    )
