"""Real processes on loopback. These tests may poll /proc or wait for a line of log, always with a bound."""

from pathlib import Path

import pytest

from connet_trio.quic import QuicEngine
from connet_trio.testing.certificates import write_certificate
from connet_trio.testing.local_site import LocalSite


@pytest.fixture
def site(tmp_path: Path) -> LocalSite:
    """A directory with a certificate, a configuration for each role, and free ports."""
    write_certificate(tmp_path, ["localhost", "127.0.0.1"])
    site = LocalSite.in_directory(tmp_path)
    site.write_server()
    site.write_control_and_relay()
    site.write_clients()
    return site


@pytest.fixture(params=QuicEngine, ids=lambda engine: engine.value)
def engine_site(request: pytest.FixtureRequest, site: LocalSite) -> LocalSite:
    """A site where every process runs the engine of the test."""
    for path in site.directory.glob("*.toml"):
        header, rest = path.read_text().split("\n", 1)
        site.write(path.name, f'{header}\nquic-engine = "{request.param.value}"\n{rest}')
    return site
