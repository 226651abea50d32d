"""When an acknowledgement leaves: with an answer if there is one soon, alone otherwise."""

from typing import Any

import pytest
from aioquic.tls import Epoch

from connet_trio.quic.core import LONE_ACK_SECONDS, Core
from connet_trio.quic.fast import FastCore
from connet_trio.quic.transport import TIMER_SLACK
from tests.quic.fast.conftest import FAR, NEAR, handshake

NOW = 10.0
PROMPT_SECONDS = 0.001
ENGINES = pytest.mark.parametrize("dialer_kind", [FastCore, Core])


def ack_at(core: Core) -> Any:
    return core._spaces[Epoch.ONE_RTT].ack_at


def say(dialer: Core, data: bytes, now: float = NOW) -> list[Any]:
    """What the dialer sends when its application has written `data` to the first stream."""
    dialer.send_stream_data(0, data)
    return [(sent, NEAR) for sent, _ in dialer.collect(now)]


def known_stream(dialer: Core, listener: Core) -> None:
    """Let both know stream 0, and have nothing to acknowledge."""
    listener.receive_batch(say(dialer, b"first", NOW - 1), NOW - 1)
    dialer.receive_batch([(data, FAR) for data, _ in listener.collect(NOW - 0.9)], NOW - 0.9)
    assert ack_at(listener) is None


@ENGINES
def test_a_single_packet_is_acknowledged_after_a_moment(dialer_kind: type[Core]) -> None:
    dialer, listener = handshake(dialer_kind, NOW - 2)
    listener.receive_batch(say(dialer, b"a stream nobody knows yet"), NOW)
    assert ack_at(listener) == pytest.approx(NOW + LONE_ACK_SECONDS)
    assert listener.next_deadline() == pytest.approx(NOW + LONE_ACK_SECONDS)
    assert listener.collect(NOW + LONE_ACK_SECONDS / 2) == []
    assert len(listener.collect(NOW + LONE_ACK_SECONDS)) == 1
    assert ack_at(listener) is None


@ENGINES
def test_the_second_packet_hastens_the_acknowledgement(dialer_kind: type[Core]) -> None:
    dialer, listener = handshake(dialer_kind, NOW - 2)
    known_stream(dialer, listener)
    listener.receive_batch(say(dialer, b"one"), NOW)
    later = NOW + 2 * PROMPT_SECONDS
    listener.receive_batch(say(dialer, b"two", later), later)
    assert ack_at(listener) == pytest.approx(later + PROMPT_SECONDS)
    listener.receive_batch(say(dialer, b"three", later + PROMPT_SECONDS / 2), later + PROMPT_SECONDS / 2)
    assert ack_at(listener) == pytest.approx(later + PROMPT_SECONDS)


@ENGINES
def test_two_packets_at_once_are_acknowledged_promptly(dialer_kind: type[Core]) -> None:
    dialer, listener = handshake(dialer_kind, NOW - 2)
    known_stream(dialer, listener)
    listener.receive_batch([*say(dialer, b"one"), *say(dialer, b"two")], NOW)
    assert ack_at(listener) == pytest.approx(NOW + PROMPT_SECONDS)


def test_an_answer_takes_the_acknowledgement_along_and_is_read_the_short_way() -> None:
    dialer, listener = handshake(FastCore, NOW - 2)
    known_stream(dialer, listener)
    assert isinstance(dialer, FastCore)
    listener.receive_batch(say(dialer, b"question"), NOW)
    listener.send_stream_data(0, b"answer")
    answer = listener.collect(NOW)
    assert len(answer) == 1
    assert ack_at(listener) is None
    fast, stock = dialer.fast_packets.received, dialer.stock_packets.received
    dialer.receive_batch([(data, FAR) for data, _ in answer], NOW)
    assert (dialer.fast_packets.received - fast, dialer.stock_packets.received - stock) == (1, 0)
    assert dialer._streams[0].sender._buffer_start == len(b"first" + b"question")
    assert [event.data for event in iter(dialer.next_event, None)][-1:] == [b"answer"]  # type: ignore[attr-defined]


def test_what_fits_into_one_packet_needs_no_second_look() -> None:
    dialer, listener = handshake(FastCore, NOW - 2)
    known_stream(dialer, listener)
    dialer.send_stream_data(0, b"small")
    dialer.send_stream_data(4, b"and small")
    assert len(dialer.collect(NOW)) == 1
    assert not dialer.has_more


def test_acknowledgements_alone_are_not_acknowledged() -> None:
    dialer, listener = handshake(FastCore, NOW - 2)
    known_stream(dialer, listener)
    listener.receive_batch(say(dialer, b"question"), NOW)
    later = NOW + LONE_ACK_SECONDS
    dialer.receive_batch([(data, FAR) for data, _ in listener.collect(later)], later)
    assert ack_at(dialer) is None


def test_an_acknowledgement_is_not_due_sooner_for_a_packet_that_the_pacer_holds_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialer, listener = handshake(FastCore, NOW - 2)
    known_stream(dialer, listener)
    listener.receive_batch(say(dialer, b"question"), NOW)
    monkeypatch.setattr(listener._loss._pacer, "next_send_time", lambda now: NOW + 1)
    listener.send_stream_data(0, b"answer")
    assert listener.collect(NOW) == []
    assert ack_at(listener) == pytest.approx(NOW + LONE_ACK_SECONDS)
    assert listener.next_deadline() == pytest.approx(NOW + LONE_ACK_SECONDS)
    later = NOW + LONE_ACK_SECONDS + TIMER_SLACK
    assert len(listener.collect(later)) == 1
    assert ack_at(listener) is None


@ENGINES
def test_a_keepalive_is_answered_though_the_pacer_holds_back_and_time_stands_still(dialer_kind: type[Core]) -> None:
    dialer, listener = handshake(dialer_kind, NOW - 2)
    listener.ping()
    asked = [(data, FAR) for data, _ in listener.collect(NOW)]
    pacer: Any = dialer._loss._pacer
    pacer.update_rate(congestion_window=12_000, smoothed_rtt=1.0)
    pacer.charge(10_000_000)
    dialer.receive_batch(asked, NOW)
    assert dialer.answer_keepalive(NOW)
    assert len(dialer.collect(NOW)) == 1
    assert ack_at(dialer) is None


@ENGINES
def test_what_is_due_at_this_very_instant_leaves_though_the_pacer_holds_back(dialer_kind: type[Core]) -> None:
    dialer, listener = handshake(dialer_kind, NOW - 2)
    listener.ping()
    dialer.receive_batch([(data, FAR) for data, _ in listener.collect(NOW)], NOW)
    pacer: Any = dialer._loss._pacer
    pacer.update_rate(congestion_window=12_000, smoothed_rtt=1.0)
    pacer.charge(10_000_000)
    dialer.send_stream_data(0, bytes(5000))
    due = NOW + LONE_ACK_SECONDS
    assert len(dialer.collect(due)) == 1
    assert ack_at(dialer) is None
    deadline = dialer.next_deadline()
    assert deadline is not None
    assert deadline > due, "or it would be asked again and again while time stands still"
