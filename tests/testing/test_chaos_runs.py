"""Deployments live through what a seed draws, on both engines; and the net that judges them catches what is planted."""

import secrets

import pytest

from connet_trio.quic import QuicEngine
from connet_trio.testing.chaos.many import run_many, run_one
from connet_trio.testing.chaos.plants import PLANTS
from connet_trio.testing.chaos.report import failure_lines
from connet_trio.testing.chaos.running import Outcome, Run

FIXED = [(1, "mixed"), (2, "restarts"), (3, "networks")]
SEARCHED_SEEDS = 20
"""From the one that has found a planted defect: the product may change, and with it which packet is lost."""


def check(outcome: Outcome) -> None:
    assert not outcome.violations, "\n".join(failure_lines(outcome, None))


@pytest.mark.parametrize("engine", QuicEngine)
@pytest.mark.parametrize(("seed", "scenario"), FIXED)
def test_a_deployment_is_well_again_after_what_went_wrong(seed: int, scenario: str, engine: QuicEngine) -> None:
    if engine is QuicEngine.STOCK and seed == FIXED[-1][0]:
        pytest.skip("enough of aioquic's own engine; scripts/chaos has more")
    outcome = run_one(Run(seed=seed, scenario=scenario, engine=engine))
    check(outcome)
    assert outcome.whole


def test_a_deployment_lives_through_a_random_seed() -> None:
    check(run_one(Run(seed=secrets.randbelow(1_000_000))))  # which the message of a failure says how to run again


def test_a_run_can_be_replayed_to_the_last_datagram() -> None:
    first, second = (run_one(Run(seed=4, minutes=0.2), traced=True) for _ in range(2))
    check(first)
    assert len(first.trace) > 500
    assert first.trace == second.trace


@pytest.mark.parametrize(
    ("plant", "seed", "found"),
    [
        ("lost-fin", 21, "hangs"),
        ("leaked-registration", 1, "knows endpoint"),
        ("dropped-max-stream-data", 13, "client3 does not reach service2"),
    ],
)
def test_a_planted_defect_is_found(plant: str, seed: int, found: str) -> None:
    assert plant in PLANTS
    runs = (Run(seed=number) for number in range(seed, seed + SEARCHED_SEEDS))
    violations = next(outcome.violations for outcome in run_many(runs, plant=plant) if outcome.violations)
    assert found in "\n".join(violations)
