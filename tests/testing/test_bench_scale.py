"""What many of them cost: small amounts, real processes."""

import pytest

from connet_trio.testing.bench import scale
from connet_trio.testing.bench.scale import (
    BulkCost,
    Handshakes,
    IdleConnections,
    IdleStreams,
    ScaleFigures,
    format_scale,
    run_scale,
)

FIGURES = ScaleFigures(
    idle_streams=IdleStreams(
        streams=1000, alone=BulkCost(sender=3.0, receiver=2.0), beside=BulkCost(sender=4.0, receiver=3.5)
    ),
    idle_connections=IdleConnections(connections=500, seconds=20, bytes_each=51_200, core_share=0.025),
    handshakes=Handshakes(count=600, server=0.002, dialer=0.003),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amounts and pauses that a test can afford."""
    for name, value in {
        "BULK_MEGABYTES": 1,
        "BULK_ROUNDS": 1,
        "KEEPALIVE_SECONDS": 0.1,
        "SETTLE_SECONDS": 0.0,
        "WARM_CONNECTIONS": 2,
    }.items():
        monkeypatch.setattr(scale, name, value)


async def test_everything_is_measured_against_a_process_of_its_own(small: None) -> None:
    figures = await run_scale(idle_connections=40, idle_streams=150, handshakes=40, seconds=0.2)
    assert figures.idle_streams.streams == 150
    assert figures.idle_connections.connections == 40
    assert 1 << 12 < figures.idle_connections.bytes_each < 1 << 20
    assert figures.handshakes.server > 0
    assert figures.handshakes.dialer > 0


def test_the_ratio_is_that_of_both_sides_together() -> None:
    assert FIGURES.idle_streams.beside.times(FIGURES.idle_streams.alone) == 1.5


def test_the_figures_are_a_few_lines() -> None:
    assert format_scale(FIGURES).splitlines() == [
        "Bulk transfer, CPU seconds per GB of sender + receiver",
        "  on a connection of its own      3.00 + 2.00",
        "  beside 1000 idle streams        4.00 + 3.50, 1.50 times",
        "500 idle connections, watched for 20 s",
        "  memory of the server            50.0 KiB each",
        "  CPU of the server               2.5 % of a core",
        "600 handshakes with client certificates",
        "  CPU of server + dialer          2.00 + 3.00 ms each",
        "  a core of the server            500 a second",
    ]
