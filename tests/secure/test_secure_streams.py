"""Streams over streams: sealed ones and TLS ones, between two ends that somebody stands between."""

import random
import ssl
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from connet_trio.concurrency import StreamBroken, splice
from connet_trio.engine.encryption import Opener, Sealer
from connet_trio.errors import RemoteProtocolError
from connet_trio.identity import EndpointIdentity, Realm, issue_identity
from connet_trio.secure import LayeredStream, TlsStream, open_tls_stream, pinned_context, seal_stream
from connet_trio.secure.tls_stream import MAX_REPLY_BYTES, _TlsLayer
from tests.concurrency.test_splice import MemoryStream, make_pair

CAPACITY = 200_000
WALL = 1_800_000_000.0
"""Unix seconds; certificates of this time are not valid by the clock of the machine."""


def identity(name: str) -> EndpointIdentity:
    return issue_identity(Realm.PEER, wall_now=WALL, entropy=random.Random(name).randbytes)


SERVER, CLIENT, OTHER = map(identity, ("server", "client", "other"))


@attrs.frozen
class Pair:
    """Both ends, and what is below each."""

    left: LayeredStream
    right: LayeredStream
    below_left: MemoryStream
    below_right: MemoryStream


async def open_sealed(below_left: MemoryStream, below_right: MemoryStream) -> Pair:
    there, back = b"t" * 32, b"b" * 32
    left = seal_stream(below_left, Sealer(there), Opener(back))
    return Pair(left, seal_stream(below_right, Sealer(back), Opener(there)), below_left, below_right)


async def open_tls(below_left: MemoryStream, below_right: MemoryStream) -> Pair:
    ends: dict[str, TlsStream] = {}

    async def shake_hands(side: str, below: MemoryStream, context: ssl.SSLContext) -> None:
        server = side == "right"
        name = None if server else SERVER.name
        ends[side] = await open_tls_stream(below, context, server_side=server, server_name=name)

    client = pinned_context(CLIENT.client, SERVER.server.der, server_side=False)
    server = pinned_context(SERVER.server, CLIENT.client.der, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake_hands, "left", below_left, client)
        nursery.start_soon(shake_hands, "right", below_right, server)
    return Pair(ends["left"], ends["right"], below_left, below_right)


Open = Callable[[MemoryStream, MemoryStream], Awaitable[Pair]]
KINDS = pytest.mark.parametrize("open_pair", [open_sealed, open_tls], ids=["sealed", "tls"])


def data_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def receive_all(stream: LayeredStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def say(stream: LayeredStream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


@KINDS
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(0, 150_000), max_size=4), capacity=st.integers(100, CAPACITY))
def test_bytes_arrive_whole_both_ways(open_pair: Open, sizes: list[int], capacity: int) -> None:
    async def scenario() -> None:
        pair = await open_pair(*make_pair(capacity))
        received: list[bytes] = []

        async def send(stream: LayeredStream) -> None:
            for size in sizes:
                await stream.send_all(data_of(size))
            await stream.send_eof()

        async def receive(stream: LayeredStream) -> None:
            received.append(await receive_all(stream))

        async with trio.open_nursery() as nursery:
            for stream in (pair.left, pair.right):
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)
        assert received == [b"".join(map(data_of, sizes))] * 2

    trio.run(scenario)


@KINDS
async def test_a_direction_ends_alone_whatever_is_under_way_in_the_other(open_pair: Open) -> None:
    pair = await open_pair(*make_pair(CAPACITY))
    await pair.right.send_all(b"unread")
    assert await pair.left.receive_some(2) == b"un"
    await pair.right.send_all(b", and more")
    await say(pair.left, b"question")
    assert await receive_all(pair.right) == b"question"
    await say(pair.right, b", answer")
    assert await receive_all(pair.left) == b"read, and more, answer"
    assert await pair.left.receive_some() == b""
    await pair.left.send_eof()  # again, which is nothing
    with pytest.raises(trio.ClosedResourceError):
        await pair.left.send_all(b"x")


@KINDS
async def test_a_splice_in_the_middle_of_records_carries_ends(open_pair: Open) -> None:
    """What a source or destination does with it: one side local, the other encrypted."""
    (far, near), below = make_pair(CAPACITY), make_pair(CAPACITY)
    pair = await open_pair(*below)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(splice, near, pair.left)
        await far.send_all(b"question")
        await far.send_eof()
        assert await receive_all(pair.right) == b"question"
        await say(pair.right, data_of(100_000))
        assert await far.receive_all() == data_of(100_000)


