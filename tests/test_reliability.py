"""That every line of `reliability.py` is shown by some test."""

from tests.reliability import LINES, WAITING, table


def test_every_line_has_a_test_or_waits_for_its_feature() -> None:
    shown = set(table())
    assert shown <= set(LINES), "marked with a line that is not there"
    assert set(LINES) - shown - set(WAITING) == set(), "without a test"
    assert shown & set(WAITING) == set(), "shown, and said to wait"
