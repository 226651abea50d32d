"""One source or destination, from announcement to byte stream."""

from connet_trio.endpoints.control_link import ControlLink
from connet_trio.endpoints.destination import Destination
from connet_trio.endpoints.direct_link import DirectContext
from connet_trio.endpoints.direct_port import DirectPort
from connet_trio.endpoints.endpoint import ClientContext, Endpoint
from connet_trio.endpoints.source import Source

__all__ = ["ClientContext", "ControlLink", "Destination", "DirectContext", "DirectPort", "Endpoint", "Source"]
