"""What the lab says about the pairs it has measured."""

import json
import signal
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from connet_trio.testing import Link
from connet_trio.testing.natlab.__main__ import Stopped, main, until_stopped
from connet_trio.testing.natlab.grid import Cell, Grid, describe
from connet_trio.testing.natlab.kinds import NatKind, Neighbours, Way, possible
from connet_trio.testing.natlab.picture import draw_grid

OPEN, PORT, SYMMETRIC = NatKind.OPEN, NatKind.PORT, NatKind.SYMMETRIC
GRID = Grid(
    title="made up",
    kinds=(OPEN, SYMMETRIC),
    cells={
        (OPEN, OPEN): Cell(Way.DIRECT, 0.12),
        (OPEN, SYMMETRIC): Cell(Way.RELAY, why="nobody answers"),
        (SYMMETRIC, OPEN): Cell(Way.DIRECT, 1.26),
        (SYMMETRIC, SYMMETRIC): Cell(Way.RELAY),
    },
    neighbours={Neighbours.ONE_CARRIER: Cell(Way.RELAY)},
)


def test_a_grid_is_a_table() -> None:
    assert GRID.to_text().splitlines() == [
        "made up",
        "      open          sym",
        "open  direct 0.1 s  relay",
        "sym   direct 1.3 s  relay",
        "both behind one carrier: relay",
    ]


def test_what_could_be_better_is_told() -> None:
    assert GRID.shortfalls() == ["open - sym: relay, possible is direct (nobody answers)"]


def test_a_grid_as_json_has_every_cell() -> None:
    document = json.loads(json.dumps(GRID.to_json()))
    assert document["cells"][1] == {
        "first": "open",
        "second": "sym",
        "way": "relay",
        "seconds": None,
        "why": "nobody answers",
    }
    assert [cell["behind"] for cell in document["neighbours"]] == ["one carrier"]


@pytest.mark.parametrize(
    ("one", "other", "way"),
    [
        (PORT, PORT, Way.DIRECT),
        (PORT, SYMMETRIC, Way.RELAY),
        (NatKind.ADDRESS, SYMMETRIC, Way.DIRECT),
        (OPEN, SYMMETRIC, Way.DIRECT),
        (NatKind.DOUBLE, NatKind.DOUBLE, Way.DIRECT),
        (NatKind.FIREWALL, NatKind.ADDRESS_SYMMETRIC, Way.RELAY),
        (OPEN, NatKind.BLOCKED, Way.FAILED),
    ],
)
def test_what_is_possible_follows_from_mapping_and_filtering(one: NatKind, other: NatKind, way: Way) -> None:
    assert possible(one, other) is possible(other, one) is way


def test_the_title_says_what_the_accesses_are_like() -> None:
    assert describe(Link(delay=0.0125)) == "round trip 50 ms between clients"
    assert describe(Link(delay=0.01, loss=0.05)) == "round trip 40 ms between clients, 5 % lost on each access"


def test_a_picture_is_small_enough_for_a_repository(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_grid(GRID, tmp_path / "grid.png", ends=("destination", "source"))
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "grid.png").stat().st_size < 30_000


@pytest.mark.parametrize("what", [(), ("--punch",)])
def test_the_simulated_grid_is_as_good_as_the_nats_allow(tmp_path: Path, what: tuple[str, ...]) -> None:
    file = tmp_path / "grid.json"
    done = CliRunner().invoke(main, ["--simulated", *what, "--kinds", "port,sym", "--json", str(file)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[1].split() == ["port", "sym"]
    assert lines[2].split()[:2] == ["port", "direct"]
    ways = [cell["way"] for cell in json.loads(file.read_text())["cells"]]
    best = "failed" if what else "relay"
    assert ways == ["direct", best, best, best]


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = CliRunner().invoke(main, ["--kinds", "conical"])
    assert done.exit_code == 2
    assert "double" in done.output


def test_what_the_kernel_alone_does_is_not_simulated() -> None:
    done = CliRunner().invoke(main, ["--simulated", "--kinds", "naive"])
    assert (done.exit_code, "naive" in done.output) == (2, True)


async def test_what_goes_wrong_in_a_measurement_comes_out_as_itself() -> None:
    async def measure() -> Grid:
        raise RuntimeError("nft: no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        await until_stopped(measure)


async def test_a_signal_ends_a_measurement() -> None:
    async def measure() -> Grid:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()
        return GRID

    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        await until_stopped(measure)
