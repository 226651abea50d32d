"""Who gets a connection: certificates, names, protocols, addresses, room and time, seen from both sides."""

import logging
from collections.abc import Callable, Sequence

import pytest
import trio
from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]

from connet_trio.errors import ConnetError, DialFailed
from connet_trio.identity import PinnedServer
from connet_trio.quic import Connection, Dialing, Transport, open_transport
from connet_trio.quic import core as core_module
from connet_trio.quic.engine_options import engine_configuration
from connet_trio.quic.limits import ACCEPT_QUEUE
from connet_trio.records.model import AddressPort
from connet_trio.testing.network import Link, SimulatedNetwork, SimulatedSocket
from tests.quic.conftest import (
    ALPN,
    DIALER,
    FAR,
    LISTENER,
    NEAR,
    STRANGER,
    WALL_NOW,
    Pair,
    dialing,
    listening,
    open_pair,
    open_streams,
    virtual_time,
    wall_clock,
)

pytestmark = virtual_time

YEAR = 365 * 86_400.0
LONG_HEADER = 0x80


async def refusal(pair: Pair, how: Dialing) -> ConnetError:
    """How a dial that must not succeed ends: at once, or when the listener has judged our certificate."""
    with trio.fail_after(2):
        try:
            connection = await pair.dialer.dial(pair.address, how)
        except DialFailed as exc:
            return exc
        return await connection.wait_closed()


async def assert_nothing_is_left(*transports: Transport) -> None:
    await trio.sleep(3)
    for transport in transports:
        assert transport.connections == ()


async def test_both_sides_know_each_other(pair: Pair) -> None:
    dialled, accepted = await pair.connect()
    assert dialled.peer_certificate == LISTENER.server.der
    assert accepted.peer_certificate == DIALER.client.der
    assert dialled.alpn == accepted.alpn == ALPN
    assert dialled.remote_address == pair.address
    assert accepted.remote_address == pair.near.local_address
    assert dialled.dialled
    assert not accepted.dialled


@pytest.mark.parametrize("asked", [LISTENER.name, LISTENER.name.upper()])
async def test_the_listener_knows_which_name_was_asked_for(asked: str) -> None:
    answer = listening().choose(LISTENER.name)
    async with open_pair(listen=listening(choose=lambda name: answer)) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(server_name=asked))
        accepted = await pair.listener.accept()
        assert accepted.server_name == LISTENER.name
        assert dialled.server_name is None


async def test_a_listener_that_is_asked_for_an_address_knows_no_name() -> None:
    answer = listening().choose(LISTENER.name)
    async with open_pair(listen=listening(choose=lambda name: answer)) as pair:
        await pair.dialer.dial(pair.address, dialing(server_name="192.0.2.1"))
        assert (await pair.listener.accept()).server_name is None


@pytest.mark.reliability(line=27)
async def test_another_certificate_than_the_expected_one_ends_the_dial(pair: Pair) -> None:
    trust = PinnedServer(STRANGER.server.der, LISTENER.name)
    with pytest.raises(DialFailed, match=r"^192\.0\.2\.1:4000: the server certificate is not the one announced"):
        await pair.dialer.dial(pair.address, dialing(trust=trust))
    await assert_nothing_is_left(pair.dialer, pair.listener)


@pytest.mark.reliability(line=27)
@pytest.mark.parametrize(("passed", "words"), [(-YEAR, "is not valid before"), (100 * YEAR, "expired at")])
async def test_a_listener_whose_certificate_is_not_valid_now_is_not_accepted(passed: float, words: str) -> None:
    async with open_pair(dialer_clock=lambda: WALL_NOW + passed) as pair:
        with pytest.raises(DialFailed, match=f"server certificate {words}"):
            await pair.dialer.dial(pair.address, dialing())


@pytest.mark.reliability(line=27)
@pytest.mark.parametrize("passed", [-YEAR, 100 * YEAR])
async def test_a_dialer_whose_certificate_is_not_valid_now_is_not_accepted(passed: float) -> None:
    async with open_pair(listener_clock=lambda: WALL_NOW + passed) as pair:
        assert "does not expect our certificate" in str(await refusal(pair, dialing()))


@pytest.mark.reliability(line=27)
async def test_a_dialer_with_another_certificate_is_turned_away(pair: Pair) -> None:
    failure = await refusal(pair, dialing(credential=STRANGER.client))
    assert "the listener does not expect our certificate" in str(failure)
    await assert_nothing_is_left(pair.dialer, pair.listener)