@KINDS
async def test_a_receiver_that_does_not_read_holds_its_sender(open_pair: Open, nursery: trio.Nursery) -> None:
    pair = await open_pair(*make_pair(CAPACITY))
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await pair.left.send_all(bytes(10_000))
            sent += 10_000

    nursery.start_soon(flood)
    await wait_all_tasks_blocked()
    assert CAPACITY - 20_000 <= sent <= CAPACITY
    assert await pair.right.receive_some(10_000)  # one read below takes what is held there, and no more
    await wait_all_tasks_blocked()
    assert sent <= 2 * CAPACITY
    nursery.cancel_scope.cancel()


@KINDS
async def test_who_abandons_a_direction_says_so_with_its_code(open_pair: Open) -> None:
    pair = await open_pair(*make_pair(CAPACITY))
    told: list[int] = []
    pair.left.on_stopped(told.append)
    pair.right.on_reset(told.append)
    pair.right.stop(9)
    pair.left.reset(7)
    with pytest.raises(StreamBroken):
        await pair.left.send_all(b"x")
    assert 9 in told
    other = await open_pair(*make_pair(CAPACITY))
    other.right.on_reset(told.append)
    other.left.abort(7)
    with pytest.raises(StreamBroken) as reset:
        await other.right.receive_some()
    assert reset.value.code == 7
    assert 7 in told


def flip_a_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@KINDS
@pytest.mark.parametrize("meddle", [flip_a_bit, lambda data: data + data], ids=["altered", "repeated"])
async def test_bytes_that_were_meddled_with_end_the_whole_stream(
    open_pair: Open, meddle: Callable[[bytes], bytes]
) -> None:
    pair = await open_pair(*make_pair(CAPACITY))
    await pair.left.send_all(b"pay 5 to bob")
    way = pair.below_right.incoming
    way.held = meddle(way.held)
    with pytest.raises(StreamBroken, match=r"does not open|TLS: "):
        await pair.right.receive_some()
    with pytest.raises(StreamBroken):
        await pair.right.receive_some()
    with pytest.raises(StreamBroken):
        await pair.right.send_all(b"x")
    with pytest.raises(StreamBroken):  # both directions, and the other end sees it
        await pair.left.receive_some()
    with pytest.raises(StreamBroken):
        await pair.left.send_all(b"x")


async def test_a_sealed_stream_that_ends_inside_a_record_is_no_whole_one() -> None:
    pair = await open_sealed(*make_pair(CAPACITY))
    await pair.left.send_all(b"abc")
    pair.below_right.incoming.held = pair.below_right.incoming.held[:-1]
    await pair.below_left.send_eof()
    with pytest.raises(StreamBroken, match="ended inside a record"):
        await pair.right.receive_some()


async def test_a_tls_stream_that_ends_without_saying_so_is_no_whole_one() -> None:
    pair = await open_tls(*make_pair(CAPACITY))
    await pair.left.send_all(b"abc")
    await pair.below_left.send_eof()
    assert await pair.right.receive_some() == b"abc"
    with pytest.raises(StreamBroken, match="cut short"):
        await pair.right.receive_some()


async def test_only_an_end_that_nobody_between_can_bring_about_is_whole() -> None:
    sealed, tls = await open_sealed(*make_pair(CAPACITY)), await open_tls(*make_pair(CAPACITY))
    for pair in (sealed, tls):
        assert pair.left.ends_are_whole
        pair.below_left.whole = False
    assert not sealed.left.ends_are_whole
    assert tls.left.ends_are_whole


class KeptOpen(MemoryStream):
    """The fake abandons what it closes; a QUIC stream ends it."""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@KINDS
async def test_closing_says_the_end(open_pair: Open) -> None:
    below_left, below_right = make_pair(CAPACITY)
    pair = await open_pair(KeptOpen(below_left.incoming, below_left.outgoing), below_right)
    await pair.left.send_all(b"all of it")
    await pair.left.aclose()
    assert await receive_all(pair.right) == b"all of it"


@KINDS
async def test_closing_in_a_hurry_says_that_it_is_not_the_whole(open_pair: Open) -> None:
    pair = await open_pair(*make_pair(CAPACITY))
    await pair.left.send_all(b"not all of it")
    with trio.move_on_after(0):
        await pair.left.aclose()
    with pytest.raises(StreamBroken):
        await receive_all(pair.right)


