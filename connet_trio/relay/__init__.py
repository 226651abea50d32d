"""The relay server: carries streams from sources to destinations that cannot reach each other directly."""

from connet_trio.relay.server import RelayServer, open_relay, run_relay
from connet_trio.relay.settings import RelayIngressSettings, RelaySettings

__all__ = ["RelayIngressSettings", "RelayServer", "RelaySettings", "open_relay", "run_relay"]
