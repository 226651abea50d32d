"""What becomes of samples: medians, ratios within rounds, tables."""

import json
import math

import pytest

from connet_trio.testing.bench.figures import (
    TRANSFERS,
    Memory,
    Metric,
    Results,
    Sample,
    median_ratio,
    percentile,
    slowest_share,
)
from connet_trio.testing.bench.plan import MIB, Plan
from connet_trio.testing.bench.tables import (
    Section,
    format_cpu,
    format_memory,
    format_results,
    format_section,
    format_series,
)

SPEEDS = {"relayed": [10.0, 30.0, 40.0], "plain": [100.0, 1000.0, 200.0]}


def some_results() -> Results:
    """Three rounds at two entrances; one has two processes, of which the second needs twice the CPU."""
    samples = [
        Sample(
            round=number,
            entrance=entrance,
            metric=metric,
            value=value,
            cpu={"source": value, "server": 2 * value} if entrance == "relayed" else {"copy": value / 10},
        )
        for number in range(3)
        for metric in Metric
        for entrance, values in SPEEDS.items()
        for value in values[number : number + 1]
    ]
    memories = [
        Memory(entrance="relayed", process=process, idle_bytes=60 * MIB, final_bytes=75 * MIB, carried_bytes=MIB << 10)
        for process in ("source", "server")
    ]
    plain = Memory(entrance="plain", process="copy", idle_bytes=0, final_bytes=MIB, carried_bytes=MIB)
    return Results(entrances=tuple(SPEEDS), references=("plain",), samples=tuple(samples), memories=(*memories, plain))


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    assert median_ratio(SPEEDS["relayed"], SPEEDS["plain"]) == 0.1  # that of the medians would be 0.15


@pytest.mark.parametrize("reference", [[1.0, 0.0], [1.0, math.nan]])
def test_without_something_to_compare_with_there_is_no_ratio(reference: list[float]) -> None:
    assert math.isnan(median_ratio([1.0, 1.0], reference))


def test_the_slowest_share_is_that_of_the_place_whose_median_is_lowest() -> None:
    firsts = [100.0, 200.0, 100.0]
    later = [[90.0, 10.0], [160.0, 200.0], [85.0, 110.0]]  # shares .9 .1, .8 1., .85 1.1
    assert slowest_share(firsts, later) == 0.85


def test_a_series_of_one_has_no_slowest() -> None:
    assert math.isnan(slowest_share([100.0], [[]]))


def some_series() -> Results:
    """Two rounds of three downloads, and of two after half-read ones."""
    rounds = [([100.0, 98.0, 95.0], [80.0, 99.0]), ([50.0, 50.0, 50.0], [42.0, 45.0])]
    samples = [
        Sample(round=number, entrance="direct", metric=metric, value=value)
        for number, series in enumerate(rounds)
        for metric, values in zip((Metric.SERIES, Metric.SERIES_AFTER_ABANDONED), series, strict=True)
        for value in values
    ]
    return Results(entrances=("direct",), references=(), samples=tuple(samples), memories=())


def test_a_series_is_compared_with_the_first_download_of_its_round() -> None:
    results = some_series()
    assert results.series("direct", Metric.SERIES) == [[100.0, 98.0, 95.0], [50.0, 50.0, 50.0]]
    assert results.slowest_share("direct", Metric.SERIES) == pytest.approx(0.975)
    assert results.slowest_share("direct", Metric.SERIES_AFTER_ABANDONED) == pytest.approx(0.82)


def test_a_series_is_shown_with_its_first_download_and_the_slowest_share() -> None:
    lines = format_series(some_series(), Plan(transfers=3)).splitlines()
    assert lines[0] == "3 downloads in a row, MB/s"
    assert lines[2].split() == ["direct", "2", "to", "3", "75.0", "0.975"]
    assert lines[3].split()[-2:] == ["75.0", "0.820"]


@pytest.mark.parametrize(("count", "percent", "expected"), [(200, 50, 100), (200, 99, 198), (10, 99, 10), (1, 50, 1)])
def test_a_percentile_is_one_of_the_values(count: int, percent: int, expected: int) -> None:
    assert percentile(list(range(count, 0, -1)), percent) == expected


def test_a_section_shows_median_range_and_ratio_in_columns() -> None:
    section = Section(title="One stream", rows=((Metric.DOWNLOAD, "download"),), digits=1)
    assert format_section(some_results(), section).splitlines() == [
        "One stream",
        "                        median      least       most     /plain",
        "  relayed  download       30.0       10.0       40.0      0.100",
        "  plain    download      200.0      100.0     1000.0",
    ]


def test_cpu_is_shown_for_each_process_and_for_all_of_an_entrance() -> None:
    lines = format_cpu(some_results(), Plan()).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["1", "down", "1", "up", "8", "down", "8", "up"],
        ["relayed", "source", *["30.00"] * 4],
        ["relayed", "server", *["60.00"] * 4],
        ["relayed", "together", *["90.00"] * 4],
        ["relayed", "/plain", *["3.00"] * 4],
        ["plain", "copy", *["20.00"] * 4],
    ]


def test_memory_is_shown_with_its_growth() -> None:
    rows = [line.split() for line in format_memory(some_results()).splitlines()]
    assert ["relayed", "server", "60.0", "75.0", "15.0", "1024.0"] in rows


def test_entrances_without_known_processes_have_speeds_only() -> None:
    samples = tuple(
        Sample(round=1, entrance="frp", metric=metric, value=float(number)) for number, metric in enumerate(Metric, 1)
    )
    results = Results(entrances=("frp",), references=("frp",), samples=samples, memories=())
    text = format_results(results, Plan())
    assert "connections a second" in text.lower()
    assert "CPU" not in text
    assert "nan" not in text


def test_the_document_holds_every_sample_with_the_cpu_of_transfers() -> None:
    document = json.loads(json.dumps(some_results().to_json()))
    assert len(document["samples"]) == 3 * len(Metric) * len(SPEEDS)
    with_cpu = {sample["metric"] for sample in document["samples"] if "cpu-seconds-per-gb" in sample}
    assert with_cpu == {metric.value for metric in TRANSFERS}
    assert document["memory"][0]["final_bytes"] == 75 * MIB
