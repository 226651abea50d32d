"""A stream arrives whole over a network that loses, reorders and duplicates.

The suite runs a few seeds with little data. `CONNET_TRIO_SEEDS` is the number of seeds for each rate of loss, and
`CONNET_TRIO_STREAM_BYTES` the size of the stream. All of it:
`CONNET_TRIO_SEEDS=200 CONNET_TRIO_STREAM_BYTES=10000000 pytest tests/scenarios/test_lossy_streams.py`
"""

import hashlib
import os
import random

import pytest
import trio

from connet_trio.quic import QuicEngine, Stream
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import Fate, Link
from tests.quic.conftest import open_pair

SEEDS = int(os.environ.get("CONNET_TRIO_SEEDS", "3"))
SIZE = int(os.environ.get("CONNET_TRIO_STREAM_BYTES", "1000000"))
LOSSES = [0.0, 0.01, 0.05]


@pytest.mark.reliability(line=8)
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("loss", LOSSES)
def test_a_long_stream_arrives_whole_over_a_bad_link(quic_engine: QuicEngine, loss: float, seed: int) -> None:
    link = Link(delay=0.01, loss=loss, reordering=0.01, duplication=0.01)

    async def scenario() -> None:
        async with open_pair(seed, link, quic_engine=quic_engine) as pair, trio.open_nursery() as nursery:
            ours, theirs = await pair.open_streams()
            sent = hashlib.sha256()
            nursery.start_soon(send, ours, sent, random.Random(seed))
            with trio.fail_after(SIZE / 10_000):  # a tenth of what 5 % loss leaves of 20 ms round trips
                received, size = await receive(theirs)
            assert size == SIZE
            assert received == sent.digest()
            fates = pair.network.fates
            assert (fates[Fate.LOST] > 0) is (loss > 0)

    run_simulated(scenario, seed=seed)


async def send(stream: Stream, digest: "hashlib._Hash", luck: random.Random) -> None:
    left = SIZE
    while left:
        data = luck.randbytes(min(left, luck.randint(1, 300_000)))
        digest.update(data)
        await stream.send_all(data)
        left -= len(data)
    await stream.send_eof()
    await stream.wait_delivered()


async def receive(stream: Stream) -> tuple[bytes, int]:
    digest, size = hashlib.sha256(), 0
    while data := await stream.receive_some():
        digest.update(data)
        size += len(data)
    return digest.digest(), size
