"""What an end that aioquic reports is called."""

import pytest
from aioquic.quic.events import ConnectionTerminated

from connet_trio.quic.ending import ALERTS, UNHEARD_REASON, path_lost

PADDING = 0


def of_transport(code: int, reason: str = "", *, by_peer: bool, dialled: bool = True) -> str:
    event = ConnectionTerminated(error_code=code, frame_type=PADDING, reason_phrase=reason)
    lost = path_lost(event, by_peer=by_peer, dialled=dialled)
    assert lost.code is None
    return str(lost)


@pytest.mark.parametrize("alert", [0x12A, 0x12D])
def test_a_certificate_that_is_not_accepted_makes_one_think_of_clocks(alert: int) -> None:
    """Ours are a moment old when they are first shown. Go has an alert of its own for dates (45)."""
    assert of_transport(alert, by_peer=True).endswith(" (is one of the clocks wrong?)")
    assert of_transport(alert, by_peer=True, dialled=False).startswith("the dialer ")


def test_a_certificate_that_is_not_expected_does_not() -> None:
    assert of_transport(0x130, by_peer=True) == "the listener does not expect our certificate"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_error_of_ours_is_not_taken_for_one_of_the_peer(alert: int) -> None:
    assert of_transport(alert, "a reason", by_peer=False) == (
        f"this side ended the connection: a reason (QUIC error {alert:#x})"
    )


@pytest.mark.parametrize("reason", ["Idle timeout", "stateless reset", UNHEARD_REASON])
def test_a_peer_cannot_use_our_words(reason: str) -> None:
    assert of_transport(1, reason, by_peer=True) == f"the peer ended the connection: {reason} (QUIC error 0x1)"
    assert "QUIC error" not in of_transport(1, reason, by_peer=False)


def test_a_close_of_the_application_keeps_its_code_and_reason_fit_to_print() -> None:
    event = ConnectionTerminated(error_code=401, frame_type=None, reason_phrase="keep\nalive")
    lost = path_lost(event, by_peer=True, dialled=True)
    assert (lost.code, lost.reason, lost.quic_error) == (401, "keep\\nalive", None)
