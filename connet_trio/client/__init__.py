"""A client of connet: sources and destinations over one UDP socket."""

from connet_trio.client.client import Client, open_client, run_client
from connet_trio.client.settings import ClientSettings, DestinationSettings, SourceSettings

__all__ = ["Client", "ClientSettings", "DestinationSettings", "SourceSettings", "open_client", "run_client"]
