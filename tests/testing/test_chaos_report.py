"""What `scripts/chaos` says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from connet_trio.quic import QuicEngine
from connet_trio.testing.chaos import __main__ as program
from connet_trio.testing.chaos.report import SHOWN_LINES, Tally, failure_lines, replay_command, trace_lines
from connet_trio.testing.chaos.running import Outcome, Run


@pytest.mark.parametrize(
    ("run", "plant", "command"),
    [
        (Run(seed=7), None, "scripts/chaos --seeds 7 --engine fast"),
        (
            Run(seed=7, scenario="storms", minutes=3.0, engine=QuicEngine.STOCK),
            "lost-fin",
            "scripts/chaos --seeds 7 --engine stock --scenario storms --minutes 3 --plant lost-fin",
        ),
    ],
)
def test_one_command_runs_a_seed_again(run: Run, plant: str | None, command: str) -> None:
    assert replay_command(run, plant) == command
    first, *rest = failure_lines(Outcome(run=run, violations=["it hangs"]), plant)
    assert first == f"seed 7 ({run.engine.value}) FAILED; again: {command}"
    assert rest == ["    it hangs"]


def test_a_long_trace_goes_into_a_file_and_its_notes_are_shown(tmp_path: Path) -> None:
    trace = tuple(f"{number}  ** note" if number % 10 == 0 else f"{number}  datagram" for number in range(200))
    assert trace_lines(Outcome(run=Run(seed=7), trace=trace[:SHOWN_LINES]), tmp_path) == list(trace[:SHOWN_LINES])
    *notes, last = trace_lines(Outcome(run=Run(seed=7), trace=trace), tmp_path)
    assert notes == [line for line in trace if "note" in line]
    path = tmp_path / "chaos-7-fast.trace"
    assert last == f"    the whole trace, 200 lines: {path}"
    assert path.read_text().splitlines() == list(trace)


def test_many_runs_are_summed_up() -> None:
    tally = Tally()
    for seed in (1, 2, 3):
        violations = ["bad"] if seed == 2 else []
        tally.add(Outcome(run=Run(seed=seed), violations=violations, connected_after=float(seed), cpu_seconds=1.5))
    first, _, found, cost = tally.lines(6.0)
    assert first == "2 of 3 seeds passed; failed: 2"
    assert "2.0 s (median), 3.0 s (99 %), 3.0 s (longest)" in found
    assert cost == "    6 s, 1.50 s of CPU time for each seed"


@pytest.mark.parametrize("seeds", ["", "x", "3-", "5-4"])
def test_seeds_that_are_none_are_refused(seeds: str) -> None:
    result = CliRunner().invoke(program.main, ["--seeds", seeds])
    assert result.exit_code == 2
    assert "seed" in result.output


def test_the_program_runs_seeds_and_its_exit_code_says_whether_all_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(run: Run, *, traced: bool = False) -> Outcome:
        trace = ("0.1  ** a note",) if traced else ()
        return Outcome(run=run, violations=["it hangs"] if run.seed == 2 else [], trace=trace)

    monkeypatch.setattr("connet_trio.testing.chaos.many.run_plan", run)
    passed = CliRunner().invoke(program.main, ["--seeds", "3-5", "--traces", str(tmp_path)])
    assert (passed.exit_code, passed.output.splitlines()[0]) == (0, "3 of 3 seeds passed")
    failed = CliRunner().invoke(program.main, ["--seeds", "1-3", "--traces", str(tmp_path)])
    assert failed.exit_code == 1
    assert failed.output.splitlines()[:4] == [
        "seed 2 (fast) FAILED; again: scripts/chaos --seeds 2 --engine fast",
        "    it hangs",
        "0.1  ** a note",
        "2 of 3 seeds passed; failed: 2",
    ]