@pytest.mark.reliability(line=27)
async def test_a_dialer_without_a_certificate_is_turned_away(pair: Pair) -> None:
    assert "the listener wants a client certificate" in str(await refusal(pair, dialing(credential=None)))


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (dialing(credential=STRANGER.client), 0x130),
        (dialing(credential=None), 0x174),
    ],
)
async def test_a_certificate_turned_away_has_the_code_of_the_original(pair: Pair, how: Dialing, code: int) -> None:
    connection = await pair.dialer.dial(pair.address, how)
    assert (await connection.wait_closed()).quic_error == code


async def test_nobody_accepts_a_connection_that_was_turned_away(pair: Pair) -> None:
    await refusal(pair, dialing(credential=STRANGER.client))
    _, accepted = await pair.connect()
    assert accepted.peer_certificate == DIALER.client.der


@pytest.mark.parametrize("name", ["elsewhere.example", "192.0.2.1"])
async def test_a_listener_refuses_other_server_names_and_none(pair: Pair, name: str) -> None:
    with pytest.raises(DialFailed, match="the listener does not know the server name we asked for"):
        await pair.dialer.dial(pair.address, dialing(server_name=name))


async def test_no_protocol_in_common_hints_at_old_releases(pair: Pair) -> None:
    with pytest.raises(DialFailed, match=r"speaks none of the protocols we offer \(connet 0\.12 or older"):
        await pair.dialer.dial(pair.address, dialing(alpns=("connet-peer/0.9",)))


async def test_no_protocol_at_all_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    configure = engine_configuration

    def configure_without_protocol(how: Dialing | None, *others: object) -> object:
        configuration = configure(how, *others)  # type: ignore[arg-type]
        if how is not None:
            configuration.alpn_protocols = None
        return configuration

    monkeypatch.setattr(core_module, "engine_configuration", configure_without_protocol)
    with pytest.raises(DialFailed, match="speaks none of the protocols we offer"):
        await pair.dialer.dial(pair.address, dialing())


async def test_the_listener_decides_which_protocol_is_spoken() -> None:
    async with open_pair(listen=listening(alpns=("new", "old"))) as pair:
        dialled = await pair.dialer.dial(pair.address, dialing(alpns=("old", "new")))
        assert dialled.alpn == "new"


async def test_an_address_that_may_not_dial_is_refused() -> None:
    async with open_pair(listen=listening(admits=lambda address: False)) as pair:
        with pytest.raises(DialFailed, match="the listener refuses connections from this address") as failure:
            await pair.dialer.dial(pair.address, dialing())
        assert "0x" not in str(failure.value)
        await assert_nothing_is_left(pair.dialer, pair.listener)


async def test_the_listener_is_asked_about_the_address_of_the_dialer() -> None:
    asked: list[AddressPort] = []
    async with open_pair(listen=listening(admits=lambda address: not asked.append(address))) as pair:  # type: ignore[func-returns-value]
        await pair.connect()
        assert asked == [pair.near.local_address]


async def test_connections_that_nobody_accepts_are_refused_once_the_queue_is_full(pair: Pair) -> None:
    for _ in range(ACCEPT_QUEUE):
        await pair.dialer.dial(pair.address, dialing())
    await trio.sleep(1)
    with pytest.raises(DialFailed, match="has no room"):
        await pair.dialer.dial(pair.address, dialing())
    await pair.listener.accept()
    await pair.dialer.dial(pair.address, dialing())


async def test_all_that_wait_are_accepted_at_once(pair: Pair, nursery: trio.Nursery) -> None:
    batches: list[list[Connection]] = []

    async def accept() -> None:
        while True:
            batches.append(await pair.listener.accept_batch())

    for _ in range(3):
        await pair.dialer.dial(pair.address, dialing())
    await trio.sleep(1)
    nursery.start_soon(accept)
    await trio.sleep(1)
    await pair.dialer.dial(pair.address, dialing())
    await trio.sleep(1)
    assert list(map(len, batches)) == [3, 1]


async def test_handshakes_at_the_same_time_do_not_overfill_the_queue(pair: Pair) -> None:
    ends: list[ConnetError | None] = []

    async def dial() -> None:
        connection = await pair.dialer.dial(pair.address, dialing())
        with trio.move_on_after(1):
            ends.append(await connection.wait_closed())
            return
        ends.append(None)

    async with trio.open_nursery() as nursery:
        for _ in range(ACCEPT_QUEUE + 8):
            nursery.start_soon(dial)
    assert ends.count(None) == ACCEPT_QUEUE
    assert sum("has no room" in str(end) for end in ends) == 8


