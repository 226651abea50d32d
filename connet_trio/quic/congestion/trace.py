"""A look at the congestion control of a connection."""

import attrs

from connet_trio.quic.congestion.choice import CongestionControl


@attrs.frozen(kw_only=True)
class CongestionTrace:
    """How a connection sends at one moment; bytes, seconds, bytes per second."""

    control: CongestionControl
    state: str
    """`slow-start`, `avoidance`; or one of `congestion.State`, as `probe-up`."""
    window: int
    in_flight: int
    pacing_rate: float | None
    """None while nothing is held back."""
    bandwidth: float | None
    """As BBR has measured it; None for cubic, which does not."""
    min_rtt: float | None
    """As BBR has measured it."""
    smoothed_rtt: float
    datagram_bytes: int
    """The largest that is sent."""
    packet_threshold: int | None
    """Packets that may overtake one before it is lost; None: only its age counts."""
    time_threshold: float
    """Round trips after which a packet is lost that others have overtaken."""
    lost_packets: int
    """Those that arrived after all included."""
    spurious_losses: int
    """Those that arrived after all."""
