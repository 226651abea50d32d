"""Bulk over the Stream API: both processes, and what is made of their figures."""

import json
import math

import pytest

from connet_trio.testing.bench.commands.streams import stream_plot
from connet_trio.testing.bench.setups import combine
from connet_trio.testing.bench.stream_transfers import Task, Transfer
from connet_trio.testing.bench.streams import (
    Kind,
    StreamPlan,
    StreamResults,
    StreamRun,
    format_streams,
    measure_streams,
)

PLAN = StreamPlan(transfer_bytes=1_000_000, transfers=2, parallel=3, abandoned=2, rounds=2)


def run(label: str, number: int, kind: Kind, *speeds: float) -> StreamRun:
    transfers = [Transfer(megabytes_per_second=speed, sender_cpu=2.0, receiver_cpu=3.0) for speed in speeds]
    return StreamRun(label=label, round=number, kind=kind, transfers=tuple(transfers))


def some_results() -> StreamResults:
    runs = [
        run(label, number, kind, *(speed * factor for speed in speeds))
        for label, factor in (("1200", 1.0), ("discovered", 2.0))
        for number, speeds in enumerate([(100.0, 90.0), (200.0, 190.0)])
        for kind in PLAN.kinds
    ]
    return StreamResults(plan=PLAN, labels=("1200", "discovered"), runs=tuple(runs))


def test_a_transfer_is_shared_by_its_streams() -> None:
    assert Task(size=10, streams=3).shares == [4, 3, 3]


@pytest.mark.parametrize(
    ("plan", "kinds"),
    [
        (PLAN, [Kind.ONE, Kind.PARALLEL, Kind.AFTER_ABANDONED]),
        (StreamPlan(), [Kind.ONE, Kind.AFTER_ABANDONED]),
        (StreamPlan(abandoned=0), [Kind.ONE]),
    ],
)
def test_only_what_is_asked_is_measured(plan: StreamPlan, kinds: list[Kind]) -> None:
    assert plan.kinds == kinds


def test_every_kind_of_transfer_is_measured_in_every_setup() -> None:
    said: list[str] = []
    plan = StreamPlan(transfer_bytes=200_000, transfers=2, parallel=3, abandoned=2, rounds=1)
    results = measure_streams(combine(["1200"], [], []), plan, said.append)
    assert [(found.round, found.kind, len(found.transfers)) for found in results.runs] == [
        (1, kind, 2) for kind in plan.kinds
    ]
    for found in results.runs:
        assert all(transfer.megabytes_per_second > 0 and transfer.cpu >= 0 for transfer in found.transfers)
    assert len(said) == 1
    assert len(json.loads(json.dumps(results.to_json()))["runs"]) == 3


def test_the_slowest_is_compared_with_the_first_on_its_connection() -> None:
    results = some_results()
    assert results.slowest_share("1200", Kind.ONE) == pytest.approx((0.9 + 0.95) / 2)
    assert results.slowest_share("1200", Kind.AFTER_ABANDONED) == pytest.approx((0.9 + 0.95) / 2)
    alone = StreamResults(plan=PLAN, labels=("",), runs=(run("", 1, Kind.ONE, 5.0),))
    assert math.isnan(alone.slowest_share("", Kind.ONE))


def test_medians_are_shown_for_every_setup_and_kind() -> None:
    lines = format_streams(some_results()).splitlines()
    assert lines[0] == "Stream API, 2 transfers of 1 MB on one connection, medians"
    assert [line.split() for line in lines[2:5]] == [
        ["1200", "one", "stream", "145.0", "2.00", "3.00", "0.925"],
        ["1200", "3", "streams", "at", "once", "145.0", "2.00", "3.00"],
        ["1200", "after", "half-read", "streams", "145.0", "2.00", "3.00", "0.925"],
    ]


def test_the_plot_has_the_speed_at_every_packet_size() -> None:
    plot = stream_plot(some_results(), combine(["1200", "discovered"], [], []))
    assert plot.places == ["1200", "discovered"]
    assert plot.curves == {"one stream": [145.0, 290.0]}
