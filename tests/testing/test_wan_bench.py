"""The simulated wide-area bench: what it measures, and its table."""

import json
import sys

import pytest

from connet_trio.quic import CongestionControl
from connet_trio.testing import wan_bench
from connet_trio.testing.wan_bench import Run, Wan, simulate

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


def run_main(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bench-wan", "--rate", "2", "--seconds", "1", *options])
    wan_bench.main()


def test_the_table_has_a_row_for_each_path_and_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--control", "bbr", "--loss", "0,1.5", "--reordering", "", "--seeds", "3,4", "--beside-seconds", "1"
    run_main(monkeypatch, *options)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("flows")
    assert [row.split()[0] for row in rows] == ["bbr"] * 4 + ["bbr+cubic"]
    assert ["1.5%" in row for row in rows] == [False, False, True, True, False]
    assert all(len(row) == len(header) for row in rows)


def test_the_same_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_main(monkeypatch, "--control", "cubic", "--loss", "0", "--reordering", "", "--json")
    (figure,) = json.loads(capsys.readouterr().out)
    assert figure["run"]["flows"] == ["cubic"]
    assert figure["run"]["wan"]["megabits"] == 2
    assert 1 < figure["outcome"]["megabits"][0] < 2
    assert figure["outcome"]["traces"][0]["control"] == "cubic"
