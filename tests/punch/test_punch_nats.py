"""Which NATs a hole can be opened through, and what is said where it cannot."""
from functools import partial
import attrs
import pytest
import trio
from connet_trio.engine.punch_diagnosis import Cause, Side
from connet_trio.punch import OpenHole, PunchFailed
from connet_trio.testing import *
from connet_trio.testing.punch_lab import PunchLab as Lab, simulate, together

KINDS = {
    "open": OPEN, "full": FULL_CONE, "addr": ADDRESS_RESTRICTED, "port": PORT_RESTRICTED, "adm": ADDRESS_SYMMETRIC, "sym": SYMMETRIC,
    "fw": FIREWALL, "remap": attrs.evolve(PORT_RESTRICTED, ports=PortAllocation.RANDOM),
}
def test_grid():
    import time
    for one in KINDS:
        row = []
        for other in KINDS:
            async def scenario(lab: Lab):
                await lab.start_control()
                a, b = lab.add_site(KINDS[one]), lab.add_site(KINDS[other])
                r = await together(partial(lab.outcome, a, "a"), partial(lab.outcome, b, "b"))
                return [x if isinstance(x, OpenHole) else (x.diagnosis.cause.value, x.diagnosis.side and x.diagnosis.side.value) for x in r], trio.current_time()
            r, t = simulate(scenario)
            row.append(f"{t:.2f} " + ("ok" if isinstance(r[0], OpenHole) and isinstance(r[1], OpenHole) else str(r)))
        print(one, *row, sep=" | ")
    assert 0
