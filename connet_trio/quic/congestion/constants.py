"""The numbers of BBR, and its states with their gains."""

import enum

import attrs

NO_BOUND = 1 << 62
"""Bytes: no bound at all. An integer, because a bound that is a float meets no window that is none (`window >= bound`
is then never true, and probing upward dies without a sound)."""


class State(enum.Enum):
    """What BBR is doing; the gains on pacing rate and on window are those of 5.6.1."""

    STARTUP = ("startup", 2.77, 2.0)
    DRAIN = ("drain", 0.5, 2.0)
    DOWN = ("probe-down", 0.9, 2.0)
    CRUISE = ("probe-cruise", 1.0, 2.0)
    REFILL = ("probe-refill", 1.0, 2.0)
    UP = ("probe-up", 1.25, 2.25)
    PROBE_RTT = ("probe-rtt", 1.0, 0.5)

    def __init__(self, label: str, pacing_gain: float, window_gain: float) -> None:
        self.label = label
        self.pacing_gain = pacing_gain
        self.window_gain = window_gain

    @property
    def probes_bandwidth(self) -> bool:
        """Whether it is one of the four of ProbeBW."""
        return self in _PROBE_BANDWIDTH

    @property
    def accelerates(self) -> bool:
        """Whether loss is expected, since more is sent than before on purpose (IsProbingBW)."""
        return self in _ACCELERATING


_PROBE_BANDWIDTH = frozenset((State.DOWN, State.CRUISE, State.REFILL, State.UP))
_ACCELERATING = frozenset((State.STARTUP, State.REFILL, State.UP))


@attrs.frozen(kw_only=True)
class BbrConstants:
    """The constants that differ between the draft and our variant."""

    pacing_margin: float = 0.99
    """Share of the rate that is used, so that the queue shrinks by itself (2.5)."""
    loss_threshold: float = 0.02
    """Loss in a round trip above which too much was in flight (2.8)."""
    short_term_loss: float = 0.0
    """Ours: loss in a round up to which the short-term model does not shrink. The draft has it react to any: with its
    pacing margin, each round with one lost packet in a hundred makes it 1 % slower until the next probe."""
    loss_floor_cap: float = 0.0
    """Ours: at most how much of a loss that is always there counts as the path's own (`LossFloor`), in addition to
    either threshold."""


DRAFT = BbrConstants()
TOLERANT = BbrConstants(short_term_loss=0.02, loss_floor_cap=0.03)
