"""netpunch's job: a UDP hole between two hosts behind NATs, made by a port that another program then takes over."""

from connet_trio.engine.punch_diagnosis import Cause, Diagnosis, Side
from connet_trio.punch.control import PunchControlSettings, run_punch_control
from connet_trio.punch.peer import OpenHole, PunchFailed, PunchSettings, punch
from connet_trio.punch.templates import DEFAULT_TEMPLATE, FIELDS, Template

__all__ = [
    "DEFAULT_TEMPLATE",
    "FIELDS",
    "Cause",
    "Diagnosis",
    "OpenHole",
    "PunchControlSettings",
    "PunchFailed",
    "PunchSettings",
    "Side",
    "Template",
    "punch",
    "run_punch_control",
]
