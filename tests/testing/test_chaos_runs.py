"""Deployments live through what a seed draws, on both engines; and the net that judges them catches what is planted."""

import secrets

import pytest

from connet_trio.quic import QuicEngine
from connet_trio.testing.chaos.drawing import DEFAULT_MINUTES
from connet_trio.testing.chaos.many import run_many, run_one
from connet_trio.testing.chaos.plants import PLANTS
from connet_trio.testing.chaos.report import failure_lines
from connet_trio.testing.chaos.running import Outcome, Run

FIXED = [
    (1, "mixed", QuicEngine.FAST),
    (2, "restarts", QuicEngine.FAST),
    (81, "mixed", QuicEngine.FAST),  # a router that gets another address soon after a peer has moved
    (16, "mixed", QuicEngine.FAST),  # an announcement that was overtaken by its replacement
    (218, "mixed", QuicEngine.STOCK),  # streams of a client that stops
]
SEARCHED_SEEDS = 20
"""From the one that has found a planted defect: the product may change, and with it which packet is lost."""


def check(outcome: Outcome) -> None:
    assert not outcome.violations, "\n".join(failure_lines(outcome, None))


@pytest.mark.parametrize(("seed", "scenario", "engine"), FIXED)
def test_a_deployment_is_well_again_after_what_went_wrong(seed: int, scenario: str, engine: QuicEngine) -> None:
    outcome = run_one(Run(seed=seed, scenario=scenario, engine=engine))
    check(outcome)
    assert outcome.whole


def test_a_deployment_lives_through_a_random_seed() -> None:
    check(run_one(Run(seed=secrets.randbelow(1_000_000))))  # which the message of a failure says how to run again


def test_a_run_can_be_replayed_to_the_last_datagram() -> None:
    first, second = (run_one(Run(seed=4, minutes=0.1), traced=True) for _ in range(2))
    check(first)
    assert len(first.trace) > 500
    assert first.trace == second.trace


@pytest.mark.parametrize(
    ("plant", "scenario", "seed", "minutes", "found"),
    [
        ("lost-fin", "mixed", 13, 0.5, "hangs"),
        ("leaked-registration", "mixed", 4, 0.5, "left over"),
        ("dropped-max-stream-data", "storms", 2, DEFAULT_MINUTES, "hangs"),
    ],
)
def test_a_planted_defect_is_found(plant: str, scenario: str, seed: int, minutes: float, found: str) -> None:
    assert plant in PLANTS
    runs = (Run(seed=number, scenario=scenario, minutes=minutes) for number in range(seed, seed + SEARCHED_SEEDS))
    violations = next(outcome.violations for outcome in run_many(runs, plant=plant) if outcome.violations)
    assert found in "\n".join(violations)
