"""Simulated wide-area links: which runs there are, and what is shown of them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from connet_trio.quic import CongestionControl
from connet_trio.testing.bench.__main__ import main
from connet_trio.testing.bench.commands.wan import loss_plot
from connet_trio.testing.bench.failover import simulate_failover
from connet_trio.testing.bench.wan import WanPlan, WanResults, format_wan
from connet_trio.testing.bench.wan_runs import Outcome, Run, Wan

CUBIC, BBR, TOLERANT = CongestionControl.CUBIC, CongestionControl.BBR, CongestionControl.BBR_TOLERANT
PLAN = WanPlan(controls=(CUBIC, BBR), losses=(0.0, 0.01), reorderings=(0.05,), beside_seconds=20.0, seeds=(3, 4, 5))


def outcome_of(run: Run) -> Outcome:
    """More with a higher seed, less with loss; the second flow gets a quarter."""
    megabits = 50.0 + run.seed - 1000 * run.wan.loss
    return Outcome(megabits=(megabits, 20.0)[: len(run.flows)], dropped=0.01, traces=())


def some_results() -> WanResults:
    return WanResults(runs=tuple((run, outcome_of(run)) for run in PLAN.runs))


def test_each_control_is_alone_under_each_trouble_and_then_beside_cubic() -> None:
    runs = [run for run in PLAN.runs if run.seed == 4]
    assert [(run.flows, run.wan.loss, run.wan.reordering, run.seconds) for run in runs] == [
        ((CUBIC,), 0.0, 0.0, 15.0),
        ((CUBIC,), 0.01, 0.0, 15.0),
        ((CUBIC,), 0.0, 0.05, 15.0),
        ((BBR,), 0.0, 0.0, 15.0),
        ((BBR,), 0.01, 0.0, 15.0),
        ((BBR,), 0.0, 0.05, 15.0),
        ((BBR, CUBIC), 0.0, 0.0, 20.0),
    ]
    assert len(PLAN.runs) == 3 * len(runs)


def test_the_second_flow_may_be_left_out() -> None:
    assert all(len(run.flows) == 1 for run in WanPlan(beside_seconds=0.0).runs)


def test_a_figure_is_the_median_of_its_seeds() -> None:
    *_, lossy, reordered, beside = some_results().figures
    assert (lossy.flows, lossy.wan.loss, lossy.megabits) == ((BBR,), 0.01, (44.0,))
    assert (reordered.wan.reordering, reordered.megabits) == (0.05, (54.0,))
    assert (beside.megabits, beside.least_link_share) == ((54.0, 20.0), 0.2)


def test_the_table_has_a_row_for_each_question() -> None:
    lines = format_wan(some_results(), PLAN).splitlines()
    assert lines[0] == "Simulated: 100 Mbit/s, 40 ms, a queue of 256 KiB; medians of seeds 3, 4, 5"
    assert lines[3].split() == ["cubic", "1.0%", "0.0%", "44.0", "1.00%"]
    assert lines[-1].split() == ["bbr", "+", "cubic", "0.0%", "0.0%", "54.0", "+", "20.0", "20%", "1.00%"]
    assert len(lines) == 2 + 7


def test_the_plot_has_a_curve_over_loss_for_each_control() -> None:
    plot = loss_plot(some_results(), PLAN)
    assert plot.places == ["0.0%", "1.0%"]
    assert plot.curves == {"cubic": [54.0, 44.0], "bbr": [54.0, 44.0]}


def test_the_command_simulates_what_its_options_say(tmp_path: Path) -> None:
    file = tmp_path / "wan.json"
    path = ["--rate", "2", "--rtt", "20", "--queue", "64", "--loss", "3", "--reordering", ""]
    amounts = ["--seconds", "1", "--beside-seconds", "0", "--seeds", "7", "--processes", "1"]
    ran = CliRunner().invoke(main, ["wan", "--congestion-control", "bbr", *path, *amounts, "--json", str(file)])
    assert ran.exit_code == 0, ran.output
    document = json.loads(file.read_text())
    (found,) = document["runs"]
    assert found["run"]["flows"] == ["bbr"]
    assert found["run"]["wan"] == {"megabits": 2.0, "rtt_ms": 20.0, "queue_kib": 64, "loss": 0.03, "reordering": 0.0}
    assert 0 < found["outcome"]["megabits"][0] < 2
    assert document["machine"]["cores"] > 0


@pytest.mark.parametrize("wan", [Wan(), Wan(loss=0.5)])
def test_one_link_is_one_question_whatever_the_seed(wan: Wan) -> None:
    runs = [Run(wan=wan, flows=(TOLERANT,), seed=seed) for seed in (1, 2)]
    (figure,) = WanResults(runs=tuple((run, outcome_of(run)) for run in runs)).figures
    assert len(figure.outcomes) == 2


def test_a_dial_after_the_best_path_has_died_takes_virtual_time() -> None:
    (seconds,) = simulate_failover([1]).seconds
    assert 0.1 < seconds < 10  # not at once, or the path was none