async def test_a_dial_to_nowhere_fails_in_bounded_time_and_says_so(pair: Pair) -> None:
    begun = trio.current_time()
    with pytest.raises(DialFailed, match=r"192\.0\.2\.9:1: no answer within"):
        await pair.dialer.dial(AddressPort(pair.address.address.__class__("192.0.2.9"), 1), dialing())
    assert 5 <= trio.current_time() - begun <= 10
    await assert_nothing_is_left(pair.dialer)


async def test_a_dialer_can_be_told_to_be_impatient(pair: Pair) -> None:
    pair.cut()
    begun = trio.current_time()
    with pytest.raises(DialFailed, match="no answer"):
        await pair.dialer.dial(pair.address, dialing(handshake_idle_seconds=1.0))
    assert 1 <= trio.current_time() - begun <= 2.1


async def test_a_dial_into_another_address_family_fails_at_once(pair: Pair) -> None:
    with pytest.raises(DialFailed, match="has no IPv6"):
        await pair.dialer.dial(SimulatedNetwork(0).socket("[2001:db8::1]:1").local_address, dialing())


async def test_a_listener_gives_up_a_dialer_that_fell_silent(pair: Pair) -> None:
    with trio.move_on_after(0.03):
        await pair.dialer.dial(pair.address, dialing())
    pair.cut()
    await trio.sleep(1)
    assert len(pair.listener.connections) == 1
    await trio.sleep(5)
    assert not pair.listener.connections


async def test_a_handshake_that_drags_on_ends_after_ten_seconds_at_the_listener() -> None:
    async with open_pair(link=Link(delay=6)) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.dialer.dial, pair.address, dialing(handshake_idle_seconds=30.0))
        await trio.sleep(6 + 9.9)
        assert len(pair.listener.connections) == 1
        await trio.sleep(0.2)
        assert not pair.listener.connections
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [0, 0.01, 0.03, 0.05, 0.07])
async def test_a_cancelled_dial_leaves_nothing_behind(pair: Pair, seconds: float) -> None:
    with trio.move_on_after(seconds) as scope:
        await pair.dialer.dial(pair.address, dialing())
        await trio.sleep_forever()
    assert scope.cancelled_caught
    for connection in pair.dialer.connections:
        connection.close(0, "test over")
    await trio.sleep(2)
    assert not pair.dialer.connections
    await trio.sleep(10)
    assert not pair.listener.connections


