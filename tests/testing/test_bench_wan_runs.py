"""Simulated wide-area links: what comes out of them."""

import pytest

from connet_trio.quic import CongestionControl
from connet_trio.testing.bench.wan_runs import Run, Wan, simulate

SLOW = Wan(megabits=4.0, rtt_ms=30.0, queue_kib=24)
BBR, CUBIC = CongestionControl.BBR, CongestionControl.CUBIC


def test_a_flow_fills_the_link_and_no_more() -> None:
    outcome = simulate(Run(wan=SLOW, flows=(CUBIC,), seconds=4.0))
    (goodput,) = outcome.megabits
    assert 0.85 * 4 < goodput < 0.977 * 4
    assert outcome.traces[0].control is CUBIC
    assert 0 < outcome.dropped < 0.05


def test_two_flows_share_it_and_neither_starves() -> None:
    outcome = simulate(Run(wan=SLOW, flows=(BBR, CUBIC), seconds=15.0, lag=1.0))
    assert sum(outcome.megabits) > 0.85 * 4
    assert sum(outcome.shares) == pytest.approx(1)
    assert min(outcome.shares) > 0.2


def test_a_seed_repeats_itself_and_another_does_not() -> None:
    lossy = Wan(megabits=2.0, rtt_ms=30.0, loss=0.02)
    first, again, other = (
        simulate(Run(wan=lossy, flows=(BBR,), seconds=2.0, seed=seed)).megabits for seed in (7, 7, 8)
    )
    assert first == again != other
