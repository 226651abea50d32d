"""`connet-trio client`, which is also what `connet-trio --config …` runs."""

from collections.abc import Sequence

import click

from connet_trio.cli.flags import EndpointFlags, Flag, Params, Values, flag_values, status_flag
from connet_trio.cli.service_command import ServiceKind, service_command
from connet_trio.client import ClientSettings, open_client
from connet_trio.config import load_client

KIND: ServiceKind[ClientSettings] = ServiceKind(name="client", load=load_client, open=open_client)

FLAGS = (
    status_flag("client"),
    Flag(name="--token-file", key="client.token-file", metavar="FILE", help="File whose first line is the token"),
    Flag(
        name="--token",
        key="client.token",
        metavar="TOKEN",
        help="The token; other users of this machine can see it, so prefer --token-file or CONNET_TOKEN",
    ),
    Flag(name="--metadata", key="client.metadata", help="What the status of servers and peers says about this client"),
    Flag(
        name="--handshake-idle-timeout",
        key="client.handshake-idle-timeout",
        metavar="DURATION",
        help="Silence after which dialling is given up [5s]",
    ),
    Flag(
        name="--server-addr",
        key="client.server-addr",
        metavar="HOST[:PORT]",
        help="The control server [127.0.0.1:19190]",
    ),
    Flag(
        name="--server-cas-file",
        key="client.server-cas-file",
        metavar="FILE",
        help="Certificates that vouch for the server's [those of the system]",
    ),
    Flag(
        name="--server-name",
        key="client.server-name",
        metavar="NAME",
        help="The name in its certificate [the host of --server-addr]",
    ),
    Flag(
        name="--direct-addr",
        key="client.direct-addr",
        metavar="[HOST]:PORT",
        help="The UDP address of this client [:19192, or any port where that is taken]",
    ),
    Flag(name="--nat-pmp", key="client.nat-pmp", metavar="HOW", help="system, dial or disabled [system]"),
)

ENDPOINTS: Sequence[EndpointFlags] = (
    EndpointFlags(prefix="dst", table="client.destinations", url_help="The service it leads to: tcp://HOST:PORT"),
    EndpointFlags(prefix="src", table="client.sources", url_help="Where it listens: tcp://[HOST]:PORT"),
)


def collect(params: Params) -> Values:
    """What the flags of a client say, by key."""
    values = flag_values(FLAGS, params)
    for endpoint in ENDPOINTS:
        values |= endpoint.values(params)
    return values


def client_command() -> click.Command:
    """Runs a client."""
    options = [flag.option() for flag in FLAGS] + [option for flags in ENDPOINTS for option in flags.options]
    return service_command(
        KIND,
        options=options,
        collect=collect,
        purpose="Offer services (destinations) and use those of others (sources).",
    )
