"""The controllers to choose from."""

import enum


class CongestionControl(enum.Enum):
    """What reacts to loss, as the key `congestion-control` calls it."""

    CUBIC = "cubic"
    """RFC 9438: takes every loss for congestion. Fair to what most of the Internet runs."""
    BBR = "bbr"
    """draft-ietf-ccwg-bbr-06: follows the measured rate and round trip; bears loss up to 2 %."""
    BBR_TOLERANT = "bbr-tolerant"
    """BBR that also bears a loss which is always there, as on radio, up to about 5 %."""


DEFAULT_CONGESTION_CONTROL = CongestionControl.CUBIC
