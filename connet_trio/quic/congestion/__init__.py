"""Congestion control: how much may be in flight, and how fast it leaves. Pure: events and the time in, numbers out.

    engine ── sent, acknowledged, lost; why it stopped sending ──▶ Controller ── window, rate, quantum ──▶ engine

`Bbr` is the controller of ours (draft-ietf-ccwg-bbr-06, numbers in comments are its sections); `reordering` and
`loss_log` decide what counts as lost, for every controller. aioquic meets them in `quic/recovery.py`. Bytes, seconds
and bytes per second throughout.
"""

from connet_trio.quic.congestion.bbr import Bbr
from connet_trio.quic.congestion.choice import DEFAULT_CONGESTION_CONTROL, CongestionControl
from connet_trio.quic.congestion.constants import DRAFT, TOLERANT, BbrConstants
from connet_trio.quic.congestion.controller import Controller, SendLimit, Snapshot
from connet_trio.quic.congestion.loss_log import LossLog
from connet_trio.quic.congestion.reordering import ReorderingTolerance
from connet_trio.quic.congestion.trace import CongestionTrace

__all__ = [
    "DEFAULT_CONGESTION_CONTROL",
    "DRAFT",
    "TOLERANT",
    "Bbr",
    "BbrConstants",
    "CongestionControl",
    "CongestionTrace",
    "Controller",
    "LossLog",
    "ReorderingTolerance",
    "SendLimit",
    "Snapshot",
]
