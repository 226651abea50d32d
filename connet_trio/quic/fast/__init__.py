"""An engine that does the bulk of the work with few steps for each packet."""

from connet_trio.quic.fast.core import FastCore, PacketCount

__all__ = ["FastCore", "PacketCount"]
