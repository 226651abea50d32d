import logging
import subprocess
import sys

import connet_trio


def test_every_public_name_is_there_and_documented() -> None:
    assert connet_trio.__all__ == sorted(connet_trio.__all__)
    undocumented = [name for name in connet_trio.__all__ if not getattr(connet_trio, name).__doc__]
    assert undocumented == []
    for service in ("client", "control", "relay", "server"):
        assert {f"open_{service}", f"run_{service}"} <= set(connet_trio.__all__)


def test_the_library_prints_nothing_and_leaves_logging_alone() -> None:
    script = """
import logging
before = logging.getLogger().handlers[:], logging.getLogger().level
import connet_trio
assert (logging.getLogger().handlers, logging.getLogger().level) == before
logging.getLogger("connet_trio.client").error("trouble")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_whoever_embeds_the_library_sees_its_log() -> None:
    assert logging.getLogger("connet_trio").propagate
