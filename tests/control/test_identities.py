"""The ids of connections, in the order of time."""

from typing import Any

import pytest

from connet_trio.control.identities import Identities

WALL_START = 1_800_000_000.0


def test_a_later_connection_has_a_later_id_even_if_the_clock_is_set_back() -> None:
    times = iter([1000.0, 1000.0, 500.0, 2000.0])
    identities = Identities(bytes(32), entropy=lambda count: bytes([255] * count), wall_clock=lambda: next(times))
    ids = [identities.new_connection_id() for _ in range(4)]
    assert ids == sorted(set(ids))


def identities_at(wall_now: float, **changes: Any) -> Identities:
    return Identities(bytes(32), entropy=lambda count: bytes(count), wall_clock=lambda: wall_now, **changes)


def test_a_connection_has_a_later_id_than_those_of_earlier_runs() -> None:
    before = Identities(
        bytes(32), entropy=lambda count: bytes([255] * count), wall_clock=lambda: WALL_START
    ).new_connection_id()
    for wall_now in (0.0, WALL_START - 1, WALL_START, WALL_START + 1):
        assert identities_at(wall_now, latest_connection_id=before).new_connection_id() > before


@pytest.mark.parametrize("odd", ["", "x", "no id", "\N{SNOWMAN}" * 8])
def test_what_is_no_connection_id_is_no_reason_not_to_start(odd: str) -> None:
    usual = identities_at(WALL_START).new_connection_id()
    assert identities_at(WALL_START, latest_connection_id=odd).new_connection_id() == usual
