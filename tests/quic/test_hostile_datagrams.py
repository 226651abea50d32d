"""No bytes of anybody end a transport; the connection they are for may end."""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import ConnetError, DialFailed
from connet_trio.quic import Stream
from connet_trio.quic.network_path import NetworkPath
from connet_trio.testing.clock import run_simulated
from tests.quic.conftest import Pair, dialing, open_pair, open_streams


def never_ends_the_transport(meddle: Callable[[Pair, random.Random], None], seed: int) -> None:
    """Let two peers talk while `meddle` is at work; afterwards a new connection must work."""

    async def scenario() -> None:
        async with open_pair(seed) as pair:
            with trio.move_on_after(5):
                try:
                    ours, theirs = await pair.open_streams()
                    meddle(pair, random.Random(seed))
                    await talk(ours, theirs)
                except (ConnetError, trio.BrokenResourceError):
                    pass
            pair.near.incoming = pair.near.outgoing = pair.far.incoming = pair.far.outgoing = lambda data: [data]
            ours, theirs = await pair.open_streams()
            await ours.send_all(b"works")
            assert await theirs.receive_some() == b"works"

    run_simulated(scenario, seed=seed)


async def talk(ours: Stream, theirs: Stream) -> None:
    for size in (10, 3000, 100):
        await ours.send_all(bytes(size))
        while size > 0:
            size -= len(await theirs.receive_some())
        await theirs.send_all(b"ok")
        await ours.receive_some()


def mutated(data: bytes, luck: random.Random) -> list[bytes]:
    """A datagram as a bad network or a bad neighbour delivers it."""
    altered = bytearray(data)
    match luck.randrange(6):
        case 0:
            for _ in range(luck.randint(1, 5)):
                altered[luck.randrange(len(altered))] = luck.randrange(256)
        case 1:
            altered = altered[: luck.randrange(len(altered))]
        case 2:
            altered += luck.randbytes(luck.randint(1, 100))
        case 3:
            altered = bytearray([altered[0]]) + luck.randbytes(len(altered))
        case 4:
            return [data, luck.randbytes(luck.randint(1, 1300)), data]
        case _:
            return [data]
    return [bytes(altered), data] if luck.random() < 0.7 else [bytes(altered)]


@pytest.mark.reliability(line=33)
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=40)
def test_altered_datagrams_never_end_a_transport(seed: int) -> None:
    def meddle(pair: Pair, luck: random.Random) -> None:
        for socket in (pair.near, pair.far):
            socket.incoming = lambda data: mutated(data, luck)

    never_ends_the_transport(meddle, seed)


@pytest.mark.reliability(line=33)
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=40)
def test_a_peer_that_seals_nonsense_never_ends_a_transport(seed: int) -> None:
    """The packets decrypt, and then hold frames that break every rule."""

    def meddle(pair: Pair, luck: random.Random) -> None:
        side = luck.choice([pair.dialer, pair.listener])
        for connection in side.connections:
            for keys in connection.core._cryptos.values():
                vars(keys)["encrypt_packet"] = sealing_nonsense(keys.encrypt_packet, luck)

    never_ends_the_transport(meddle, seed)


def sealing_nonsense(
    encrypt: Callable[[bytes, bytes, int], bytes], luck: random.Random
) -> Callable[[bytes, bytes, int], bytes]:
    frame_types = [*range(1, 0x1F), 0x21, 0x30, 0x31]

    def encrypt_nonsense(header: bytes, payload: bytes, number: int) -> bytes:
        frames = bytearray()
        while len(frames) < len(payload):
            frames.append(luck.choice(frame_types))
            frames += bytes(luck.choice([0, 1, 2, 4, 8, 0x40, 0x80, 0xC0, 0xFF]) for _ in range(luck.randint(0, 6)))
        altered = bytes(frames[: len(payload)]) if luck.random() < 0.5 else payload
        return encrypt(header, altered, number)

    return encrypt_nonsense


@pytest.mark.reliability(line=33)
@given(
    datagrams=st.lists(
        st.binary(max_size=100)
        | st.tuples(st.sampled_from([0x00, 0x40, 0x80, 0xC0, 0xE0, 0xF0]), st.binary(max_size=60)).map(
            lambda parts: (bytes([parts[0]]) + b"\x00\x00\x00\x01\x08" + parts[1]).ljust(1200, b"\x00")
        ),
        max_size=8,
    )
)
@settings(max_examples=40)
def test_first_datagrams_of_any_content_never_end_a_transport(datagrams: list[bytes]) -> None:
    async def scenario() -> None:
        async with open_pair(reset_key=bytes(32)) as pair:
            path = NetworkPath(("192.0.2.66", 6666))
            batch = [(data, path) for data in datagrams]
            receive = pair.far.receive_batch
            pair.far.receive_batch = lambda: [batch.pop()] if batch else receive()  # type: ignore[method-assign]
            await open_streams(*await pair.connect())
            assert batch == []
            await trio.sleep(20)
            assert len(pair.listener.connections) == 1

    run_simulated(scenario, seed=0)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=40)
def test_an_altered_first_initial_never_ends_a_transport(seed: int) -> None:
    async def scenario() -> None:
        luck = random.Random(seed)
        async with open_pair(seed) as pair:
            pair.far.incoming = lambda data: mutated(data, luck)
            with suppress(DialFailed):
                await pair.dialer.dial(pair.address, dialing(handshake_idle_seconds=1.0))
            pair.far.incoming = lambda data: [data]
            await pair.connect()

    run_simulated(scenario, seed=seed)
