"""Logins that are begun and never finished, as by a client that starts and dies over and over again.

Measured is what stays, as resident memory of a process that does nothing else: control, and those who dial it as well.
At any time no more logins are under way than while it warmed up, since what many of them occupy at once need not go
back to the system. Run as a program, this file is that process.
"""

import gc
import resource
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import attrs
import pytest
import trio

from connet_trio.errors import DialFailed
from connet_trio.identity import OperatorTrust
from connet_trio.quic import (
    CLIENT_TO_CONTROL,
    Connection,
    Dialing,
    QuicEngine,
    RecordStream,
    Transport,
    introduce,
    open_transport,
)
from connet_trio.records.control import Authenticate
from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.deployment import (
    CLIENTS_PORT,
    CONTROL_HOST,
    START,
    TOKEN,
    Deployment,
    simulated_deployment,
)
from connet_trio.testing.network import Link
from connet_trio.wire import ConnectionKind, codecs, protocol_names, wire_version

CONTROL = AddressPort(ip_address(CONTROL_HOST), CLIENTS_PORT)
LOGINS, LANES = 1000, 4
WARM_UP = 400
ONE_WAY_SECONDS = 0.01
HALF_WAY_SECONDS = 1.5 * ONE_WAY_SECONDS
"""What was sent has arrived, and what it is answered with has not."""
FORGOTTEN_SECONDS = 40.0
"""Longer than any handshake, exchange or idle timeout."""
ALLOWED_GROWTH_BYTES = 5 << 20


class Logins:
    """Dials control from one address, always as the same client."""

    def __init__(self, deployment: Deployment, transport: Transport) -> None:
        self._transport = transport
        self._dialing = Dialing(
            alpns=protocol_names(ConnectionKind.CLIENT_TO_CONTROL),
            trust=OperatorTrust((deployment.credential.der,), CONTROL_HOST),
            server_name=CONTROL_HOST,
        )
        self.request = Authenticate(token=TOKEN)

    async def dial(self) -> Connection:
        return await self._transport.dial(CONTROL, self._dialing)

    async def log_in(self) -> bytes:
        """A whole login, which ends well; returns what makes control recognize the client."""
        connection = await self.dial()
        answer = await introduce(connection, CLIENT_TO_CONTROL, self.request, seconds=5)
        connection.close(0, "connection closed")
        return answer.reconnect_token

    async def abandon_after_initial(self) -> None:
        """Control has begun a handshake, and hears no more of it."""

        async def dial_in_vain() -> None:
            try:
                await self.dial()
            except DialFailed:
                return
            raise AssertionError("connected, though it was abandoned")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial_in_vain)
            await trio.sleep(HALF_WAY_SECONDS)
            for connection in self._transport.connections:
                if not connection.is_closed:
                    connection.abandon("the power is gone")

    async def abandon_after_handshake(self) -> None:
        """Control waits for a request."""
        connection = await self.dial()
        await trio.sleep(HALF_WAY_SECONDS)
        connection.abandon("the power is gone")

    async def abandon_within_request(self) -> None:
        """Control waits for the rest of a request, on a connection that is closed."""
        connection = await self.dial()
        await (await connection.open_stream()).send_all(b"\\0\\0")
        await trio.sleep(HALF_WAY_SECONDS)
        connection.close(0, "connection closed")

    async def abandon_after_request(self) -> None:
        """Control has let the client in, which does not know."""
        connection = await self.dial()
        version = wire_version(ConnectionKind.CLIENT_TO_CONTROL, connection.alpn)
        records = RecordStream(await connection.open_stream(), version)
        await records.send(codecs.CONTROL_AUTHENTICATE, self.request)
        await trio.sleep(HALF_WAY_SECONDS)
        connection.abandon("the power is gone")

    async def run(self, count: int) -> None:
        """So many logins, each kind in its turn, each when control has forgotten the one before."""
        ways = (
            self.abandon_after_initial,
            self.abandon_after_handshake,
            self.abandon_within_request,
            self.abandon_after_request,
        )
        for number in range(count):
            await ways[number % len(ways)]()
            await trio.sleep(FORGOTTEN_SECONDS)


async def hold_lane(
    deployment: Deployment, number: int, *, task_status: trio.TaskStatus[Logins] = trio.TASK_STATUS_IGNORED
) -> None:
    """An address to dial from."""
    socket = deployment.network.socket(f"203.0.113.{100 + number}:0")
    wall_clock, quic_engine = lambda: START + trio.current_time(), deployment.quic_engine
    async with open_transport(socket, wall_clock=wall_clock, quic_engine=quic_engine) as transport:
        task_status.started(Logins(deployment, transport))
        await trio.sleep_forever()


async def abandon(lanes: list[Logins], count: int) -> None:
    """That many logins from all lanes together; returns when control has had the time to forget them."""
    async with trio.open_nursery() as nursery:
        for lane in lanes:
            nursery.start_soon(lane.run, count // len(lanes))
    gc.collect()


async def measure(quic_engine: QuicEngine) -> int:
    """By how many bytes `LOGINS` make this process grow, after some that make it allocate what any would."""
    link = Link(delay=ONE_WAY_SECONDS)
    async with simulated_deployment(seed=13, link=link, relays=0, quic_engine=quic_engine) as deployment:
        await (await deployment.add_client()).add_destination("db")
        async with trio.open_nursery() as nursery:
            lanes = [await nursery.start(hold_lane, deployment, number) for number in range(LANES)]
            reconnect_token = await lanes[0].log_in()
            for lane in lanes:
                lane.request = attrs.evolve(lane.request, reconnect_token=reconnect_token)
            await abandon(lanes, WARM_UP)
            tasks, resident = trio.lowlevel.current_statistics().tasks_living, resident_bytes()
            await abandon(lanes, LOGINS)
            growth = resident_bytes() - resident
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            status = deployment.control.status()
            assert (len(status.clients), list(status.endpoints)) == (1, ["db"])
            assert status.handler_errors == 0
            nursery.cancel_scope.cancel()
    return growth


def resident_bytes() -> int:
    """What this process occupies, from /proc."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


@pytest.mark.reliability(line=13)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell what a process occupies")
def test_a_thousand_abandoned_logins_of_one_client_leave_no_task_and_hardly_any_memory(
    quic_engine: QuicEngine,
) -> None:
    command = [sys.executable, "-W", "error", __file__, quic_engine.value]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) <= ALLOWED_GROWTH_BYTES


if __name__ == "__main__":
    sys.stdout.write(str(run_simulated(measure, QuicEngine(sys.argv[1]), seed=13)))
