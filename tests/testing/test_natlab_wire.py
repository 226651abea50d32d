"""One direction of a wire: when packets arrive, decided by a seed."""

from random import Random

from connet_trio.testing import Link
from connet_trio.testing.natlab.wire import Line


def line(seed: int = 1, **link: float | int) -> Line:
    return Line(Link(**link), Random(seed))  # type: ignore[arg-type]


def test_a_packet_arrives_after_the_delay() -> None:
    assert line(delay=0.025).arrivals(100, now=10.0) == [10.025]


def test_a_share_is_lost_and_a_share_comes_twice() -> None:
    bad = line(delay=0.01, loss=0.1, duplication=0.05)
    copies = [len(bad.arrivals(100, now=number / 100)) for number in range(10_000)]
    assert 0.09 < copies.count(0) / len(copies) < 0.11
    assert 0.04 < copies.count(2) / len(copies) < 0.055


def test_jitter_alone_never_changes_the_order() -> None:
    arrivals = [line_.arrivals(100, now=number / 1000)[0] for line_ in [line(jitter=0.05)] for number in range(1000)]
    assert arrivals == sorted(arrivals)
    assert max(arrival - number / 1000 for number, arrival in enumerate(arrivals)) > 0.04


def test_reordered_packets_are_overtaken() -> None:
    mixed = line(delay=0.01, reordering=0.1)
    arrivals = [mixed.arrivals(100, now=number / 10_000)[0] for number in range(1000)]
    assert arrivals != sorted(arrivals)


def test_a_bottleneck_sends_at_its_rate_and_drops_what_its_queue_does_not_hold() -> None:
    narrow = line(delay=0.0, rate=1e5, queue_bytes=3000)
    assert [narrow.arrivals(1000, now=1.0) for _ in range(4)] == [[1.01], [1.02], [1.03], []]
    assert narrow.arrivals(1000, now=1.02) == [1.04]


def test_what_is_larger_than_the_mtu_does_not_pass() -> None:
    assert line(mtu=1400).arrivals(1401, now=0.0) == []


def test_the_same_seed_has_the_same_luck() -> None:
    one, other = line(loss=0.5, jitter=0.1), line(loss=0.5, jitter=0.1)
    assert [one.arrivals(9, 0.0) for _ in range(50)] == [other.arrivals(9, 0.0) for _ in range(50)]
