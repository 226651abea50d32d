"""Windows of streams: who gets more, how much, and what all of them together may have."""

from hypothesis import given
from hypothesis import strategies as st

from connet_trio.engine.window_growth import WindowGrowth

KIB = 1024
ROUND_TRIP = 0.1


def windows(spare: int = 500 * KIB) -> WindowGrowth:
    return WindowGrowth(first=100 * KIB, largest=600 * KIB, spare=spare)


class Reader:
    """Reads a stream in pieces of 10 KiB, at a rate."""

    def __init__(self, growth: WindowGrowth, stream_id: int = 0, *, now: float = 0.0) -> None:
        self.growth = growth
        self.stream_id = stream_id
        self.now = now
        self.read_bytes = 0

    def read(self, size: int, *, rate: float) -> int:
        """Read `size` bytes at `rate` per round trip; the window then."""
        for _ in range(0, size, 10 * KIB):
            self.now += 10 * KIB / rate * ROUND_TRIP
            self.read_bytes += 10 * KIB
            self.growth.handle_read(self.stream_id, self.read_bytes, now=self.now, round_trip=ROUND_TRIP)
        return self.growth.window_of(self.stream_id)


def test_a_stream_begins_with_the_first_window() -> None:
    assert windows().window_of(4) == 100 * KIB


def test_a_windows_worth_within_two_round_trips_doubles_it() -> None:
    reader = Reader(windows())
    assert reader.read(100 * KIB, rate=60 * KIB) == 100 * KIB
    assert reader.read(10 * KIB, rate=60 * KIB) == 200 * KIB


def test_a_windows_worth_in_two_round_trips_or_more_leaves_it() -> None:
    assert Reader(windows()).read(10_000 * KIB, rate=49 * KIB) == 100 * KIB


def test_a_window_settles_at_two_round_trips_worth() -> None:
    assert Reader(windows()).read(10_000 * KIB, rate=150 * KIB) == 400 * KIB


def test_a_fast_stream_gets_the_largest_window_and_no_more() -> None:
    growth = windows(spare=5000 * KIB)
    assert Reader(growth).read(10_000 * KIB, rate=1000 * KIB) == 600 * KIB
    assert growth.spare == 4500 * KIB


def test_a_pause_between_two_bursts_is_no_reason_to_grow() -> None:
    reader = Reader(windows())
    for _ in range(50):
        assert reader.read(20 * KIB, rate=1000 * KIB) == 100 * KIB
        reader.now += 1.0


def test_all_streams_together_grow_by_what_is_spare() -> None:
    growth = windows()
    found = [Reader(growth, number).read(2000 * KIB, rate=1000 * KIB) for number in range(4)]
    assert found == [600 * KIB, 100 * KIB, 100 * KIB, 100 * KIB]
    assert growth.spare == 0


def test_what_a_stream_had_more_goes_to_others_when_it_is_over() -> None:
    growth = windows()
    Reader(growth, 0).read(2000 * KIB, rate=1000 * KIB)
    later = Reader(growth, 4)
    assert later.read(200 * KIB, rate=1000 * KIB) == 100 * KIB
    growth.forget(0)
    growth.forget(0)
    assert growth.spare == 500 * KIB
    assert later.read(2000 * KIB, rate=1000 * KIB) == 600 * KIB


def test_what_cannot_be_doubled_grows_by_the_rest() -> None:
    assert Reader(windows(spare=130 * KIB)).read(2000 * KIB, rate=1000 * KIB) == 230 * KIB


@given(reads=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300 * KIB), st.floats(0, 1)), max_size=60))
def test_the_sum_of_all_windows_is_bounded_whatever_is_read(reads: list[tuple[int, int, float]]) -> None:
    growth, read, now = windows(), dict.fromkeys(range(4), 0), 0.0
    for stream_id, size, pause in reads:
        now += pause
        read[stream_id] += size
        growth.handle_read(stream_id, read[stream_id], now=now, round_trip=ROUND_TRIP)
        found = [growth.window_of(number) for number in range(4)]
        assert all(100 * KIB <= window <= 600 * KIB for window in found)
        assert sum(found) + growth.spare == 900 * KIB
