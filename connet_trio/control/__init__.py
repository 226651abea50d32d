"""The control server: admits clients and relays, and introduces them to each other."""

from connet_trio.control.server import ControlServer, open_control, run_control
from connet_trio.control.settings import ControlSettings, IngressSettings

__all__ = ["ControlServer", "ControlSettings", "IngressSettings", "open_control", "run_control"]