async def test_two_who_dial_each_other_get_two_connections(pair: Pair) -> None:
    pair.dialer.listening = listening()
    connections: list[Connection] = []

    async def dial(transport: Transport, address: AddressPort) -> None:
        connections.append(await transport.dial(address, dialing()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, pair.dialer, pair.address)
        nursery.start_soon(dial, pair.listener, pair.near.local_address)
    connections += [await pair.dialer.accept(), await pair.listener.accept()]
    assert [connection.is_closed for connection in connections] == [False] * 4
    assert sorted(str(connection.remote_address) for connection in connections) == 2 * [FAR] + 2 * [NEAR]


async def test_who_does_not_listen_does_not_answer(pair: Pair) -> None:
    pair.listener.listening = None
    with pytest.raises(DialFailed, match="no answer"):
        await pair.dialer.dial(pair.address, dialing())
    assert pair.far.sent == []


def hold_back_the_first(data: bytes, held: list[bytes]) -> Sequence[bytes]:
    """The first datagram comes after the second; both come twice."""
    if len(held) < 2:
        held.append(data)
        return [] if len(held) == 1 else [held[1], held[0], held[1], held[0]]
    return [data]


async def test_a_client_hello_in_several_datagrams_may_arrive_in_any_order(pair: Pair) -> None:
    """Trap T7: that of the original takes two."""
    long_names = tuple(f"{number}".rjust(200, "x") for number in range(7))
    held: list[bytes] = []
    pair.near.outgoing = lambda data: hold_back_the_first(data, held)
    dialled = await pair.dialer.dial(pair.address, dialing(alpns=(*long_names, ALPN)))
    assert all(datagram[0] & LONG_HEADER for datagram in held)
    assert dialled.alpn == ALPN
    accepted = await pair.listener.accept()
    await open_streams(dialled, accepted)
    assert len(pair.listener.connections) == 1


async def attack(pair: Pair, datagrams: Sequence[bytes]) -> list[bytes]:
    """Send from an address nobody knows; what came back within a minute."""
    attacker: SimulatedSocket = pair.network.socket("192.0.2.66:6666")
    path = attacker.path_to(pair.address)
    attacker.send_batch([(datagram, path) for datagram in datagrams])
    await trio.sleep(60)
    return [data for data, _ in attacker.receive_batch()]


async def capture_initial(pair: Pair) -> bytes:
    """A first datagram of a dialer, which never reached the listener."""
    pair.cut()
    with pytest.raises(DialFailed):
        await pair.dialer.dial(pair.address, dialing())
    pair.heal()
    initial = pair.near.sent[0]
    assert len(initial) == 1200
    return initial


async def test_what_makes_no_sense_is_not_answered(pair: Pair) -> None:
    initial = await capture_initial(pair)
    nonsense = [
        b"\x00",
        b"\x40",
        b"\x80",
        b"\xff" * 1200,
        bytes(1200),
        b"\x40" + bytes(30),
        initial[:1199],
        initial[:20],
        initial[:1] + b"\x1a\x2a\x3a\x4a" + initial[5:],  # a version nobody speaks
        initial[:1] + b"\x6b\x33\x43\xcf" + initial[5:],  # version 2
        initial[:1] + bytes(4) + initial[5:],  # version negotiation
        b"\xf0" + initial[1:],  # retry
        initial[:5] + b"\x07" + initial[6:],  # a destination ID that is too short
        initial[:5] + b"\x15" + initial[6:],  # one that is too long
        initial[:100] + bytes(1100),  # does not decrypt
    ]
    assert await attack(pair, nonsense) == []
    assert pair.listener.connections == ()
    await pair.connect()


async def test_an_empty_datagram_is_ignored(pair: Pair) -> None:
    pair.far.incoming = lambda data: [b"", data]
    await pair.connect()


@pytest.mark.reliability(line=24)
async def test_an_address_that_has_not_answered_gets_three_times_what_it_sent_at_most(pair: Pair) -> None:
    initial = await capture_initial(pair)
    answers = await attack(pair, [initial])
    assert 0 < sum(map(len, answers)) <= 3 * len(initial)


@pytest.mark.parametrize("listen", [listening(admits=lambda address: False), listening(alpns=("other",))])
async def test_a_refusal_is_no_amplifier_either(listen: object) -> None:
    async with open_pair(listen=listen) as pair:  # type: ignore[arg-type]
        initial = await capture_initial(pair)
        answers = await attack(pair, [initial] * 20)
        assert 0 < sum(map(len, answers)) <= 3 * len(initial)


def replace_certificate(monkeypatch: pytest.MonkeyPatch, theirs: bytes, alter: Callable[[bytes], bytes]) -> None:
    push = tls.push_certificate

    def push_altered(buf: Buffer, certificate: tls.Certificate) -> None:
        if certificate.certificates and certificate.certificates[0][0] == theirs:
            certificate.certificates[0] = (alter(theirs), b"")
        push(buf, certificate)

    monkeypatch.setattr(tls, "push_certificate", push_altered)


ALTERATIONS = {
    "of a version that does not exist": lambda der: der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1),
    "that is none": lambda der: b"\x30\x03\x02\x01\x00",
    "cut short": lambda der: der[:-1],
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
async def test_a_broken_client_certificate_costs_its_own_connection_and_no_alarm(
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    alter: Callable[[bytes], bytes],
) -> None:
    _, bystander = await pair.connect()
    replace_certificate(monkeypatch, DIALER.client.der, alter)
    assert "does not accept our certificate" in str(await refusal(pair, dialing()))
    assert not bystander.is_closed
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
async def test_a_broken_server_certificate_ends_the_dial(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, alter: Callable[[bytes], bytes]
) -> None:
    replace_certificate(monkeypatch, LISTENER.server.der, alter)
    with pytest.raises(DialFailed):
        await pair.dialer.dial(pair.address, dialing())


async def test_a_dialer_is_not_impressed_by_strangers(pair: Pair) -> None:
    stranger = pair.network.socket("192.0.2.66:6666")
    path = stranger.path_to(pair.near.local_address)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.dialer.dial, pair.address, dialing())
        await trio.sleep(0.01)
        (connection,) = pair.dialer.connections
        for first_byte in (0x40, 0xC0, 0xE0, 0xF0):
            header = bytes([first_byte, 0, 0, 0, 1, 8]) + connection.core.host_cid
            stranger.send_batch([(header.ljust(1200, b"\x08"), path)])
    assert not connection.is_closed


async def test_two_transports_on_one_network_do_not_disturb_each_other(pair: Pair) -> None:
    other_socket = pair.network.socket("192.0.2.3:5000")
    async with open_transport(other_socket, wall_clock=wall_clock) as other:
        first = await pair.dialer.dial(pair.address, dialing())
        second = await other.dial(pair.address, dialing())
        await other_socket_closes(other)
        assert not first.is_closed
        assert second.is_closed


async def other_socket_closes(transport: Transport) -> None:
    transport.close_all(0, "bye")
    await trio.sleep(1)
