import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("path", [os.environ["PATH"], "/nonexistent"], ids=["as here", "without openssl and curl"])
def test_the_demo_works_and_leaves_nothing_behind(path: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "connet_trio.testing.demo", "--mib", "2"],
        env={**os.environ, "TMPDIR": str(tmp_path), "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "the same as that of the file" in ran.stdout
    assert "path relay" in ran.stdout
    assert "All well" in ran.stdout
    assert list(tmp_path.iterdir()) == []
