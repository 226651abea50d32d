"""netpunch's job: a UDP hole between two hosts behind NATs, made by a port that another program then takes over."""

from connet_trio.punch.control import PunchControlSettings, run_punch_control
from connet_trio.punch.peer import OpenHole, PunchFailed, PunchSettings, punch
from connet_trio.punch.templates import DEFAULT_TEMPLATE, FIELDS, Template

__all__ = [
    "DEFAULT_TEMPLATE",
    "FIELDS",
    "OpenHole",
    "PunchControlSettings",
    "PunchFailed",
    "PunchSettings",
    "Template",
    "punch",
    "run_punch_control",
]
