"""How soon announcements count."""

import pytest

from connet_trio.engine import AnnouncePace
from connet_trio.records.model import Role

SOURCE, DESTINATION = Role.SOURCE, Role.DESTINATION


def pace_of_db(burst: int = 20, per_second: float = 2.0) -> AnnouncePace:
    """A pace with which `db` has used up what counts at once, at 100 s."""
    pace = AnnouncePace(burst=burst, per_second=per_second)
    assert [pace.handle_announce("db", SOURCE, now=100.0) for _ in range(burst)] == [100.0] * burst
    return pace


def test_those_after_the_first_few_count_one_by_one() -> None:
    pace = pace_of_db()
    assert [pace.handle_announce("db", SOURCE, now=100.0) for _ in range(3)] == [100.5, 101.0, 101.5]
    assert pace.handle_announce("db", SOURCE, now=102.0) == 102.0
    assert pace.handle_announce("db", SOURCE, now=102.0) == 102.5


def test_who_has_been_calm_for_long_enough_may_hurry_again() -> None:
    pace = pace_of_db()
    assert [pace.handle_announce("db", SOURCE, now=110.0) for _ in range(21)] == [110.0] * 20 + [110.5]


def test_somebody_steady_never_waits() -> None:
    pace = pace_of_db(burst=1)
    times = [100.5 + number / 2 for number in range(100)]
    assert [pace.handle_announce("db", SOURCE, now=now) for now in times] == times


@pytest.mark.parametrize("other", [("db", DESTINATION), ("web", SOURCE)])
def test_every_endpoint_has_a_bucket_of_its_own(other: tuple[str, Role]) -> None:
    assert pace_of_db().handle_announce(*other, now=100.0) == 100.0


def test_names_that_are_used_once_do_not_pile_up() -> None:
    pace = pace_of_db()
    for number in range(1000):
        pace.handle_announce(f"db {number}", SOURCE, now=200.0 + number)
    assert "db 998" not in repr(vars(pace))
    assert "db 999" in repr(vars(pace))


def test_a_forgotten_name_beside_one_in_a_hurry_is_still_paced_rightly() -> None:
    pace = pace_of_db()
    pace.handle_announce("web", SOURCE, now=100.0)
    pace.handle_announce("other", SOURCE, now=105.0)  # web is full again, behind db, which is not
    assert pace.handle_announce("web", SOURCE, now=105.0) == 105.0
    assert pace.handle_announce("db", SOURCE, now=100.0) == 100.5
