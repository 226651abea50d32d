"""Which destinations a source asks, and in which order."""

import random
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.engine.balancing import Attempt, BalancePolicy, Balancer, BalanceRetry, Balancing
from connet_trio.engine.paths import Path, PathKind

A_OUT, A_IN, B_OUT, C_OUT = (
    Path(PathKind.OUTGOING, "a"),
    Path(PathKind.INCOMING, "a"),
    Path(PathKind.OUTGOING, "b"),
    Path(PathKind.OUTGOING, "c"),
)
EU1, US1 = Path(PathKind.RELAY, "eu1"), Path(PathKind.RELAY, "us1")
THREE = (B_OUT, A_IN, C_OUT, A_OUT, EU1)
"""Of three destinations, b the nearest, then a; all of them on a relay."""
ON_EU1 = {"a": ("eu1",), "b": ("eu1",), "c": ("eu1",)}


def balancer(policy: BalancePolicy | None, retry: BalanceRetry = BalanceRetry.ALL, most: int = 0) -> Balancer:
    return Balancer(Balancing(policy=policy, retry=retry, retry_max=most), random.Random(1).random)


def attempts(
    deciding: Balancer,
    candidates: Sequence[Path] = THREE,
    relays_of: Mapping[str, Collection[str]] = ON_EU1,
    suspects: Collection[Path] = (),
    streams: Mapping[str, int] | None = None,
) -> list[Attempt]:
    return deciding.attempts(
        candidates,
        relays_of,
        is_suspect=suspects.__contains__,
        streams_of=lambda peer_id: (streams or {}).get(peer_id, 0),
    )


def order(deciding: Balancer, **known: object) -> str:
    """The destinations as one word."""
    return "".join(attempt.peer_id or "?" for attempt in attempts(deciding, **known))  # type: ignore[arg-type]


def test_without_a_policy_every_path_is_tried_whatever_the_retry_says() -> None:
    for retry in BalanceRetry:
        assert attempts(balancer(None, retry)) == [Attempt(path) for path in THREE]


def test_least_latency_asks_each_destination_by_its_best_path_the_nearest_first() -> None:
    assert attempts(balancer(BalancePolicy.LEAST_LATENCY)) == [
        Attempt(B_OUT, "b"),
        Attempt(A_IN, "a"),
        Attempt(C_OUT, "c"),
    ]


def test_least_conns_asks_the_least_busy_first_and_of_equal_ones_the_nearest() -> None:
    deciding = balancer(BalancePolicy.LEAST_CONNS)
    assert order(deciding) == "bac"
    assert order(deciding, streams={"b": 1}) == "acb"
    assert order(deciding, streams={"a": 2, "b": 3, "c": 2}) == "acb"


def test_round_robin_begins_with_the_second_and_goes_round_by_id() -> None:
    deciding = balancer(BalancePolicy.ROUND_ROBIN)
    assert [order(deciding) for _ in range(4)] == ["bca", "cab", "abc", "bca"]
    assert order(deciding, candidates=(A_OUT,)) == "a"
    assert order(deciding, candidates=()) == ""


def test_random_gives_each_its_share() -> None:
    deciding = balancer(BalancePolicy.RANDOM)
    first = [order(deciding)[0] for _ in range(600)]
    assert all(150 < first.count(peer_id) < 250 for peer_id in "abc")


@pytest.mark.parametrize(
    ("retry", "most", "asked"),
    [
        (BalanceRetry.NEVER, 0, 1),
        (BalanceRetry.NEVER, 5, 1),
        (BalanceRetry.COUNT, 0, 2),
        (BalanceRetry.COUNT, 1, 1),
        (BalanceRetry.COUNT, 9, 3),
        (BalanceRetry.TIMED, 0, 3),
        (BalanceRetry.ALL, 1, 3),
    ],
)
def test_the_retry_says_how_many_are_asked(retry: BalanceRetry, most: int, asked: int) -> None:
    assert len(attempts(balancer(BalancePolicy.LEAST_LATENCY, retry, most))) == asked


def test_the_time_for_all_attempts_is_that_of_timed_alone() -> None:
    def seconds(policy: BalancePolicy | None, retry: BalanceRetry, most: int) -> float | None:
        return Balancing(policy=policy, retry=retry, retry_max=most).seconds

    assert seconds(BalancePolicy.RANDOM, BalanceRetry.TIMED, 0) == 1.0
    assert seconds(BalancePolicy.RANDOM, BalanceRetry.TIMED, 250) == 0.25
    assert seconds(BalancePolicy.RANDOM, BalanceRetry.COUNT, 250) is None
    assert seconds(None, BalanceRetry.TIMED, 250) is None
    with pytest.raises(ValueError, match="retry_max"):
        Balancing(retry_max=-1)


def test_a_relay_that_several_are_behind_is_asked_once() -> None:
    relayed = {"candidates": (EU1, US1), "relays_of": {"a": ("eu1",), "b": ("eu1", "us1"), "c": ("us1",)}}
    assert attempts(balancer(BalancePolicy.LEAST_LATENCY), **relayed) == [  # type: ignore[arg-type]
        Attempt(EU1, "a"),
        Attempt(US1, "c"),
    ]


def test_a_destination_whose_best_path_is_suspect_is_asked_last() -> None:
    suspected = (B_OUT, C_OUT, EU1, A_OUT)  # as candidates are: suspects behind
    for policy, expected in (
        (BalancePolicy.LEAST_LATENCY, "bca"),
        (BalancePolicy.LEAST_CONNS, "bca"),
        (BalancePolicy.ROUND_ROBIN, "bca"),
    ):
        known = {"candidates": suspected, "relays_of": {"a": (), "b": (), "c": ()}, "suspects": {A_OUT}}
        assert order(balancer(policy), **known) == expected
    # also where only one of its two direct paths is: they run between the same two sockets
    known = {"candidates": (A_OUT, B_OUT, A_IN), "relays_of": {"a": (), "b": ()}, "suspects": {A_IN}}
    assert order(balancer(BalancePolicy.LEAST_LATENCY), **known) == "ba"
    # but not where a relay leads to it
    assert attempts(balancer(BalancePolicy.LEAST_LATENCY), suspected, ON_EU1, {A_OUT}) == [
        Attempt(B_OUT, "b"),
        Attempt(C_OUT, "c"),
        Attempt(EU1, "a"),
    ]


@given(
    candidates=st.permutations(THREE),
    policy=st.sampled_from(BalancePolicy),
    streams=st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
)
def test_whatever_the_order_each_destination_is_asked_once(
    candidates: list[Path], policy: BalancePolicy, streams: dict[str, int]
) -> None:
    asked = attempts(balancer(policy), candidates, {"a": (), "b": (), "c": ()}, (), streams)
    assert sorted(attempt.peer_id or "" for attempt in asked) == ["a", "b", "c"]
    assert all(attempt.path.id == attempt.peer_id for attempt in asked)
