"""An address that has not shown that it wants our datagrams gets at most three times what came from it.

RFC 9000 sections 8.1 and 9.3; what counts is every moment, not the sum in the end.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import DialFailed
from connet_trio.identity import Credential
from connet_trio.quic.datagram_run import DatagramRun, datagrams_of
from connet_trio.quic.handshake import Listening
from connet_trio.quic.network_path import Datagram
from connet_trio.records.model import AddressPort
from connet_trio.testing.clock import run_simulated
from connet_trio.testing.network import SimulatedSocket
from tests.quic.conftest import ALPN, LISTENER, Pair, dialing, listening, open_pair, open_streams

FACTOR = 3
MINUTE = 60.0
VICTIMS = [f"192.0.2.66:{port}" for port in range(6000, 6004)]


class Ledger:
    """What a socket has received from each address and sent to it."""

    def __init__(self, pair: Pair) -> None:
        self.received: Counter[AddressPort] = Counter()
        self.sent: Counter[AddressPort] = Counter()
        self.worst: dict[AddressPort, float] = {}
        """The largest factor so far."""
        self._receive, self._send = pair.far.receive_batch, pair.far.send_batch
        pair.far.receive_batch = self._receive_batch  # type: ignore[method-assign]
        pair.far.send_batch = self._send_batch  # type: ignore[method-assign]

    def _receive_batch(self) -> list[Datagram]:
        batch = self._receive()
        for data, path in batch:
            self.received[path.remote_address] += len(data)
        return batch

    def _send_batch(self, batch: Sequence[Datagram | DatagramRun]) -> None:
        datagrams = list(datagrams_of(batch))
        for data, path in datagrams:
            remote = path.remote_address
            if str(remote) in VICTIMS:
                self.sent[remote] += len(data)
                self.worst[remote] = max(self.worst.get(remote, 0.0), self.sent[remote] / self.received[remote])
        self._send(datagrams)


def chain_of(length: int) -> Credential:
    """The listener's, behind so many certificates that nobody needs."""
    return attrs.evolve(LISTENER.server, chain=(LISTENER.server.der,) * length)


def refusing() -> Listening:
    return listening(admits=lambda address: False)


LISTENERS: dict[str, Callable[[], Listening]] = {
    "small": listening,
    "long chain": lambda: listening(credential=chain_of(12)),
    "refusing": refusing,
    "other protocol": lambda: listening(alpns=("other",)),
}


async def capture_first(pair: Pair, names: int) -> list[bytes]:
    """The first datagrams of a dialer that never reached the listener; a long list of protocols takes several."""
    long_names = [f"{number}".rjust(200, "x") for number in range(names)]
    pair.cut()
    with pytest.raises(DialFailed):
        await pair.dialer.dial(pair.address, dialing(alpns=(*long_names, ALPN)))
    pair.heal()
    return pair.near.sent[: 1 + names // 5]


@pytest.mark.reliability(line=24)
@pytest.mark.parametrize("listen", LISTENERS)
@given(seed=st.integers(0, 1 << 32), names=st.sampled_from([0, 7, 14]))
@settings(max_examples=15)
def test_a_forged_address_never_gets_more_than_three_times_what_was_sent_in_its_name(
    listen: str, seed: int, names: int
) -> None:
    async def scenario() -> None:
        luck = random.Random(seed)
        async with open_pair(seed, listen=LISTENERS[listen](), reset_key=bytes(32)) as pair:
            first = await capture_first(pair, names)
            ledger = Ledger(pair)
            sockets: list[SimulatedSocket] = [pair.network.socket(address) for address in VICTIMS]
            for _ in range(luck.randint(1, 12)):
                socket = luck.choice(sockets)
                data = luck.choice(first)
                if luck.random() < 0.2:
                    data = data[: luck.randint(1, len(data))]
                elif luck.random() < 0.2:
                    data = b"\x40" + luck.randbytes(luck.randint(20, 60))
                socket.send_batch([(data, socket.path_to(pair.address))])
                await trio.sleep(luck.choice([0, 0, 0.01, 0.3, 3.0]))
            await trio.sleep(MINUTE)
            assert max(ledger.worst.values(), default=0.0) <= FACTOR
            assert not pair.listener.connections

    run_simulated(scenario, seed=seed)


@pytest.mark.reliability(line=24)
@given(seed=st.integers(0, 1 << 32), busy=st.booleans())
@settings(max_examples=8)
def test_a_connection_that_is_said_to_have_moved_sends_no_more_than_that_before_it_is_sure(
    seed: int, busy: bool
) -> None:
    """Whoever is on the way sends a peer's datagrams on from an address that is somebody else's."""

    async def scenario() -> None:
        luck = random.Random(seed)
        async with open_pair(seed, reset_key=bytes(32)) as pair, trio.open_nursery() as nursery:
            dialled, accepted = await pair.connect()
            _, theirs = await open_streams(dialled, accepted)
            ledger = Ledger(pair)
            if busy:
                nursery.start_soon(theirs.send_all, bytes(1 << 20))
            for address in VICTIMS:
                socket = pair.network.socket(address)
                await trio.sleep(luck.choice([0.05, 0.5]))
                count = luck.randint(1, 3)

                def divert(data: bytes, socket: SimulatedSocket = socket) -> list[bytes]:
                    nonlocal count
                    if count == 0:
                        return [data]
                    count -= 1
                    socket.send_batch([(data, socket.path_to(pair.address))])
                    return []

                pair.near.outgoing = divert
                dialled.probe()
                await trio.sleep(luck.choice([0.2, 2.0]))
            await trio.sleep(5)
            assert 0 < max(ledger.worst.values()) <= FACTOR
            nursery.cancel_scope.cancel()

    run_simulated(scenario, seed=seed)
