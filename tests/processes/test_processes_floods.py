"""Hostile peers flood a server with frames of a kind, before and after they have logged in, while it serves others.

Each flood lasts half a second in the suite. `CONNET_TRIO_FLOOD_SECONDS=10` is what the figures are meant for.
"""

import json
import os
import sys

import pytest
import trio

from connet_trio.testing.floods import FLOODS
from connet_trio.testing.local_site import LocalSite
from connet_trio.testing.processes import ServiceProcess, open_process, status_of
from tests.processes.test_processes_transfer import MIB, answer_digest, target_service, transfer

SECONDS = float(os.environ.get("CONNET_TRIO_FLOOD_SECONDS", "0.5"))
ALLOWED_GROWTH = 10 * MIB
SERVED_WITHIN_SECONDS = 10.0
"""In which a request through the flooded server is answered, on a busy machine too."""


class Bystander:
    """Uses a service through the server again and again."""

    def __init__(self, site: LocalSite) -> None:
        self._site = site
        self.served = 0

    async def run(self) -> None:
        while True:
            with trio.fail_after(SERVED_WITHIN_SECONDS):
                await transfer(self._site, 1 << 18)
            self.served += 1


class Growth:
    """How much a process grows, at most, from one call of `take` to the next."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._before = service.resident_bytes()
        self._most = 0

    async def watch(self) -> None:
        """Look twenty times a second, for ever."""
        while True:
            self._look()
            await trio.sleep(0.05)

    def take(self) -> int:
        """Bytes; what the process has now is what it may grow from next."""
        self._look()
        grown, self._most, self._before = self._most, 0, self._service.resident_bytes()
        return grown

    def _look(self) -> None:
        self._most = max(self._most, self._service.resident_bytes() - self._before)


@pytest.mark.reliability(line=22)
@pytest.mark.parametrize("victim", ["control", "control, logged in", "relay"])
async def test_a_flooded_server_grows_little_and_serves_others(engine_site: LocalSite, victim: str) -> None:
    with trio.fail_after(60 + 4 * SECONDS * len(FLOODS)):
        async with engine_site.open_relayed() as processes, target_service(engine_site, answer_digest):
            await transfer(engine_site, 2 * MIB)  # what any transfer allocates is there before memory is looked at
            growth, bystander = Growth(processes.server), Bystander(engine_site)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(growth.watch)
                nursery.start_soon(bystander.run)
                grown = await flood(engine_site, victim, growth)
                nursery.cancel_scope.cancel()
            await transfer(engine_site, MIB)
            assert bystander.served >= len(FLOODS) * SECONDS
            page = await status_of(processes.server)
            assert page["relay"]["handler-errors"] == 0
            assert await processes.server.stop() == 0
            assert [line for line in processes.server.lines if "Traceback" in line or "failed" in line] == []
    assert {name: most for name, most in grown.items() if most > ALLOWED_GROWTH} == {}


async def flood(site: LocalSite, victim: str, growth: Growth) -> dict[str, int]:
    """Every flood there is, one after the other; how much the victim grew with each."""
    options = ["--port", str(site.relay if victim == "relay" else site.control), "--seconds", str(SECONDS)]
    options += {"control": [], "relay": ["--relay"], "control, logged in": ["--token", "client-s-token"]}[victim]
    command = [sys.executable, "-m", "connet_trio.testing.adversary", *options]
    grown = {}
    async with open_process(command, directory=site.directory) as adversary:
        for name in FLOODS:
            outcome = json.loads(await adversary.wait_line(json.dumps({"flood": name})[1:-1]))
            assert outcome["packets"] > 0, outcome
            grown[name] = growth.take()
        assert await adversary.wait() == 0
    return grown
