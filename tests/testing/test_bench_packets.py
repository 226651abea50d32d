"""What a packet costs in each layer: small amounts."""

import pytest

from connet_trio.testing.bench import packet_costs
from connet_trio.testing.bench.packet_costs import PacketCosts, format_packet_costs, measure_packet_costs

COSTS = PacketCosts(
    packet_bytes=1200,
    payload_bytes=1160,
    cipher=(0.7, 0.75),
    kernel=(0.2, 0.3),
    run=(2.0, 1.5),
    conversation=(3.0, 2.8),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amounts that a test can afford."""
    for name, value in {"CALLS": 100, "ROUNDS": 2, "CONVERSATION_BYTES": 1_000_000}.items():
        monkeypatch.setattr(packet_costs, name, value)


@pytest.mark.parametrize("size", [1200, 16_384])
async def test_every_layer_costs_more_than_those_in_it(small: None, size: int) -> None:
    costs = await measure_packet_costs(size)
    assert min(*costs.cipher, *costs.kernel, *costs.run, *costs.conversation) > 0
    assert sum(costs.cipher) < sum(costs.run) < sum(costs.conversation)
    assert size - 50 < costs.payload_bytes < size


def test_the_limit_is_cipher_and_kernel_of_both_sides() -> None:
    assert COSTS.limit == pytest.approx(1.95e-6 / 1160 * 1e9)


def test_the_figures_are_a_table() -> None:
    assert format_packet_costs(COSTS).splitlines() == [
        "CPU of a packet of 1200 bytes, microseconds",
        "                                            sent   received  us together       s/GB",
        "  cipher alone (AES-128-GCM)                0.70       0.75         1.45       1.25",
        "  kernel alone (loopback, in bursts)        0.20       0.30         0.50       0.43",
        "  the engine's loops, cipher included       2.00       1.50         3.50       3.02",
        "  two engines, no socket                    3.00       2.80         5.80       5.00",
        "  No engine in Python takes less than cipher and kernel: 1.68 s/GB",
    ]