@KINDS
async def test_what_was_cut_off_is_not_gone_on_with(open_pair: Open) -> None:
    pair = await open_pair(*make_pair(20_000))
    with trio.move_on_after(0):
        await pair.left.send_all(b"never begun")
    await pair.left.send_all(b"fine")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.left.send_all, bytes(100_000))
            await wait_all_tasks_blocked()
            scope.cancel()
    with pytest.raises(trio.BrokenResourceError, match="broken off"):
        await pair.left.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match="broken off"):
        await pair.left.send_eof()


@KINDS
async def test_one_task_at_a_time_sends_and_one_receives(open_pair: Open) -> None:
    pair = await open_pair(*make_pair(1000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.left.receive_some)
        nursery.start_soon(pair.left.send_all, bytes(10_000))
        await wait_all_tasks_blocked()
        for clash in (pair.left.receive_some, pair.left.send_eof, lambda: pair.left.send_all(b"x")):
            with pytest.raises(trio.BusyResourceError):
                await clash()
        nursery.cancel_scope.cancel()


async def test_no_number_of_bytes_but_a_positive_one_is_asked_for() -> None:
    pair = await open_sealed(*make_pair(CAPACITY))
    with pytest.raises(ValueError, match="at least 1"):
        await pair.left.receive_some(0)


# --- TLS alone


async def test_each_side_knows_whose_certificate_it_has_seen() -> None:
    pair = await open_tls(*make_pair(CAPACITY))
    assert isinstance(pair.left, TlsStream)
    assert isinstance(pair.right, TlsStream)
    assert pair.left.peer_certificate == SERVER.server.der
    assert pair.right.peer_certificate == CLIENT.client.der


@pytest.mark.parametrize(
    ("shown_by_server", "shown_by_client"), [(OTHER, CLIENT), (SERVER, OTHER)], ids=["server", "client"]
)
async def test_a_certificate_that_is_not_the_expected_one_is_refused(
    shown_by_server: EndpointIdentity, shown_by_client: EndpointIdentity
) -> None:
    below_client, below_server = make_pair(CAPACITY)
    failures: dict[str, str] = {}

    async def shake_hands(side: str, below: MemoryStream, context: ssl.SSLContext) -> None:
        name = SERVER.name if side == "client" else None
        try:
            stream = await open_tls_stream(below, context, server_side=side == "server", server_name=name)
            await stream.receive_some()
        except (RemoteProtocolError, trio.BrokenResourceError) as exc:
            failures[side] = str(exc)
            below.reset()

    client = pinned_context(shown_by_client.client, SERVER.server.der, server_side=False)
    server = pinned_context(shown_by_server.server, CLIENT.client.der, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake_hands, "client", below_client, client)
        nursery.start_soon(shake_hands, "server", below_server, server)
    judge = "client" if shown_by_server is OTHER else "server"
    assert failures.keys() == {"client", "server"}
    assert failures[judge].startswith("TLS: certificate not accepted: ")


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b""])
async def test_what_does_not_speak_tls_is_refused(garbage: bytes) -> None:
    below, other = make_pair(CAPACITY)
    context = pinned_context(SERVER.server, CLIENT.client.der, server_side=True)
    if garbage:
        await other.send_all(garbage)
    await other.send_eof()
    with pytest.raises(RemoteProtocolError, match="TLS: "):
        await open_tls_stream(below, context, server_side=True)


async def test_a_name_that_tls_cannot_carry_is_refused() -> None:
    below, _ = make_pair(CAPACITY)
    context = pinned_context(CLIENT.client, SERVER.server.der, server_side=False)
    with pytest.raises(RemoteProtocolError, match="none that TLS can carry"):
        await open_tls_stream(below, context, server_name="a" * 64 + ".invalid")


def test_a_peer_that_has_tls_answer_without_end_is_given_up() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    class Answering:
        """Answers each record that it is fed, as OpenSSL does to those that ask for new keys."""

        def read(self, size: int) -> bytes:
            if not incoming.read(1):
                raise ssl.SSLWantReadError
            outgoing.write(bytes(24))
            return b"x"

    layer = _TlsLayer(Answering(), incoming, outgoing)  # type: ignore[arg-type]
    enough = MAX_REPLY_BYTES // 24
    assert layer.unwrap(bytes(enough)) == b"x" * enough
    with pytest.raises(RemoteProtocolError, match="too many key updates"):
        layer.unwrap(bytes(1))
