"""How often a dialer repeats itself before it has heard anything: the first Initial often meets a closed NAT."""

import pytest
import trio

from connet_trio.errors import DialFailed
from connet_trio.testing.network import Link
from tests.quic.conftest import MeddlingSocket, Pair, dialing, open_pair, virtual_time

pytestmark = virtual_time

INITIAL_BYTES = 1200
DIRECT_RTT_SECONDS = 0.05
"""What direct paths are dialled with."""


def note_times(socket: MeddlingSocket) -> list[float]:
    """When a socket sends a datagram, from now on."""
    begun = trio.current_time()
    times: list[float] = []

    def note(data: bytes) -> list[bytes]:
        assert len(data) == INITIAL_BYTES
        times.append(trio.current_time() - begun)
        return [data]

    socket.outgoing = note
    return times


@pytest.mark.parametrize(
    ("initial_rtt", "expected"),
    [
        (None, [0, 0.2, 0.6, 1.4, 3.0]),
        (DIRECT_RTT_SECONDS, [0, 0.1, 0.3, 0.7, 1.5, 3.1]),
        (0.01, [0, 0.02, 0.06, 0.14, 0.3, 0.62, 1.26, 2.54]),
    ],
)
async def test_initials_into_a_void_are_repeated_after_twice_the_assumed_round_trip_and_then_twice_as_long(
    pair: Pair, initial_rtt: float | None, expected: list[float]
) -> None:
    pair.cut()
    times = note_times(pair.near)
    with pytest.raises(DialFailed, match="no answer within 5 s"):
        await pair.dialer.dial(pair.address, dialing(initial_rtt_seconds=initial_rtt))
    assert times == [pytest.approx(time, abs=0.001) for time in expected]


@pytest.mark.parametrize(("lost", "seconds"), [(1, 0.1), (2, 0.3), (3, 0.7)])
async def test_lost_initials_cost_what_the_repetition_takes(pair: Pair, lost: int, seconds: float) -> None:
    pair.near.outgoing = lambda data: [data] if len(pair.near.sent) > lost else []
    await pair.dialer.dial(pair.address, dialing(initial_rtt_seconds=DIRECT_RTT_SECONDS))
    assert trio.current_time() == pytest.approx(seconds + 0.04, abs=0.001)


@pytest.mark.parametrize("delay", [0.001, 0.1, 0.3, 0.6])
async def test_a_round_trip_assumed_too_short_delays_nothing(delay: float) -> None:
    async with open_pair(link=Link(delay=delay)) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(initial_rtt_seconds=DIRECT_RTT_SECONDS))
        assert trio.current_time() == pytest.approx(2 * delay, abs=0.001)
        await pair.listener.accept()
        assert trio.current_time() == pytest.approx(3 * delay, abs=0.001)
        await trio.sleep(5)
        assert dialled.is_established
        assert len(pair.listener.connections) == 1
