"""How a connection ended, in words for people."""

from aioquic.quic.events import ConnectionTerminated

from connet_trio.errors import PathLost
from connet_trio.quic.core import STATELESS_RESET_REASON
from connet_trio.records.text import printable

IDLE_REASON = "Idle timeout"  # aioquic's own words
UNHEARD_REASON = "no sign of life since this machine slept or its network changed"
"""Of `Transport.check_alive`."""

ALERTS = {
    0x02: "refuses connections from this address, or has no room",
    0x12A: "does not accept our certificate (is one of the clocks wrong?)",
    0x12D: "takes our certificate for expired or not yet valid (is one of the clocks wrong?)",
    0x130: "does not expect our certificate",
    0x150: "does not know the server name we asked for",
    0x174: "wants a client certificate",
    0x178: "speaks none of the protocols we offer (connet 0.12 or older, or another port of it?)",
}
"""What a peer's QUIC error means to us (section 2.3 and RFC 8446 section 6, alerts from 0x100 on)."""


def path_lost(event: ConnectionTerminated, *, by_peer: bool, dialled: bool) -> PathLost:
    """What the end that aioquic reports is to those who used the connection.

    Args:
      by_peer: the peer sent the close, so that its code and reason are what it claims.
      dialled: we dialled, so the peer is the listener.
    """
    reason = printable(event.reason_phrase)
    if event.frame_type is None and by_peer:
        text = f"closed by the peer: {reason} ({event.error_code})"
        return PathLost(text, code=event.error_code, reason=reason)
    if not by_peer and event.reason_phrase == STATELESS_RESET_REASON:
        return PathLost("the peer has restarted and forgotten the connection (stateless reset)")
    if not by_peer and event.reason_phrase == IDLE_REASON:
        return PathLost("no sign of life from the peer")
    if not by_peer and event.reason_phrase == UNHEARD_REASON:
        return PathLost(UNHEARD_REASON)
    if by_peer and event.error_code in ALERTS:
        who = "the listener" if dialled else "the dialer"
        return PathLost(f"{who} {ALERTS[event.error_code]}", quic_error=event.error_code)
    side = "the peer" if by_peer else "this side"
    text = f"{side} ended the connection: {reason or 'no reason given'} (QUIC error {event.error_code:#x})"
    return PathLost(text, quic_error=event.error_code)
