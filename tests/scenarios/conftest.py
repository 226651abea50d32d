"""Every scenario runs on both engines, chosen by the settings of all its services, as users choose."""

from collections import Counter

import pytest

from connet_trio.quic import QuicEngine
from connet_trio.testing import simulated_deployment


@pytest.fixture(params=QuicEngine, ids=lambda engine: engine.value, autouse=True)
def quic_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> QuicEngine:
    """The engine of every deployment that a test makes without naming one."""
    chosen: QuicEngine = request.param
    # the default of one argument: each file has its own way to make a deployment
    monkeypatch.setitem(simulated_deployment.__wrapped__.__kwdefaults__, "quic_engine", chosen)  # type: ignore[attr-defined]
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out every second parameter of a long test on aioquic's own engine, always the same ones."""
    met: Counter[str] = Counter()
    left_out = []
    for item in items:
        if item.get_closest_marker("long") is None or not isinstance(item, pytest.Function):
            continue
        if item.callspec.params["quic_engine"] is QuicEngine.STOCK:
            test = item.nodeid.partition("[")[0]
            met[test] += 1
            if met[test] % 2 == 0:
                left_out.append(item)
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
