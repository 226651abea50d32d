"""The size of datagrams on a path: what is tried, what counts as lost, and the way back from a black hole."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.engine.path_mtu import (
    BASE_BYTES,
    BLACK_HOLE_PACKETS,
    LARGEST_BYTES,
    MAX_PROBES,
    SEARCH_AGAIN_SECONDS,
    PathMtu,
)

IPV4, IPV6 = 28, 48
"""Bytes of the headers of IP and UDP."""


class Conversation:
    """Drives a search: probes that fit `carries` arrive, others do not, and something small arrives after each."""

    def __init__(self, mtu: PathMtu, carries: int) -> None:
        self.mtu = mtu
        self.carries = carries
        self.numbers: Iterator[int] = itertools.count()
        self.probes: list[int] = []

    def search(self, now: float = 0.0) -> int:
        """Run until there is nothing to probe; the size then."""
        while (size := self.probe(now)) is not None:
            assert len(self.probes) < 100, "the search does not end"
            self.probes.append(size)
        return self.mtu.size

    def probe(self, now: float = 0.0) -> int | None:
        """Send one probe and tell its fate."""
        number = next(self.numbers)
        size = self.mtu.take_probe(now, number)
        if size is not None:
            if size <= self.carries:
                self.mtu.handle_probe_acked(number)
            else:
                self.mtu.handle_probe_lost(number)
            self.mtu.handle_acked(next(self.numbers), 50)
        return size

    def send_full(self, count: int) -> None:
        """Send full packets, which arrive or not; then a small one, which does."""
        for _ in range(count):
            number, size = next(self.numbers), self.mtu.size
            if size <= self.carries:
                self.mtu.handle_acked(number, size)
            else:
                self.mtu.handle_lost(number, size)
        self.mtu.handle_acked(next(self.numbers), 50)


@pytest.mark.parametrize(
    ("packet_bytes", "headers", "found"),
    [
        (1280, IPV6, 1231),
        (1280, IPV4, 1247),
        (1400, IPV4, 1357),
        (1420, IPV6, 1357),
        (1492, IPV4, 1452),
        (1500, IPV6, 1452),
        (1500, IPV4, 1472),
        (4096, IPV4, 1472),
        (8896, IPV6, 8848),
        (9000, IPV4, 8952),
        (9001, IPV6, 8952),
        (65_536, IPV4, 16_384),
    ],
)
def test_a_search_finds_what_common_paths_carry(packet_bytes: int, headers: int, found: int) -> None:
    conversation = Conversation(PathMtu(), packet_bytes - headers)
    assert conversation.search() == found


def test_an_ethernet_costs_two_probes_that_arrive_and_three_that_do_not() -> None:
    conversation = Conversation(PathMtu(), 1472)
    conversation.search()
    assert conversation.probes == [1452, 1472, 8848, 8848, 8848]


def test_the_loopback_interface_costs_four_probes() -> None:
    conversation = Conversation(PathMtu(), 65_508)
    conversation.search()
    assert conversation.probes == [1452, 1472, 8848, 16_384]


@pytest.mark.parametrize(("limit", "found"), [(1200, 1200), (1201, 1201), (1452, 1452), (1465, 1465), (5000, 5000)])
def test_the_peers_limit_is_used_and_never_exceeded(limit: int, found: int) -> None:
    mtu = PathMtu()
    mtu.limit_to(limit)
    conversation = Conversation(mtu, 65_508)
    assert conversation.search() == found
    assert all(size <= limit for size in conversation.probes)


@pytest.mark.parametrize("limit", [0, 1199, 1200])
def test_with_a_limit_at_the_base_or_below_nothing_is_tried(limit: int) -> None:
    mtu = PathMtu(limit=limit)
    mtu.limit_to(65_527)
    assert (mtu.take_probe(0.0, 1), mtu.size) == (None, BASE_BYTES)


@given(carries=st.integers(BASE_BYTES, 20_000), limit=st.integers(BASE_BYTES, 65_527))
def test_any_path_is_searched_to_an_end_below_both_limits(carries: int, limit: int) -> None:
    conversation = Conversation(PathMtu(limit=limit), carries)
    found = conversation.search()
    assert BASE_BYTES <= found <= min(carries, limit, LARGEST_BYTES)
    assert len(conversation.probes) <= 25
    reachable = min(carries, limit)
    if reachable < 1452:
        assert reachable - found <= 16
    assert found >= min(reachable, 1452) - 16


def test_one_probe_is_under_way_at_a_time() -> None:
    mtu = PathMtu()
    assert mtu.take_probe(0.0, 7) == 1452
    assert mtu.take_probe(0.0, 8) is None
    mtu.handle_probe_acked(7)
    assert (mtu.size, mtu.take_probe(0.0, 9)) == (1452, 1472)


def test_a_size_is_given_up_after_three_lost_probes() -> None:
    mtu = PathMtu()
    tried = []
    for number in range(0, 2 * MAX_PROBES + 2, 2):
        tried.append(mtu.take_probe(0.0, number))
        mtu.handle_probe_lost(number)
        mtu.handle_acked(number + 1, 100)
    assert tried == [1452, 1452, 1452, (1200 + 1452) // 2]


def test_a_probe_that_arrives_makes_up_for_those_lost_before() -> None:
    conversation = Conversation(PathMtu(), 1300)
    conversation.probe()
    conversation.probe()
    conversation.carries = 1460
    assert conversation.search() == 1452
    assert conversation.probes == [1452, 1472, 1472, 1472]


def test_a_lost_probe_counts_only_once_something_later_has_arrived() -> None:
    mtu = PathMtu()
    mtu.take_probe(0.0, 10)
    mtu.handle_probe_lost(10)
    mtu.handle_acked(9, 100)
    assert mtu.take_probe(60.0, 11) is None
    mtu.handle_acked(11, 100)
    assert mtu.take_probe(60.0, 12) == 1452


def test_the_fate_of_another_probe_than_the_one_under_way_means_nothing() -> None:
    mtu = PathMtu()
    mtu.take_probe(0.0, 1)
    mtu.handle_probe_acked(0)
    mtu.handle_probe_lost(2)
    mtu.handle_acked(5, 100)
    assert (mtu.size, mtu.take_probe(0.0, 6)) == (1200, None)
    mtu.handle_path_changed()
    mtu.handle_probe_acked(1)
    assert mtu.size == 1200


def test_a_finished_search_is_taken_up_again_after_ten_minutes() -> None:
    conversation = Conversation(PathMtu(), 1372)
    below = conversation.search(now=100.0)
    conversation.carries = 1472
    assert conversation.probe(now=100.0 + SEARCH_AGAIN_SECONDS - 0.1) is None
    assert conversation.search(now=100.0 + SEARCH_AGAIN_SECONDS) == 1472 > below


def test_a_search_that_finds_nothing_new_costs_three_probes_and_waits_ten_minutes_more() -> None:
    conversation = Conversation(PathMtu(), 1472)
    conversation.search(now=0.0)
    conversation.probes.clear()
    assert conversation.search(now=600.0) == 1472
    assert conversation.probes == [8848] * 3
    assert conversation.probe(now=1199.0) is None
    assert conversation.probe(now=1200.0) == 8848


def test_full_packets_lost_while_small_ones_arrive_are_a_black_hole() -> None:
    conversation = Conversation(PathMtu(), 1472)
    conversation.search()
    conversation.carries = 1372
    conversation.send_full(BLACK_HOLE_PACKETS - 1)
    assert conversation.mtu.size == 1472
    conversation.send_full(1)
    assert conversation.mtu.size == 1200


def test_after_a_black_hole_what_the_path_still_carries_is_found() -> None:
    conversation = Conversation(PathMtu(), 8952)
    conversation.search()
    conversation.carries = 1472
    conversation.send_full(BLACK_HOLE_PACKETS)
    conversation.probes.clear()
    assert conversation.search(now=1.0) == 1472
    assert conversation.probes == [8952] * 3 + [1452, 1472] + [8848] * 3


def test_losses_of_another_kind_cost_one_probe() -> None:
    conversation = Conversation(PathMtu(), 8952)
    conversation.search()
    conversation.carries = 0
    conversation.send_full(BLACK_HOLE_PACKETS)
    conversation.carries = 8952
    conversation.probe(now=1.0)
    assert conversation.mtu.size == 8952


def test_packets_lost_before_one_that_arrived_are_no_black_hole() -> None:
    conversation = Conversation(PathMtu(), 1472)
    mtu = conversation.mtu
    conversation.search()
    mtu.handle_acked(200, 1472)
    for number in range(100, 200):
        mtu.handle_lost(number, 1472)
    assert mtu.size == 1472


@pytest.mark.parametrize("lost_bytes", [60, 1200, 1440])
def test_packets_that_are_not_full_make_no_black_hole(lost_bytes: int) -> None:
    conversation = Conversation(PathMtu(), 1472)
    conversation.search()
    for _ in range(100):
        conversation.mtu.handle_lost(next(conversation.numbers), lost_bytes)
    assert conversation.mtu.size == 1472


def test_full_packets_that_arrive_between_losses_are_no_black_hole() -> None:
    conversation = Conversation(PathMtu(), 1472)
    conversation.search()
    for _ in range(20):
        conversation.carries = 0
        conversation.send_full(BLACK_HOLE_PACKETS - 1)
        conversation.carries = 1472
        conversation.send_full(1)
    assert conversation.mtu.size == 1472


def test_at_the_base_no_loss_means_anything() -> None:
    conversation = Conversation(PathMtu(), 1200)
    conversation.search()
    conversation.carries = 0
    conversation.send_full(100)
    assert (conversation.mtu.size, conversation.probe(now=1.0)) == (1200, None)


@pytest.mark.parametrize("happens", [PathMtu.handle_path_changed, lambda mtu: black_hole(mtu)])
def test_a_new_path_and_a_black_hole_begin_the_search_again_at_once(happens: Callable[[PathMtu], None]) -> None:
    conversation = Conversation(PathMtu(), 1472)
    conversation.search(now=0.0)
    happens(conversation.mtu)
    assert conversation.mtu.size == 1200
    assert conversation.search(now=0.1) == 1472


def black_hole(mtu: PathMtu) -> None:
    for number in range(1000, 1000 + BLACK_HOLE_PACKETS):
        mtu.handle_lost(number, mtu.size)


def test_late_losses_from_before_a_black_hole_do_not_make_a_second_one() -> None:
    mtu = PathMtu()
    Conversation(mtu, 1472).search()
    black_hole(mtu)
    assert mtu.take_probe(1.0, 2000) == 1472
    mtu.handle_probe_acked(2000)
    for number in range(1500, 1600):
        mtu.handle_lost(number, 1472)
    assert mtu.size == 1472
