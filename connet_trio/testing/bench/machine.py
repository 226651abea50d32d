"""The machine that figures belong to."""

import os
import platform
import time
from pathlib import Path

import attrs

from connet_trio.version import VERSION


@attrs.frozen(kw_only=True)
class Machine:
    """What a reader has to know before comparing figures."""

    cpu: str
    """Model name."""
    cores: int
    kernel: str
    python: str
    date: str
    """ISO 8601, of UTC."""
    version: str = VERSION
    """Of connet-trio."""

    def __str__(self) -> str:
        return (
            f"connet-trio {self.version}, {self.cpu}, {self.cores} cores, {self.kernel}, "
            f"Python {self.python}, {self.date}"
        )


def this_machine() -> Machine:
    """The one that runs this."""
    return Machine(
        cpu=cpu_model(Path("/proc/cpuinfo")) or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
    )


def cpu_model(file: Path) -> str:
    """The first model name in a file such as /proc/cpuinfo; empty where there is none."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return ""
