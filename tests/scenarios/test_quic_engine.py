"""That the scenarios run on the engine they say."""

from typing import NoReturn

import pytest

from connet_trio.quic import QuicEngine
from connet_trio.records.model import Route
from connet_trio.testing import run_simulated, simulated_deployment

OTHERS = {QuicEngine.FAST: "connet_trio.quic.transport.Core", QuicEngine.STOCK: "connet_trio.quic.transport.FastCore"}


def test_nobody_in_a_deployment_runs_another_engine(quic_engine: QuicEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> NoReturn:
        raise AssertionError("the other engine is asked for")

    async def scenario() -> None:
        async with simulated_deployment(seed=1) as deployment:
            assert await deployment.echo(b"?", "one") == b"?"
            assert await deployment.echo(b"?", "two", Route.DIRECT) == b"?"

    monkeypatch.setattr(OTHERS[quic_engine], refuse)
    run_simulated(scenario, seed=1)
