"""What a PROXY header says (`wire.proxy_protocol`)."""

import attrs

from connet_trio.records.model import AddressPort


@attrs.frozen
class ClientAddresses:
    """Between whom a connection to a source runs, as the PROXY header tells the service."""

    source: AddressPort
    """Of the client that connected."""
    destination: AddressPort
    """Where it connected to."""
