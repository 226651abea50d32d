"""The engines to choose from."""

import enum


class QuicEngine(enum.Enum):
    """What drives connections, as the key `quic-engine` calls it. Both speak the same protocol to the same effect."""

    FAST = "fast"
    """`quic.fast`: the bulk of the work in few steps for each packet, the rest by aioquic."""
    STOCK = "stock"
    """aioquic alone, for several times the processor time: the one to compare with where the fast one is suspected."""


DEFAULT_QUIC_ENGINE = QuicEngine.FAST
