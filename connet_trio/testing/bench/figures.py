"""What was measured, and what is made of it: medians over the rounds, and ratios within each round."""

import enum
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import attrs


class Metric(enum.Enum):
    """What one figure says of an entrance."""

    DOWNLOAD = "download, MB/s"
    UPLOAD = "upload, MB/s"
    DOWNLOAD_STREAMS = "download over parallel streams, MB/s"
    UPLOAD_STREAMS = "upload over parallel streams, MB/s"
    P50 = "request on a new connection, p50, ms"
    P99 = "request on a new connection, p99, ms"
    BESIDE_P50 = "request beside a bulk download, p50, ms"
    BESIDE_P99 = "request beside a bulk download, p99, ms"
    CONNECTIONS = "connections per second"
    SERIES = "download after download, MB/s"
    SERIES_AFTER_ABANDONED = "download after download, after half-read ones, MB/s"


TRANSFERS = (Metric.DOWNLOAD, Metric.UPLOAD, Metric.DOWNLOAD_STREAMS, Metric.UPLOAD_STREAMS)
LATENCIES = (Metric.P50, Metric.P99, Metric.BESIDE_P50, Metric.BESIDE_P99)


@attrs.frozen(kw_only=True)
class Sample:
    """One figure of one round."""

    round: int
    entrance: str
    metric: Metric
    value: float
    cpu: Mapping[str, float] = attrs.field(factory=dict)
    """Of a transfer: CPU seconds per GB (10^9 bytes) of each known process between the ends."""

    @property
    def whole_cpu(self) -> float:
        """Of all these processes together; NaN when none is known."""
        return sum(self.cpu.values()) if self.cpu else math.nan


@attrs.frozen(kw_only=True)
class Memory:
    """The memory of one process before any payload and at the end."""

    entrance: str
    process: str
    idle_bytes: int
    final_bytes: int
    carried_bytes: int
    """What its entrance had carried by then."""


@attrs.frozen(kw_only=True)
class Results:
    """All of it."""

    entrances: tuple[str, ...]
    references: tuple[str, ...]
    """Those of the entrances that the others are compared with."""
    samples: tuple[Sample, ...]
    memories: tuple[Memory, ...]

    def of(self, entrance: str, metric: Metric) -> list[Sample]:
        """The samples of all rounds, in their order."""
        return [sample for sample in self.samples if (sample.entrance, sample.metric) == (entrance, metric)]

    def values(self, entrance: str, metric: Metric) -> list[float]:
        """One figure for each round."""
        return [sample.value for sample in self.of(entrance, metric)]

    def series(self, entrance: str, metric: Metric) -> list[list[float]]:
        """The figures of each round, where a round has several, in the order in which they were taken."""
        rounds: dict[int, list[float]] = {}
        for sample in self.of(entrance, metric):
            rounds.setdefault(sample.round, []).append(sample.value)
        return list(rounds.values())

    def slowest_share(self, entrance: str, metric: Metric) -> float:
        """The slowest download of a series, as a share of the first of all in its round; NaN where there is none."""
        firsts = [values[0] for values in self.series(entrance, Metric.SERIES)]
        later = [values[metric is Metric.SERIES :] for values in self.series(entrance, metric)]
        return slowest_share(firsts, later)

    def ratio(self, entrance: str, reference: str, metric: Metric) -> float:
        """How many times the figure of `reference` that of `entrance` is."""
        return median_ratio(self.values(entrance, metric), self.values(reference, metric))

    def processes(self, entrance: str) -> tuple[str, ...]:
        """The known processes of an entrance."""
        return tuple(memory.process for memory in self.memories if memory.entrance == entrance)

    def cpu(self, entrance: str, process: str, metric: Metric) -> float:
        """CPU seconds per GB of one process, the median."""
        return statistics.median(sample.cpu[process] for sample in self.of(entrance, metric))

    def whole_cpu(self, entrance: str, metric: Metric) -> float:
        """CPU seconds per GB of all known processes of an entrance, the median."""
        return statistics.median(sample.whole_cpu for sample in self.of(entrance, metric))

    def cpu_ratio(self, entrance: str, reference: str, metric: Metric) -> float:
        """How many times the CPU of `reference` that of `entrance` is."""
        pair = [[sample.whole_cpu for sample in self.of(name, metric)] for name in (entrance, reference)]
        return median_ratio(*pair)

    def to_json(self) -> dict[str, Any]:
        """All samples, fit for `json.dumps`; the reader makes the medians."""
        return {
            "entrances": list(self.entrances),
            "samples": [
                {
                    "round": sample.round,
                    "entrance": sample.entrance,
                    "metric": sample.metric.value,
                    "value": sample.value,
                    **({"cpu-seconds-per-gb": dict(sample.cpu)} if sample.metric in TRANSFERS else {}),
                }
                for sample in self.samples
            ],
            "memory": [attrs.asdict(memory) for memory in self.memories],
        }


def median_ratio(values: Sequence[float], references: Sequence[float]) -> float:
    """The median of the ratios within each round; NaN where there is nothing to compare with."""
    ratios = [value / other if other else math.nan for value, other in zip(values, references, strict=True)]
    return math.nan if any(map(math.isnan, ratios)) else statistics.median(ratios)


def slowest_share(firsts: Sequence[float], later: Sequence[Sequence[float]]) -> float:
    """Of what is measured several times a round, the lowest as a share of the first of that round.

    What comes at one place of the series is the median over the rounds, lest a single disturbance decides.

    Returns:
      NaN without a series of at least one.
    """
    shares = [[value / first for value in values] for first, values in zip(firsts, later, strict=True)]
    places = [statistics.median(place) for place in zip(*shares, strict=True)]
    return min(places, default=math.nan)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
