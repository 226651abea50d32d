"""The results as text, a table for each question."""

import math
import statistics
from collections.abc import Sequence

import attrs

from connet_trio.testing.bench.figures import TRANSFERS, Metric, Results
from connet_trio.testing.bench.plan import MIB, WORKERS, Plan
from connet_trio.testing.bench.steps import ABANDONED

COLUMN_WIDTH = 9
LEGEND = "/NAME: the figure divided by that of NAME, in each round; the median of these"


@attrs.frozen(kw_only=True)
class Section:
    """A table with a row for each entrance and metric."""

    title: str
    rows: tuple[tuple[Metric, str], ...]
    """With the word for each metric."""
    digits: int
    """After the point."""


def format_results(results: Results, plan: Plan) -> str:
    """All tables, with an empty line between them."""
    tables = [format_section(results, section) for section in sections(plan)]
    if plan.transfers:
        tables.append(format_series(results, plan))
    if results.memories:
        tables += [format_cpu(results, plan), format_memory(results)]
    if results.references:
        tables.append(LEGEND)
    return "\n\n".join(tables)


def sections(plan: Plan) -> list[Section]:
    """What is asked of every entrance."""
    size = f"{plan.transfer_bytes / MIB:g} MiB"
    both = "download", "upload"
    return [
        Section(title=f"One stream of {size}, MB/s", rows=tuple(zip(TRANSFERS[:2], both, strict=True)), digits=1),
        Section(
            title=f"{plan.parallel} streams at once, {size} in all, MB/s",
            rows=tuple(zip(TRANSFERS[2:], both, strict=True)),
            digits=1,
        ),
        Section(
            title=f"1 KiB there and back on a new connection, one after the other ({plan.requests} a round), ms",
            rows=((Metric.P50, "p50"), (Metric.P99, "p99")),
            digits=2,
        ),
        Section(
            title="The same beside a bulk download, ms",
            rows=((Metric.BESIDE_P50, "p50"), (Metric.BESIDE_P99, "p99")),
            digits=2,
        ),
        Section(
            title=f"Connections a second, each as above, {WORKERS} at a time for {plan.window_seconds:g} s",
            rows=((Metric.CONNECTIONS, ""),),
            digits=0,
        ),
    ]


def format_section(results: Results, section: Section) -> str:
    """The medians with their range, and the ratio to each reference."""
    rows = [["", "", "median", "least", "most", *(f"/{name}" for name in results.references)]]
    for entrance in results.entrances:
        for metric, word in section.rows:
            values = results.values(entrance, metric)
            figures = [statistics.median(values), min(values), max(values)]
            ratios = [
                "" if name == entrance else number(results.ratio(entrance, name, metric), 3)
                for name in results.references
            ]
            rows.append([entrance, word, *(number(figure, section.digits) for figure in figures), *ratios])
    return format_table(section.title, rows)


def format_series(results: Results, plan: Plan) -> str:
    """What becomes of downloads one after the other; each place is the median of all rounds."""
    rows = [["", "", "first", "slowest/first"]]
    for entrance in results.entrances:
        first = statistics.median(values[0] for values in results.series(entrance, Metric.SERIES))
        for metric, word in (
            (Metric.SERIES, f"2 to {plan.transfers}"),
            (Metric.SERIES_AFTER_ABANDONED, f"after {ABANDONED} half-read ones"),
        ):
            share = results.slowest_share(entrance, metric)
            rows.append([entrance, word, number(first, 1), number(share, 3)])
    return format_table(f"{plan.transfers} downloads in a row, MB/s", rows)


def format_cpu(results: Results, plan: Plan) -> str:
    """CPU of each process in each kind of transfer."""
    words = "1 down", "1 up", f"{plan.parallel} down", f"{plan.parallel} up"
    rows = [["", "", *words]]
    for entrance in results.entrances:
        processes = results.processes(entrance)
        for process in processes:
            figures = [results.cpu(entrance, process, metric) for metric in TRANSFERS]
            rows.append([entrance, process, *(number(figure, 2) for figure in figures)])
        if len(processes) > 1:
            figures = [results.whole_cpu(entrance, metric) for metric in TRANSFERS]
            rows.append([entrance, "together", *(number(figure, 2) for figure in figures)])
        for name in results.references:
            if processes and results.processes(name) and name != entrance:
                ratios = [results.cpu_ratio(entrance, name, metric) for metric in TRANSFERS]
                rows.append([entrance, f"/{name}", *(number(ratio, 2) for ratio in ratios)])
    return format_table("CPU seconds per GB, median", rows)


def format_memory(results: Results) -> str:
    """The memory of each process."""
    rows = [["", "", "idle", "at end", "growth", "carried"]]
    for memory in results.memories:
        sizes = memory.idle_bytes, memory.final_bytes, memory.final_bytes - memory.idle_bytes, memory.carried_bytes
        rows.append([memory.entrance, memory.process, *(number(size / MIB, 1) for size in sizes)])
    return format_table("Resident memory, MiB, before any payload and when so much had been carried", rows)


def format_table(title: str, rows: Sequence[Sequence[str]], *, words: int = 2) -> str:
    """A title, and rows whose columns are aligned: the first few, of words, to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [title]
    for row in rows:
        cells = [
            cell.ljust(width) if column < words else cell.rjust(max(width, COLUMN_WIDTH))
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def number(value: float, digits: int) -> str:
    """A figure with so many digits after the point; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
